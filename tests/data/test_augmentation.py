"""Augmentation against its definition."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np

from data import augmentation

KEY = jax.random.key(0)


def images(count=6, size=5):
    return np.arange(count * size * size * 2, dtype=np.uint8).reshape(count, size, size, 2)


def test_shifting_is_a_crop_of_the_mirrored_border():
    x, shift = images(), np.array([[-2, -1, 0, 1, 2, 2], [2, 0, 1, -2, -1, 2]])
    padded = np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="reflect")
    moved = augmentation.shift_images(x, *jnp.asarray(shift))
    for one, source, (down, right) in zip(np.asarray(moved), padded, shift.T, strict=True):
        np.testing.assert_array_equal(one, source[2 - down : 7 - down, 2 - right : 7 - right])


def test_translation_draws_every_shift_and_is_a_function_of_the_key():
    x = np.broadcast_to(images(1), (500, 5, 5, 2))
    moved = np.asarray(augmentation.translate_images(KEY, x, 1))
    np.testing.assert_array_equal(moved, augmentation.translate_images(KEY, x, 1))
    assert len({one.tobytes() for one in moved}) == 9
    np.testing.assert_array_equal(augmentation.translate_images(KEY, x, 0), x)
    assert moved.dtype == np.uint8


def test_alternate_mirroring_shows_both_sides_in_any_two_epochs():
    x, rows = images(64), np.arange(64)
    by_epoch = [
        np.asarray(augmentation.mirror_alternately(x, 3, rows, jnp.full(64, epoch, jnp.int32))) for epoch in range(4)
    ]
    same = [(one == x).all((1, 2, 3)) for one in by_epoch]
    for earlier, later in pairwise(range(4)):
        assert (same[earlier] != same[later]).all()
    for one, as_it_was in zip(by_epoch, same, strict=True):
        np.testing.assert_array_equal(one, np.where(as_it_was[:, None, None, None], x, x[:, :, ::-1]))
    assert 16 < same[0].sum() < 48


def test_the_views_of_a_test_image_weigh_one():
    x = images()
    views = augmentation.six_views(x)
    assert sum(weight for weight, _ in views) == 1
    np.testing.assert_array_equal(views[0][1], x)
    np.testing.assert_array_equal(views[1][1], x[:, :, ::-1])
    np.testing.assert_array_equal(views[2][1][:, :-1, :-1], x[:, 1:, 1:])
    assert len({np.asarray(view).tobytes() for _, view in views}) == 6
