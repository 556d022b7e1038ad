"""Repeated blocks, against a slow plain reader of the definition and against their stated statistics."""

import jax
import numpy as np
import pytest

from experiments.induction_heads import repeats

V, T, LEAST, MOST = 12, 40, 3, 9


@pytest.fixture(scope="module")
def batch():
    made = jax.jit(lambda key: repeats.repeats(key, 2000, T, V, LEAST, MOST))(jax.random.key(0))
    return jax.tree.map(np.asarray, made)


def period_of(tokens):
    """The smallest p with which everything after BOS repeats, by trying them all."""
    body = list(tokens[1:])
    return next(p for p in range(1, len(body)) if all(body[i] == body[i - p] for i in range(p, len(body))))


def test_every_sequence_is_bos_and_a_block_of_distinct_tokens_repeated(batch):
    for tokens, targets, determined in zip(*(batch[k][:300] for k in ("tokens", "targets", "determined")), strict=True):
        assert tokens[0] == V
        assert list(tokens[1:]) == list(targets[:-1])
        p = period_of([*tokens, targets[-1]])
        assert LEAST <= p <= MOST
        assert len(set(tokens[1 : p + 1])) == p
        for t in range(T):  # determined: the same token stood before, so what follows it is known
            assert determined[t] == (tokens[t] in tokens[:t])
            if determined[t]:
                earlier = list(tokens[:t]).index(tokens[t])
                assert targets[t] == tokens[earlier + 1]


def test_periods_are_uniform_over_their_range(batch):
    periods = [period_of([*row, last]) for row, last in zip(batch["tokens"], batch["targets"][:, -1], strict=True)]
    counts = np.bincount(periods, minlength=MOST + 1)[LEAST:]
    expected = len(periods) / (MOST - LEAST + 1)
    assert len(counts) == MOST - LEAST + 1
    assert np.abs(counts - expected).max() < 5 * expected**0.5


def test_first_tokens_are_uniform_over_the_vocabulary(batch):
    counts = np.bincount(batch["tokens"][:, 1], minlength=V)
    expected = len(batch["tokens"]) / V
    assert np.abs(counts - expected).max() < 5 * expected**0.5


def test_pairs_of_neighbours_are_uniform_over_ordered_pairs(batch):
    pairs = np.zeros((V, V))
    np.add.at(pairs, (batch["tokens"][:, 1], batch["tokens"][:, 2]), 1)
    assert np.trace(pairs) == 0
    expected = len(batch["tokens"]) / (V * (V - 1))
    assert np.abs(pairs[~np.eye(V, dtype=bool)] - expected).max() < 5 * expected**0.5


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ((8, 16, 5, 4), "is empty"),
        ((8, 16, 0, 4), "is empty"),
        ((8, 64, 3, 9), "needs as many distinct tokens"),
        ((64, 16, 3, 15), "leaves nothing to predict"),
    ],
)
def test_impossible_settings_are_refused(settings, says):
    with pytest.raises(ValueError, match=says):
        repeats.check(*settings)


def test_the_longest_possible_period_is_accepted():
    repeats.check(64, 16, 3, 14)
    made = repeats.repeats(jax.random.key(0), 4, 16, 64, 14, 14)
    assert made["determined"].sum() == 4
