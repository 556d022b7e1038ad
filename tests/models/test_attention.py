"""Attention: what it sees, its symmetries, and that both ways to compute it agree.

tests/models/test_transformer.py compares its outputs, with a cache and with padding, with a slow reference.
"""

from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest
from random_models import compute_logits, random_params

from models.attention import alibi_slopes
from models.transformer import POSITIONS, Transformer, TransformerConfig

B, T, V = 2, 7, 11
SMALL = TransformerConfig(vocab_size=V, context_length=T, num_layers=2, num_heads=2, d_model=8)
FULL = replace(SMALL, d_mlp=16, norm="layernorm", bias=True)
TWO_WAY = replace(FULL, num_layers=1, bias=False, tied_unembedding=True, causal=False)
TOKENS_BT = np.random.default_rng(0).integers(0, V, (B, T)).astype(np.int32)


def logits_of(config, params, tokens_BT):
    return np.asarray(compute_logits(Transformer(config), {"params": params}, tokens_BT))


@pytest.mark.parametrize("attention", ["auto", "explicit"])
@pytest.mark.parametrize("positions", POSITIONS)
def test_nothing_flows_from_the_future(positions, attention):
    """A token that changes leaves all logits before it as they were, and changes its own and all later ones."""
    config = replace(FULL, positions=positions, attention=attention)
    params = random_params(config)
    for t in range(T):
        changed_T = np.where(np.arange(T) == t, (TOKENS_BT[0] + 1) % V, TOKENS_BT[0])
        before_TV, after_TV = logits_of(config, params, np.stack([TOKENS_BT[0], changed_T]))
        np.testing.assert_array_equal(after_TV[:t], before_TV[:t])
        assert (np.abs(after_TV - before_TV)[t:] > 1e-6).any(-1).all()


def test_without_positions_and_mask_a_permutation_of_tokens_permutes_logits():
    order = np.random.default_rng(9).permutation(T)

    def change(config):
        params = random_params(config)
        permuted_BTV = logits_of(config, params, TOKENS_BT[:, order])
        return np.abs(permuted_BTV - logits_of(config, params, TOKENS_BT)[:, order]).max()

    assert change(replace(TWO_WAY, positions="none")) < 1e-5
    assert change(replace(TWO_WAY, positions="rotary")) > 1e-3


@pytest.mark.parametrize(
    ("positions", "length"), [*((positions, T) for positions in POSITIONS), ("none", 1), ("alibi", 1)]
)
def test_gradients_do_not_depend_on_how_attention_is_computed(positions, length):
    config = replace(SMALL, num_layers=1, positions=positions)

    @jax.jit
    def both_gradients(params):
        def sum_of_squares(params, attention):
            model = Transformer(replace(config, attention=attention))
            return (model.apply({"params": params}, TOKENS_BT[:, :length]) ** 2).sum()

        return [jax.grad(sum_of_squares)(params, attention) for attention in ("auto", "explicit")]

    auto, explicit = both_gradients(random_params(config))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4), auto, explicit)
    assert max(np.abs(x).max() for x in jax.tree.leaves(explicit)) > 0.1


def test_alibi_slopes_are_those_of_the_paper():
    np.testing.assert_allclose(alibi_slopes(8), [1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 1 / 128, 1 / 256])
