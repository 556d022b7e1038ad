"""Whole parses: the oracle's, a scorer's, alone and in a batch, with and without vmap, of 1 word and of 300."""

import functools
import itertools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from arc_standard import Parse, crosses, random_projective_tree, random_tree

from data import treebanks
from experiments.dependency_parser import parsing
from experiments.dependency_parser.arrays import Rows, bucket_segments, make_buckets
from experiments.dependency_parser.features import core_positions, label_features, positions
from experiments.dependency_parser.parsing import follow_oracle, follow_oracle_in_rows, parse, parse_rows
from experiments.dependency_parser.transitions import last_dependents, legal, oracle, start
from experiments.dependency_parser.vocabulary import build_vocabulary

EWT = Path(__file__).parents[4] / "shared" / "data" / "ud_ewt"
T, L = 14, 3
K = 1 + 2 * L
LENGTHS = np.array([1, 2, 3, *[13] * 9, *range(4, 13)], np.int32)
B = len(LENGTHS)


def make_trees(make, seed, lengths_B=LENGTHS, T=T):
    """(heads_BT, labels_BT) of random trees with random labels."""
    random = np.random.default_rng(seed)
    heads_BT = np.full((len(lengths_B), T), -1, np.int32)
    for i, n in enumerate(lengths_B):
        heads_BT[i, : n + 1] = make(random, n)
    labels_BT = np.where(heads_BT >= 0, random.integers(1, L + 1, heads_BT.shape), 0).astype(np.int32)
    return heads_BT, labels_BT


def is_projective(heads_T):
    return not crosses(heads_T.tolist())


def is_tree(heads):
    """Whether heads of the words 1..n, any numbers from 0 to n, make a tree with one root."""
    above = [0, *heads]
    for _ in heads:
        above = [above[position] for position in above]
    return heads.count(0) == 1 and not any(above)


def pack(values_BT, groups, padding):
    """The sentences of each group side by side in rows of 2 T positions, and {sentence: (row, position of ROOT)}."""
    rows_MT, places = np.full((len(groups), 2 * T), padding), {}
    for m, group in enumerate(groups):
        start = 0
        for i in group:
            size = LENGTHS[i] + 1
            rows_MT[m, start : start + size] = values_BT[i, :size]
            places[i], start = (m, start), start + size
    return rows_MT.astype(np.int32), places


GROUPS = ((3,), (4, 5), (0, 1, 2, 12, 13), (6, 20), (14,))  # sentences of packed rows


def packed_segments():
    numbers_BT = np.zeros((B, T), np.int32)
    segments_MT, _ = pack(numbers_BT, GROUPS, -1)
    for m, group in enumerate(GROUPS):
        sizes = [LENGTHS[i] + 1 for i in group]
        segments_MT[m, : sum(sizes)] = np.repeat(np.arange(len(group)), sizes)
    return segments_MT


def random_scores(seed):
    """A scorer that looks at the stack, the buffer and labels of children through a fixed random table."""
    random = np.random.default_rng(seed)
    table_6TK = jnp.asarray(random.normal(size=(6, T + 1, K)), jnp.float32)
    labels_12LK = jnp.asarray(random.normal(size=(12, L + 1, K)), jnp.float32)
    return table_6TK, labels_12LK


def score(tables, state):
    table_6TK, labels_12LK = tables
    of_positions = table_6TK[jnp.arange(6), core_positions(state)].sum(axis=1)
    return of_positions + labels_12LK[jnp.arange(12), label_features(state, positions(state))].sum(axis=1)


@functools.partial(jax.jit, static_argnames="T")
def parse_randomly(tables, lengths_B, T=T):
    return parse(functools.partial(score, tables), lengths_B, T, L)


