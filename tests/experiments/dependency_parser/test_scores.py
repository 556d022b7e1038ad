"""Scores against a hand-computed example and a slow reference, and what their intervals cover."""

import itertools

import numpy as np
import pytest

from data.treebanks import Sentence
from experiments.dependency_parser import scores

NAMES = ("", "root", "nsubj", "obj", "det")
EXAMPLE = (
    Sentence(("I", "ate", "fish"), ("PRON", "VERB", "NOUN"), (2, 0, 2), ("nsubj", "root", "obj")),
    Sentence(("Go",), ("VERB",), (0,), ("root",)),
)
# The first word's label is wrong, the third one's head.
HEADS = np.array([[-1, 2, 0, 1], [-1, 0, -1, -1]])
LABELS = np.array([[0, 3, 1, 3], [0, 1, 0, 0]])


def random_sentences(num_sentences, rng, longest=45):
    """Sentences whose heads are random positions (scores do not ask for trees)."""
    sentences = []
    for length in rng.integers(1, longest + 1, num_sentences):
        heads = [int(rng.choice([p for p in range(length + 1) if p != word])) for word in range(1, length + 1)]
        labels = tuple(NAMES[1 + i] for i in rng.integers(0, 4, length))
        sentences.append(Sentence(("w",) * length, ("X",) * length, tuple(heads), labels))
    return tuple(sentences)


def noisy(sentences, rng, num_seeds=2, rate=0.3):
    """Heads and labels [S, N, T] of which about `rate` are wrong."""
    T = 3 + max(len(s.heads) for s in sentences)
    heads, labels = scores.gold_heads(sentences, T), scores.gold_labels(sentences, T, NAMES)
    shape = (num_seeds, *heads.shape)
    wrong_heads = np.where(rng.random(shape) < rate, rng.integers(0, T, shape), heads)
    wrong_labels = np.where(rng.random(shape) < rate, rng.integers(0, len(NAMES), shape), labels)
    return np.where(heads < 0, -1, wrong_heads), np.where(heads < 0, -1, wrong_labels)


def slow_words(sentences, heads_NT, labels_NT):
    """(sentence, position, head right, arc right) of every word, one at a time."""
    for n, sentence in enumerate(sentences):
        for position, (head, label) in enumerate(zip(sentence.heads, sentence.labels, strict=True), start=1):
            is_right = heads_NT[n, position] == head
            yield sentence, position, is_right, is_right and NAMES[labels_NT[n, position]] == label


def test_attachment_of_a_hand_computed_example():
    uas, las = scores.attachment(EXAMPLE, HEADS, LABELS, NAMES)
    assert (uas, las) == (0.75, 0.5)
    np.testing.assert_array_equal(
        scores.correct_heads(EXAMPLE, HEADS), [[False, True, True, False], [False, True, False, False]]
    )
    uas_S, las_S = scores.attachment(EXAMPLE, np.stack([HEADS] * 3), np.stack([LABELS] * 3), NAMES)
    np.testing.assert_array_equal(uas_S, [0.75] * 3)
    np.testing.assert_array_equal(las_S, [0.5] * 3)


def test_a_label_without_an_id_is_never_right_and_punctuation_counts():
    sentence = Sentence(("Hm", "!"), ("INTJ", "PUNCT"), (0, 1), ("root", "punct"))
    heads, labels = np.array([[-1, 0, 1]]), np.array([[-1, 1, -1]])
    assert scores.attachment([sentence], heads, labels, NAMES) == (1.0, 0.5)


