"""Exact statements about attention hold, and each measure sees it where the statement does not apply."""

import jax
import jax.numpy as jnp
import pytest

from experiments.induction_heads import invariance
from models.transformer import POSITIONS, TransformerConfig

KEY = jax.random.key(0)


def config(**fields):
    return TransformerConfig(**invariance.SMALL | fields)


def test_without_positions_and_mask_attention_is_permutation_equivariant():
    assert invariance.permutation_error(config(positions="none", causal=False, norm="layernorm"), KEY) < 1e-12


@pytest.mark.parametrize("fields", [{"positions": "none"}, *({"positions": p, "causal": False} for p in POSITIONS[1:])])
def test_a_mask_or_positions_break_the_equivariance(fields):
    assert invariance.permutation_error(config(num_layers=1, **fields), KEY) > 1e-2


def test_float64_stays_inside():
    error = invariance.permutation_error(config(positions="none", causal=False, num_layers=1), KEY)
    assert isinstance(error, float)
    assert not jax.config.jax_enable_x64
    assert (jnp.ones(2) / 3).dtype == jnp.float32


def test_the_first_causal_layer_scores_tokens_and_the_second_order():
    errors = invariance.causal_first_layer_token_only(KEY)
    assert errors["first_layer"] < 1e-12
    assert errors["second_layer"] > 1e-2
    assert invariance.causal_first_layer_token_only(KEY, positions="learned")["first_layer"] > 1e-2


@pytest.mark.parametrize("positions", POSITIONS)
def test_one_layer_never_sees_the_token_before_a_key(positions):
    assert invariance.one_layer_score_change(1, positions, KEY) == 0.0
    assert invariance.one_layer_score_change(2, positions, KEY) > 1e-2


def test_one_layer_never_sees_it_at_other_shapes_either():
    odd = {"vocab_size": 64, "context_length": 37, "d_model": 96, "norm": "layernorm", "bias": True, "d_mlp": 50}
    assert invariance.one_layer_score_change(1, "rotary", jax.random.key(1), **odd) == 0.0
    assert invariance.one_layer_score_change(2, "rotary", jax.random.key(1), **odd) > 1e-2


@pytest.mark.parametrize("fields", [{}, {"positions": "rotary", "norm": "layernorm", "bias": True, "d_mlp": 16}])
def test_heads_of_one_layer_are_independent_and_of_the_next_are_not(fields):
    changes = invariance.same_layer_independence(KEY, **fields)
    assert changes["same_layer"] == 0.0
    assert changes["next_layer"] > 1e-2


def test_other_keys_draw_other_weights_and_the_same_key_the_same():
    first, again, other = (invariance.one_layer_score_change(2, "none", jax.random.key(seed)) for seed in (0, 0, 1))
    assert first == again != other
