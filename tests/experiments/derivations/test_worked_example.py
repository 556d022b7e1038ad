"""The worked example, number by number, and shapes at any size."""

import jax
import numpy as np
import pytest

from experiments.derivations import worked_example
from models.derivations import LAYERS, WORKED_EXAMPLE


@pytest.fixture(scope="module")
def worked():
    with jax.enable_x64(True):
        return worked_example.quantities()


def test_the_formulas_give_the_numbers_of_pencil_and_paper(worked):
    for name, expected in (worked_example.BY_PENCIL | worked_example.BY_PENCIL_AFTER_STEP).items():
        np.testing.assert_allclose(worked[name], expected, rtol=0, atol=1e-12, err_msg=name)


def test_the_worked_example_by_loops(worked):
    """The same numbers, one multiplication at a time and in whole numbers."""
    given = {name: np.array(numbers) for name, numbers in WORKED_EXAMPLE.items()}
    Z1, Z_out = np.zeros((4, 2), int), np.zeros((2, 2), int)
    for i, n in np.ndindex(4, 2):
        Z1[i, n] = given["b1"][i] + sum(given["W1"][i, j] * given["A_in"][j, n] for j in range(6))
    for i, n in np.ndindex(2, 2):
        Z_out[i, n] = given["b_out"][i] + sum(given["W_out"][i, j] * max(Z1[j, n], 0) for j in range(4))
    dW1, db1, dA_in = np.zeros((4, 6), int), np.zeros(4, int), np.zeros((6, 2), int)
    for n in range(2):
        dZ_out = [given["dA_out"][i, n] if Z_out[i, n] > 0 else 0 for i in range(2)]
        for j in range(4):
            dZ1 = sum(dZ_out[i] * given["W_out"][i, j] for i in range(2)) if Z1[j, n] > 0 else 0
            db1[j] += dZ1
            for k in range(6):
                dW1[j, k] += dZ1 * given["A_in"][k, n]
                dA_in[k, n] += dZ1 * given["W1"][j, k]
    for name, expected in {"Z1": Z1, "Z_out": Z_out, "dW1": dW1, "db1": db1, "dA_in": dA_in}.items():
        np.testing.assert_array_equal(worked[name], expected, err_msg=name)


def test_shapes_at_any_size():
    shapes = worked_example.shapes(features=50, hidden=7, outputs=40, examples=10)
    assert shapes["Z1"] == shapes["dZ1"] == (7, 10)
    assert shapes["A_out"] == shapes["dZ_out"] == (40, 10)
    for name in (*LAYERS, "A_in"):
        assert shapes[f"d{name}"] == shapes[name]
    large = worked_example.shapes(**worked_example.LARGE_NETWORK)
    assert sum(int(np.prod(large[name])) for name in LAYERS) == 1_285_128


def test_derivatives_of_another_shape_are_counted():
    shapes = {"W": (2, 3), "b": (2,), "dW": (2, 3), "db": (2,)}
    assert worked_example.count_misshapen(shapes) == 0
    assert worked_example.count_misshapen(shapes | {"dW": (3, 2), "db": (1, 2)}) == 2
