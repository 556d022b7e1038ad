"""Normalisation: subtract a mean and divide by a deviation, and what they are taken over.

Batch, layer, instance and group normalisation are one formula; they differ in which entries are normalised together.

Axes: B batch, any axes of an image, C channels last; or, with ``channels_first``, C first and B last.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

NORM_KINDS = ("none", "batch", "layer", "instance", "group")


def grouped(x, kind, groups, channels_first=False):
    """x as [B, ..., G groups, C / G], and the axes that ``kind`` normalises over (Wu and He 2018, section 3.1).

    With channels first, x [C, ..., B] as [G, C / G, ..., B].

    Batch normalisation takes the batch and the image, each channel by itself; layer normalisation an example's image
    and all its channels; instance normalisation an example's image, each channel by itself; group normalisation lies
    between these two. Raises ValueError for another kind and for channels that groups do not divide.
    """
    channels = x.shape[0 if channels_first else -1]
    groups = {"batch": channels, "layer": 1, "instance": channels, "group": groups}.get(kind)
    if groups is None:
        raise ValueError(f"norm={kind!r} is not one of {', '.join(NORM_KINDS)}")
    if groups < 1 or channels % groups:
        raise ValueError(f"num_groups={groups} does not divide the {channels} channels that norm={kind!r} is to group")
    split = (groups, channels // groups)
    x = x.reshape((*split, *x.shape[1:]) if channels_first else (*x.shape[:-1], *split))
    batch, group = (x.ndim - 1, 0) if channels_first else (0, x.ndim - 2)
    kept = {group} if kind == "batch" else {group, batch}
    return x, tuple(axis for axis in range(x.ndim) if axis not in kept)


def normalized_with(kind, shape, index, groups=1):
    """Which entries of an array are normalised together with the one at ``index``: a boolean array of that shape."""
    numbers, axes = grouped(np.arange(np.prod(shape)).reshape(shape), kind, groups)
    position = np.argwhere(numbers == np.ravel_multi_index(index, shape))[0]
    together = numbers[tuple(slice(None) if axis in axes else p for axis, p in enumerate(position))]
    return np.isin(np.arange(np.prod(shape)).reshape(shape), together)


def axis_size(name):
    """Over how many devices a named axis runs; None where no such axis is bound."""
    try:
        return jax.lax.axis_size(name)
    except NameError:
        return None


def over_devices(mean, axis_name):
    """The mean over the global batch, from that over this device's rows; itself where no such axis is bound."""
    return jax.lax.pmean(mean, axis_name) if axis_size(axis_name) else mean


def check_examples(batch_size, axis_name):
    """Raises ValueError where batch normalisation would train on a global batch of one example."""
    if batch_size * (axis_size(axis_name) or 1) < 2:
        raise ValueError(
            "batch normalisation cannot train on a batch of 1: an example would be normalised by itself alone, and "
            "evaluated by averages over others; choose a larger batch_size or another norm"
        )


def moments(x, kind, groups=1, axis_name=None, channels_first=False):
    """Mean and biased variance over what ``kind`` normalises over, in a shape that broadcasts with ``grouped``'s.

    Under ``pmap``, batch normalisation averages over the axis ``axis_name`` of devices too, so that its statistics are
    those of the global batch; in a program jitted over a mesh the plain mean is one over the global batch already.
    """
    x, axes = grouped(x, kind, groups, channels_first)

    def mean(values):
        local = values.mean(axes, keepdims=True)
        return over_devices(local, axis_name) if kind == "batch" else local

    center = mean(x)
    return center, mean(jnp.square(x - center))


