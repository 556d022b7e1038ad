"""Tokenizers: what is decoded is what was encoded, and vocabularies are those of the definition."""

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from data import tokenizers

SHARED = Path(__file__).parents[3] / "shared" / "data"
CODE = "def f(x):\n    if x:\n\t\treturn  x + 1  \n\n\nclass A:\n    pass\n"
FOREIGN = "naïve 語 \N{GRINNING FACE} µ\n"
LINES = ["the cat sat on the mat", "the dog sat on the log", "a cat and a dog", "", "hats, cats and mats"] * 4
TEXT = "\n".join(LINES) + "\n"

kinds = pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("char", {}),
        ("char", {"min_count": 9}),
        ("byte", {}),
        ("word", {"min_count": 2, "split": "punctuation"}),
        ("sentencepiece", {"vocab_size": 310}),
        ("sentencepiece", {"vocab_size": 40, "byte_fallback": False, "exact": False}),
    ],
)


@kinds
def test_ids_are_int32_in_the_vocabulary_and_bytes_keep_the_tokenizer(kind, settings):
    tokenizer = tokenizers.train(kind, [TEXT, CODE] if kind == "char" else [TEXT], **settings)
    ids = tokenizer.encode(TEXT)
    assert ids.dtype == np.int32
    assert ids.ndim == 1
    assert 0 <= ids.min() <= ids.max() < tokenizer.vocab_size
    again = tokenizers.loads(tokenizers.dumps(tokenizer))
    assert again == tokenizer
    assert again.vocab_size == tokenizer.vocab_size
    np.testing.assert_array_equal(again.encode(TEXT), ids)
    assert again.decode(ids) == tokenizer.decode(ids)
    pieces = [tokenizer.piece(id) for id in range(tokenizer.vocab_size)]
    assert len(set(pieces)) == tokenizer.vocab_size
    assert tokenizer.encode("").shape == (0,)
    assert tokenizer.decode([]) == ""
    for wrong in ([-1], [tokenizer.vocab_size]):
        with pytest.raises(ValueError, match=r"0 \.\.\. "):
            tokenizer.decode(wrong)


@pytest.mark.parametrize("text", [CODE, FOREIGN, TEXT])
def test_characters_and_bytes_are_exact(text):
    for kind in ("char", "byte"):
        tokenizer = tokenizers.train(kind, [CODE, FOREIGN, TEXT])
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert len(ids) == (len(text) if kind == "char" else len(text.encode()))


@pytest.mark.parametrize("text", [CODE, FOREIGN, TEXT, "  \n \n", "▁ <unk> <s>\n"])
def test_exact_sentencepiece_gives_every_text_back(text):
    tokenizer = tokenizers.train("sentencepiece", [TEXT, CODE], vocab_size=330)
    assert tokenizer.decode(tokenizer.encode(text)) == text.replace("▁", " ")


def test_characters_are_in_the_order_of_code_points():
    tokenizer = tokenizers.train("char", ["cab", "\nß"])
    assert tokenizer.characters == "\nabcß"
    assert tokenizer.encode("abc\n").tolist() == [1, 2, 3, 0]


def test_unknown_characters_are_named_or_marked():
    with pytest.raises(ValueError, match="'QZ'"):
        tokenizers.train("char", ["abc"]).encode("aZbQZ")
    tokenizer = tokenizers.train("char", ["abc"], unknown=True)
    assert tokenizer.vocab_size == 4
    assert tokenizer.encode("aZb").tolist() == [0, 3, 1]
    assert tokenizer.decode([0, 3, 1]) == "a\N{REPLACEMENT CHARACTER}b"
    rare = tokenizers.train("char", ["aab", "b?"], min_count=2)
    assert (rare.characters, rare.unknown) == ("ab", True)


def test_bytes_that_are_no_utf8_are_marked():
    assert tokenizers.Bytes().decode([0xC3, 0x41]) == "\N{REPLACEMENT CHARACTER}A"


def test_words_fall_in_frequency_and_lines_end():
    tokenizer = tokenizers.train("word", ["b a b\n\nc b a <unk>\n"])
    assert tokenizer.words == ("<unk>", "<eos>", "b", "a", "c")
    assert tokenizer.encode("a z\n\nb").tolist() == [3, 0, 1, 1, 2]
    assert tokenizer.decode([3, 0, 1, 1, 2]) == "a <unk>\n\nb"
    assert tokenizers.train("word", ["b a b\nc b a\n"], min_count=2).words == ("<unk>", "<eos>", "b", "a")
    assert tokenizers.train("word", ["b a b\nc b a\n"], vocab_size=3).words == ("<unk>", "<eos>", "b")


def test_words_without_punctuation():
    tokenizer = tokenizers.train("word", ["f(x_1, 'it')\n"], split="punctuation")
    words = ["f", "(", "x_1", ",", "'", "it", "'", ")", "<eos>"]
    assert [tokenizer.piece(id) for id in tokenizer.encode("f(x_1, 'it')\n")] == words


