"""Random changes of images that leave what is on them the same; traceable, and pure functions of a key.

Axes: B batch, height, width, C channels.
"""

import jax
import jax.numpy as jnp

from data.order import mixed


def translated(key, images, max_shift):
    """Each image moved by up to ``max_shift`` pixels along each axis, uniformly; what enters is mirrored at the edge.

    images [B, height, width, C], of any dtype. The edge itself is not repeated (numpy's mode "reflect").
    """
    return shifted(images, *jax.random.randint(key, (2, len(images)), -max_shift, max_shift + 1))


def shifted(images, down_B, right_B):
    """Each image moved down and to the right by its own number of pixels (integers), mirrored at the edge."""

    def sources(size, shift_B):
        # 0 1 2 3 2 1 0 1 ...: a walk that turns at both ends.
        position = (jnp.arange(size) - shift_B[:, None]) % (2 * size - 2 if size > 1 else 1)
        return jnp.where(position < size, position, 2 * size - 2 - position)

    rows_BH, columns_BW = sources(images.shape[1], down_B), sources(images.shape[2], right_B)
    return images[jnp.arange(len(images))[:, None, None], rows_BH[:, :, None], columns_BW[:, None, :]]


def mirrored(images, mask_B):
    """The images where the mask is true mirrored left to right."""
    return jnp.where(mask_B[:, None, None, None], images[:, :, ::-1], images)


def randomly_mirrored(key, images):
    """Each image mirrored left to right or not, with probability one half."""
    return mirrored(images, jax.random.bernoulli(key, 0.5, (len(images),)))


def alternately_mirrored(images, seed, rows_B, epochs_B):
    """Each image mirrored in every second epoch: in even or in odd ones, as a hash of the seed and its number says.

    Within any two epochs in a row a network sees both sides of each image, which random mirroring leaves to chance
    (Jordan 2024, "94% on CIFAR-10 in 3.29 seconds on a single GPU", section 3.6).

    Args:
      rows_B, epochs_B: which example of the data set it is and in which epoch, of ``data.order.batch_rows``.
    """
    return mirrored(images, (mixed(seed, rows_B) + epochs_B.astype(jnp.uint32)) % 2 == 1)


def cutout(key, images, size, fill=0):
    """Each image with a square of ``size`` x ``size`` pixels set to ``fill`` (DeVries and Taylor 2017).

    The square's place is uniform among those that lie in the image as a whole. ``fill`` is a number or [C]. Raises
    ValueError where the square is larger than the image.
    """
    if size > min(images.shape[1:3]):
        raise ValueError(f"cutout of {size} x {size} from images of {images.shape[1]} x {images.shape[2]}")
    if not size:
        return images

    def inside(key, length):
        start_B1 = jax.random.randint(key, (len(images), 1), 0, length - size + 1)
        position = jnp.arange(length)
        return (position >= start_B1) & (position < start_B1 + size)

    row_key, column_key = jax.random.split(key)
    rows_BH, columns_BW = inside(row_key, images.shape[1]), inside(column_key, images.shape[2])
    mask = (rows_BH[:, :, None] & columns_BW[:, None, :])[..., None]
    return jnp.where(mask, jnp.asarray(fill, images.dtype), images)


def six_views(images):
    """[(weight, images)]: the six views over which a prediction may be averaged; the weights add up to one.

    The image and its mirror image, a quarter each; both moved by one pixel up and left, and down and right, an eighth
    each (Jordan 2024, section 3.5).
    """
    views = []
    for shift, weight in ((0, 1 / 4), (-1, 1 / 8), (1, 1 / 8)):
        shift_B = jnp.full(len(images), shift)
        moved = shifted(images, shift_B, shift_B)
        views += [(weight, moved), (weight, moved[:, :, ::-1])]
    return views
