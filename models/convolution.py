"""Convolution and pooling of images, as functions and as Linen modules.

A convolution slides a window over the image and is linear in the image and in its kernel. ``convolve`` computes it in
one of two ways with equal results: by XLA's convolution, or as a matrix product of the image's patches, which is faster
on XLA's CPU backend while channels are few. On CPU it is fastest, too, to have the batch as the last axis, along which
every operation then runs in memory (benchmarks/convolution.py). Networks choose the layout by the device; what they
take and return has the batch as first axis.

Axes: B batch, H height, W width, C channels; the layout BHWC or CHWB says in which order.
"""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from models.mlp import activation_function, gaussian_kernel

PADDINGS = ("SAME", "VALID", "CIRCULAR")
METHODS = ("product", "convolution")
LAYOUTS = ("BHWC", "CHWB")
MANY_CHANNELS = 32  # from so many on, with the batch first, XLA's own convolution is the faster one on CPU


def fastest_layout():
    """The layout in which this device computes fastest: CHWB on CPU, BHWC elsewhere."""
    return "CHWB" if jax.default_backend() == "cpu" else "BHWC"


def fastest_method(channels, layout):
    """The faster method: on CPU a product where channels are few or the batch is last, elsewhere XLA's convolution."""
    is_product_faster = jax.default_backend() == "cpu" and (layout == "CHWB" or channels < MANY_CHANNELS)
    return "product" if is_product_faster else "convolution"


