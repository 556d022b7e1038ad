"""Pieces of a vocabulary, on words small enough to count by hand."""

from collections import Counter

import numpy as np

from experiments.bpe.pieces import (
    BEGINNING,
    INSIDE,
    PIECE_KINDS,
    ROLES,
    SUFFIX,
    WHOLE,
    classify,
    count_occurrences,
    count_usage,
    draw_part,
)

PIECES = ["<unk>", "▁", "▁the", "re", "▁re", "a", "d", "ing", "▁a", "un"]


def test_usage_counts_roles_tokens_and_distinct_words():
    spellings = [[2], [2, 3], [1, 5, 6, 7], [3, 5, 6], [4, 5, 6], [1, 5]]  # ▁the ▁there ▁ading read ▁read ▁a
    usage = count_usage(spellings, np.array([10, 3, 2, 5, 7, 1]), PIECES)
    tokens = {
        piece: dict(zip(ROLES, row.tolist(), strict=True)) for piece, row in zip(PIECES, usage.tokens_PR, strict=True)
    }
    assert tokens["▁the"] == {"complete word": 10, "word beginning": 3, "inside": 0, "suffix": 0}
    assert tokens["re"] == {"complete word": 0, "word beginning": 5, "inside": 0, "suffix": 3}
    assert tokens["a"] == {"complete word": 1, "word beginning": 2, "inside": 12, "suffix": 0}
    assert tokens["d"] == {"complete word": 0, "word beginning": 0, "inside": 2, "suffix": 12}
    assert usage.pieces_W.tolist() == [1, 2, 3, 3, 3, 1]
    assert usage.words_PR[PIECES.index("a"), INSIDE] == 1  # read and ▁read are one word
    assert usage.tokens_PR[[0, 1]].sum() == 0
    assert usage.words_PR.max() <= 2


def test_occurrences_are_those_of_every_substring():
    counts = Counter({"▁abab": 3, "ab": 2, "▁cab": 1, "abab": 4})
    strings = {"a", "ab", "▁ab", "ba", "▁c", "abab", "▁b", "x"}
    occurrences = count_occurrences(counts, strings)
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
        assert occurrences[string].tolist() == [*expected, len(words)], string


def test_a_random_part_has_the_length_and_role_of_its_piece():
    words = ["▁abcd", "xyz", "▁longer", "q"]
    generator = np.random.default_rng(0)
    drawn = {
        (piece, role): {draw_part(generator, words, piece, role) for _ in range(200)}
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
    kinds = [PIECE_KINDS[kind] for kind in classify(pieces, tokens_PR, occurrences)]
    assert kinds == [
        *("special", "special", "whitespace", "complete word", "suffix", "digits", "digits", "punctuation"),
        *("punctuation", "non-Latin script", "non-Latin script", "inside", "complete word"),
    ]
