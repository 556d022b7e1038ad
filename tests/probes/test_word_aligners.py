"""Word aligners, against the same models in loops over dictionaries, and on languages whose alignment is known."""

from collections import defaultdict
from math import log

import numpy as np
import pytest

from probes import word_aligners
from probes.alignment import alignment_error_rate, padded_links
from probes.word_aligners import (
    NULL,
    UNSEEN,
    align,
    link_probabilities,
    train_hmm,
    train_ibm1,
    translation_probabilities,
)

# A text of few words with repeated words, repeated lengths, and pairs of 1 x 3 and 4 x 1 words.
SOURCE = [[0, 1, 2], [1, 0], [2, 2, 3, 1], [3], [0, 3, 1], [4, 1], [0, 2, 1, 4]]
TARGET = [[5, 6, 7], [6, 5, 5], [7, 8, 6], [8, 5, 7], [8, 8, 6], [9, 6, 6], [6]]


def text(sentences):
    return [np.array(sentence, np.int32) for sentence in sentences]


def ids(sentences):
    """The sentences as arrays of ids, and the id of each word."""
    vocabulary = {}
    return [
        np.array([vocabulary.setdefault(word, len(vocabulary)) for word in s.split()]) for s in sentences
    ], vocabulary


# --- Slow references. A translation table is {(source word, target word): probability}.


def slow_normalise(counts):
    totals = defaultdict(float)
    for (e, _), count in counts.items():
        totals[e] += count
    return {(e, f): count / totals[e] for (e, f), count in counts.items()}


def slow_ibm1(source, target, num_iterations):
    """The table and the log likelihood after and before each iteration."""
    num_words = len({f for sentence in target for f in sentence})
    table = {(e, f): 1 / num_words for es, fs in zip(source, target, strict=True) for e in [*es, NULL] for f in fs}
    for _ in range(num_iterations):
        counts, log_likelihood = defaultdict(float), 0.0
        for es, fs in zip(source, target, strict=True):
            for f in fs:
                total = sum(table[e, f] for e in [*es, NULL])
                log_likelihood += log(total / (len(es) + 1))
                for e in [*es, NULL]:
                    counts[e, f] += table[e, f] / total
        table = slow_normalise(counts)
        yield table, log_likelihood


def slow_paths(es, fs, table, jumps, empty_probability):
    """Every path of origins [(position or NULL), ...] with its probability, by enumeration."""
    paths = [((), -1, 1.0)]
    for f in fs:
        longer = []
        for origins, last, probability in paths:
            longer.append(((*origins, NULL), last, probability * empty_probability * table(NULL, f)))
            total = sum(jumps[position - last] for position in range(len(es)))
            for position, e in enumerate(es):
                jump = (1 - empty_probability) * jumps[position - last] / total
                longer.append(((*origins, position), position, probability * jump * table(e, f)))
        paths = longer
    return [(origins, probability) for origins, _, probability in paths]


def slow_hmm(source, target, table, num_iterations, empty_probability):
    """The table, the jumps and the log likelihood after and before each iteration."""
    longest = max(map(len, source))
    jumps = {width: 1 / (2 * longest + 1) for width in range(-longest, longest + 1)}
    for _ in range(num_iterations):
        counts, jump_counts, log_likelihood = defaultdict(float), defaultdict(float), 0.0
        for es, fs in zip(source, target, strict=True):
            paths = slow_paths(es, fs, lambda e, f, table=table: table[e, f], jumps, empty_probability)
            total = sum(probability for _, probability in paths)
            log_likelihood += log(total)
            for origins, probability in paths:
                last = -1
                for position, f in zip(origins, fs, strict=True):
                    counts[NULL if position == NULL else es[position], f] += probability / total
                    if position != NULL:
                        jump_counts[len(es), last, position - last] += probability / total
                        last = position
        table = slow_normalise(counts)
        for _ in range(word_aligners.JUMP_STEPS):
            exposure = defaultdict(float)
            for (num_source, last, _), count in jump_counts.items():
                widths = [position - last for position in range(num_source)]
                for width in widths:
                    exposure[width] += count / sum(jumps[other] for other in widths)
            width_counts = defaultdict(float)
            for (_, _, width), count in jump_counts.items():
                width_counts[width] += count
            jumps = {width: width_counts[width] / exposure[width] if exposure[width] else 0.0 for width in jumps}
            jumps = {width: weight / sum(jumps.values()) for width, weight in jumps.items()}
        yield table, jumps, log_likelihood


def assert_same_table(table, expected):
    (e, f), probabilities = np.array(list(expected)).T, list(expected.values())
    np.testing.assert_allclose(translation_probabilities(table, e, f), probabilities, rtol=1e-9, atol=1e-12)
    assert len(table.keys_U) == len(expected)


