"""Images seen otherwise, moved or with their pixels in another order: what a model makes of them."""

import jax.numpy as jnp
import numpy as np

DIRECTIONS = ((0, 1), (0, -1), (1, 0), (-1, 0))


def permuted(images, order):
    """Images [B, height, width, C] with their pixels in another order [height x width], the same for all."""
    shape = images.shape
    return jnp.take(images.reshape(shape[0], -1, shape[-1]), order, axis=1).reshape(shape)


def accuracy_by_shift(right, shifts):
    """The mean of right answers over the shifts of one distance, nearest first: [views, ...] -> [distances, ...]."""
    distances = np.abs(shifts).max(1)
    return jnp.stack([right[distances == d].mean(0) for d in np.unique(distances)])


def shifts_by(distances):
    """No shift, then shifts (down, right) by each distance in four directions: [views, 2], in pixels."""
    return np.array([(0, 0), *((d * i, d * j) for d in distances for i, j in DIRECTIONS)])
