"""The receptive field, how much of an image a unit sees: by formula, and measured by input gradients.

Axes: N images, height, width, C channels.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

IMAGE = float("inf")  # the size of a field that is the whole image, whatever the image's size


class Field(NamedTuple):
    """The side, in pixels, of what a unit sees, and the pixels between the fields of neighbouring units."""

    size: float = 1
    jump: int = 1


def field_after_window(field, kernel_size, stride=1, dilation=1):
    """The field after a convolution or a pooling (Dumoulin and Visin 2016; Araujo et al. 2019, equations 1 and 2).

    A window of k entries reaches (k - 1) * dilation jumps further; the stride multiplies the jump.
    """
    return Field(field.size + (kernel_size - 1) * dilation * field.jump, field.jump * stride)


def measured_field(features, image_shape, num_images=100, seed=0, unit=None):
    """Which pixels move a unit of a feature map: those with an input gradient in any of some random images.

    One image is not enough: max-pooling hands the gradient to one entry of its window, a ReLU to none or all.

    Args:
      features: function of images [N, height, width, C] that returns features [N, rows, columns, channels], the
        network being in evaluation.
      image_shape: (height, width, channels), so large that the unit's field does not reach the edge.
      unit: (row, column) of the feature map, all of whose channels count; None: the middle.
    Returns:
      A boolean numpy array [height, width].
    """
    rng = np.random.default_rng(seed)
    images = jnp.asarray(rng.standard_normal((num_images, *image_shape)), jnp.float32)
    rows, columns, channels = jax.eval_shape(features, images).shape[1:]
    row, column = unit or (rows // 2, columns // 2)
    weights = jnp.asarray(rng.uniform(1, 2, channels), jnp.float32)  # positive, so that channels do not cancel

    @jax.jit
    def gradient(images):
        return jax.grad(lambda x: (features(x)[:, row, column] * weights).sum())(images)

    return np.asarray((gradient(images) != 0).any((0, 3)))


def extent(mask):
    """The sides (rows, columns) of the smallest rectangle that holds every true entry of a mask."""
    return tuple(int(np.ptp(np.flatnonzero(mask.any(axis)))) + 1 if mask.any() else 0 for axis in (1, 0))
