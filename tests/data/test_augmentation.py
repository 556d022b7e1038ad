"""Augmentation and the order of epochs against their definitions."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data import augmentation
from data.order import batch_rows, permuted

KEY = jax.random.key(0)


def images(count=6, size=5):
    return np.arange(count * size * size * 2, dtype=np.uint8).reshape(count, size, size, 2)


@pytest.mark.parametrize("size", [1, 2, 7, 64, 100])
def test_an_epoch_visits_every_example_once(size):
    order = permuted(np.arange(size), size, 3, 5)
    np.testing.assert_array_equal(np.sort(order), np.arange(size))


def test_epochs_and_seeds_have_orders_of_their_own_and_no_example_a_place():
    size, epochs = 10, 4000
    orders = np.asarray(permuted(jnp.arange(size)[None], size, 7, jnp.arange(epochs)[:, None]))
    counts = np.stack([np.bincount(orders[:, place], minlength=size) for place in range(size)])
    # Each count is binomial with deviation 19 around 400; 100 of them stay within 4.5 deviations.
    assert np.abs(counts - epochs / size).max() < 4.5 * (epochs / size * (1 - 1 / size)) ** 0.5
    following = np.bincount((orders[:, 1:] - orders[:, :-1]).ravel() % size, minlength=size)[1:]
    assert np.abs(following / following.mean() - 1).max() < 0.1  # neighbours in one epoch are none in another
    # Of 10! orders, 4000 random ones have 2.2 pairs of equals on average.
    assert len({tuple(order) for order in orders}) > epochs - 12
    assert not np.array_equal(orders, permuted(jnp.arange(size)[None], size, 8, jnp.arange(epochs)[:, None]))


def test_batches_run_through_the_epochs_without_gap_or_overlap():
    rows, epochs = zip(*(jax.jit(batch_rows, static_argnums=(2, 3))(1, step, 8, 20) for step in range(5)), strict=True)
    rows, epochs = np.concatenate(rows), np.concatenate(epochs)
    np.testing.assert_array_equal(epochs, np.repeat([0, 1], 20))
    for epoch in range(2):
        np.testing.assert_array_equal(np.sort(rows[epochs == epoch]), np.arange(20))
    later = 3_000_000_000 // 50_000 * 50_000 // 500  # a step far behind 2^31 examples
    rows, epochs = batch_rows(1, later, 500, 50_000)
    np.testing.assert_array_equal(epochs, later * 500 // 50_000)
    assert len(set(np.asarray(rows).tolist())) == 500
    assert 0 <= rows.min() <= rows.max() < 50_000


def test_shifting_is_a_crop_of_the_mirrored_border():
    x, shift = images(), np.array([[-2, -1, 0, 1, 2, 2], [2, 0, 1, -2, -1, 2]])
    padded = np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="reflect")
    moved = augmentation.shifted(x, *jnp.asarray(shift))
    for one, source, (down, right) in zip(np.asarray(moved), padded, shift.T, strict=True):
        np.testing.assert_array_equal(one, source[2 - down : 7 - down, 2 - right : 7 - right])


def test_translation_draws_every_shift_and_is_a_function_of_the_key():
    x = np.broadcast_to(images(1), (500, 5, 5, 2))
    moved = np.asarray(augmentation.translated(KEY, x, 1))
    np.testing.assert_array_equal(moved, augmentation.translated(KEY, x, 1))
    assert len({one.tobytes() for one in moved}) == 9
    np.testing.assert_array_equal(augmentation.translated(KEY, x, 0), x)
    assert moved.dtype == np.uint8


def test_alternate_mirroring_shows_both_sides_in_any_two_epochs():
    x, rows = images(64), np.arange(64)
    by_epoch = [
        np.asarray(augmentation.alternately_mirrored(x, 3, rows, jnp.full(64, epoch, jnp.int32))) for epoch in range(4)
    ]
    same = [(one == x).all((1, 2, 3)) for one in by_epoch]
    for earlier, later in pairwise(range(4)):
        assert (same[earlier] != same[later]).all()
    for one, as_it_was in zip(by_epoch, same, strict=True):
        np.testing.assert_array_equal(one, np.where(as_it_was[:, None, None, None], x, x[:, :, ::-1]))
    assert 16 < same[0].sum() < 48


def test_random_mirroring_mirrors_about_half():
    x = np.broadcast_to(images(1), (400, 5, 5, 2))
    same = (np.asarray(augmentation.randomly_mirrored(KEY, x)) == x).all((1, 2, 3))
    assert 150 < same.sum() < 250


def test_cutout_fills_one_square_anywhere_in_the_image():
    x = np.ones((300, 5, 6, 2), np.float32)
    holes = np.asarray(augmentation.cutout(KEY, x, 3, fill=7)) == 7
    assert (holes.sum((1, 2)) == 9).all()
    assert (holes.any(2).sum(1) == 3).all()
    assert (holes.any(1).sum(1) == 3).all()
    assert len({hole.tobytes() for hole in holes}) == 3 * 4
    np.testing.assert_array_equal(augmentation.cutout(KEY, x, 0), x)
    with pytest.raises(ValueError, match="cutout of 6 x 6 from images of 5 x 6"):
        augmentation.cutout(KEY, x, 6)


def test_the_views_of_a_test_image_weigh_one():
    x = images()
    views = augmentation.six_views(x)
    assert sum(weight for weight, _ in views) == 1
    np.testing.assert_array_equal(views[0][1], x)
    np.testing.assert_array_equal(views[1][1], x[:, :, ::-1])
    np.testing.assert_array_equal(views[2][1][:, :-1, :-1], x[:, 1:, 1:])
    assert len({np.asarray(view).tobytes() for _, view in views}) == 6
