"""Running layer by layer: what the whole model does, for every family of pretrained models."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.induction_heads.invariance import random_params
from models.rotary import Rotary
from models.transformer import Transformer, TransformerConfig, scanned
from probes import layerwise
from probes.layerwise import identity
from probes.sites import apply

B, T, L, H, V = 3, 6, 3, 4, 11
TOKENS_BT = np.random.default_rng(0).integers(V, size=(B, T))
FAMILIES = {
    "gpt2": {"norm": "layernorm", "bias": True, "d_mlp": 10, "tied_unembedding": True},
    "gpt_neox": {"norm": "layernorm", "bias": True, "d_mlp": 10, "positions": "rotary", "parallel_residual": True}
    | {"rotary": Rotary(fraction=0.5), "mlp": "gelu_exact"},
    "llama": {"norm": "rmsnorm", "mlp": "swiglu", "d_mlp": 10, "positions": "rotary", "num_key_value_heads": 2},
}


def build(**fields):
    config = dict(vocab_size=V, context_length=T, num_layers=L, num_heads=H, d_model=16)
    model = Transformer(TransformerConfig(**config | fields))
    return model, {"params": random_params(model, np.random.default_rng(1))}


def size_of(layer_params, activations, tokens_BT, factor):
    return factor * activations["attention/pattern"].sum(0), tokens_BT.sum()


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_one_by_one_are_the_model(family):
    model, variables = build(**FAMILIES[family])
    logits, activations = apply(model, variables, TOKENS_BT, observe={"*": identity})
    streams, layers = layerwise.streams(model, variables, TOKENS_BT, observe={"attention/pattern": identity})
    expected = [activations[f"layer_{layer}/residual_in"] for layer in range(L)] + [activations["residual_out"]]
    np.testing.assert_allclose(jnp.stack(streams), jnp.stack(expected), rtol=1e-4, atol=1e-4)
    for layer, arrays in enumerate(layers):
        np.testing.assert_allclose(
            arrays["attention/pattern"], activations[f"layer_{layer}/attention/pattern"], atol=1e-5
        )
    np.testing.assert_allclose(layerwise.logits(model, variables, streams[-1]), logits, rtol=1e-4, atol=1e-4)

    losses_BT = layerwise.next_token_losses(model, variables, TOKENS_BT)
    right_BT = np.take_along_axis(jax.nn.log_softmax(logits)[:, :-1], TOKENS_BT[:, 1:, None], -1)[..., 0]
    np.testing.assert_allclose(losses_BT, -right_BT, rtol=1e-4, atol=1e-4)

    (sums, counts), stream = layerwise.sum_over_sequences(
        model, variables, TOKENS_BT, measure=size_of, observed=["attention/pattern"], settings=(2.0,)
    )
    np.testing.assert_allclose(stream, streams[-1], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(sums[1], 2 * activations["layer_1/attention/pattern"].sum(0), atol=1e-5)
    np.testing.assert_array_equal(counts, [TOKENS_BT.sum()] * L)


def test_runs_that_differ_from_one_layer_on_are_edits_of_the_model():
    model, variables = build(**FAMILIES["gpt_neox"])
    site = "layer_1/attention/head_outputs"
    stream_site = "layer_1/residual_in"
    _, activations = apply(model, variables, TOKENS_BT, observe={site: identity, stream_site: identity})
    z_NBTHC = jnp.stack([activations[site] * factor for factor in (1.0, -1.0, 0.5)])

    def score(logits_BTV):
        return {"first": logits_BTV[0, 0, 0], "spread": logits_BTV.std()}

    scores = layerwise.scores_of_runs(model, variables, 1, activations[stream_site], z_NBTHC, score, positions=[2, 5])
    for n, z_BTHC in enumerate(z_NBTHC):
        logits, _ = apply(model, variables, TOKENS_BT, edit={site: lambda _, z=z_BTHC: z})
        for name, expected in score(logits[:, jnp.array([2, 5])]).items():
            np.testing.assert_allclose(scores[name][n], expected, rtol=1e-4)


def test_recomputation_is_left_out_and_stacked_layers_are_refused():
    model, variables = build()
    again = model.clone(config=replace(model.config, remat=True))
    streams, _ = layerwise.streams(model, variables, TOKENS_BT)
    np.testing.assert_array_equal(layerwise.streams(again, variables, TOKENS_BT)[0][-1], streams[-1])
    stacked, params = scanned(model, variables["params"])
    with pytest.raises(ValueError, match="unscanned gives them one by one"):
        layerwise.streams(stacked, {"params": params}, TOKENS_BT)
    with pytest.raises(ValueError, match="no layer_2"):
        layerwise.embed(model, {"params": {k: v for k, v in variables["params"].items() if k != "layer_2"}}, TOKENS_BT)
    with pytest.raises(ValueError, match="do not fit context_length"):
        layerwise.embed(model, variables, np.zeros((1, T + 1), int))
