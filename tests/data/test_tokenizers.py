"""Tokenizers: what is decoded is what was encoded, and vocabularies are those of the definition."""

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
        ("char", {"vocab_size": 5}, "no setting 'vocab_size'; it has: min_count, unknown"),
        ("byte", {"min_count": 5}, "none"),
        ("char", {"min_count": 10_000}, "no character occurs 10000 times"),
        ("word", {"min_count": 10_000}, "no word occurs 10000 times"),
        ("word", {"vocab_size": 2}, "at least 3"),
        ("word", {"split": "commas"}, "spaces, punctuation"),
    ]:
        with pytest.raises(ValueError, match=message):
            tokenizers.train(kind, [TEXT], **settings)


def test_a_damaged_tokenizer_is_refused():
    whole = tokenizers.dumps(tokenizers.train("sentencepiece", [TEXT], vocab_size=310))
    for damaged in (b"", b"{}", b"[1]", whole[:-9], whole.replace(b'"format": 1', b'"format": 0')):
        with pytest.raises(ValueError, match="no tokenizer that this version can read"):
            tokenizers.loads(damaged)
