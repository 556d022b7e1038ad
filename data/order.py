"""The order in which an epoch visits examples: a permutation that is computed one position at a time.

Axes: B batch, N examples.
"""

import jax.numpy as jnp

ROUNDS = 24


def _scramble(x):
    """Scrambles 32 bits: the finalizer of MurmurHash3 (Appleby 2011), a bijection."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)


def hash_integers(*numbers):
    """A hash of integers (arrays that broadcast) to 32 bits, uint32: the same integers always give the same hash."""
    state = jnp.uint32(0x9E3779B9)
    for number in numbers:
        state = _scramble((state ^ jnp.asarray(number).astype(jnp.uint32)) * jnp.uint32(5) + jnp.uint32(0xE6546B64))
    return state


def permute(positions, num_examples, seed, epoch):
    """Where the epoch's permutation of 0 ... N - 1 takes the positions: int32, of the positions' shape.

    The "swap-or-not" shuffle (Hoang, Morris and Rogaway 2012, section 3): each round pairs x with K - x modulo N and
    swaps a pair or not by one hashed bit. It needs no array of N numbers, so any batch of any epoch costs the same,
    and any process can compute its own.

    Args:
      positions: integers in 0 ... N - 1.
      seed, epoch: integers, or arrays of the positions' shape.
    """
    size, x = jnp.uint32(num_examples), jnp.asarray(positions).astype(jnp.uint32)
    key = hash_integers(seed, epoch)
    for round_number in range(ROUNDS):
        partner = (hash_integers(key, round_number) % size + size - x) % size
        swap = hash_integers(key, round_number, jnp.maximum(x, partner)) & 1
        x = jnp.where(swap == 1, partner, x)
    return x.astype(jnp.int32)


def batch_rows(seed, step, batch_size, num_examples):
    """Which examples make the batch of a step, and in which epoch: (rows [B], epochs [B]), int32.

    Every epoch visits each example once, in an order of its own; a batch may hold the end of one epoch and the start of
    the next. A pure function of seed and step, traceable.
    """
    # In parts, so that no product leaves 32 bits: batch_size * num_examples must be below 2^31.
    turns, rest = jnp.divmod(jnp.asarray(step, jnp.int32), num_examples)
    position = rest * batch_size + jnp.arange(batch_size, dtype=jnp.int32)
    epochs = turns * batch_size + position // num_examples
    return permute(position % num_examples, num_examples, seed, epochs), epochs
