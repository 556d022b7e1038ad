"""Sentencepiece: exact decoding, what it is trained on, and the definition of byte-pair encoding."""

from collections import Counter
from itertools import pairwise

import pytest

from data import subwords
from data.subwords import train_sentencepiece

CODE = "def f(x):\n    if x:\n\t\treturn  x + 1  \n\n\nclass A:\n    pass\n"
FOREIGN = "naïve 語 \N{GRINNING FACE} µ\n"
LINES = ["the cat sat on the mat", "the dog sat on the log", "a cat and a dog", "", "hats, cats and mats"] * 4
TEXT = "\n".join(LINES) + "\n"


@pytest.fixture(scope="module")
def exact():
    return train_sentencepiece([TEXT, CODE], vocab_size=330)


@pytest.mark.parametrize("text", [CODE, FOREIGN, TEXT, "  \n \n", "▁ <unk> <s>\n"])
def test_exact_sentencepiece_gives_every_text_back(exact, text):
    assert exact.decode(exact.encode(text)) == text.replace("▁", " ")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"vocab_size": 100_000}, r"more than the training text supports: take at most \d+"),
        ({"vocab_size": 20}, r"too small .* take at least \d+"),
        ({"model_type": "wordpiece"}, "bpe or unigram"),
    ],
)
def test_wrong_vocabularies_and_models_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        train_sentencepiece([TEXT], **settings)


def test_the_largest_vocabulary_that_is_named_can_be_trained():
    with pytest.raises(ValueError, match="take at most") as error:
        train_sentencepiece([TEXT], vocab_size=100_000)
    largest = int(str(error.value).split("take at most ")[1].split(",")[0])
    assert train_sentencepiece([TEXT], vocab_size=largest).vocab_size == largest


def test_lines_may_be_given_with_how_often_they_occur():
    settings = {"vocab_size": 60, "byte_fallback": False}
    words = [f" {word}" for word in TEXT.split()]
    counted = train_sentencepiece(Counter(words), **settings)
    spelled = train_sentencepiece(words, **settings)
    assert [counted.piece(id) for id in range(60)] == [spelled.piece(id) for id in range(60)]


def test_only_the_first_characters_are_trained_on(monkeypatch):
    monkeypatch.setattr(subwords, "TRAINING_CHARACTERS", len(TEXT) + 3)
    limited = train_sentencepiece([TEXT, "zzzqqq", "www"], vocab_size=300)
    pieces = {limited.piece(id) for id in range(300)}
    assert "z" in pieces
    assert not pieces & {"q", "w"}
    assert limited.decode(limited.encode("qw")) == "qw"


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
    tokenizer = train_sentencepiece(
        [PROSE], vocab_size=3 + num_merges + num_characters, byte_fallback=False, exact=False
    )
    pieces = [tokenizer.piece(id) for id in range(tokenizer.vocab_size)]
    assert pieces[3 : 3 + num_merges] == merges
    assert {len(piece) for piece in pieces[3 + num_merges :]} == {1}
    for word, symbols in spelled.items():
        assert [tokenizer.piece(id) for id in tokenizer.encode(word[1:])] == symbols