def test_every_score_equals_the_slow_reference():
    rng = np.random.default_rng(0)
    sentences = random_sentences(60, rng)
    heads, labels = noisy(sentences, rng)
    right_heads = scores.correct_heads(sentences, heads)
    right_arcs = scores.correct_arcs(sentences, heads, labels, NAMES)
    uas, las = scores.attachment(sentences, heads, labels, NAMES)
    groups = {
        "label": scores.by_label(sentences, right_arcs),
        "arc": scores.by_arc_length(sentences, right_heads),
        "sentence": scores.by_sentence_length(sentences, right_heads),
    }
    for seed in range(2):
        words = list(slow_words(sentences, heads[seed], labels[seed]))
        assert uas[seed] == pytest.approx(np.mean([w[2] for w in words]))
        assert las[seed] == pytest.approx(np.mean([w[3] for w in words]))
        for g, name in enumerate(groups["label"].names):
            chosen = [w[3] for w in words if w[0].labels[w[1] - 1] == name]
            assert groups["label"].counts[g] == len(chosen)
            assert groups["label"].accuracy[seed, g] == pytest.approx(np.mean(chosen))
        arcs = [(abs(w[1] - w[0].heads[w[1] - 1]), w[2]) for w in words if w[0].heads[w[1] - 1]]
        for length in range(1, 11):
            chosen = [right for distance, right in arcs if distance == length]
            assert groups["arc"].counts[length - 1] == len(chosen)
            assert groups["arc"].accuracy[seed, length - 1] == pytest.approx(np.mean(chosen))
        assert groups["arc"].accuracy[seed, 10] == pytest.approx(np.mean([right for d, right in arcs if d > 10]))
        for g, (low, high) in enumerate(itertools.pairwise((0, *scores.SENTENCE_LENGTHS, 1000))):
            chosen = [w[2] for w in words if low < len(w[0].heads) <= high]
            assert groups["sentence"].counts[g] == len(chosen)
            assert groups["sentence"].accuracy[seed, g] == pytest.approx(np.mean(chosen))
        short = [(distance, right) for distance, right in arcs if distance <= 10]
        slope = np.polyfit(*zip(*short, strict=True), 1)[0]
        assert scores.length_slope(sentences, heads)[seed] == pytest.approx(slope)
    assert list(groups["label"].counts) == sorted(groups["label"].counts, reverse=True)
    assert groups["sentence"].names[:2] == ("1-5", "6-10")
    assert groups["sentence"].counts.sum() == scores.count_words(sentences).sum()


def test_the_slope_is_the_regression_of_accuracies_weighted_by_words():
    rng = np.random.default_rng(1)
    sentences = random_sentences(40, rng)
    heads, _ = noisy(sentences, rng, num_seeds=1)
    groups = scores.by_arc_length(sentences, scores.correct_heads(sentences, heads[0]))
    weighted = np.polyfit(np.arange(1, 11), groups.accuracy[:10], 1, w=np.sqrt(groups.counts[:10]))[0]
    assert scores.length_slope(sentences, heads[0]) == pytest.approx(weighted)


def test_arcs_of_one_length_have_no_slope():
    assert np.isnan(scores.length_slope(EXAMPLE, HEADS))
    assert np.isnan(scores.length_slope(EXAMPLE, np.stack([HEADS, HEADS]))).tolist() == [True, True]
    assert np.isnan(scores.bootstrap_slope(EXAMPLE, HEADS)).all()
    assert np.isnan(scores.bootstrap_slope_difference(EXAMPLE, HEADS, HEADS)).all()


def test_the_slope_finds_what_was_planted():
    rng = np.random.default_rng(2)
    sentences = random_sentences(400, rng, longest=20)
    gold = scores.gold_heads(sentences, 21)
    lengths = scores.arc_lengths(sentences, 21)
    is_wrong = rng.random((3, *gold.shape)) < 0.05 * lengths
    slopes = scores.length_slope(sentences, np.where(is_wrong, 99, gold))
    np.testing.assert_allclose(slopes, -0.05, atol=0.01)
    assert scores.length_slope(sentences, gold) == pytest.approx(0.0, abs=1e-12)


def test_an_empty_bin_has_no_accuracy_and_lengths_are_means_over_words():
    groups = scores.by_sentence_length(EXAMPLE, scores.correct_heads(EXAMPLE, HEADS))
    assert groups.accuracy[0] == 0.75
    assert np.isnan(groups.accuracy[1:]).all()
    assert scores.mean_sentence_lengths(EXAMPLE)[0] == (3 * 3 + 1 * 1) / 4


def test_a_bootstrap_interval_covers_the_truth_about_19_times_in_20():
    rng = np.random.default_rng(3)
    covered = 0
    for trial in range(200):
        total_N = rng.integers(1, 30, 100)
        # Sentences differ in how hard they are; the share of words that are right is 0.8 over all.
        correct_N = rng.binomial(total_N, rng.beta(8, 2, 100))
        low, high = scores.bootstrap_interval(correct_N, total_N, draws=300, seed=trial)
        covered += low <= 0.8 <= high
    assert 0.88 <= covered / 200 <= 0.99


def test_a_paired_difference_sees_what_single_intervals_cannot():
    rng = np.random.default_rng(4)
    total_N = rng.integers(5, 30, 300)
    better_N = rng.binomial(total_N, rng.beta(4, 2, 300))
    worse_N = np.maximum(better_N - rng.binomial(1, 0.3, 300), 0)
    low, high = scores.bootstrap_difference(better_N, worse_N, total_N)
    assert 0 < low < (better_N - worse_N).sum() / total_N.sum() < high
    assert scores.bootstrap_interval(better_N, total_N)[0] < scores.bootstrap_interval(worse_N, total_N)[1]
    assert scores.bootstrap_difference(better_N, better_N, total_N) == (0.0, 0.0)


