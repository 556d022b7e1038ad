"""Arc-standard transitions as arrays, against lists, one sentence at a time."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arc_standard import Parse, random_tree

from experiments.dependency_parser import transitions
from experiments.dependency_parser.transitions import (
    is_done,
    last_dependents,
    last_positions,
    legal,
    legal_transitions,
    start,
    start_next,
)

T, L = 12, 3
K = 1 + 2 * L
LENGTHS = np.array([1, 2, 3, 11, 11, 10, 9, 8, 7, 6, 5, 4], np.int32)
B = len(LENGTHS)
advance = jax.jit(functools.partial(transitions.advance, num_labels=L))


def kinds_of(transition_K):
    return np.where(transition_K == 0, 0, np.where(transition_K <= L, 1, 2))


def random_transition(random, parse):
    """Any legal transition; any number at all where the sentence is done."""
    if parse.done():
        return int(random.integers(-1, K))
    return int(random.choice(np.flatnonzero(np.array(parse.legal())[kinds_of(np.arange(K))])))


def assert_same(state, parses):
    state = jax.tree.map(np.asarray, state)
    for i, parse in enumerate(parses):
        n = LENGTHS[i]
        assert state.stack_BT[i, : state.stack_size_B[i]].tolist() == parse.stack
        assert list(range(state.next_B[i], n + 1)) == parse.buffer
        assert state.heads_BT[i].tolist() == [parse.heads.get(position, -1) for position in range(T)]
        assert state.labels_BT[i].tolist() == [parse.labels.get(position, 0) for position in range(T)]
        assert state.children_BT4[i].tolist() == [parse.children(position) for position in range(T)]
    assert legal(state).tolist() == [parse.legal() for parse in parses]
    assert is_done(state).tolist() == [parse.done() for parse in parses]


@pytest.mark.parametrize("seed", range(3))
def test_random_legal_transitions_do_what_lists_do_and_are_2n(seed):
    random = np.random.default_rng(seed)
    parses, state = [Parse(n) for n in LENGTHS], start(LENGTHS, T)
    for step in range(2 * T):
        assert is_done(state).tolist() == (step >= 2 * LENGTHS).tolist()
        assert_same(state, parses)
        chosen_B = [random_transition(random, parse) for parse in parses]
        state = advance(state, jnp.array(chosen_B))
        for parse, transition in zip(parses, chosen_B, strict=True):
            if not parse.done():
                parse.take(transition, L)
    heads_BT = np.asarray(state.heads_BT)
    assert ((heads_BT == 0).sum(axis=1) == 1).all()
    assert ((heads_BT >= 0).sum(axis=1) == LENGTHS).all()


def test_what_is_illegal_changes_nothing():
    random = np.random.default_rng(5)
    parses, state = [Parse(n) for n in LENGTHS], start(LENGTHS, T)
    refused = 0
    for _ in range(2 * T):
        before = jax.tree.map(np.asarray, state)
        for transition in (-1, 0, 1, L, L + 1, K - 1):
            after = jax.tree.map(np.asarray, advance(state, jnp.full(B, transition)))
            illegal_B = np.array([transition < 0 or not parse.legal()[kinds_of(transition)] for parse in parses])
            np.testing.assert_array_equal(after.stack_size_B == before.stack_size_B, illegal_B)
            for before_leaf, after_leaf in zip(before, after, strict=True):
                np.testing.assert_array_equal(before_leaf[illegal_B], after_leaf[illegal_B])
            refused += illegal_B.sum()
        chosen_B = [random_transition(random, parse) for parse in parses]
        state = advance(state, jnp.array(chosen_B))
        for parse, transition in zip(parses, chosen_B, strict=True):
            if not parse.done():
                parse.take(transition, L)
    assert refused > 500


def test_legality_of_transitions_is_that_of_their_kind():
    state = start(LENGTHS, T)
    for _ in range(3):
        state = advance(state, jnp.zeros(B, jnp.int32))
    expected_BK = np.asarray(legal(state))[:, kinds_of(np.arange(K))]
    np.testing.assert_array_equal(legal_transitions(state, L), expected_BK)
    assert expected_BK.any()
    assert not expected_BK.all()


def test_root_takes_its_child_only_when_the_buffer_is_empty():
    two_words = advance(start(jnp.array([2]), 3), jnp.array([0]))
    assert legal(two_words).tolist() == [[True, False, False]]
    assert legal(advance(two_words, jnp.array([0]))).tolist() == [[False, True, True]]
    one_word = advance(start(jnp.array([1]), 3), jnp.array([0]))
    assert legal(one_word).tolist() == [[False, False, True]]


def test_a_sentence_without_words_is_done():
    state = start(jnp.array([0, 1]), 2)
    assert is_done(state).tolist() == [True, False]
    assert not legal(state)[0].any()


def test_last_dependents():
    random = np.random.default_rng(1)
    heads_BT = np.full((B, T), -1, np.int32)
    for i, n in enumerate(LENGTHS):
        heads_BT[i, : n + 1] = random_tree(random, n)
    expected_BT = [
        [max((word for word in range(T) if heads_T[word] == position), default=-1) for position in range(T)]
        for heads_T in heads_BT
    ]
    np.testing.assert_array_equal(last_dependents(jnp.asarray(heads_BT)), expected_BT)


def test_last_positions_of_packed_sentences():
    segments_BT = jnp.array([[0, 0, 0, 1, 1, -1], [0, 0, 1, 1, 1, 1], [-1] * 6])
    expected_BT = [[2, 2, 2, 4, 4, -1], [1, 1, 5, 5, 5, 5], [-1] * 6]
    np.testing.assert_array_equal(last_positions(segments_BT), expected_BT)


def test_the_next_sentence_of_a_row_begins_when_one_is_done():
    segments_BT = jnp.array([[0, 0, 1, 1, 1, -1], [0, 0, 0, 0, 0, 0], [0, 0, -1, -1, -1, -1]])
    last_BT = last_positions(segments_BT)
    before = advance(start(last_BT[:, 0], 6), jnp.array([0, 0, 0]))
    assert all(map(np.array_equal, before, start_next(before, last_BT)))
    state = advance(before, jnp.array([L + 2, 0, L + 2]))
    assert is_done(state).tolist() == [True, False, True]
    state = start_next(state, last_BT)
    assert is_done(state).tolist() == [False, False, True]
    assert (int(state.stack_BT[0, 0]), int(state.next_B[0]), int(state.lengths_B[0])) == (2, 3, 4)
    for transition in (0, 0, 3, L + 1):
        state = start_next(advance(state, jnp.full(3, transition)), last_BT)
    assert bool(is_done(state)[0])
    assert state.heads_BT[0].tolist() == [-1, 0, -1, 4, 2, -1]
    assert state.labels_BT[0].tolist() == [0, 2, 0, 3, 1, 0]


def test_everything_is_int32_and_stays_so():
    state = start(LENGTHS, T)
    for leaf in (*state, *advance(state, jnp.zeros(B, jnp.int32))):
        assert leaf.dtype == jnp.int32