@pytest.mark.parametrize("seed", range(3))
def test_the_oracle_rebuilds_every_projective_tree_and_decides_as_lists_do(seed):
    heads_BT, labels_BT = make_trees(random_projective_tree, seed)
    assert all(map(is_projective, heads_BT))
    decisions = jax.tree.map(np.asarray, follow_oracle(heads_BT, labels_BT, LENGTHS, L))
    np.testing.assert_array_equal(decisions.heads_BT, heads_BT)
    np.testing.assert_array_equal(decisions.labels_BT, labels_BT)
    for i, n in enumerate(LENGTHS):
        reference = Parse(n)
        for j in range(2 * T):
            seen = [decisions.positions_BJ18[i, j].tolist(), decisions.labels_BJ12[i, j].tolist()]
            assert seen == list(reference.features())
            assert decisions.legal_BJ3[i, j].tolist() == reference.legal()
            if reference.done():
                assert j >= 2 * n
                assert decisions.transitions_BJ[i, j] == -1
            else:
                assert j < 2 * n
                transition = reference.oracle(heads_BT[i], labels_BT[i], L)
                assert decisions.transitions_BJ[i, j] == transition
                reference.take(transition, L)


@pytest.mark.parametrize("seed", range(3))
def test_on_other_trees_the_oracle_ends_with_one_root_and_misses_some_heads_of_them_only(seed):
    heads_BT, labels_BT = make_trees(random_tree, seed)
    decisions = jax.tree.map(np.asarray, follow_oracle(heads_BT, labels_BT, LENGTHS, L))
    assert ((decisions.transitions_BJ >= 0).sum(axis=1) == 2 * LENGTHS).all()
    assert ((decisions.heads_BT == 0).sum(axis=1) == 1).all()
    assert all(map(is_projective, decisions.heads_BT))
    projective_B = np.array(list(map(is_projective, heads_BT)))
    assert 0 < projective_B.sum() < B
    np.testing.assert_array_equal((decisions.heads_BT == heads_BT).all(axis=1), projective_B)
    is_word_BT = heads_BT >= 0
    right_B = ((decisions.heads_BT == heads_BT) & is_word_BT).sum(axis=1)
    assert (right_B[~projective_B] >= 1).all()
    # What is right has the right label too.
    right_BT = (decisions.heads_BT == heads_BT) & is_word_BT
    np.testing.assert_array_equal(decisions.labels_BT[right_BT], labels_BT[right_BT])


def test_a_stuck_oracle_pops_the_word_that_costs_fewer_arcs():
    # 4 -> 2 crosses 1 -> 3. With ROOT 1 2 3 4 on the stack neither 3 nor 4 has its head beside it: without 4 two arcs
    # are lost, without 3 one.
    heads_BT = np.array([[-1, 0, 4, 1, 1]], np.int32)
    decisions = follow_oracle(heads_BT, np.ones_like(heads_BT), np.array([4], np.int32), 1)
    assert decisions.transitions_BJ[0].tolist() == [0, 0, 0, 0, 1, 1, 2, 2, -1, -1]
    assert decisions.heads_BT[0].tolist() == [-1, 0, 4, 4, 1]


def test_the_closest_projective_trees_are_the_ceiling():
    heads_BT, labels_BT = make_trees(random_tree, 7, np.full(40, 5, np.int32), 6)
    lengths_B = np.full(40, 5, np.int32)
    closest_BT = np.asarray(parsing.closest_projective(heads_BT, lengths_B))
    all_trees = [heads for heads in itertools.product(range(6), repeat=5) if is_tree(heads)]
    projective_NT = np.array([(-1, *heads) for heads in all_trees if not crosses([-1, *heads])])
    assert len(projective_NT) == 143  # projective trees of five words with one root
    most_B = (projective_NT[None, :, 1:] == heads_BT[:, None, 1:]).sum(axis=2).max(axis=1)
    np.testing.assert_array_equal((closest_BT == heads_BT)[:, 1:].sum(axis=1), most_B)
    decisions = follow_oracle(closest_BT, labels_BT, lengths_B, L)
    np.testing.assert_array_equal(decisions.heads_BT, closest_BT)
    left_to_itself = follow_oracle(heads_BT, labels_BT, lengths_B, L)
    right_B = (np.asarray(left_to_itself.heads_BT) == heads_BT)[:, 1:].sum(axis=1)
    assert (right_B <= most_B).all()
    assert (right_B < most_B).any()
    assert (most_B < 5).any()