def test_the_interval_of_a_slope_equals_the_slow_reference():
    rng = np.random.default_rng(6)
    sentences = random_sentences(30, rng)
    heads, _ = noisy(sentences, rng)
    times_DN = scores._draw_sentences(30, 25, 7).astype(int)
    slopes_DS = np.array(
        [
            scores.length_slope([sentences[n] for n in drawn], heads[:, drawn])
            for drawn in (np.repeat(np.arange(30), times_N) for times_N in times_DN)
        ]
    )
    for slopes_D, interval in (
        (slopes_DS[:, 0], scores.bootstrap_slope(sentences, heads[0], draws=25, seed=7)),
        (slopes_DS.mean(1), scores.bootstrap_slope(sentences, heads, draws=25, seed=7)),
        (slopes_DS @ [1, -1], scores.bootstrap_slope_difference(sentences, heads[0], heads[1], draws=25, seed=7)),
    ):
        np.testing.assert_allclose(interval, np.quantile(slopes_D, (0.025, 0.975)))


def planted_heads(gold_NT, lengths_NT, rng, slope):
    """Heads of which a share of `slope` is wrong with each unit of length, more in some sentences than in others."""
    hardness_N = rng.uniform(0.5, 1.5, len(gold_NT))
    return np.where(rng.random(gold_NT.shape) < slope * lengths_NT * hardness_N[:, None], 99, gold_NT)


def test_the_interval_of_a_slope_covers_the_planted_one_about_19_times_in_20():
    rng = np.random.default_rng(7)
    sentences = random_sentences(100, rng, longest=20)
    gold = scores.gold_heads(sentences, 21)
    lengths = scores.arc_lengths(sentences, 21)
    covered, covered_difference = 0, 0
    for trial in range(200):
        steep, flat = (planted_heads(gold, lengths, rng, slope) for slope in (0.06, 0.03))
        low, high = scores.bootstrap_slope(sentences, steep, draws=300, seed=trial)
        assert low < scores.length_slope(sentences, steep) < high
        covered += low <= -0.06 <= high
        low, high = scores.bootstrap_slope_difference(sentences, steep, flat, draws=300, seed=trial)
        covered_difference += low <= -0.03 <= high
    assert 0.88 <= covered / 200 <= 0.99
    assert 0.88 <= covered_difference / 200 <= 0.99


def test_a_difference_of_slopes_is_paired_by_sentence():
    rng = np.random.default_rng(8)
    sentences = random_sentences(300, rng, longest=20)
    gold = scores.gold_heads(sentences, 21)
    lengths = scores.arc_lengths(sentences, 21)
    flat = planted_heads(gold, lengths, rng, 0.04)
    steep = np.where(rng.random(gold.shape) < 0.01 * lengths, 99, flat)  # the same errors and a few more
    low, high = scores.bootstrap_slope_difference(sentences, steep, flat)
    assert low < scores.length_slope(sentences, steep) - scores.length_slope(sentences, flat) < high < 0
    assert scores.bootstrap_slope(sentences, steep)[1] > scores.bootstrap_slope(sentences, flat)[0]
    assert scores.bootstrap_slope_difference(sentences, flat, flat) == (0.0, 0.0)


def test_an_interval_is_the_same_each_time_and_narrower_for_more_sentences():
    rng = np.random.default_rng(5)
    total_N, correct_N = np.full(400, 10), rng.binomial(10, 0.7, 400)
    low, high = scores.bootstrap_interval(correct_N, total_N)
    assert (low, high) == scores.bootstrap_interval(correct_N, total_N)
    # The normal approximation: 1.96 standard errors of 4,000 independent words.
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(0.7 * 0.3 / 4000), rel=0.2)
    few = scores.bootstrap_interval(correct_N[:100], total_N[:100])
    assert few[1] - few[0] > 1.5 * (high - low)


def test_correct_words_are_counted_by_sentence_and_averaged_over_seeds():
    correct = scores.correct_heads(EXAMPLE, HEADS)
    np.testing.assert_array_equal(scores.count_correct(correct), [2, 1])
    np.testing.assert_array_equal(scores.count_correct(np.stack([correct, np.zeros_like(correct)])), [1, 0.5])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: scores.correct_heads(EXAMPLE, HEADS[:1]), "not those of 2 sentences"),
        (lambda: scores.correct_heads(EXAMPLE, HEADS[:, :3]), "sentence 0 has 3 words, its parse room for 2"),
        (lambda: scores.share_of_words((), np.zeros((0, 3), bool)), "no words to score"),
        (lambda: scores.bootstrap_interval([1], [1, 2]), "of the same sentences"),
        (lambda: scores.bootstrap_interval([0], [0]), "with 0 words"),
    ],
)
def test_what_cannot_be_scored_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
