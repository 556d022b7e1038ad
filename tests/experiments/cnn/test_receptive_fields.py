"""Receptive fields as the experiment measures them."""

import numpy as np

from experiments.cnn.receptive_fields import BASE, fields, table
from models.cnn import CNN


def test_fields_of_one_network_by_formula_and_measured():
    model = CNN(**BASE | {"kernel_size": 5, "stride": 2})
    formula, measured = fields(model, ("activation_0", "activation_1"))
    np.testing.assert_array_equal(formula, [5, 13])
    np.testing.assert_array_equal(measured, formula)


def test_the_table_is_the_textbooks():
    layers = table(CNN())
    assert [layer.parameters for layer in layers] == [224, 0, 0, 16, 1168, 0, 0, 0, 10250]
    assert sum(layer.macs for layer in layers) == 526336
    assert [layer.receptive_field for layer in layers[:7]] == [3, 3, 4, 4, 8, 8, 10]
