"""The logit lens against norm and unembedding written out."""

import jax
import numpy as np

from experiments.induction_heads.invariance import random_params
from models.transformer import Transformer, TransformerConfig
from probes.logit_lens import lens_losses, logit_lens

B, T, L, V = 3, 6, 2, 7
TOKENS_BT = np.random.default_rng(0).integers(V, size=(B, T))


def test_the_logit_lens_reads_the_stream_after_each_layer():
    config = TransformerConfig(
        vocab_size=V,
        context_length=T,
        num_layers=L,
        num_heads=2,
        d_model=8,
        d_mlp=10,
        norm="layernorm",
        bias=True,
    )
    model = Transformer(config)
    params = random_params(model, np.random.default_rng(1))
    variables = {"params": params}
    lens = jax.jit(logit_lens, static_argnums=0)(model, variables, TOKENS_BT)
    assert lens.shape == (L + 1, B, T, V)
    np.testing.assert_allclose(lens[-1], model.apply(variables, TOKENS_BT), rtol=1e-4, atol=1e-4)
    x_BTD = params["embed"][TOKENS_BT] + params["positions"]
    normed = (x_BTD - x_BTD.mean(-1, keepdims=True)) / x_BTD.std(-1, keepdims=True)
    normed = normed * params["final_norm"]["scale"] + params["final_norm"]["bias"]
    expected = normed @ params["unembed"]["kernel"]
    np.testing.assert_allclose(lens[0], expected, rtol=1e-3, atol=1e-3)
    losses = lens_losses(model, variables, TOKENS_BT, positions=[2, 4])
    expected = -np.take_along_axis(jax.nn.log_softmax(lens)[:, :, :-1], TOKENS_BT[None, :, 1:, None], -1)[
        ..., [2, 4], 0
    ]
    np.testing.assert_allclose(losses, expected, rtol=1e-4, atol=1e-4)
    assert np.abs(lens[1] - lens[0]).max() > 0.1
