"""Losses of language models.

Axes: B batch, T time, D model width, V vocabulary, C chunks, R rows of a chunk.
"""

import jax
import jax.numpy as jnp


def token_losses(logits_BTV, targets_BT):
    """Cross-entropy [B, T] of each target token, in nats."""
    # The gradient of a product with one-hot targets is a product too; that of a gather would be a slow scatter.
    one_hot_BTV = jax.nn.one_hot(targets_BT, logits_BTV.shape[-1], dtype=logits_BTV.dtype)
    return jax.nn.logsumexp(logits_BTV, axis=-1) - jnp.sum(logits_BTV * one_hot_BTV, axis=-1)


def chunked_token_losses(x_BTD, kernel_DV, targets_BT, num_chunks):
    """``token_losses`` of the logits x @ kernel, with never more than one chunk of the logits in memory.

    The B * T rows are taken in ``num_chunks`` chunks, one after another; the backward pass computes a chunk's logits
    anew. Raises ValueError unless num_chunks divides the number of rows.
    """
    rows = targets_BT.size
    if num_chunks < 1 or rows % num_chunks:
        raise ValueError(f"{rows} tokens of a batch are not divisible by loss_chunks={num_chunks}")
    wide = jnp.promote_types(x_BTD.dtype, jnp.float32)

    @jax.checkpoint
    def losses(chunk):
        x_RD, targets_R = chunk
        # The cast stands within the chunk, so that the chunks' gradients are added up in the kernel's own precision.
        return token_losses(jnp.dot(x_RD, kernel_DV.astype(x_RD.dtype), preferred_element_type=wide), targets_R)

    # Chunk i holds rows i, i + num_chunks, ..., so that each device has a part of every chunk.
    x_CRD = x_BTD.reshape(-1, num_chunks, x_BTD.shape[-1]).swapaxes(0, 1)
    targets_CR = targets_BT.reshape(-1, num_chunks).T
    return jax.lax.map(losses, (x_CRD, targets_CR)).T.reshape(targets_BT.shape)


def switch_losses(index, losses, params, *arguments):
    """What ``losses[index]`` returns, (loss, other numbers), by ``jax.lax.switch``; differentiable in the loss alone.

    The gradient is taken within the branch. Taken outside, as ``jax.grad`` of a switch does, each step would fill with
    zeros what the other branches save for their backward passes.

    Args:
      losses: functions of (params, *arguments) whose results have the same shapes.
    """

    @jax.custom_vjp
    def choose(params, index, arguments):
        return jax.lax.switch(index, losses, params, *arguments)

    def forward(params, index, arguments):
        branches = [jax.value_and_grad(loss, has_aux=True) for loss in losses]
        return jax.lax.switch(index, branches, params, *arguments)

    def backward(gradients, cotangents):
        return jax.tree.map(lambda gradient: cotangents[0] * gradient, gradients), None, None

    choose.defvjp(forward, backward)
    return choose(params, index, arguments)
