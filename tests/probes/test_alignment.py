"""Measures of alignment: closed forms, an example by hand, hand-wired attention, and pairs counted one by one."""

import numpy as np
import pytest

from probes.alignment import (
    agreement,
    alignment_error_rate,
    area_under_curve,
    better_shift,
    diagonal_links,
    effective_number,
    largest_weight,
    links_of_weights,
    padded_links,
    row_entropy,
    shift_rows,
)

PERMUTATION = np.array([2, 0, 3, 1, 4])  # the source position of each target word; the last is the end token


def one_hot(positions, S):
    return np.eye(S)[np.asarray(positions)]


def random_weights(*shape, seed=0):
    weights = np.random.default_rng(seed).exponential(size=shape)
    return weights / weights.sum(-1, keepdims=True)


def padded(array, T, S):
    """The array with zeros after its target and source positions."""
    widths = [(0, 0)] * (array.ndim - 2) + [(0, T - array.shape[-2]), (0, S - array.shape[-1])]
    return np.pad(array, widths)


def test_equal_weights_on_k_positions_have_an_effective_number_of_k():
    for k in range(1, 6):
        row = np.zeros(7)
        row[:k] = 1 / k
        assert row_entropy(row[None]) == pytest.approx(np.log(k), abs=1e-15)
        assert effective_number(row[None]) == pytest.approx(k)
        assert largest_weight(row[None]) == pytest.approx(1 / k)


def test_the_entropy_of_an_uneven_row():
    assert row_entropy([[0.5, 0.25, 0.25]]) == pytest.approx(1.5 * np.log(2))


def test_a_row_of_zeros_has_no_entropy_and_no_links():
    weights = np.zeros((1, 4))
    assert row_entropy(weights) == 0
    assert largest_weight(weights) == 0
    assert not links_of_weights(weights).any()


def test_links_are_the_weights_of_at_least_a_share_of_the_largest():
    weights = np.array([[0.5, 0.25, 0.24, 0.01], [0.25, 0.25, 0.25, 0.25]])
    assert links_of_weights(weights).tolist() == [[True, True, False, False], [True] * 4]
    assert links_of_weights(weights, share=1).tolist() == [[True, False, False, False], [True] * 4]
    assert links_of_weights(weights, share=0.01).tolist() == [[True] * 3 + [True], [True] * 4]


def test_a_shift_gives_each_word_the_row_of_the_step_that_has_read_it():
    weights = random_weights(2, 4, 3)
    np.testing.assert_array_equal(shift_rows(weights, 0), weights)
    np.testing.assert_array_equal(shift_rows(weights, 1)[:, :3], weights[:, 1:])
    assert not shift_rows(weights, 1)[:, 3].any()
    np.testing.assert_array_equal(shift_rows(weights, -1)[:, 1:], weights[:, :3])
    assert not shift_rows(weights, -1)[:, 0].any()
    assert not shift_rows(weights, 9).any()


def test_the_alignment_error_rate_of_an_example_by_hand():
    sure = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 0]])
    possible = np.array([[0, 0, 0], [0, 0, 1], [0, 0, 1]])  # without the sure ones: they always count as possible
    links = np.array([[1, 0, 0], [0, 0, 1], [1, 0, 0]])  # one sure link, one possible, one wrong
    assert alignment_error_rate(links, sure, possible) == pytest.approx(1 - (1 + 2) / (3 + 2))
    assert alignment_error_rate(links, sure) == pytest.approx(1 - (1 + 1) / (3 + 2))
    assert alignment_error_rate(links, sure, possible, is_scored=[True, True, False]) == pytest.approx(1 - 3 / 4)
    assert alignment_error_rate(sure | possible, sure, possible) == 0
    assert alignment_error_rate(np.zeros((3, 3)), sure) == 1


