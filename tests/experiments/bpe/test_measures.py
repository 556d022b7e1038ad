"""Subword probes, on words small enough to count by hand."""

from collections import Counter

import numpy as np
import pytest

from experiments.bpe import measures as subwords
from experiments.bpe.measures import BEGINNING, INSIDE, KINDS, ROLES, SUFFIX, WHOLE


def test_text_is_normalized_as_it_is_split():
    assert subwords.normalized("a  b\tc \n\n  \N{LATIN SMALL LIGATURE FI}n\n") == " a b c\n fin"


def test_scripts_by_name():
    scripts = ["LATIN", "LATIN", "GREEK", "CYRILLIC", "CJK", "HIRAGANA", "ARABIC", "DEVANAGARI"]
    assert [subwords.script(c) for c in "aßμж語あع\N{DEVANAGARI VOWEL SIGN AA}"] == scripts
    assert [subwords.is_letter(c) for c in "aß語1_-\N{COMBINING ACUTE ACCENT}"] == [True] * 3 + [False] * 3 + [True]
    assert [subwords.is_latin(c) for c in "aßμ1"] == [True, True, False, False]


def test_words_are_runs_of_latin_letters():
    found = subwords.words(" it's it\n self.it2it жit é_x  ")
    assert found == {"▁it": 2, "s": 1, "▁self": 1, "it": 3, "▁é": 1, "x": 1}
    assert subwords.words(" 1 2\n ж") == {}


PIECES = ["<unk>", "▁", "▁the", "re", "▁re", "a", "d", "ing", "▁a", "un"]


def test_usage_counts_roles_tokens_and_distinct_words():
    spellings = [[2], [2, 3], [1, 5, 6, 7], [3, 5, 6], [4, 5, 6], [1, 5]]  # ▁the ▁there ▁ading read ▁read ▁a
    found = subwords.usage(spellings, np.array([10, 3, 2, 5, 7, 1]), PIECES)
    tokens = {
        piece: dict(zip(ROLES, row.tolist(), strict=True)) for piece, row in zip(PIECES, found.tokens_PR, strict=True)
    }
    assert tokens["▁the"] == {"complete word": 10, "word beginning": 3, "inside": 0, "suffix": 0}
    assert tokens["re"] == {"complete word": 0, "word beginning": 5, "inside": 0, "suffix": 3}
    assert tokens["a"] == {"complete word": 1, "word beginning": 2, "inside": 12, "suffix": 0}
    assert tokens["d"] == {"complete word": 0, "word beginning": 0, "inside": 2, "suffix": 12}
    assert found.pieces_W.tolist() == [1, 2, 3, 3, 3, 1]
    assert found.words_PR[PIECES.index("a"), INSIDE] == 1  # read and ▁read are one word
    assert found.tokens_PR[[0, 1]].sum() == 0
    assert found.words_PR.max() <= 2


def test_occurrences_are_those_of_every_substring():
    counts = Counter({"▁abab": 3, "ab": 2, "▁cab": 1, "abab": 4})
    strings = {"a", "ab", "▁ab", "ba", "▁c", "abab", "▁b", "x"}
    found = subwords.occurrences(counts, strings)
    for string in strings:
        expected, words = np.zeros(len(ROLES), int), set()
        for word, count in counts.items():
            letters = word.lstrip("▁")
            places = ["▁" + letters] if string.startswith("▁") and word.startswith("▁") else [letters]
            for place in places:
                for start in range(len(place)):
                    if not place.startswith(string, start):
                        continue
                    first, last = start == 0, start + len(string) == len(place)
                    role = WHOLE if first and last else BEGINNING if first else SUFFIX if last else INSIDE
                    expected[role] += count
                    words.add(letters)
        assert found[string].tolist() == [*expected, len(words)], string


def test_a_random_part_has_the_length_and_role_of_its_piece():
    words = ["▁abcd", "xyz", "▁longer", "q"]
    generator = np.random.default_rng(0)
    drawn = {
        (piece, role): {subwords.random_part(generator, words, piece, role) for _ in range(200)}
        for piece, role in [("▁u", BEGINNING), ("uv", BEGINNING), ("uv", INSIDE), ("uvw", SUFFIX), ("uvwu", WHOLE)]
    }
    assert list(drawn.values()) == [
        {"▁a", "▁l"},
        {"ab", "xy", "lo"},
        {"bc", "on", "ng", "ge"},
        {"bcd", "ger"},
        {"abcd", "long"},
    ]


def test_kinds_follow_use_and_then_occurrence():
    pieces = ["<s>", "<0xE9>", "▁", "▁the", "ing", "12", "▁2", "_", "▁(", "▁ж", "語", "un", "zz"]
    tokens_PR = np.zeros((len(pieces), 4), int)
    tokens_PR[3] = [9, 4, 0, 0]
    tokens_PR[4] = [1, 0, 2, 3]
    occurrences = {"ing": np.array([50, 0, 0, 0, 9]), "un": np.array([0, 0, 7, 1, 9])}
    found = [KINDS[kind] for kind in subwords.kinds(pieces, tokens_PR, occurrences)]
    assert found == [
        *("special", "special", "whitespace", "complete word", "suffix", "digits", "digits", "punctuation"),
        *("punctuation", "non-Latin script", "non-Latin script", "inside", "complete word"),
    ]


def test_rank_correlation_is_pearsons_of_mean_ranks():
    x, y = [3, 1, 3, 7, 0], [1, 2, 2, 9, 2]

    def rank(values, value):
        return sum(v < value for v in values) + (sum(v == value for v in values) - 1) / 2

    ranks = [[rank(values, value) for value in values] for values in (x, y)]
    assert subwords.rank_correlation(x, y) == pytest.approx(np.corrcoef(ranks)[0, 1], abs=1e-12)
    assert subwords.rank_correlation([1, 2, 3], [1, 8, 27]) == pytest.approx(1)
    assert subwords.rank_correlation([1, 2, 3], [3, 2, -9]) == pytest.approx(-1)
    assert np.isnan(subwords.rank_correlation([1, 2, 3], [5, 5, 5]))


def test_probability_greater_counts_pairs():
    generator = np.random.default_rng(1)
    x, y = generator.integers(0, 6, 30), generator.integers(0, 5, 40)
    pairs = [(a > b) + 0.5 * (a == b) for a in x for b in y]
    assert subwords.probability_greater(x, y) == pytest.approx(np.mean(pairs))
