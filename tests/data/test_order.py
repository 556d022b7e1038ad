"""The order of epochs against its definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data.order import batch_rows, permute


@pytest.mark.parametrize("size", [1, 2, 7, 64, 100])
def test_an_epoch_visits_every_example_once(size):
    order = permute(np.arange(size), size, 3, 5)
    np.testing.assert_array_equal(np.sort(order), np.arange(size))


def test_epochs_and_seeds_have_orders_of_their_own_and_no_example_a_place():
    size, epochs = 10, 4000
    orders = np.asarray(permute(jnp.arange(size)[None], size, 7, jnp.arange(epochs)[:, None]))
    counts = np.stack([np.bincount(orders[:, place], minlength=size) for place in range(size)])
    # Each count is binomial with deviation 19 around 400; 100 of them stay within 4.5 deviations.
    assert np.abs(counts - epochs / size).max() < 4.5 * (epochs / size * (1 - 1 / size)) ** 0.5
    following = np.bincount((orders[:, 1:] - orders[:, :-1]).ravel() % size, minlength=size)[1:]
    assert np.abs(following / following.mean() - 1).max() < 0.1  # neighbours in one epoch are none in another
    # Of 10! orders, 4000 random ones have 2.2 pairs of equals on average.
    assert len({tuple(order) for order in orders}) > epochs - 12
    assert not np.array_equal(orders, permute(jnp.arange(size)[None], size, 8, jnp.arange(epochs)[:, None]))


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