def test_the_alignment_error_rate_pools_sentences_and_broadcasts_the_reference():
    sure = one_hot(PERMUTATION, 5) > 0
    wrong = np.roll(sure, 1, axis=1)
    assert alignment_error_rate(np.stack([sure, wrong]), sure) == pytest.approx(0.5)
    assert alignment_error_rate(np.stack([sure, wrong]), sure, is_scored=[[True] * 5, [False] * 5]) == 0
    with pytest.raises(ValueError, match=r"have \(5, 4\) target and source positions, expected \(5, 5\)"):
        alignment_error_rate(sure, sure[:, :4])
    with pytest.raises(ValueError, match="no row that is scored has a link"):
        alignment_error_rate(sure, sure, is_scored=np.zeros(5))


def test_attention_wired_to_a_permutation_has_no_errors_at_its_shift_alone():
    sure = one_hot(PERMUTATION, 5) > 0
    is_word = np.arange(5) < 4
    at_0 = better_shift(one_hot(PERMUTATION, 5), sure, is_scored=is_word)
    assert (at_0.error_rates, at_0.better, at_0.num_rows) == ((0.0, 1.0), 0, 4)
    late = one_hot(np.roll(PERMUTATION, 1), 5)  # each step attends to the source of the word that it has just read
    at_1 = better_shift(late, sure, is_scored=is_word)
    assert (at_1.error_rates, at_1.better, at_1.num_rows) == ((1.0, 0.0), 1, 4)


def test_both_shifts_are_scored_on_the_same_rows():
    """Of a sentence whose last row is scored, that row is left out of both; padded steps have no weights."""
    weights, sure = random_weights(3, 5, 6), random_weights(3, 5, 6, seed=1) > 0.2
    weights[1, 3:] = 0
    expected_rows = np.array([[1, 1, 1, 1, 0], [1, 1, 0, 0, 0], [1, 1, 1, 1, 0]], bool)
    result = better_shift(weights, sure)
    assert result.num_rows == expected_rows.sum()
    for shift in (0, 1):
        links = links_of_weights(shift_rows(weights, shift))
        assert result.error_rates[shift] == alignment_error_rate(links, sure, is_scored=expected_rows)


def test_uniform_attention_and_the_diagonal_do_not_find_a_permutation():
    """Uniform attention links every word with all S sources, of which one is right: 1 - 2 T / (T S + T)."""
    sure = one_hot(PERMUTATION, 5) > 0
    uniform = np.full((5, 5), 0.2)
    assert alignment_error_rate(links_of_weights(uniform), sure) == pytest.approx(1 - 2 / 6)
    assert alignment_error_rate(diagonal_links([5], [5], 5, 5)[0], sure) == pytest.approx(1 - 1 / 5)
    assert agreement(uniform, sure) == pytest.approx(1 / 5)


def test_the_diagonal_links_the_same_relative_place():
    links = diagonal_links([3, 4, 2, 3, 1], [3, 2, 4, 1, 0], 5, 4)
    assert links.shape == (5, 4, 5)
    places = [[[int(s) for s in np.flatnonzero(row)] for row in pair] for pair in links]
    assert places == [
        [[0], [1], [2], []],
        [[1], [3], [], []],  # the middles of two halves lie on borders of the four quarters: the later one
        [[0], [0], [1], [1]],
        [[1], [], [], []],
        [[], [], [], []],
    ]
    assert not diagonal_links([0], [2], 3, 3).any()
    for length in range(1, 8):
        np.testing.assert_array_equal(diagonal_links([length], [length], length, length)[0], np.eye(length, dtype=bool))
    with pytest.raises(ValueError, match="a source sentence of 6 words does not fit in 5 positions"):
        diagonal_links([6], [5], 5, 5)


