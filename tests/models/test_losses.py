"""Losses of tokens against probabilities by numpy, in chunks against the whole, and in half precision."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.losses import chunked_token_losses, token_losses
from models.transformer import Transformer, TransformerConfig

B, T, D, V = 2, 6, 5, 11
TARGETS_BT = np.random.default_rng(0).integers(0, V, (B, T))


def normal(*shape):
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def softmax(logits):
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def test_token_losses_are_minus_log_probabilities():
    logits_BTV = 10 * normal(B, T, V)

    @jax.jit
    def losses_and_gradient(logits_BTV):
        _, pull_back = jax.vjp(lambda x: token_losses(x, TARGETS_BT), logits_BTV)
        return token_losses(logits_BTV, TARGETS_BT), pull_back(jnp.ones((B, T)))[0]

    losses_BT, gradient_BTV = losses_and_gradient(logits_BTV)
    probabilities_BTV = softmax(logits_BTV.astype(np.float64))
    expected_BT = -np.log(np.take_along_axis(probabilities_BTV, TARGETS_BT[..., None], -1)[..., 0])
    np.testing.assert_allclose(losses_BT, expected_BT, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(gradient_BTV, probabilities_BTV - np.eye(V)[TARGETS_BT], atol=1e-5)
    far_apart_BTV = np.where(np.eye(V)[TARGETS_BT] == 1, -1e4, 1e4)
    np.testing.assert_allclose(losses_and_gradient(np.float32(far_apart_BTV))[0], 2e4, rtol=1e-3)


def test_chunked_losses_and_their_gradients_equal_whole_ones():
    @partial(jax.jit, static_argnums=2)
    def value_and_gradients(x_BTD, kernel_DV, num_chunks):
        def sum_of_squares(x_BTD, kernel_DV):
            if num_chunks is None:
                return (token_losses(x_BTD @ kernel_DV, TARGETS_BT) ** 2).sum()
            return (chunked_token_losses(x_BTD, kernel_DV, TARGETS_BT, num_chunks) ** 2).sum()

        return jax.value_and_grad(sum_of_squares, (0, 1))(x_BTD, kernel_DV)

    x_BTD, kernel_DV = normal(B, T, D), normal(D, V)
    whole, chunked = value_and_gradients(x_BTD, kernel_DV, None), value_and_gradients(x_BTD, kernel_DV, 4)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4), chunked, whole)
    with pytest.raises(ValueError, match="12 tokens of a batch are not divisible by loss_chunks=5"):
        value_and_gradients(x_BTD, kernel_DV, 5)


def relative_error(approximate, exact):
    return np.linalg.norm(np.float64(approximate) - exact) / np.linalg.norm(exact)


@pytest.mark.parametrize("num_chunks", [1, 32])
def test_gradients_of_chunks_in_half_precision_are_added_up_in_whole(num_chunks):
    x_BTD, kernel_DV = normal(8, 64, 16), normal(16, 5)
    targets_BT = np.random.default_rng(0).integers(0, 5, (8, 64))

    @jax.jit
    def half_gradient(kernel_DV):
        x_half_BTD = x_BTD.astype("bfloat16")
        return jax.grad(lambda k: chunked_token_losses(x_half_BTD, k, targets_BT, num_chunks).sum())(kernel_DV)

    # The gradient of the summed losses, x^T (p - y), in float64.
    difference_BTV = softmax(x_BTD.astype(np.float64) @ kernel_DV) - np.eye(5)[targets_BT]
    exact_DV = np.einsum("BTD,BTV->DV", x_BTD.astype(np.float64), difference_BTV)
    assert relative_error(half_gradient(kernel_DV), exact_DV) < 0.005


def test_gradients_of_an_embedding_row_are_added_up_in_whole():
    """A row's gradient is a sum over all places where its token stands."""
    tokens_BT = np.random.default_rng(0).integers(0, 3, (8, 64))

    def gradient(dtype):
        config = TransformerConfig(3, 64, num_layers=0, d_model=16, positions="none", dtype=dtype)
        model = Transformer(config)

        @jax.jit
        def compute(params):
            return jax.grad(lambda p: token_losses(model.apply({"params": p}, tokens_BT), tokens_BT).sum())(params)

        return compute(params)["embed"]

    params = {"embed": normal(3, 16) / 4, "unembed": {"kernel": normal(16, 3) / 4}}
    assert relative_error(gradient("bfloat16"), np.float64(gradient("float32"))) < 0.005
