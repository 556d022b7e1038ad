"""The images of an arm, how its networks see them, and how the images can be changed.

Axes: N images, B batch, height, width, C channels, V views of an image (the image as it is, and moved).
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from data.images import channel_moments, load, standardize

NUM_CLASSES = 10
CHUNK_SIZE = 250  # images that are evaluated at once
DIRECTIONS = ((0, 1), (0, -1), (1, 0), (-1, 0))


@dataclass(frozen=True)
class ImageData:
    """A data set, its images scaled to one size.

    arrays:      {"train_images", "train_labels", "test_images", "test_labels"}
    shape:       (height, width, channels)
    moments:     mean [C] and standard deviation [C] of the training images' channels
    class_names: the names of the classes, in the order of their labels
    facts:       which data set it is, for config.json
    """

    arrays: Mapping[str, np.ndarray]
    shape: tuple[int, int, int]
    moments: tuple[np.ndarray, np.ndarray]
    class_names: tuple[str, ...]
    facts: Mapping[str, Any]

    def standardize(self, images):
        """Images as networks see them: bytes as numbers of mean 0 and deviation 1 in each channel."""
        return standardize(images, *self.moments)

    def pixel_orders(self):
        """[2, height x width]: the pixels' own order, and a random one that is the same in every run (numpy)."""
        in_order = np.arange(self.shape[0] * self.shape[1])
        return np.stack([in_order, np.random.default_rng(0).permutation(in_order)])


def load_images(config, digit_channels=3):
    """The ImageData of an arm's config, its sides ``image_size`` pixels long.

    Args:
      digit_channels: number of channels of digits, all the same; any other data set has 3.
    Raises:
      ValueError: what ``data.images.load`` raises.
    """
    return _load(config.dataset, config.image_size, digit_channels if config.dataset == "digits" else 3)


@functools.lru_cache(maxsize=2)
def _load(dataset, size, channels):
    images = load(dataset, image_shape=(size, size, channels), num_classes=NUM_CLASSES)
    return ImageData(
        arrays=images.arrays(),
        shape=(size, size, channels),
        moments=channel_moments(images.train_images),
        class_names=images.class_names,
        facts={"dataset": images.source, "sha256": images.sha256},
    )


def limit_test_images(arrays, most):
    """The arrays of an ImageData with at most ``most`` test images.

    They are evenly spaced, since the images may be in the order of their classes.
    """
    count = len(arrays["test_labels"])
    rows = np.linspace(0, count - 1, min(most, count)).astype(int)
    return arrays | {name: arrays[name][rows] for name in ("test_images", "test_labels")}


def map_in_chunks(function, images):
    """``function``, which maps [CHUNK_SIZE, ...] to [CHUNK_SIZE, ...], of all images [N, ...], a chunk at a time."""
    count = len(images)
    size = min(CHUNK_SIZE, count)
    rows = jnp.arange(-(-count // size) * size).reshape(-1, size) % count
    chunks = jax.lax.map(lambda rows: function(images[rows]), rows)
    return chunks.reshape(-1, *chunks.shape[2:])[:count]


# --- Images with their pixels in another order, and images moved.


def permute_pixels(images, order):
    """Images [B, height, width, C] with their pixels in another order [height x width], the same for all images."""
    shape = images.shape
    return jnp.take(images.reshape(shape[0], -1, shape[-1]), order, axis=1).reshape(shape)


def shift_distances(size):
    """Distances in pixels by which test images are moved: a sixteenth and an eighth of their side."""
    return max(size // 16, 1), max(size // 8, 2)


def shifts_by(distances):
    """No shift, then shifts (down, right) by each distance in four directions: [V, 2], in pixels (numpy)."""
    return np.array([(0, 0), *((d * i, d * j) for d in distances for i, j in DIRECTIONS)])


def mean_by_distance(values, shifts):
    """The mean of ``values`` [V, ...] over the shifts [V, 2] of one distance: [distances, ...], nearest first."""
    distances = np.abs(shifts).max(1)
    return jnp.stack([values[distances == d].mean(0) for d in np.unique(distances)])
