"""The logit lens: what the unembedding makes of the residual stream before the last layer has written to it.

The final norm is applied to every stream with the scale that this stream has. In a model with parallel residuals the
stream between attention and MLP of a layer does not exist; the streams between layers do in every model.

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


def lens_losses(model, variables, tokens_BT, at=None):
    """The loss (nats) of the next token [L + 1, B, T - 1], or [L + 1, B, len(at)], of each stream of ``logit_lens``.

    Only one stream's logits are held at a time. ``at`` picks positions t, from which token t + 1 is told.
    """
    streams, _ = layerwise.streams(model, variables, tokens_BT)
    at = jnp.arange(tokens_BT.shape[1] - 1) if at is None else jnp.asarray(at)
    targets = jnp.asarray(tokens_BT)[:, at + 1]
    losses = jax.jit(token_losses)
    return jnp.stack([losses(layerwise.logits(model, variables, x_BTD[:, at]), targets) for x_BTD in streams])