def test_words_of_wikitext_are_counted_as_its_readme_counts_them():
    path = SHARED / "wikitext2_subset" / "valid.txt"
    if not path.exists():
        pytest.skip(f"no {path}")
    text = path.read_text(encoding="utf-8")
    tokenizer = tokenizers.train("word", [text])
    ids = tokenizer.encode(text)
    assert len(ids) == 217_646
    assert (ids == 0).sum() == 11_718
    assert (ids == 1).sum() == 3_760
    counts = np.bincount(ids)[2:]
    assert (np.diff(counts) <= 0).all()


def test_wrong_kinds_settings_and_vocabularies_are_refused():
    for kind, settings, message in [
        ("chars", {}, "char, byte, word, sentencepiece"),
        ("char", {"vocab_size": 5}, "no setting 'vocab_size'"),
        ("byte", {"min_count": 5}, "none"),
        ("char", {"min_count": 10_000}, "no character occurs 10000 times"),
        ("word", {"min_count": 10_000}, "no word occurs 10000 times"),
        ("word", {"vocab_size": 2}, "at least 3"),
        ("word", {"split": "commas"}, "spaces, punctuation"),
        ("sentencepiece", {"vocab_size": 100_000}, r"more than the training text supports: take at most \d+"),
        ("sentencepiece", {"vocab_size": 20}, r"too small .* take at least \d+"),
        ("sentencepiece", {"model_type": "wordpiece"}, "bpe or unigram"),
    ]:
        with pytest.raises(ValueError, match=message):
            tokenizers.train(kind, [TEXT], **settings)


def test_the_largest_vocabulary_that_is_named_can_be_trained():
    with pytest.raises(ValueError, match="take at most") as error:
        tokenizers.train("sentencepiece", [TEXT], vocab_size=100_000)
    largest = int(str(error.value).split("take at most ")[1].split(",")[0])
    assert tokenizers.train("sentencepiece", [TEXT], vocab_size=largest).vocab_size == largest


def test_lines_may_be_given_with_how_often_they_occur():
    settings = {"vocab_size": 60, "byte_fallback": False}
    words = [f" {word}" for word in TEXT.split()]
    counted = tokenizers.train("sentencepiece", Counter(words), **settings)
    spelled = tokenizers.train("sentencepiece", words, **settings)
    assert [counted.piece(id) for id in range(60)] == [spelled.piece(id) for id in range(60)]


def test_only_the_first_characters_are_learnt_from(monkeypatch):
    monkeypatch.setattr(tokenizers, "LEARNT_CHARACTERS", len(TEXT) + 3)
    limited = tokenizers.train("sentencepiece", [TEXT, "zzzqqq", "www"], vocab_size=300)
    pieces = {limited.piece(id) for id in range(300)}
    assert "z" in pieces
    assert not pieces & {"q", "w"}
    assert limited.decode(limited.encode("qw")) == "qw"


def test_a_damaged_tokenizer_is_refused():
    whole = tokenizers.dumps(tokenizers.train("sentencepiece", [TEXT], vocab_size=310))
    for damaged in (b"", b"{}", b"[1]", whole[:-9], whole.replace(b'"format": 1', b'"format": 0')):
        with pytest.raises(ValueError, match="no tokenizer that this version can read"):
            tokenizers.loads(damaged)


def reference_merges(text, num_merges):
    """Byte-pair encoding from its definition (Sennrich et al. 2016, algorithm 1), with sentencepiece's order of ties.

    Of the most frequent pairs the shortest is merged, of these the first in the order of UTF-8. A pair whose letters
    are a piece already is passed over.
    """
    counts = Counter("▁" + word for line in text.split("\n") for word in line.split())
    spelled, merges, passed_over = {word: list(word) for word in counts}, [], set()
    while len(merges) < num_merges:
        pairs = Counter()
        for word, symbols in spelled.items():
            for pair in pairwise(symbols):
                pairs[pair] += counts[word]
        best = min((p for p in pairs if p not in passed_over), key=lambda p: (-pairs[p], len("".join(p)), "".join(p)))
        if "".join(best) in merges:
            passed_over.add(best)
            continue
        merges.append("".join(best))
        for word, symbols in spelled.items():
            merged = []
            for symbol in symbols:
                if merged and (merged[-1], symbol) == best:
                    merged[-1] += symbol
                else:
                    merged.append(symbol)
            spelled[word] = merged
    return merges, spelled


# No letter stands three times in a row, so that no two places of one pair overlap.
PROSE = """it was the best of times it was the worst of times it was the age of wisdom it was the age of foolishness
it was the epoch of belief it was the epoch of incredulity it was the season of light it was the season of darkness
it was the spring of hope it was the winter of despair we had everything before us we had nothing before us
we were all going direct to heaven we were all going direct the other way"""


def test_sentencepiece_merges_what_a_slow_trainer_merges():
    num_merges = 90
    merges, spelled = reference_merges(PROSE, num_merges)
    num_characters = len(set(PROSE.replace("\n", " ")))
    tokenizer = tokenizers.train(
        "sentencepiece", [PROSE], vocab_size=3 + num_merges + num_characters, byte_fallback=False, exact=False
    )
    pieces = [tokenizer.piece(id) for id in range(tokenizer.vocab_size)]
    assert pieces[3 : 3 + num_merges] == merges
    assert {len(piece) for piece in pieces[3 + num_merges :]} == {1}
    for word, symbols in spelled.items():
        assert [tokenizer.piece(id) for id in tokenizer.encode(word[1:])] == symbols
