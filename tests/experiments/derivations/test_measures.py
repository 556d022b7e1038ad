"""Formulas against automatic differentiation: equal, and a wrong formula is caught."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.derivations import measures as derivations
from models import derivations as by_hand


@pytest.fixture(scope="module")
def drawn():
    """In float64."""
    return jax.tree.map(lambda x: np.asarray(x, np.float64), derivations.draw(jax.random.key(0), 8, 6, 2, 3))


def errors(drawn):
    with jax.enable_x64(True):
        return {name: float(error) for name, (error, _) in derivations.errors(drawn).items()}


def test_every_formula_equals_automatic_differentiation(drawn):
    assert max(errors(drawn).values()) < 1e-14


def test_no_formula_is_compared_with_zeros(drawn):
    with jax.enable_x64(True):
        for name, (ours, autodiff) in derivations.comparisons(drawn).items():
            assert ours.dtype == np.float64, name
            assert ours.shape == autodiff.shape, name
            assert float(jnp.abs(autodiff).max()) > 1e-3, name


def test_a_transposed_weight_is_caught(drawn, monkeypatch):
    right = by_hand.recurrent_gradients_from_state

    def transposed(params, *rest):
        return right(params | {"W_h": params["W_h"].T}, *rest)

    monkeypatch.setattr(by_hand, "recurrent_gradients_from_state", transposed)
    assert errors(drawn)["recurrent step: dh'"] > 1e-3


def test_a_forgotten_skip_connection_is_caught(drawn, monkeypatch):
    right = by_hand.residual_block_jacobian
    monkeypatch.setattr(by_hand, "residual_block_jacobian", lambda params, x: right(params, x) - jnp.eye(8))
    assert errors(drawn)["residual: dh3/dh1"] == pytest.approx(1.0)


def test_what_is_drawn_depends_on_the_key_alone():
    one, same, other = (derivations.draw(jax.random.key(seed), 5, 4, 2, 3) for seed in (0, 0, 1))
    for a, b, c in zip(*map(jax.tree.leaves, (one, same, other)), strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c)
    assert one["recurrent"]["U"].shape == (4, 5)
