"""Sites: what is observed is what the model computed, and an edit changes that and nothing else.

Covers models/site.py too: a site is where a probe observes or edits.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.induction_heads.invariance import random_params
from models.transformer import Transformer, TransformerConfig
from probes.sites import apply, explicit

B, T, D, H, C, F, V = 3, 6, 8, 2, 4, 12, 7
TOKENS_BT = np.random.default_rng(0).integers(V, size=(B, T))


def build(seed=0, **fields):
    config = dict(vocab_size=V, context_length=T, num_heads=H, d_model=D, d_mlp=F, norm="layernorm", bias=True)
    model = Transformer(TransformerConfig(**config | fields))
    return model, {"params": random_params(model, np.random.default_rng(seed))}


def keep(activation):
    return activation


def test_every_site_of_the_docstring_is_there_with_its_shape():
    stream, heads, pattern = (B, T, D), (B, T, H, C), (B, H, T, T)
    layer = {"residual_in": stream, "attention_out": stream, "residual_mid": stream, "mlp_out": stream}
    layer |= {f"attention/{name}": heads for name in ("queries", "keys", "values", "head_outputs")}
    layer |= {"mlp_hidden": (B, T, F), "attention/scores": pattern, "attention/pattern": pattern}
    expected = {"embedding": stream, "residual_out": stream, "unembed_in": stream}
    expected |= {f"layer_{i}/{name}": shape for i in range(2) for name, shape in layer.items()}
    model, variables = build()
    _, activations = apply(model, variables, TOKENS_BT, observe={"*": keep})
    assert {path: x.shape for path, x in activations.items()} == expected


@pytest.mark.parametrize("fields", [{}, {"positions": "rotary"}, {"d_mlp": 0, "norm": "none", "bias": False}])
def test_observing_and_identity_edits_change_no_bit(fields):
    model, variables = build(**fields)
    expected = explicit(model).apply(variables, TOKENS_BT)
    logits, _ = apply(model, variables, TOKENS_BT, observe={"*": keep}, edit={"*": keep})
    np.testing.assert_array_equal(logits, expected)


def test_the_stream_is_the_sum_of_what_was_written():
    model, variables = build()
    _, activations = apply(model, variables, TOKENS_BT, observe={"*": keep})
    written = [activations["embedding"]] + [
        activations[f"layer_{i}/{name}"] for i in range(2) for name in ("attention_out", "mlp_out")
    ]
    np.testing.assert_allclose(activations["residual_out"], sum(written), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(activations["layer_0/residual_in"], activations["embedding"])


def test_patterns_are_causal_distributions():
    model, variables = build(positions="alibi")
    _, activations = apply(model, variables, TOKENS_BT, observe={"layer_*/attention/pattern": keep})
    assert sorted(activations) == ["layer_0/attention/pattern", "layer_1/attention/pattern"]
    for pattern_BHQK in activations.values():
        np.testing.assert_allclose(pattern_BHQK.sum(-1), 1, rtol=1e-5)
        assert (np.triu(pattern_BHQK, 1) == 0).all()


def test_zeroing_a_heads_output_is_zeroing_its_output_weights():
    model, variables = build()
    edit = {"layer_1/attention/head_outputs": lambda z_BTHC: z_BTHC.at[:, :, 1].set(0)}
    edited, _ = apply(model, variables, TOKENS_BT, edit=edit)
    ablated = jax.tree.map(np.copy, variables)
    ablated["params"]["layer_1"]["attention"]["output"]["kernel"][1] = 0
    np.testing.assert_allclose(edited, model.apply(ablated, TOKENS_BT), rtol=1e-5, atol=1e-5)


def test_edits_come_before_observations_and_compose_in_their_order():
    model, variables = build()
    edit = {"embedding": lambda x: x + 1, "embed*": lambda x: 2 * x}
    _, plain = apply(model, variables, TOKENS_BT, observe={"embedding": keep})
    _, edited = apply(model, variables, TOKENS_BT, observe={"layer_0/residual_in": keep, "embedding": keep}, edit=edit)
    np.testing.assert_array_equal(edited["embedding"], 2 * (plain["embedding"] + 1))
    np.testing.assert_array_equal(edited["layer_0/residual_in"], edited["embedding"])


def test_a_batch_of_edits_is_one_vmap():
    model, variables = build()

    def scaled(factor):
        return apply(model, variables, TOKENS_BT, edit={"*/head_outputs": lambda z: factor * z})[0]

    factors = jnp.array([0.0, 0.5, 1.0])
    together = jax.jit(jax.vmap(scaled))(factors)
    np.testing.assert_allclose(together, jnp.stack([scaled(factor) for factor in factors]), rtol=1e-4, atol=1e-4)
    assert np.abs(together[0] - together[2]).max() > 0.1


@pytest.mark.parametrize("which", ["observe", "edit"])
def test_an_unknown_path_is_refused_with_the_nearest(which):
    model, variables = build()
    with pytest.raises(ValueError, match=r"no site of this model is called.*layer_1/attention/pattern"):
        apply(model, variables, TOKENS_BT, **{which: {"layer_1/attention/patern": keep}})
    attention_only, variables = build(d_mlp=0)
    with pytest.raises(ValueError, match="no site"):
        apply(attention_only, variables, TOKENS_BT, **{which: {"*/mlp_out": keep}})


def test_explicit_changes_only_how_attention_is_computed():
    model, variables = build()
    assert explicit(model).config.attention == "explicit"
    logits = model.apply(variables, TOKENS_BT)
    np.testing.assert_allclose(explicit(model).apply(variables, TOKENS_BT), logits, rtol=1e-5, atol=1e-5)
