"""The receptive field: how much of the image a unit sees, by formula and as input gradients show it.

Axes: N images, height, width, C channels.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

IMAGE = float("inf")  # the size of a field that is the whole image, whatever the image's size


class Field(NamedTuple):
    """Pixels of a side that a unit sees, and how many pixels lie between the fields of neighbouring units."""

    size: float = 1
    jump: int = 1


def after_window(field, kernel_size, stride=1, dilation=1):
    """The field behind a convolution or a pooling (Dumoulin and Visin 2016; Araujo et al. 2019, equations 1 and 2).

    The window of k entries reaches (k - 1) dilation jumps further; the stride multiplies the jump.
    """
    return Field(field.size + (kernel_size - 1) * dilation * field.jump, field.jump * stride)


def measured_field(features, image_shape, num_images=100, seed=0, unit=None):
    """Which pixels move a unit of a feature map: the union, over random images, of its non-zero input gradients.

    One image is not enough: max-pooling hands the gradient to one entry of its window, a ReLU to none or all.

    Args:
      features: images [N, height, width, C] -> [N, rows, columns, channels], in evaluation.
      image_shape: (height, width, channels), so large that the field of the unit does not reach the edge.
      unit: (row, column) of the feature map; the middle where None. All its channels count.
    Returns:
      A boolean numpy array [height, width].
    """
    rng = np.random.default_rng(seed)
    images = jnp.asarray(rng.standard_normal((num_images, *image_shape)), jnp.float32)
    rows, columns, channels = jax.eval_shape(features, images).shape[1:]
    row, column = unit or (rows // 2, columns // 2)
    weights = jnp.asarray(rng.uniform(1, 2, channels), jnp.float32)  # so that channels do not cancel

    @jax.jit
    def gradient(images):
        return jax.grad(lambda x: (features(x)[:, row, column] * weights).sum())(images)

    return np.asarray((gradient(images) != 0).any((0, 3)))


def extent(mask):
    """The sides (rows, columns) of the smallest rectangle that holds all that is true."""
    return tuple(int(np.ptp(np.flatnonzero(mask.any(axis)))) + 1 if mask.any() else 0 for axis in (1, 0))
