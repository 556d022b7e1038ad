"""The composed tent map and the networks that compute it."""

import jax
import numpy as np
import pytest

from experiments.approximation import tent
from models.mlp import MLP


@pytest.mark.parametrize("k", [1, 2, 5])
def test_tents_have_their_teeth(k):
    corners = np.arange(2**k + 1) / 2**k
    np.testing.assert_array_equal(tent.composed_tent(corners, k), np.arange(2**k + 1) % 2)
    middles = (corners[1:] + corners[:-1]) / 2
    np.testing.assert_array_equal(tent.composed_tent(middles, k), 0.5)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_both_networks_compute_the_tent(k):
    x = np.random.default_rng(0).uniform(size=(50, 1))
    with jax.enable_x64(True):
        for widths, params in ((tent.deep_widths(k), tent.deep_params(k)), ((2**k, 1), tent.shallow_params(k))):
            y = MLP(widths, dtype="float64").apply({"params": params}, x)
            np.testing.assert_allclose(y, tent.composed_tent(x, k), atol=1e-12)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_the_deep_one_has_2k_units(k):
    hidden = list(tent.deep_params(k).values())[:-1]
    assert sum(layer["bias"].size for layer in hidden) == 2 * k
    assert tuple(layer["bias"].size for layer in hidden) == tent.deep_widths(k)[:-1]