class Normalization(nn.Module):
    """``(x - mean) / sqrt(variance + epsilon) * scale + bias``, with scale and bias for each channel.

    x [B, ..., C]. The kind batch (Ioffe and Szegedy 2015) keeps running averages in the collection batch_stats, mean
    and var [C], ``momentum`` of the old and 1 - momentum of this batch's; with ``train`` it normalises by this batch's
    own statistics, and the collection must be mutable, else by the averages. Of microbatches, each is normalised by its
    own statistics. Layer, instance and group normalisation (Ba et al. 2016; Ulyanov et al. 2016; Wu and He 2018) do the
    same in training and evaluation.

    Raises ValueError for an unknown kind, and where batch normalisation would train on a batch of one example.
    """

    kind: str = "batch"
    num_groups: int = 4
    momentum: float = 0.9
    epsilon: float = 1e-5
    use_scale: bool = True
    use_bias: bool = True
    axis_name: str = "data"
    channels_first: bool = False

    @nn.compact
    def __call__(self, x, train=False):
        channels, batch = (x.shape[axis] for axis in ((0, -1) if self.channels_first else (-1, 0)))

        def of_channels(values):
            """[C] in a shape that broadcasts with x."""
            values = values.astype(x.dtype)
            return values.reshape(-1, *(1,) * (x.ndim - 1)) if self.channels_first else values

        def parameter(name, init):
            return of_channels(self.param(name, init, (channels,)))

        if self.kind == "batch":
            running = [
                self.variable("batch_stats", name, init, (channels,))
                for name, init in (("mean", jnp.zeros), ("var", jnp.ones))
            ]
        if self.kind == "batch" and not train:
            center, variance = (of_channels(value.value) for value in running)
            y = (x - center) * jax.lax.rsqrt(variance + self.epsilon)
        else:
            if self.kind == "batch":
                check_examples(batch, self.axis_name)
            center, variance = moments(x, self.kind, self.num_groups, self.axis_name, self.channels_first)
            groups, _ = grouped(x, self.kind, self.num_groups, self.channels_first)
            y = ((groups - center) * jax.lax.rsqrt(variance + self.epsilon)).reshape(x.shape)
            if self.kind == "batch" and not self.is_initializing():
                for average, value in zip(running, (center, variance), strict=True):
                    average.value = self.momentum * average.value + (1 - self.momentum) * value.reshape(channels)
        y = y * parameter("scale", nn.initializers.ones) if self.use_scale else y
        return y + parameter("bias", nn.initializers.zeros) if self.use_bias else y


class NumberedNormalization(nn.Module):
    """What ``Normalization`` of the kind NORM_KINDS[number] computes, where the number is one of the program's values.

    One compiled program then holds networks of any kind, one after another or mapped over the number. x has two axes of
    an image. The variables are named and shaped as those of ``Normalization("batch")``, which this module can stand in
    for; under other kinds than batch the running averages mean nothing. Every kind's moments are means over channels
    and examples of the moments of single channels of single images.

    Raises ValueError for a training batch of one example, whatever the number: it may be that of batch normalisation.
    """

    num_groups: int = 4
    momentum: float = 0.9
    epsilon: float = 1e-5
    axis_name: str = "data"
    channels_first: bool = False

    @nn.compact
    def __call__(self, x, number, train=False):
        C, B = (x.shape[axis] for axis in ((0, -1) if self.channels_first else (-1, 0)))
        running = [
            self.variable("batch_stats", name, init, (C,)) for name, init in (("mean", jnp.zeros), ("var", jnp.ones))
        ]
        scale_C = self.param("scale", nn.initializers.ones, (C,))
        bias_C = self.param("bias", nn.initializers.zeros, (C,))
        if train:
            check_examples(B, self.axis_name)
        over_channels_CC = jnp.array(averaging_matrices(C, self.num_groups), x.dtype)[number]
        is_batch = number == NORM_KINDS.index("batch")
        over_examples_BB = jnp.where(is_batch, 1 / B, jnp.eye(B, dtype=x.dtype))

        def mean_CB(values):
            of_images = values.mean((1, 2))
            local = over_channels_CC @ (of_images if self.channels_first else of_images.T) @ over_examples_BB
            # Where the kind is another one this is computed for nothing.
            return jnp.where(is_batch, over_devices(local, self.axis_name), local)

        def broadcast(values):
            """[C, B], [C, 1] or [1, 1] in a shape that broadcasts with x."""
            return (values if self.channels_first else values.T)[:, None, None]

        old_mean_C1, old_variance_C1 = (average.value[:, None] for average in running)
        center_CB = mean_CB(x) if train else jnp.where(is_batch, old_mean_C1, mean_CB(x))
        centered = x - broadcast(center_CB)
        variance_CB = mean_CB(jnp.square(centered))
        variance_CB = variance_CB if train else jnp.where(is_batch, old_variance_C1, variance_CB)
        if train and not self.is_initializing():
            for average, value_CB in zip(running, (center_CB, variance_CB), strict=True):
                average.value = self.momentum * average.value + (1 - self.momentum) * value_CB.mean(1)
        y = centered * broadcast(jax.lax.rsqrt(variance_CB + self.epsilon))
        y = y * broadcast(scale_C[:, None]) + broadcast(bias_C[:, None])
        return jnp.where(number == NORM_KINDS.index("none"), x, y)


def averaging_matrices(num_channels, num_groups):
    """For each of NORM_KINDS the matrix [C, C] that takes each channel's number to the mean over its group (numpy)."""
    groups = {"layer": 1, "group": num_groups}
    counts = [groups.get(kind, num_channels) for kind in NORM_KINDS]
    return np.stack(
        [np.kron(np.eye(n), np.full((num_channels // n, num_channels // n), n / num_channels)) for n in counts]
    )
