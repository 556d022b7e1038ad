"""Linen modules whose kind, width or dropout rate is a number of the program instead of an attribute.

So one compiled program can hold networks that differ in them, one after another or side by side.

Axes: B batch, the two axes of an image, C channels.
"""

import jax
import jax.numpy as jnp
import numpy as np

from models.convolution import Flatten
from models.normalization import KINDS, Normalization, check_examples, over_devices


def choosing(norm=None, width=None, rng=None, dropout=0.0):
    """A Linen interceptor by which numbers choose what a module's attributes else would.

    Args:
      norm: makes batch normalisations of the kind KINDS[norm].
      width: leaves so many of an MLP's hidden units.
      rng: drops units after Flatten, at the rate ``dropout``.
    """

    def intercept(call, args, kwargs, context):
        module = context.module
        if isinstance(module, Normalization) and norm is not None:
            return as_kind(module, norm, *args)
        if module.name == "layer_1" and width is not None:
            return call(args[0] * (jnp.arange(args[0].shape[-1]) < width))
        if isinstance(module, Flatten) and rng is not None:
            x = call(*args)
            return x * jax.random.bernoulli(rng, 1 - dropout, x.shape) / (1 - dropout)
        return call(*args, **kwargs)

    return intercept


def as_kind(module, norm, x, train=False):
    """What ``models.normalization.Normalization`` of the kind KINDS[norm] computes, in one program for all kinds.

    Every kind's moments are means over channels and examples of the moments of single channels of single images.
    """
    first = module.channels_first
    C, B = (x.shape[0], x.shape[-1]) if first else (x.shape[-1], x.shape[0])
    if train:
        check_examples(B, module.axis_name)
    groups = {"layer": 1, "group": module.num_groups}
    means = [np.kron(np.eye(n), np.full((C // n, C // n), n / C)) for n in (groups.get(kind, C) for kind in KINDS)]
    over_channels_CC = jnp.array(np.stack(means), x.dtype)[norm]
    is_batch = norm == KINDS.index("batch")
    over_examples_BB = jnp.where(is_batch, 1 / B, jnp.eye(B, dtype=x.dtype))

    def mean(values):
        """[C, B]"""
        of_images = values.mean((1, 2))
        local = over_channels_CC @ (of_images if first else of_images.T) @ over_examples_BB
        # Where the kind is another one this is computed for nothing.
        return jnp.where(is_batch, over_devices(local, module.axis_name), local)

    def spread(values):
        """[C, B], or [C, 1] or [1, 1], in a shape that broadcasts with x."""
        return (values if first else values.T)[:, None, None]

    running = [module.get_variable("batch_stats", name)[:, None] for name in ("mean", "var")]
    center_CB = mean(x) if train else jnp.where(is_batch, running[0], mean(x))
    centered = x - spread(center_CB)
    variance_CB = mean(jnp.square(centered))
    variance_CB = variance_CB if train else jnp.where(is_batch, running[1], variance_CB)
    if train:
        for name, old, new in zip(("mean", "var"), running, (center_CB, variance_CB), strict=True):
            average = module.momentum * old + (1 - module.momentum) * new.mean(1, keepdims=True)
            module.put_variable("batch_stats", name, average[:, 0])
    y = centered * spread(jax.lax.rsqrt(variance_CB + module.epsilon))
    scale, bias = (spread(module.get_variable("params", name)[:, None]) for name in ("scale", "bias"))
    return jnp.where(norm == KINDS.index("none"), x, y * scale + bias)
