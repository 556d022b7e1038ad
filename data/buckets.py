"""Examples of similar length in buckets, and the batch of a step from one of them, as a function of seed and step.

Axes: N examples, X side (source, target), B batch, K buckets, C steps of a cycle.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from data.order import batch_rows, hash_integers, permute

# Steps of a cycle: enough for a bucket to come nearly as often as it should, few enough to be permuted at every step.
MIN_CYCLE_PER_BUCKET, MAX_CYCLE = 32, 4096
SMALLEST_SHARE = 0.25  # of N / num_buckets, for a bucket: a smaller one would repeat a few examples in each batch
CYCLE_SEED = 0  # the order of buckets is the same for all seeds


class Buckets(NamedTuple):
    """Examples sorted into K buckets by length, from short to long; nothing in it may be traced."""

    order_N: np.ndarray  # int32: the examples' numbers, bucket by bucket, rising within each
    sizes: tuple[int, ...]  # examples of each bucket
    lengths: tuple[tuple[int, int], ...]  # the (source, target) length that holds every example of the bucket


def make_buckets(source_length_N, target_length_N, num_buckets: int) -> Buckets:
    """Sorts examples into at most ``num_buckets`` buckets by the larger of their two lengths, so that padding is least.

    Examples of one larger length stay together, so there are fewer buckets where there are few lengths. Of all
    divisions whose buckets have at least N / (4 num_buckets) examples each, the one is taken that needs the fewest
    positions, where each example is padded to the longest of its bucket. (Quantiles would need 17 % more in four
    buckets of Multi30k: the few longest examples would share theirs with many.) A bucket's lengths are the largest
    source and the largest target length in it; no two buckets have the same.

    Raises ValueError for no examples, unequal numbers of lengths, a length below 1, and a number of buckets below 1.
    """
    if len(source_length_N) != len(target_length_N):
        raise ValueError(
            f"{len(source_length_N)} source lengths and {len(target_length_N)} target lengths: pairs are needed"
        )
    lengths_NX = np.asarray([source_length_N, target_length_N], np.int64).T
    num_examples = len(lengths_NX)
    if num_examples == 0:
        raise ValueError("there is no example to put into a bucket")
    if lengths_NX.min() < 1:
        raise ValueError(f"example {lengths_NX.min(1).argmin()} has length {lengths_NX.min()}: each must be at least 1")
    if num_buckets < 1:
        raise ValueError(f"num_buckets={num_buckets} must be at least 1")
    longest_N = lengths_NX.max(1)
    limits_K = _choose_limits(longest_N, num_buckets)
    bucket_N = np.searchsorted(limits_K, longest_N)
    order_N = np.argsort(bucket_N, kind="stable").astype(np.int32)
    sizes = tuple(np.bincount(bucket_N).tolist())
    lengths = tuple(tuple(lengths_NX[bucket_N == k].max(0).tolist()) for k in range(len(sizes)))
    return Buckets(order_N, sizes, lengths)


def _choose_limits(longest_N, num_buckets):
    """The longest length of each bucket, rising: those that need the fewest positions, by dynamic programming."""
    lengths, counts = np.unique(longest_N, return_counts=True)
    num_shorter = np.concatenate([[0], np.cumsum(counts)])
    sizes = num_shorter[1:, None] - num_shorter[:-1]  # sizes[j, i]: examples of the lengths i ... j
    is_bucket = sizes >= max(1, SMALLEST_SHARE * len(longest_N) / num_buckets)
    # positions[j]: the fewest for the j shortest lengths in k buckets; begins[j]: where the last of these begins.
    positions, plans = np.where(num_shorter == 0, 0.0, np.inf), []
    for _ in range(min(num_buckets, len(lengths))):
        needed = np.where(is_bucket, positions[:-1] + sizes * lengths[:, None], np.inf)
        positions = np.concatenate([[np.inf], needed.min(1)])
        plans.append((positions[-1], needed.argmin(1)))
    number = int(np.argmin([total for total, _ in plans])) + 1
    limits, end = [], len(lengths)
    for _, begins in reversed(plans[:number]):
        limits.append(lengths[end - 1])
        end = begins[end - 1]
    return np.asarray(limits[::-1])


def count_visits(sizes, batch_size: int) -> tuple[int, ...]:
    """How many steps of a cycle each bucket has: in proportion to its examples, at least one, N / B in all or so."""
    num_examples = sum(sizes)
    cycle = min(max(num_examples // batch_size, MIN_CYCLE_PER_BUCKET * len(sizes)), MAX_CYCLE)
    return tuple(max(1, round(cycle * size / num_examples)) for size in sizes)


def bucket_batch(buckets: Buckets, seed, step, batch_size: int):
    """The batch of a step: (its examples [B], its bucket []), int32; a pure function of seed and step, traceable.

    The bucket depends on the step alone. Where the step is one number for all seeds, as it is on a CPU, where seeds
    take turns, a `lax.switch` on the bucket runs one branch. Under a `vmap` over whole states, as several seeds have it
    on an accelerator, each seed has a step of its own, and all branches run.

    Steps come in cycles, in which bucket k has ``count_visits(...)[k]`` steps; each cycle has them in an order of its
    own. The bucket's examples are visited in epochs: each once an epoch, in an order of the seed and the epoch. A batch
    may hold the end of one epoch and the start of the next, and so an example twice; a bucket smaller than B always
    gives such batches.

    Raises ValueError if a bucket's size times B is not below 2^31, as `data.order.batch_rows` needs.
    """
    if max(buckets.sizes) * batch_size >= 2**31:
        raise ValueError(
            f"a bucket of {max(buckets.sizes)} examples in batches of {batch_size}: the product must be below 2^31; "
            "make more buckets or smaller batches"
        )
    visits_K = np.asarray(count_visits(buckets.sizes, batch_size), np.int32)
    num_steps = int(visits_K.sum())
    cycle, slot = jnp.divmod(jnp.asarray(step, jnp.int32), num_steps)
    places_C = permute(np.arange(num_steps), num_steps, CYCLE_SEED, cycle)
    bucket_C = jnp.searchsorted(np.cumsum(visits_K), places_C, side="right").astype(jnp.int32)
    bucket = bucket_C[slot]
    visits_before = jnp.sum((bucket_C == bucket) & (np.arange(num_steps) < slot), dtype=jnp.int32)
    visit = cycle * jnp.asarray(visits_K)[bucket] + visits_before
    sizes_K = np.asarray(buckets.sizes, np.int32)
    starts_K = np.cumsum(sizes_K, dtype=np.int32) - sizes_K
    rows_B, _ = batch_rows(hash_integers(seed, bucket), visit, batch_size, jnp.asarray(sizes_K)[bucket])
    return jnp.asarray(buckets.order_N)[jnp.asarray(starts_K)[bucket] + rows_B], bucket
