"""The experiment, its claims and its figures; what they are made of is tested in derivations/."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest

from experiments.derivations import worked_example
from experiments.derivations.claims import difference_from, largest_error
from experiments.derivations.experiment import Config, derivations_measurement
from experiments.derivations.figures import worked_table

SMALL = {"width": 3, "num_classes": 3, "num_channels": 2, "batch_size": 2}


def test_every_quantity_of_the_worked_example_is_shown():
    with jax.enable_x64(True):
        worked = worked_example.quantities()
    figure = worked_table({f"worked/{name}": array for name, array in worked.items()})
    for name in worked:
        assert f"<td>{name}</td>" in figure.markup
    assert "2.64  -1.06  1.61  -4" in figure.markup
    assert "36  6  39  0\n 0  0   0  0" in figure.markup


def test_claims_take_the_worst_of_their_formulas_and_numbers():
    examined = {
        "error/ReLU: dh/dz": np.array([9.0, 9.0]),
        "error/residual: dJ/dx": np.array([1.0, 4.0]),
        "error/residual: dh3/dh1": np.array([2.0, 3.0]),
        "worked/b": np.array([[1.0, 2.0], [1.5, 2.0]]),
        "worked/W": np.array([[[3.0, 4.0]], [[3.0, 3.0]]]),
    }
    result = SimpleNamespace(examined=examined)
    np.testing.assert_array_equal(largest_error("residual")(result), [2, 4])
    np.testing.assert_array_equal(difference_from({"b": [1, 2], "W": [[3, 4]]})(result), [0, 1])


def test_sizes_that_make_no_network_are_refused():
    with pytest.raises(ValueError, match="num_classes"):
        derivations_measurement(Config(num_classes=1))
