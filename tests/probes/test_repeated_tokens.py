"""The random sequences of probes/attention_scores.py: blocks, their copies and their distribution."""

import jax
import numpy as np
import pytest

from probes.attention_scores import repeated_tokens


@pytest.mark.parametrize(("num_tokens", "block_length"), [(7, 7), (50257, 128)])
def test_a_block_is_repeated_and_its_tokens_are_distinct(num_tokens, block_length):
    tokens = repeated_tokens(jax.random.key(0), 5, block_length, 3, num_tokens, bos=num_tokens)
    assert tokens.shape == (5, 1 + 3 * block_length)
    tokens = np.asarray(tokens)
    assert (tokens[:, 0] == num_tokens).all()
    first, second, third = np.split(tokens[:, 1:], 3, axis=1)
    assert (first == second).all()
    assert (first == third).all()
    assert first.min() >= 0
    assert first.max() < num_tokens
    assert all(len(set(row)) == block_length for row in first.tolist())
    assert len({tuple(row) for row in first.tolist()}) == 5


def test_with_too_few_tokens_a_block_is_drawn_with_replacement_and_bos_may_be_left_out():
    tokens = np.array(repeated_tokens(jax.random.key(0), 50, 40, 1, 5, bos=None))
    assert tokens.shape == (50, 40)
    counts = np.bincount(tokens.ravel(), minlength=5)
    assert counts.size == 5
    assert np.abs(counts - 400).max() < 5 * 400**0.5


def test_every_ordered_block_is_equally_probable():
    num_sequences, num_blocks = 24000, 4 * 3 * 2
    tokens = np.array(repeated_tokens(jax.random.key(0), num_sequences, 3, 1, 4, bos=None))
    _, counts = np.unique(tokens, axis=0, return_counts=True)
    assert counts.size == num_blocks
    assert np.abs(counts - num_sequences / num_blocks).max() < 5 * (num_sequences / num_blocks) ** 0.5


def test_counts_below_one_are_refused():
    with pytest.raises(ValueError, match="block_length=0"):
        repeated_tokens(jax.random.key(0), 3, 0, 2, 5, bos=5)
    with pytest.raises(ValueError, match="num_tokens=0"):
        repeated_tokens(jax.random.key(0), 3, 4, 2, 0, bos=5)
