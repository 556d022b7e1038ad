"""Receptive fields as the experiment measures them.

``measure_fields``, of several networks, is covered by the slow test in tests/experiments/test_cnn.py.
"""

import numpy as np

from experiments.cnn.receptive_fields import BASE, compare_fields, layers_of_one_image
from models.cnn import CNN


def test_fields_of_one_network_by_formula_and_measured():
    model = CNN(**BASE | {"kernel_size": 5, "stride": 2})
    formula, measured = compare_fields(model, ("activation_0", "activation_1"))
    np.testing.assert_array_equal(formula, [5, 13])
    np.testing.assert_array_equal(measured, formula)


def test_the_table_is_the_textbooks():
    layers = layers_of_one_image(CNN())
    assert [layer.parameters for layer in layers] == [224, 0, 0, 16, 1168, 0, 0, 0, 10250]
    assert sum(layer.macs for layer in layers) == 526336
    assert [layer.receptive_field for layer in layers[:7]] == [3, 3, 4, 4, 8, 8, 10]