def test_labels_that_the_parser_does_not_have_are_taken_as_ones_that_it_has():
    heads_BT, labels_BT = make_trees(random_projective_tree, 0)
    decisions = follow_oracle(heads_BT, labels_BT, LENGTHS, 1)
    np.testing.assert_array_equal(decisions.heads_BT, heads_BT)
    np.testing.assert_array_equal(decisions.labels_BT, heads_BT >= 0)
    assert np.asarray(decisions.transitions_BJ).max() == 2
    decisions = follow_oracle(heads_BT, 0 * labels_BT, LENGTHS, L)
    np.testing.assert_array_equal(decisions.labels_BT, heads_BT >= 0)


def test_a_scorer_that_reads_the_gold_trees_parses_them():
    heads_BT, labels_BT = make_trees(random_projective_tree, 4)
    last_dependents_BT = last_dependents(jnp.asarray(heads_BT))

    def cheat(state):
        return jax.nn.one_hot(oracle(state, heads_BT, labels_BT, last_dependents_BT, L), K)

    parsed = jax.jit(lambda lengths_B: parse(cheat, lengths_B, T, L))(LENGTHS)
    np.testing.assert_array_equal(parsed[0], heads_BT)
    np.testing.assert_array_equal(parsed[1], labels_BT)


def test_a_batch_is_parsed_as_its_sentences_one_by_one():
    tables = random_scores(0)
    heads_BT, labels_BT = parse_randomly(tables, LENGTHS)
    for i, n in enumerate(LENGTHS):
        alone_heads_1T, alone_labels_1T = parse_randomly(tables, LENGTHS[i : i + 1])
        np.testing.assert_array_equal(alone_heads_1T[0], heads_BT[i])
        np.testing.assert_array_equal(alone_labels_1T[0], labels_BT[i])
        assert (np.asarray(heads_BT[i, 1 : n + 1]) >= 0).all()
    # Fewer positions than another batch has change nothing either.
    short_heads_BT, _ = parse_randomly(tables, LENGTHS[:3], T=4)
    np.testing.assert_array_equal(short_heads_BT, heads_BT[:3, :4])


def test_a_random_scorer_is_followed_as_lists_follow_it():
    tables = random_scores(1)
    heads_BT, labels_BT = parse_randomly(tables, LENGTHS)
    of_positions, of_labels = map(np.asarray, tables)
    for i, n in enumerate(LENGTHS):
        reference = Parse(n)
        while not reference.done():
            at, labels = reference.features()
            logits_K = of_positions[np.arange(6), at[:6]].sum(axis=0) + of_labels[np.arange(12), labels].sum(axis=0)
            legal_K = np.repeat(reference.legal(), [1, L, L])
            reference.take(int(np.where(legal_K, logits_K, -np.inf).argmax()), L)
        assert heads_BT[i].tolist() == [reference.heads.get(position, -1) for position in range(T)]
        assert labels_BT[i].tolist() == [reference.labels.get(position, 0) for position in range(T)]


def test_packed_rows_are_parsed_as_their_sentences_alone():
    words_BT = np.random.default_rng(2).integers(0, T, (B, T))  # the scores depend on words, not on places in the row
    words_MT, places = pack(words_BT, GROUPS, 0)
    table_6TK, labels_12LK = random_scores(3)

    def score_words(words, state):
        at = core_positions(state)
        ids = jnp.where(at >= 0, jnp.take_along_axis(words, jnp.maximum(at, 0), axis=1), T)
        of_words = table_6TK[jnp.arange(6), ids].sum(axis=1)
        return of_words + labels_12LK[jnp.arange(12), label_features(state, positions(state))].sum(axis=1)

    heads_BT, labels_BT = jax.jit(lambda words: parse(functools.partial(score_words, words), LENGTHS, T, L))(words_BT)
    heads_MT, labels_MT = jax.jit(
        lambda words: parse_rows(functools.partial(score_words, words), packed_segments(), L)
    )(words_MT)
    for i, (m, root) in places.items():
        there = slice(root + 1, root + LENGTHS[i] + 1)
        np.testing.assert_array_equal(heads_MT[m, there] - root, heads_BT[i, 1 : LENGTHS[i] + 1])
        np.testing.assert_array_equal(labels_MT[m, there], labels_BT[i, 1 : LENGTHS[i] + 1])
    num_words = sum(LENGTHS[i] for group in GROUPS for i in group)
    assert (np.asarray(heads_MT) >= 0).sum() == (np.asarray(labels_MT) > 0).sum() == num_words


