"""Changes of images that leave what is on them the same; traceable, and pure functions of their arguments.

Axes: B batch, height, width, C channels.
"""

import jax
import jax.numpy as jnp

from data.order import hash_integers


def translate_images(key, images, max_shift):
    """Each image moved by up to ``max_shift`` pixels along each axis, uniformly; what enters is mirrored at the edge.

    images [B, height, width, C], of any dtype. The edge itself is not repeated (numpy's mode "reflect").
    """
    return shift_images(images, *jax.random.randint(key, (2, len(images)), -max_shift, max_shift + 1))


def shift_images(images, down_B, right_B):
    """Each image moved down and to the right by its own number of pixels (integers), mirrored at the edge."""

    def sources(size, shift_B):
        # 0 1 2 3 2 1 0 1 ...: a walk that turns at both ends.
        position = (jnp.arange(size) - shift_B[:, None]) % (2 * size - 2 if size > 1 else 1)
        return jnp.where(position < size, position, 2 * size - 2 - position)

    rows_BH, columns_BW = sources(images.shape[1], down_B), sources(images.shape[2], right_B)
    return images[jnp.arange(len(images))[:, None, None], rows_BH[:, :, None], columns_BW[:, None, :]]


def mirror_images(images, mask_B):
    """The images where the mask is true mirrored left to right."""
    return jnp.where(mask_B[:, None, None, None], images[:, :, ::-1], images)


def mirror_alternately(images, seed, rows_B, epochs_B):
    """Each image mirrored in every second epoch: in even or in odd ones, as a hash of the seed and its number says.

    Within any two epochs in a row a network sees both sides of each image, which random mirroring leaves to chance
    (Jordan 2024, "94% on CIFAR-10 in 3.29 seconds on a single GPU", section 3.6).

    Args:
      rows_B: number of each image in the data set, and epochs_B: the epoch that it is drawn in; both as
        ``data.order.batch_rows`` returns them.
    """
    return mirror_images(images, (hash_integers(seed, rows_B) + epochs_B.astype(jnp.uint32)) % 2 == 1)


def six_views(images):
    """[(weight, images)]: the six views over which a prediction may be averaged; the weights add up to one.

    The image and its mirror image, a quarter each; both moved by one pixel up and left, and down and right, an eighth
    each (Jordan 2024, section 3.5).
    """
    views = []
    for shift, weight in ((0, 1 / 4), (-1, 1 / 8), (1, 1 / 8)):
        shift_B = jnp.full(len(images), shift)
        moved = shift_images(images, shift_B, shift_B)
        views += [(weight, moved), (weight, moved[:, :, ::-1])]
    return views