def to_layout(x, layout):
    """Turns images of layout BHWC into another layout, or back: every layout has the image's axes in the middle.

    Raises ValueError for an unknown layout.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout={layout!r} is not one of {', '.join(LAYOUTS)}")
    return x if layout == "BHWC" else x.transpose(3, 1, 2, 0)


def per_channel(values_C, layout):
    """Reshapes one number a channel [C] so that it broadcasts with images of the layout."""
    return values_C if layout == "BHWC" else values_C[:, None, None, None]


def edges(size, kernel_size, stride=1, dilation=1, padding="SAME"):
    """The numbers of rows (low, high) that a padding adds before and after ``size`` rows.

    SAME leads to ceil(size / stride) rows and adds the odd row at the end; VALID adds none; CIRCULAR adds as many as
    SAME with stride 1, and takes the rows from the other side. Raises ValueError for another padding.
    """
    reach = (kernel_size - 1) * dilation
    if padding == "VALID":
        return 0, 0
    if padding == "CIRCULAR":
        return reach // 2, reach - reach // 2
    if padding != "SAME":
        raise ValueError(f"padding={padding!r} is not one of {', '.join(PADDINGS)}")
    total = max((-(-size // stride) - 1) * stride + reach + 1 - size, 0)
    return total // 2, total - total // 2


def convolve(x, kernel, stride=1, dilation=1, padding="SAME", method=None, layout="BHWC"):
    """``y[b, i, j] = sum over (p, q) of x[b, stride i + dilation p, stride j + dilation q] @ kernel[p, q]``.

    Args:
      x: images of the layout; the padding adds rows and columns by ``edges``.
      kernel: weights [k, k, inputs, channels].
      method: one of METHODS; by default ``fastest_method``.
    Returns:
      Images of the same layout.
    Raises:
      ValueError: the padding, method or layout is unknown, or the window does not fit into the image.
    """
    size, channels = kernel.shape[0], kernel.shape[-1]
    pads = [edges(x.shape[axis], size, stride, dilation, padding) for axis in (1, 2)]
    rows, columns = (
        (x.shape[axis] + sum(pad) - (size - 1) * dilation - 1) // stride + 1
        for axis, pad in zip((1, 2), pads, strict=True)
    )
    if min(rows, columns) < 1:
        raise ValueError(f"a window of {size} x {size} does not fit into an image of {x.shape[1]} x {x.shape[2]}")
    method = method or fastest_method(channels, layout)
    if method not in METHODS or layout not in LAYOUTS:
        raise ValueError(f"method={method!r} or layout={layout!r} is not one of {', '.join(METHODS + LAYOUTS)}")
    if padding == "CIRCULAR" or (method == "product" and any(map(sum, pads))):
        x = jnp.pad(x, ((0, 0), *pads, (0, 0)), mode="wrap" if padding == "CIRCULAR" else "constant")
        pads = [(0, 0), (0, 0)]
    if method == "convolution":
        numbers = ("NHWC", "HWIO", "NHWC") if layout == "BHWC" else ("CHWN", "HWIO", "CHWN")
        strides, dilations = (stride, stride), (dilation, dilation)
        return jax.lax.conv_general_dilated(x, kernel, strides, pads, rhs_dilation=dilations, dimension_numbers=numbers)
    ends = [(count - 1) * stride + 1 for count in (rows, columns)]
    patches = [
        x[:, p : p + ends[0] : stride, q : q + ends[1] : stride]
        for p in range(0, size * dilation, dilation)
        for q in range(0, size * dilation, dilation)
    ]
    kernel = kernel.reshape(-1, channels)
    if layout == "BHWC":
        patches = jnp.concatenate(patches, axis=-1).reshape(-1, len(kernel))
        return (patches @ kernel).reshape(x.shape[0], rows, columns, channels)
    patches = jnp.concatenate(patches, axis=0).reshape(len(kernel), -1)
    return (kernel.T @ patches).reshape(channels, rows, columns, x.shape[-1])


def max_pool(x, size, stride=None):
    """The largest value of each window of ``size`` x ``size`` pixels; rows that fill no window are left out.

    Images [., height, width, .] of either layout become [., (height - size) // stride + 1, ..., .]; ``stride`` is
    ``size`` where None. Among equal values of a window, the first gets the gradient where windows do not overlap.
    """
    stride = stride or size
    if size == stride == 1:
        return x
    if stride == size:
        return _max_of_tiles(x, size)
    rows, columns = ((x.shape[axis] - size) // stride + 1 for axis in (1, 2))
    ends = [(count - 1) * stride + 1 for count in (rows, columns)]
    starts = [(p, q) for p in range(size) for q in range(size)]
    windows = [x[:, p : p + ends[0] : stride, q : q + ends[1] : stride] for p, q in starts]
    return functools.reduce(jnp.maximum, windows)


def _largest(x, size):
    """The maximum of each tile, and the number of the tile's entry that it is, in reading order."""
    rows, columns = (x.shape[axis] // size * size for axis in (1, 2))
    best, index = x[:, :rows:size, :columns:size], 0
    for number in range(1, size * size):
        other = x[:, number // size : rows : size, number % size : columns : size]
        index = jnp.where(other > best, jnp.uint8(number), index)
        best = jnp.maximum(best, other)
    return best, index


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _max_of_tiles(x, size):
    return _largest(x, size)[0]


@_max_of_tiles.defjvp
def _derivative_of_max(size, primals, tangents):
    """The tangent of the largest entry as a masked sum over each tile, which transposes to a broadcast, no scatter."""
    ((x,), (tangent,)) = primals, tangents
    y, index = _max_of_tiles(x, size), jax.lax.stop_gradient(_largest(x, size)[1])
    first, rows, columns, last = y.shape
    tiles = (first, rows, size, columns, size, last)
    entry = size * jax.lax.broadcasted_iota(jnp.uint8, tiles, 2) + jax.lax.broadcasted_iota(jnp.uint8, tiles, 4)
    tangent = tangent[:, : rows * size, : columns * size].reshape(tiles)
    return y, jnp.where(jnp.expand_dims(index, (2, 4)) == entry, tangent, 0).sum((2, 4))


class Convolution(nn.Module):
    """``convolve`` with parameters kernel [k, k, inputs, channels] and bias [channels].

    ``initialization`` is a name in ``models.mlp``; an initializer given as ``kernel_init`` takes its place.
    """

    channels: int
    kernel_size: int = 3
    stride: int = 1
    dilation: int = 1
    padding: str = "SAME"
    use_bias: bool = True
    initialization: str = "he"
    kernel_init: Callable | None = None
    layout: str = "BHWC"

    @nn.compact
    def __call__(self, x):
        init = self.kernel_init or gaussian_kernel(self.initialization)
        inputs = x.shape[self.layout.index("C")]
        kernel = self.param("kernel", init, (self.kernel_size, self.kernel_size, inputs, self.channels))
        y = convolve(x, kernel.astype(x.dtype), self.stride, self.dilation, self.padding, layout=self.layout)
        if not self.use_bias:
            return y
        bias = self.param("bias", nn.initializers.zeros, (self.channels,)).astype(x.dtype)
        return y + per_channel(bias, self.layout)


class Pool(nn.Module):
    """``max_pool`` as a layer, for either layout."""

    kernel_size: int = 2
    stride: int | None = None

    def __call__(self, x):
        return max_pool(x, self.kernel_size, self.stride)


class GlobalAverage(nn.Module):
    """The mean of each channel over the image [B, C]."""

    layout: str = "BHWC"

    def __call__(self, x):
        y = x.mean((1, 2))
        return y if self.layout == "BHWC" else y.T


class Activation(nn.Module):
    """One of ``models.mlp.ACTIVATIONS`` as a layer with a name."""

    function: str

    def __call__(self, x):
        return activation_function(self.function)(x)


class Flatten(nn.Module):
    """Flattens images to [B, features]; the channels of a pixel lie side by side in every layout."""

    layout: str = "BHWC"

    def __call__(self, x):
        x = to_layout(x, self.layout)
        return x.reshape(x.shape[0], -1)


class Add(nn.Module):
    """The sum of the outputs of two branches."""

    def __call__(self, x, y):
        return x + y
