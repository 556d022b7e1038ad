"""Formulas against automatic differentiation: equal, and a wrong formula is caught."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.derivations import comparisons
from experiments.derivations.figures import FORMULAS
from models import derivations


@pytest.fixture(scope="module")
def networks():
    """Random networks in float64."""
    return jax.tree.map(lambda x: np.asarray(x, np.float64), comparisons.draw(jax.random.key(0), 8, 6, 2, 3))


@pytest.fixture(scope="module")
def pairs(networks):
    """{formula: (by hand, by automatic differentiation)}."""
    with jax.enable_x64(True):
        return jax.tree.map(np.asarray, jax.jit(comparisons.comparisons)(networks))


def test_every_formula_equals_automatic_differentiation(pairs):
    for name, (by_hand, automatic) in pairs.items():
        np.testing.assert_allclose(by_hand, automatic, rtol=0, atol=1e-14, err_msg=name)


def test_no_formula_is_compared_with_zeros(pairs):
    for name, (by_hand, automatic) in pairs.items():
        assert by_hand.dtype == np.float64, name
        assert by_hand.shape == automatic.shape, name
        assert np.abs(automatic).max() > 1e-3, name


def test_every_formula_has_its_text_in_the_report(pairs):
    assert set(pairs) == set(FORMULAS)


def test_errors_are_the_largest_differences(networks, monkeypatch):
    pairs = {"sum": (np.array([1.0, 5.0]), np.array([-3.0, 6.0])), "product": (np.ones(2), np.ones(2))}
    monkeypatch.setattr(comparisons, "comparisons", lambda networks: pairs)
    assert {name: float(x) for name, x in comparisons.errors(networks).items()} == {
        "error/sum": 4.0,
        "largest/sum": 6.0,
        "error/product": 0.0,
        "largest/product": 1.0,
    }


def test_a_transposed_weight_is_caught(networks, monkeypatch):
    right = derivations.recurrent_gradients_from_state

    def transposed(params, *rest):
        return right(params | {"W_h": params["W_h"].T}, *rest)

    monkeypatch.setattr(derivations, "recurrent_gradients_from_state", transposed)
    with jax.enable_x64(True):
        by_hand, automatic = jax.jit(comparisons.recurrent)(networks["recurrent"])["recurrent step: dh'"]
    assert np.abs(by_hand - automatic).max() > 1e-3


def test_a_forgotten_skip_connection_is_caught(networks, monkeypatch):
    right = derivations.residual_block_jacobian
    monkeypatch.setattr(derivations, "residual_block_jacobian", lambda params, x: right(params, x) - jnp.eye(8))
    with jax.enable_x64(True):
        by_hand, automatic = jax.jit(comparisons.residual)(networks["residual"])["residual: dh3/dh1"]
    assert np.abs(by_hand - automatic).max() == pytest.approx(1.0)


def test_what_is_drawn_depends_on_the_key_alone():
    one, same, other = (comparisons.draw(jax.random.key(seed), 5, 4, 2, 3) for seed in (0, 0, 1))
    for a, b, c in zip(*map(jax.tree.leaves, (one, same, other)), strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c)
    assert one["recurrent"]["U"].shape == (4, 5)
