"""Direct logit attribution: the terms are what a slow reference says, and nothing of the logit is left over."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.induction_heads.hand_wired import induction_config, induction_params
from experiments.induction_heads.invariance import random_params
from models.transformer import Transformer, TransformerConfig
from probes.attribution import direct_logit_attribution
from probes.sites import apply

B, T, L, H, D, V = 3, 6, 2, 2, 8, 7
GENERATOR = np.random.default_rng(0)
TOKENS_BT, TARGETS_BT = GENERATOR.integers(V, size=(2, B, T))
WEIGHT_BT = GENERATOR.random((B, T)) * (GENERATOR.random((B, T)) < 0.7)
ALL_PARTS = {"norm": "layernorm", "bias": True, "d_mlp": 10}
GROUPED = {"norm": "rmsnorm", "mlp": "swiglu", "d_mlp": 10, "positions": "rotary", "num_key_value_heads": 1}


def build(**fields):
    config = dict(vocab_size=V, context_length=T, num_layers=L, num_heads=H, d_model=D)
    model = Transformer(TransformerConfig(**config | fields))
    return model, {"params": random_params(model, np.random.default_rng(1))}


attribute = jax.jit(direct_logit_attribution, static_argnums=0)


def centred_target_logit(logits_BTV):
    total = 0.0
    for b, t in np.ndindex(B, T):
        total += WEIGHT_BT[b, t] * (logits_BTV[b, t, TARGETS_BT[b, t]] - logits_BTV[b, t].mean())
    return total / WEIGHT_BT.sum()


@pytest.mark.parametrize(
    "fields",
    [{}, GROUPED, ALL_PARTS | {"tied_unembedding": True, "parallel_residual": True}, {"num_layers": 0}],
)
def test_the_terms_sum_to_the_centred_logit(fields):
    model, variables = build(**fields)
    terms = attribute(model, variables, TOKENS_BT, TARGETS_BT, WEIGHT_BT)
    expected = centred_target_logit(model.apply(variables, TOKENS_BT))
    np.testing.assert_allclose(sum(leaf.sum() for leaf in terms.values()), expected, rtol=1e-4, atol=1e-4)
    assert terms["heads"].shape == (model.config.num_layers, H)


def test_each_term_is_its_write_through_the_frozen_norm():
    model, variables = build(**ALL_PARTS)
    params = variables["params"]
    terms = attribute(model, variables, TOKENS_BT, TARGETS_BT, WEIGHT_BT)
    _, activations = apply(model, variables, TOKENS_BT, observe={"*": np.asarray})
    deviation_BT1 = np.sqrt(activations["residual_out"].var(-1, keepdims=True) + 1e-6)

    def logit_of(write_BTD):
        centred = (write_BTD - write_BTD.mean(-1, keepdims=True)) / deviation_BT1 * params["final_norm"]["scale"]
        return centred_target_logit(centred @ params["unembed"]["kernel"])

    np.testing.assert_allclose(terms["embedding"], logit_of(activations["embedding"]), rtol=1e-3, atol=1e-4)
    for l in range(L):
        np.testing.assert_allclose(terms["mlps"][l], logit_of(activations[f"layer_{l}/mlp_out"]), rtol=1e-3, atol=1e-4)
        for h in range(H):
            kernel_CD = params[f"layer_{l}"]["attention"]["output"]["kernel"][h]
            write_BTD = activations[f"layer_{l}/attention/head_outputs"][:, :, h] @ kernel_CD
            np.testing.assert_allclose(terms["heads"][l, h], logit_of(write_BTD), rtol=1e-3, atol=1e-4)


def test_the_hand_wired_induction_head_carries_the_logit():
    vocab_size, period = 9, 5
    config = induction_config(vocab_size, context_length=1 + 3 * period)
    model, variables = Transformer(config), {"params": jax.jit(induction_params, static_argnums=0)(config)}
    blocks = np.stack([np.random.default_rng(seed).permutation(vocab_size - 1)[:period] for seed in range(4)])
    tokens_BT = np.concatenate([np.full((4, 1), vocab_size - 1), np.tile(blocks, 3)], axis=1)
    weight_BT = np.arange(tokens_BT.shape[1] - 1) > period
    tokens_BT, targets_BT = tokens_BT[:, :-1], tokens_BT[:, 1:]
    terms = attribute(model, variables, tokens_BT, targets_BT, np.tile(weight_BT, (4, 1)))
    # The head adds g = 20 to the target and nothing to the others; the current token's own logit is never the target's.
    np.testing.assert_allclose(terms["heads"], [[0], [20 * (1 - 1 / vocab_size)]], atol=1e-4)
    np.testing.assert_allclose(terms["embedding"], -1 / vocab_size, rtol=1e-4)
    assert terms["biases"] == 0 == terms["mlps"].sum()


def test_positions_without_weight_do_not_count_and_seeds_are_a_vmap():
    model, variables = build()
    other_BT = np.where(WEIGHT_BT > 0, TARGETS_BT, (TARGETS_BT + 1) % V)
    terms = attribute(model, variables, TOKENS_BT, TARGETS_BT, WEIGHT_BT)
    other = attribute(model, variables, TOKENS_BT, other_BT, 3 * WEIGHT_BT)
    seeds = jax.tree.map(lambda x: jnp.stack([x, x]), variables)
    together = jax.vmap(lambda v: attribute(model, v, TOKENS_BT, TARGETS_BT, WEIGHT_BT))(seeds)
    for name, term in terms.items():
        np.testing.assert_allclose(term, other[name], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(together[name][1], term, rtol=1e-4, atol=1e-5)