def test_the_oracle_decides_in_packed_rows_as_in_sentences_alone():
    heads_BT, labels_BT = make_trees(random_tree, 8)
    alone = jax.tree.map(np.asarray, follow_oracle(heads_BT, labels_BT, LENGTHS, L))
    heads_MT, places = pack(heads_BT, GROUPS, -1)
    labels_MT, _ = pack(labels_BT, GROUPS, 0)
    segments_MT = packed_segments()
    starts_MT = np.zeros_like(segments_MT)
    for m, row_T in enumerate(segments_MT):
        starts_MT[m] = [np.flatnonzero(row_T == number)[0] for number in row_T]
    heads_MT = np.where(heads_MT >= 0, heads_MT + starts_MT, -1).astype(np.int32)
    packed = jax.tree.map(np.asarray, follow_oracle_in_rows(heads_MT, labels_MT, segments_MT, L))
    for i, (m, root) in places.items():
        n, first = LENGTHS[i], 2 * (root - segments_MT[m, root])
        there, here = (m, slice(first, first + 2 * n)), (i, slice(2 * n))
        at = alone.positions_BJ18[here]
        np.testing.assert_array_equal(packed.positions_BJ18[there], np.where(at >= 0, at + root, -1))
        for name in ("labels_BJ12", "legal_BJ3", "transitions_BJ"):
            np.testing.assert_array_equal(getattr(packed, name)[there], getattr(alone, name)[here])
        np.testing.assert_array_equal(packed.labels_BT[m, root : root + n + 1], alone.labels_BT[i, : n + 1])
    is_word_MT = segments_MT >= 0
    assert (packed.transitions_BJ >= 0).sum() == 2 * (is_word_MT.sum() - sum(map(len, GROUPS)))


@pytest.mark.parametrize("rows_at_once", [2, 5])  # which divide the number of rows, and do not
def test_the_oracle_decides_alike_for_some_rows_at_a_time(monkeypatch, rows_at_once):
    heads_BT, labels_BT = (array_BT[:6] for array_BT in make_trees(random_tree, 9))
    segments_BT = np.asarray(bucket_segments(LENGTHS[:6], T))
    monkeypatch.setattr(parsing, "ROWS_AT_ONCE", rows_at_once)
    in_chunks = parsing.follow_oracle_in_chunks(Rows(None, None, heads_BT, labels_BT, segments_BT, None, None), L)
    for array, other in zip(in_chunks, follow_oracle_in_rows(heads_BT, labels_BT, segments_BT, L), strict=True):
        np.testing.assert_array_equal(array, other)


def test_several_seeds_at_once_are_a_loop_over_seeds():
    tables = jax.tree.map(lambda *x: jnp.stack(x), *map(random_scores, range(3)))
    together = jax.jit(jax.vmap(parse_randomly, in_axes=(0, None)))(tables, LENGTHS)
    for seed in range(3):
        for all_seeds, alone in zip(together, parse_randomly(random_scores(seed), LENGTHS), strict=True):
            np.testing.assert_array_equal(all_seeds[seed], alone)
    assert (together[0][0] != together[0][1]).any()


def test_batches_of_other_lengths_share_a_program_and_may_be_empty_sentences():
    tables = random_scores(0)
    heads_BT, labels_BT = parse_randomly(tables, np.zeros_like(LENGTHS))
    assert (np.asarray(heads_BT) == -1).all()
    assert (np.asarray(labels_BT) == 0).all()


