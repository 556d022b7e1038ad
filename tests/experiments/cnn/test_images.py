"""How networks see images, and how images are changed and evaluated."""

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.cnn import images
from experiments.cnn.images import limit_test_images, map_in_chunks, mean_by_distance, permute_pixels, shifts_by


@pytest.mark.parametrize("chunk_size", [250, 3])
def test_chunks_are_put_together_in_order(monkeypatch, chunk_size):
    monkeypatch.setattr(images, "CHUNK_SIZE", chunk_size)
    x = jnp.arange(7 * 2).reshape(7, 2)
    np.testing.assert_array_equal(map_in_chunks(lambda rows: rows * 2, x), x * 2)


def test_test_images_are_spread_over_the_whole_test_set():
    arrays = {"test_images": np.arange(10)[:, None], "test_labels": np.repeat([0, 1], 5)}
    np.testing.assert_array_equal(limit_test_images(arrays, 4)["test_labels"], [0, 0, 1, 1])
    assert len(limit_test_images(arrays, 99)["test_labels"]) == 10


def test_permuted_pixels_keep_their_channels_together():
    x = np.arange(2 * 2 * 3 * 2).reshape(2, 2, 3, 2)
    permuted = np.asarray(permute_pixels(x, np.array([5, 0, 1, 2, 3, 4])))
    np.testing.assert_array_equal(permuted[:, 0, 0], x[:, 1, 2])
    np.testing.assert_array_equal(permuted[:, 1, 2], x[:, 1, 1])


def test_values_are_averaged_by_distance():
    shifts = shifts_by((1, 3))
    assert len(shifts) == 9
    values = np.array([1.0, *[0.8] * 2, *[0.6] * 2, *[0.2] * 4])
    np.testing.assert_allclose(mean_by_distance(values, shifts), [1.0, 0.7, 0.2], rtol=1e-6)
