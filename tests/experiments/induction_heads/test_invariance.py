"""Exact statements about attention hold, and each measure sees it where the statement does not apply."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import pytest

from experiments.induction_heads import invariance
from models.transformer import POSITIONS

KEY = jax.random.key(0)


def small(**changes):
    return replace(invariance.SMALL, **changes)


def test_without_positions_and_mask_attention_is_permutation_equivariant():
    assert invariance.permutation_error(small(positions="none", causal=False, norm="layernorm"), KEY) < 1e-12


@pytest.mark.parametrize(
    "changes", [{"positions": "none"}, *({"positions": scheme, "causal": False} for scheme in POSITIONS[1:])]
)
def test_a_mask_or_positions_break_the_equivariance(changes):
    assert invariance.permutation_error(small(num_layers=1, **changes), KEY) > 1e-2


def test_float64_stays_inside():
    error = invariance.permutation_error(small(positions="none", causal=False, num_layers=1), KEY)
    assert isinstance(error, float)
    assert not jax.config.jax_enable_x64
    assert (jnp.ones(2) / 3).dtype == jnp.float32


def test_the_first_causal_layer_scores_tokens_and_the_second_order():
    first_error, second_error = invariance.order_in_scores(small(positions="none"), KEY)
    assert first_error < 1e-12
    assert second_error > 1e-2
    assert invariance.order_in_scores(small(positions="learned"), KEY)[0] > 1e-2


@pytest.mark.parametrize("positions", POSITIONS)
def test_one_layer_never_sees_the_token_before_a_key(positions):
    assert invariance.score_change(small(num_layers=1, positions=positions), KEY) == 0.0
    assert invariance.score_change(small(num_layers=2, positions=positions), KEY) > 1e-2


def test_one_layer_never_sees_it_at_other_shapes_either():
    odd = small(positions="rotary", vocab_size=64, context_length=37, d_model=96, norm="layernorm", bias=True, d_mlp=50)
    assert invariance.score_change(replace(odd, num_layers=1), jax.random.key(1)) == 0.0
    assert invariance.score_change(replace(odd, num_layers=2), jax.random.key(1)) > 1e-2


@pytest.mark.parametrize("changes", [{}, {"positions": "rotary", "norm": "layernorm", "bias": True, "d_mlp": 16}])
def test_heads_of_one_layer_are_independent_and_of_the_next_are_not(changes):
    same_layer, next_layer = invariance.changes_by_a_new_head(small(**changes), KEY)
    assert same_layer == 0.0
    assert next_layer > 1e-2


def test_other_keys_draw_other_weights_and_the_same_key_the_same():
    first, again, other = (invariance.score_change(small(positions="none"), jax.random.key(seed)) for seed in (0, 0, 1))
    assert first == again != other
