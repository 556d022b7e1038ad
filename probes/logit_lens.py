"""The logit lens: what the unembedding makes of the residual stream before the last layer has written to it.

The final norm is applied to every stream with the scale of that stream. Only streams between layers are read: in a
model with parallel residuals there is none between attention and MLP of a layer.

Axes: L layers, B batch, T time, V vocabulary. Source: nostalgebraist 2020, "interpreting GPT: the logit lens".
"""

import jax
import jax.numpy as jnp

from models.losses import token_losses
from probes import layerwise


def logit_lens(model, variables, tokens_BT):
    """The logits [L + 1, B, T, V] that the stream would give after 0, 1, ... L layers."""
    streams, _ = layerwise.streams(model, variables, tokens_BT)
    return jnp.stack([layerwise.logits(model, variables, x_BTD) for x_BTD in streams])


def lens_losses(model, variables, tokens_BT, positions=None):
    """The loss (nats) of the next token, of each stream of ``logit_lens``: [L + 1, B, T - 1 or len(positions)].

    Only one stream's logits are held at a time. ``positions`` are the t at which token t + 1 is predicted.
    """
    streams, _ = layerwise.streams(model, variables, tokens_BT)
    positions = jnp.arange(tokens_BT.shape[1] - 1) if positions is None else jnp.asarray(positions)
    targets = jnp.asarray(tokens_BT)[:, positions + 1]
    losses = jax.jit(token_losses)
    return jnp.stack([losses(layerwise.logits(model, variables, x_BTD[:, positions]), targets) for x_BTD in streams])
