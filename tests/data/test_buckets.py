"""Buckets: nothing is lost, padding is least, and batches visit each example as often as any other."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data.buckets import SMALLEST_SHARE, Buckets, bucket_batch, count_visits, make_buckets


def random_lengths(seed, num_examples, longest):
    source_N, target_N = np.random.default_rng(seed).geometric(4 / longest, (2, num_examples))
    return np.minimum(source_N, longest), np.minimum(target_N, longest)


def split_order(buckets):
    return np.split(buckets.order_N, np.cumsum(buckets.sizes)[:-1])


@partial(jax.jit, static_argnums=(0, 1))
def _batches(sizes, batch_size, order_N, seed, steps):
    buckets = Buckets(order_N, sizes, ((1, 1),) * len(sizes))
    return jax.lax.map(lambda step: bucket_batch(buckets, seed, step, batch_size), steps)


def batches(buckets, seed, steps, batch_size):
    """(examples [steps, B], bucket of each step)."""
    return map(np.asarray, _batches(buckets.sizes, batch_size, buckets.order_N, seed, jnp.asarray(steps)))


@pytest.mark.parametrize("case", range(20))
def test_buckets_hold_every_example_once_within_their_lengths(case):
    generator = np.random.default_rng(case)
    num_examples, longest, num_buckets = (int(generator.integers(1, high)) for high in (300, 60, 9))
    source_N, target_N = random_lengths(case, num_examples, longest)
    buckets = make_buckets(source_N.tolist(), target_N, num_buckets)
    assert buckets.order_N.dtype == np.int32
    np.testing.assert_array_equal(np.sort(buckets.order_N), np.arange(num_examples))
    assert sum(buckets.sizes) == num_examples
    assert len(buckets.sizes) <= num_buckets
    assert min(buckets.sizes) >= max(1, SMALLEST_SHARE * num_examples / num_buckets)
    assert len(set(buckets.lengths)) == len(buckets.lengths) == len(buckets.sizes)
    keys = []
    for examples, (source_length, target_length) in zip(split_order(buckets), buckets.lengths, strict=True):
        assert (source_length, target_length) == (source_N[examples].max(), target_N[examples].max())
        assert np.all(np.diff(examples) > 0)
        keys.append(np.maximum(source_N, target_N)[examples])
    for shorter, longer in itertools.pairwise(keys):
        assert shorter.max() < longer.min()


@pytest.mark.parametrize("case", range(10))
def test_no_other_division_needs_fewer_positions(case):
    source_N, target_N = random_lengths(case, 80, 12)
    longest_N, num_buckets = np.maximum(source_N, target_N), case % 4 + 1
    smallest = SMALLEST_SHARE * len(longest_N) / num_buckets

    def count_positions(sizes, limits):
        return sum(size * limit for size, limit in zip(sizes, limits, strict=True))

    counts = []
    lengths = np.unique(longest_N)
    for number in range(num_buckets):
        for inner in itertools.combinations(lengths[:-1], number):
            limits = [*inner, lengths[-1]]
            sizes = np.bincount(np.searchsorted(limits, longest_N), minlength=len(limits))
            if sizes.min() >= smallest:
                counts.append(count_positions(sizes, limits))
    buckets = make_buckets(source_N, target_N, num_buckets)
    assert count_positions(buckets.sizes, [max(pair) for pair in buckets.lengths]) == min(counts)


def test_a_few_long_examples_get_no_bucket_of_their_own():
    lengths = [2] * 50 + [9] * 45 + [90] * 5
    assert make_buckets(lengths, lengths, 2).sizes == (50, 50)  # (95, 5) would need fewer positions
    assert make_buckets(lengths, lengths, 5).sizes == (50, 45, 5)


def test_few_lengths_make_few_buckets():
    assert make_buckets([3] * 9, [3] * 9, 4).sizes == (9,)
    assert make_buckets([4, 2, 4, 4], [1, 4, 1, 5], 8) == (pytest.approx([0, 1, 2, 3]), (3, 1), ((4, 4), (4, 5)))
    assert make_buckets([1], [7], 8).lengths == ((1, 7),)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], [], 2), "there is no example to put into a bucket"),
        (([3, 3, 0], [3, 3, 3], 2), "example 2 has length 0: each must be at least 1"),
        (([3, 3], [3], 2), "2 source lengths and 1 target lengths"),
        (([3], [3], 0), "num_buckets=0 must be at least 1"),
    ],
)
def test_lengths_and_numbers_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_buckets(*arguments)


def test_products_that_leave_32_bits_are_refused():
    buckets = Buckets(np.arange(2), (2**20, 1), ((1, 1), (2, 2)))
    with pytest.raises(ValueError, match="a bucket of 1048576 examples in batches of 2048: the product must be below"):
        bucket_batch(buckets, 0, 0, 2048)


@pytest.mark.parametrize(("num_examples", "batch_size"), [(400, 8), (90, 7), (20, 16), (1, 3)])
def test_each_bucket_visits_each_of_its_examples_once_an_epoch(num_examples, batch_size):
    buckets = make_buckets(*random_lengths(1, num_examples, 30), 4)
    examples, chosen = batches(buckets, 5, range(300), batch_size)
    orders = set()
    for number, members in enumerate(split_order(buckets)):
        visits = examples[chosen == number].ravel()
        epochs = visits[: len(visits) // len(members) * len(members)].reshape(-1, len(members))
        assert len(epochs) > 1
        np.testing.assert_array_equal(np.sort(epochs, 1), np.tile(members, (len(epochs), 1)))
        np.testing.assert_array_equal(np.isin(visits, members), True)
        orders |= {tuple(epoch) for epoch in epochs if len(members) > 8}
        assert len(members) <= 8 or len({tuple(epoch) for epoch in epochs}) == len(epochs)
    assert orders or num_examples < 50


@pytest.mark.parametrize(("num_examples", "batch_size"), [(5000, 16), (300, 64)])
def test_buckets_come_in_proportion_to_their_examples_and_in_no_pattern(num_examples, batch_size):
    buckets = make_buckets(*random_lengths(2, num_examples, 40), 5)
    visits = np.array(count_visits(buckets.sizes, batch_size))
    cycle = visits.sum()
    np.testing.assert_allclose(visits / cycle, np.array(buckets.sizes) / num_examples, rtol=1 / 16)
    if num_examples == 5000:
        assert abs(cycle - num_examples / batch_size) <= len(visits)
    _, chosen = batches(buckets, 0, range(3 * cycle), batch_size)
    cycles = chosen.reshape(3, cycle)
    for order in cycles:
        np.testing.assert_array_equal(np.bincount(order), visits)
        # The same bucket follows as often as it would by chance, within 4.5 deviations.
        chance = ((visits / cycle) ** 2).sum()
        deviation = (chance * (1 - chance) / cycle) ** 0.5
        assert abs((order[1:] == order[:-1]).mean() - chance) < 4.5 * deviation
    assert not np.array_equal(cycles[0], cycles[1])


def test_a_seed_changes_the_examples_and_not_the_buckets():
    buckets = make_buckets(*random_lengths(3, 500, 30), 3)
    examples, chosen = batches(buckets, 0, range(60), 8)
    other_examples, other_chosen = batches(buckets, 1, range(60), 8)
    np.testing.assert_array_equal(chosen, other_chosen)
    assert (examples != other_examples).mean() > 0.9
    again, _ = batches(buckets, 0, range(60), 8)
    np.testing.assert_array_equal(examples, again)


def test_compiled_batches_are_those_of_plain_calls():
    buckets = make_buckets(*random_lengths(3, 500, 30), 3)
    examples, chosen = batches(buckets, 7, (0, 1, 999, 2_000_000_000), 8)
    for row, step in enumerate((0, 1, 999, 2_000_000_000)):
        plain, bucket = bucket_batch(buckets, 7, step, 8)
        assert (plain.dtype, plain.shape, bucket.dtype, bucket.shape) == (jnp.int32, (8,), jnp.int32, ())
        np.testing.assert_array_equal(plain, examples[row])
        assert bucket == chosen[row]


def test_a_switch_on_the_bucket_stays_a_switch_where_seeds_share_a_step():
    buckets = make_buckets(*random_lengths(3, 500, 30), 3)

    def padded_length(seed, step):
        examples, bucket = bucket_batch(buckets, seed, step, 8)
        return jax.lax.switch(bucket, [lambda e, n=s + t: e.sum() + n for s, t in buckets.lengths], examples)

    seeds = jnp.arange(4)
    over_seeds = jax.make_jaxpr(jax.vmap(padded_length, (0, None)))(seeds, 0)
    assert " cond[" in str(over_seeds)
    # The control: where each seed has a step of its own, all branches run, and one result is selected.
    over_steps = jax.make_jaxpr(jax.vmap(padded_length))(seeds, seeds)
    assert " cond[" not in str(over_steps)
