"""Sequences and their targets, against sums taken step by step."""

import jax
import numpy as np
import pytest

from experiments.alternating_sum.sequences import check_sizes, last_steps, random_sequences

T, MAX_INPUT = 10, 3


@pytest.fixture(scope="module")
def batch():
    return jax.tree.map(np.asarray, random_sequences(jax.random.key(0), 2000, T, MAX_INPUT))


def test_targets_compare_even_steps_with_odd_ones(batch):
    for inputs, started, target in zip(batch["inputs"], batch["started"], batch["targets"], strict=True):
        own = inputs[started]
        even = sum(own[t - 1] for t in range(1, len(own) + 1) if t % 2 == 0)
        odd = sum(own[t - 1] for t in range(1, len(own) + 1) if t % 2 == 1)
        assert target == (1.0 if even > odd else 0.0 if even < odd else 0.5)


def test_lengths_are_even_and_every_one_occurs(batch):
    lengths = batch["started"].sum(1)
    assert set(lengths.tolist()) == {2, 4, 6, 8, 10}
    np.testing.assert_allclose(np.bincount(lengths)[2::2] / len(lengths), 0.2, atol=0.04)
    for started, length in zip(batch["started"], lengths, strict=True):
        assert started.tolist() == [False] * (T - length) + [True] * length
    assert np.all(batch["inputs"][~batch["started"]] == 0)


def test_inputs_are_all_the_integers_and_ties_occur(batch):
    inputs = batch["inputs"][batch["started"]]
    values, counts = np.unique(inputs, return_counts=True)
    assert values.tolist() == list(range(-MAX_INPUT, MAX_INPUT + 1))
    np.testing.assert_allclose(counts / counts.sum(), 1 / 7, atol=0.02)
    assert set(batch["targets"].tolist()) == {0.0, 0.5, 1.0}


def test_the_last_steps_of_a_sequence_are_a_sequence():
    whole = np.random.default_rng(0).integers(-MAX_INPUT, MAX_INPUT + 1, size=(50, T)).astype(np.float32)
    cut = jax.tree.map(np.asarray, last_steps(whole, 4))
    np.testing.assert_array_equal(cut["inputs"][:, -4:], whole[:, -4:])
    assert np.all(cut["started"].sum(1) == 4)
    expected = whole[:, -1] - whole[:, -2] + whole[:, -3] - whole[:, -4]
    np.testing.assert_array_equal(cut["targets"], (np.sign(expected) + 1) / 2)


@pytest.mark.parametrize("wrong", [(3, 1), (0, 1), (4, 0)])
def test_sizes_that_make_no_sequences_are_refused(wrong):
    with pytest.raises(ValueError, match="must be"):
        check_sizes(*wrong)
