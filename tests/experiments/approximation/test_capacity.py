"""What networks can compute, where the answer is known."""

import jax
import numpy as np
import pytest

from experiments.approximation import tent
from experiments.approximation.capacity import (
    count_pieces,
    error_with_one_unit_less,
    interpolation_slopes,
    least_squares_error,
    mlp_outputs,
)
from experiments.approximation.parallel_networks import gaussian_params
from experiments.approximation.targets import TARGETS
from models.mlp import MLP


def test_networks_in_numpy_are_those_of_the_model():
    network, x = MLP((4, 3, 2)), np.random.default_rng(1).normal(size=(7, 3))
    params = gaussian_params(network, 3, np.random.default_rng(0).standard_normal)
    expected = jax.eval_shape(network.init, jax.random.key(0), x)["params"]
    assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, expected)
    np.testing.assert_allclose(network.apply({"params": params}, x), mlp_outputs(params, x), atol=1e-4)


def test_least_squares_is_exact_on_a_plane_and_leaves_a_parabola():
    x = np.linspace(-1, 1, 101)[:, None]
    assert least_squares_error(x, 3 * x - 2) < 1e-20
    assert least_squares_error(x, x**2) == pytest.approx(1.0)
    assert least_squares_error(np.hstack([x, x**2]), x**2 - x) < 1e-20


def test_pieces_are_counted():
    x = np.array([0.0, 0.25, 0.5, 1.0])
    assert count_pieces(x, 2 * x) == 1
    assert count_pieces(x, np.abs(x - 0.25)) == 2
    assert count_pieces(x, tent.composed_tent(x, 1)) == 2


def test_one_unit_less_is_enough_only_with_a_straight_line_added():
    k, x = 2, np.linspace(0, 1, 33)
    y = tent.composed_tent(x, k)
    bends = np.maximum(x[:, None] - np.arange(1, 2**k) / 2**k, 0)
    assert least_squares_error(np.hstack([bends, x[:, None]]), y[:, None]) < 1e-20
    assert error_with_one_unit_less(k) > 0.01


def test_interpolation_errors_follow_their_powers():
    slopes = dict(zip(TARGETS, interpolation_slopes(TARGETS.values()), strict=True))
    assert slopes["sine"] == pytest.approx(-2, abs=0.05)
    assert slopes["jump"] == pytest.approx(-0.5, abs=0.05)
