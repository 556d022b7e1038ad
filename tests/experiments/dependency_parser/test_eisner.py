"""Eisner's algorithm against all projective trees of short sentences, and the shape of its trees in long ones."""

import itertools

import jax
import numpy as np
import pytest

from experiments.dependency_parser import eisner as eisner_file
from experiments.dependency_parser.eisner import eisner

decode = jax.jit(eisner)


def reaches_root(heads):
    """Whether a walk over heads from every word ends at ROOT."""
    for word in range(1, len(heads)):
        for _ in heads:
            word = heads[word] if word else 0
        if word:
            return False
    return True


def is_projective(heads):
    """No two arcs cross; ROOT stands before all words."""
    arcs = [sorted((word, head)) for word, head in enumerate(heads) if word]
    return not any(a < c < b < d for a, b in arcs for c, d in arcs)


def trees(n):
    """All projective trees of n words with one word attached to ROOT, as rows of heads [n + 1]."""
    rows = []
    for heads in itertools.product(range(n + 1), repeat=n):
        heads = (-1, *heads)
        if heads.count(0) == 1 and reaches_root(heads) and is_projective(heads):
            rows.append(heads)
    return np.array(rows)


def random_scores(seed, B, T):
    return np.random.default_rng(seed).normal(size=(B, T, T)).astype(np.float32)


@pytest.mark.parametrize(("n", "count"), [(1, 1), (2, 2), (3, 7), (4, 30), (5, 143), (6, 728)])
def test_the_best_of_all_projective_trees(n, count):
    trees_NT = trees(n)
    assert len(trees_NT) == count  # binomial(3 n - 2, n - 1) / n
    scores_BTT = random_scores(n, 64, 8)
    heads_BT = np.asarray(decode(scores_BTT, np.full(64, n)))
    words = np.arange(1, n + 1)
    totals_BN = scores_BTT[:, words, trees_NT[:, 1:]].sum(axis=-1)
    np.testing.assert_array_equal(heads_BT[:, : n + 1], trees_NT[totals_BN.argmax(axis=1)])
    assert (heads_BT[:, n + 1 :] == -1).all()


def test_long_sentences_get_projective_trees_with_one_root():
    lengths_B = np.array([39, 38, 20, 2, 1, 0, 39, 30])
    heads_BT = np.asarray(decode(random_scores(0, 8, 40), lengths_B))
    assert heads_BT.dtype == np.int32
    for heads_T, length in zip(heads_BT, lengths_B, strict=True):
        assert heads_T[0] == -1
        assert (heads_T[length + 1 :] == -1).all()
        heads = heads_T[: length + 1].tolist()
        assert heads.count(0) == min(length, 1)
        assert reaches_root(heads)
        assert is_projective(heads)


def random_tree(generator, n):
    """Heads [n + 1] of a random projective tree: every span has a head, and spans beside it are its dependents."""
    heads = np.full(n + 1, -1)

    def attach(words, head):
        if len(words):
            at = generator.integers(len(words))
            heads[words[at]] = head
            for side in (words[:at], words[at + 1 :]):
                cut = generator.integers(len(side) + 1)
                attach(side[:cut], words[at])
                attach(side[cut:], words[at])

    attach(np.arange(1, n + 1), 0)
    return heads


def test_a_tree_whose_arcs_score_more_is_found_again():
    generator = np.random.default_rng(3)
    trees_BT = np.array([random_tree(generator, 39) for _ in range(8)])
    scores_BTT = (trees_BT[..., None] == np.arange(40)).astype(np.float32)
    np.testing.assert_array_equal(decode(scores_BTT, np.full(8, 39)), trees_BT)


def test_what_lies_behind_a_sentence_and_on_the_diagonal_does_not_count():
    scores_BTT = random_scores(1, 8, 40)
    lengths_B = np.arange(1, 9)
    other_BTT = scores_BTT.copy()
    for b, length in enumerate(lengths_B):
        other_BTT[b, length + 1 :] = other_BTT[b, :, length + 1 :] = 100.0
    other_BTT[:, 0] = other_BTT[:, np.arange(40), np.arange(40)] = 100.0
    np.testing.assert_array_equal(decode(other_BTT, lengths_B), decode(scores_BTT, lengths_B))


def test_one_root_even_where_more_would_score_higher():
    scores_BTT = random_scores(2, 4, 8)
    scores_BTT[:, :, 0] += 100.0
    heads_BT = np.asarray(decode(scores_BTT, np.full(4, 7)))
    assert ((heads_BT == 0).sum(axis=1) == 1).all()


@pytest.mark.parametrize("numbers", [1, 15 * 7**2 * 3])  # one sentence at a time; three, and one alone at the end
def test_chunks_change_nothing(monkeypatch, numbers):
    scores_BTT, lengths_B = random_scores(4, 7, 8), np.array([7, 6, 5, 4, 3, 2, 1])
    expected_BT = decode(scores_BTT, lengths_B)
    monkeypatch.setattr(eisner_file, "CACHED_NUMBERS", numbers)
    np.testing.assert_array_equal(jax.jit(lambda *a: eisner(*a))(scores_BTT, lengths_B), expected_BT)


def test_it_may_be_mapped_over_seeds():
    scores_SBTT, lengths_B = random_scores(5, 6, 8).reshape(2, 3, 8, 8), np.array([7, 3, 5])
    heads_SBT = jax.jit(jax.vmap(eisner, (0, None)))(scores_SBTT, lengths_B)
    for seed in range(2):
        np.testing.assert_array_equal(heads_SBT[seed], decode(scores_SBTT[seed], lengths_B))


def test_no_sentences_and_no_words():
    assert eisner(np.zeros((0, 5, 5), np.float32), np.zeros(0, int)).shape == (0, 5)
    np.testing.assert_array_equal(eisner(np.zeros((2, 1, 1), np.float32), np.zeros(2, int)), [[-1], [-1]])