@pytest.mark.parametrize("value", [np.nan, -np.inf, np.inf])
def test_whatever_the_scorer_says_the_parse_is_a_tree(value):
    heads_BT, labels_BT = jax.jit(
        lambda lengths_B: parse(lambda state: jnp.full((B, K), value, jnp.float32), lengths_B, T, L)
    )(LENGTHS)
    assert ((np.asarray(heads_BT) >= 0).sum(axis=1) == LENGTHS).all()
    assert ((np.asarray(heads_BT) == 0).sum(axis=1) == 1).all()
    # Of equals the first is taken: SHIFT as long as it can be, then LEFT-ARC.
    assert heads_BT[3].tolist() == [-1, *[13] * 12, 0]
    assert (np.asarray(labels_BT[3, 1:]) == 1).all()


def test_the_best_legal_transition_is_argmaxs():
    state = start(LENGTHS, T)
    logits_BK = jax.random.normal(jax.random.key(0), (B, K))
    assert (np.asarray(parsing.best_transition(logits_BK, state, L)) == 0).all()
    legal_BK = np.repeat(np.asarray(legal(state)), [1, L, L], axis=1)
    expected_B = np.where(legal_BK, logits_BK, -np.inf).argmax(axis=1)
    np.testing.assert_array_equal(parsing.best_transition(logits_BK, state, L), expected_B)


def test_scores_of_another_number_of_transitions_are_refused():
    with pytest.raises(ValueError, match=r"3 labels has 7 transitions, but the scores are of shape \(21, 5\)"):
        parse(lambda state: jnp.zeros((B, 5)), LENGTHS, T, L)


@pytest.mark.parametrize("n", [1, 300])
def test_sentences_of_one_word_and_of_300(n):
    heads_BT, labels_BT = make_trees(random_projective_tree, 2, [n, n], n + 1)
    lengths_B = np.array([n, n], np.int32)
    decisions = follow_oracle(heads_BT, labels_BT, lengths_B, L)
    np.testing.assert_array_equal(decisions.heads_BT, heads_BT)
    assert ((np.asarray(decisions.transitions_BJ) >= 0).sum(axis=1) == 2 * n).all()

    def shift_rarely(state):
        front_B = state.next_B.astype(jnp.float32)[:, None]
        return jnp.sin(front_B * jnp.arange(1, K + 1))

    built_BT, _ = jax.jit(lambda lengths_B: parse(shift_rarely, lengths_B, n + 1, L))(lengths_B)
    assert ((np.asarray(built_BT) == 0).sum(axis=1) == 1).all()
    assert ((np.asarray(built_BT) >= 0).sum(axis=1) == n).all()


@pytest.mark.slow
@pytest.mark.skipif(not EWT.exists(), reason="the shared folder of data sets is not there")
def test_every_sentence_of_ewt_takes_2n_transitions_and_every_projective_tree_is_rebuilt():
    treebank = treebanks.load(str(EWT))
    vocabulary = build_vocabulary(treebank.train)
    num_labels = len(vocabulary.labels) - 1
    for sentences in (treebank.train, treebank.validation, treebank.test):
        words = lost = lost_at_best = 0
        for bucket in make_buckets(sentences, vocabulary):
            decisions = follow_oracle(bucket.heads_NT, bucket.labels_NT, bucket.lengths_N, num_labels)
            assert ((np.asarray(decisions.transitions_BJ) >= 0).sum(axis=1) == 2 * bucket.lengths_N).all()
            wrong_NT = np.asarray(decisions.heads_BT) != bucket.heads_NT
            crossed_N = np.array([not treebanks.is_projective(sentences[row].heads) for row in bucket.rows_N])
            np.testing.assert_array_equal(wrong_NT.any(axis=1), crossed_N)
            known_NT = ~wrong_NT & (bucket.labels_NT > 0)
            np.testing.assert_array_equal(np.asarray(decisions.labels_BT)[known_NT], bucket.labels_NT[known_NT])
            words, lost = words + bucket.lengths_N.sum(), lost + wrong_NT.sum()
            closest_NT = parsing.closest_projective(bucket.heads_NT[crossed_N], bucket.lengths_N[crossed_N])
            lost_at_best += (np.asarray(closest_NT) != bucket.heads_NT[crossed_N]).sum()
        assert 0.0010 < lost_at_best / words < 0.0020  # the ceiling's loss, a tenth to two of a point
        assert lost_at_best < lost < 0.004 * words