def test_agreement_asks_where_a_word_is_linked_whether_the_largest_weight_is_there():
    weights = np.array([[0.6, 0.4, 0.0], [0.2, 0.2, 0.6], [0.4, 0.4, 0.2], [0.0, 0.0, 0.0]])
    other = np.array([[1, 1, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], bool)
    assert agreement(weights, other) == pytest.approx((1 + 0 + 1 / 2 + 0) / 4)
    assert agreement(weights, other, is_scored=[True, False, True, False]) == pytest.approx(3 / 4)
    other[1] = False  # a word that the other aligner leaves alone
    assert agreement(weights, other) == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert agreement(other, other) == pytest.approx((1 / 2 * 2 + 1 + 1) / 3)
    with pytest.raises(ValueError, match="nothing to agree with"):
        agreement(weights, np.zeros((4, 3)))


def test_padding_changes_nothing():
    weights, sure = random_weights(2, 4, 5), random_weights(2, 4, 5, seed=1) > 0.2
    possible = sure | (random_weights(2, 4, 5, seed=2) > 0.2)
    wide, wide_sure, wide_possible = (padded(x, 7, 9) for x in (weights, sure, possible))
    for measure in (row_entropy, largest_weight):
        np.testing.assert_allclose(measure(wide)[:, :4], measure(weights), rtol=1e-14)
        assert not measure(wide)[:, 4:].any()
    np.testing.assert_array_equal(links_of_weights(wide), padded(links_of_weights(weights), 7, 9))
    links, wide_links = links_of_weights(weights), links_of_weights(wide)
    assert alignment_error_rate(wide_links, wide_sure, wide_possible) == alignment_error_rate(links, sure, possible)
    assert better_shift(wide, wide_sure, wide_possible) == better_shift(weights, sure, possible)
    assert agreement(wide, wide_sure) == agreement(weights, sure)
    lengths = [[5, 3], [4, 2]]
    np.testing.assert_array_equal(diagonal_links(*lengths, 9, 7), padded(diagonal_links(*lengths, 5, 4), 7, 9))


def test_links_of_sentences_of_any_lengths_fit_in_one_array():
    links = [np.ones((2, 3), bool), np.ones((1, 4), bool)]
    together = padded_links(links, 3, 4)
    assert together.shape == (2, 3, 4)
    assert [together[n].sum() for n in range(2)] == [6, 4]
    np.testing.assert_array_equal(together[0, :2, :3], links[0])
    with pytest.raises(ValueError, match="links 1 x 4 of pair 1 do not fit in 3 x 3 positions"):
        padded_links(links, 3, 3)


def test_the_area_under_the_curve_counts_pairs():
    generator = np.random.default_rng(0)
    for sizes in ((1, 1), (7, 4), (30, 50)):
        positives, negatives = (generator.integers(0, 6, size) / 3 for size in sizes)  # with ties
        pairs = (positives[:, None] > negatives) + 0.5 * (positives[:, None] == negatives)
        assert area_under_curve(positives, negatives) == pytest.approx(pairs.mean())
        assert area_under_curve(negatives, positives) == pytest.approx(1 - pairs.mean())
        np.testing.assert_allclose(area_under_curve(np.exp(positives), np.exp(negatives)), pairs.mean())
    assert area_under_curve([2, 3], [0, 1]) == 1
    assert area_under_curve([1, 1], [1]) == 0.5
    with pytest.raises(ValueError, match="0 positives and 1 negatives"):
        area_under_curve([], [1])
    with pytest.raises(ValueError, match="NaN"):
        area_under_curve([np.nan], [1])


def test_what_is_no_attention_is_refused():
    for weights in ([[-0.1, 1.1]], [[np.nan, 1.0]]):
        with pytest.raises(ValueError, match="negative or not finite"):
            row_entropy(weights)
    for share in (0, 1.5):
        with pytest.raises(ValueError, match="give one above 0, at most 1"):
            links_of_weights([[0.5, 0.5]], share)
    with pytest.raises(ValueError, match=r"is_scored has \(3,\) rows, expected \(2,\)"):
        agreement(np.eye(2), np.eye(2), is_scored=np.ones(3))