def test_ibm1_is_the_slow_reference_after_each_iteration():
    for num_iterations, (expected, _) in enumerate(slow_ibm1(SOURCE, TARGET, 4), start=1):
        table = train_ibm1(text(SOURCE), text(TARGET), num_iterations)
        assert_same_table(table, expected)
    likelihoods = [log_likelihood for _, log_likelihood in slow_ibm1(SOURCE, TARGET, 4)]
    np.testing.assert_allclose(table.log_likelihoods, likelihoods, rtol=1e-12)


def test_the_hmm_is_the_slow_reference_over_all_paths_after_each_iteration():
    ibm1 = train_ibm1(text(SOURCE), text(TARGET), 2)
    *_, (slow_table, _) = slow_ibm1(SOURCE, TARGET, 2)
    iterations = list(slow_hmm(SOURCE, TARGET, slow_table, 3, 0.3))
    for num_iterations, (expected, jumps, _) in enumerate(iterations, start=1):
        hmm = train_hmm(text(SOURCE), text(TARGET), ibm1, num_iterations, empty_probability=0.3)
        assert_same_table(hmm.table, expected)
        np.testing.assert_allclose(hmm.jumps_W, [jumps[width] for width in sorted(jumps)], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(hmm.table.log_likelihoods, [step[2] for step in iterations], rtol=1e-12)


def test_links_of_new_sentences_are_those_of_all_paths():
    """One has a source and a target word that training never saw, one is longer than all sentences in training."""
    hmm = train_hmm(text(SOURCE), text(TARGET), train_ibm1(text(SOURCE), text(TARGET), 2), 2)
    source, target = [[0, 99, 1], [0, 1, 2, 3, 4, 1]], [[5, 98, 6], [6, 5, 9]]
    longest = len(hmm.jumps_W) // 2
    jumps = defaultdict(lambda: UNSEEN)
    jumps.update({w: max(weight, UNSEEN) for w, weight in zip(range(-longest, longest + 1), hmm.jumps_W, strict=True)})

    def table(e, f):
        return max(float(translation_probabilities(hmm.table, e, f)), UNSEEN)

    for es, fs, links in zip(source, target, link_probabilities(hmm, text(source), text(target)), strict=True):
        expected = np.zeros((len(fs), len(es)))
        paths = slow_paths(es, fs, table, jumps, hmm.empty_probability)
        for origins, probability in paths:
            for t, position in enumerate(origins):
                if position != NULL:
                    expected[t, position] += probability
        np.testing.assert_allclose(links, expected / sum(p for _, p in paths), rtol=1e-9, atol=1e-12)


def test_the_likelihood_never_falls():
    generator = np.random.default_rng(0)
    lengths = generator.integers(1, 12, (80, 2))
    source, target = ([generator.zipf(1.5, n) % 30 for n in lengths[:, side]] for side in (0, 1))
    ibm1 = train_ibm1(source, target, 12)
    hmm = train_hmm(source, target, ibm1, 12)
    for log_likelihoods in (ibm1.log_likelihoods, hmm.table.log_likelihoods):
        assert len(log_likelihoods) == 12
        assert np.diff(log_likelihoods).min() > 0


def test_probabilities_of_a_source_word_sum_to_one():
    ibm1 = train_ibm1(text(SOURCE), text(TARGET))
    for table in (ibm1, train_hmm(text(SOURCE), text(TARGET), ibm1).table):
        for e in [NULL, *range(5)]:
            assert translation_probabilities(table, np.full(10, e), np.arange(10)).sum() == pytest.approx(1)
    assert translation_probabilities(ibm1, 4, 8) == 0  # never in one pair


def test_the_dictionary_of_three_phrases_is_found():
    source, german = ids(["das haus", "das buch", "ein buch"])
    target, english = ids(["the house", "the book", "a book"])
    table = train_ibm1(source, target, 50)
    for german_word, english_word in (("das", "the"), ("haus", "house"), ("buch", "book"), ("ein", "a")):
        given = np.full(4, german[german_word])
        probabilities = translation_probabilities(table, given, np.arange(4))
        assert probabilities.argmax() == english[english_word]
        assert probabilities.max() > 0.9
    for links in align(table, source, target):
        np.testing.assert_array_equal(links, np.eye(2, dtype=bool))


def reordered_language(num_sentences, seed):
    """Pairs of 6 to 9 words of 12 kinds, in which the last word moves to the front, and their gold links."""
    generator = np.random.default_rng(seed)
    source, links = [], []
    for _ in range(num_sentences):
        source.append(generator.integers(0, 12, generator.integers(6, 10)))
        links.append(np.roll(np.eye(len(source[-1]), dtype=bool), 1, axis=0))
    return source, [sentence[link.argmax(1)] + 100 for sentence, link in zip(source, links, strict=True)], links


def test_the_hmm_tells_apart_repeated_words_in_a_reordered_language():
    source, target, _ = reordered_language(200, seed=0)
    new_source, new_target, gold = reordered_language(50, seed=1)
    ibm1 = train_ibm1(source, target)
    hmm = train_hmm(source, target, ibm1)
    ibm1_error, hmm_error = (
        alignment_error_rate(padded_links(align(model, new_source, new_target), 9, 9), padded_links(gold, 9, 9))
        for model in (ibm1, hmm)
    )
    assert ibm1_error > 0.15  # it takes the first of equal words
    assert hmm_error < 0.02


def test_a_word_without_a_source_comes_from_the_empty_word():
    """Each target sentence has one more word, anywhere, whatever the source says."""
    generator = np.random.default_rng(0)
    source = [generator.permutation(20)[:5] for _ in range(200)]
    places = generator.integers(0, 6, 200)
    target = [np.insert(sentence + 100, place, 50) for sentence, place in zip(source, places, strict=True)]
    ibm1 = train_ibm1(source, target)
    for model in (ibm1, train_hmm(source, target, ibm1)):
        for links, place in zip(align(model, source, target), places, strict=True):
            np.testing.assert_array_equal(links, np.insert(np.eye(5, dtype=bool), place, False, axis=0))


def test_words_never_seen_are_aligned_by_place():
    source, target, _ = reordered_language(200, seed=0)
    hmm = train_hmm(source, target, train_ibm1(source, target))
    new_source, new_target = text([[0, 1, 77, 3, 4, 5]]), text([[105, 100, 101, 88, 103, 104]])
    (links,) = align(hmm, new_source, new_target)
    np.testing.assert_array_equal(links.argmax(1), [5, 0, 1, 2, 3, 4])
    assert links.any(1).all()


def test_a_sentence_in_which_training_ruled_everything_out_is_aligned_all_the_same():
    ibm1 = train_ibm1(text(SOURCE), text(TARGET))
    impossible = ibm1._replace(probabilities_U=np.zeros_like(ibm1.probabilities_U))
    (links,) = link_probabilities(impossible, text(SOURCE[:1]), text(TARGET[:1]))
    np.testing.assert_allclose(links, np.full((3, 3), 1 / 4))


def test_how_sentences_are_grouped_changes_nothing(monkeypatch):
    source, target, _ = reordered_language(40, seed=0)
    source.append(np.arange(30) % 12)
    target.append(np.arange(25) % 12 + 100)
    whole = train_hmm(source, target, train_ibm1(source, target, 2), 2)
    monkeypatch.setattr(word_aligners, "GROUP_CELLS", 100)
    order = np.random.default_rng(0).permutation(len(source))
    source, target = [source[n] for n in order], [target[n] for n in order]
    split = train_hmm(source, target, train_ibm1(source, target, 2), 2)
    np.testing.assert_array_equal(whole.table.keys_U, split.table.keys_U)
    np.testing.assert_allclose(whole.table.probabilities_U, split.table.probabilities_U, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(whole.jumps_W, split.jumps_W, rtol=1e-9, atol=1e-12)


def test_an_empty_sentence_is_aligned_with_nothing():
    source, target = text([[0, 1], [], [2]]), text([[5, 6], [5], []])
    ibm1 = train_ibm1(source, target)
    for model in (ibm1, train_hmm(source, target, ibm1)):
        assert [links.shape for links in align(model, source, target)] == [(2, 2), (1, 0), (0, 1)]
        assert np.isfinite(translation_probabilities(model if model is ibm1 else model.table, [0, 2], [5, 5])).all()
    only_null = train_hmm(text([[]]), text([[5]]), train_ibm1(text([[]]), text([[5]])))
    assert only_null.table.log_likelihoods[-1] == pytest.approx(log(0.2))


def test_what_is_no_parallel_text_is_refused():
    with pytest.raises(ValueError, match="2 source and 1 target sentences"):
        train_ibm1(text([[0], [1]]), text([[0]]))
    with pytest.raises(ValueError, match="the target sentences have no words"):
        train_ibm1(text([[0]]), text([[]]))
    for bad in ([-1], [0.5], [2**31]):
        with pytest.raises(ValueError, match="source sentences must be token ids"):
            train_ibm1([np.array(bad)], text([[0]]))
    with pytest.raises(ValueError, match="the empty word has probability 1"):
        train_hmm(text([[0]]), text([[0]]), train_ibm1(text([[0]]), text([[0]])), empty_probability=1)
