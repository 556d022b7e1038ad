"""Translations of lines without a corpus: what is read, what is refused, and that each line keeps its translation."""

from types import SimpleNamespace

import numpy as np
import pytest
from hand_wired_translators import copying, make_pointer, reversing

from data import tokenizers
from experiments import translations
from experiments.seq2seq_attention.lines import MULTIPLE, ROWS, make_line_translator
from training.experiment import Trained

WORDS = tokenizers.train("word", ["the dog saw the old cat"])
TEXT = ["The dog saw an old cat.", "A cat, a dog: old dogs!"] * 3
SUBWORDS = tokenizers.train("sentencepiece", TEXT, vocab_size=32, byte_fallback=False, exact=False)


def make(tokenizer=WORDS, position_of=copying, context_length=40, file=None):
    """(read, translate) of a translator that copies."""
    files = {tokenizers.FILE: tokenizers.dumps(tokenizer) if file is None else file}
    trained = Trained(SimpleNamespace(context_length=context_length), {}, files, "additive", 10)
    return make_line_translator(trained, lambda config, vocab_size: make_pointer(position_of, vocab_size))


def test_a_line_is_its_words_and_the_end():
    read, _ = make()
    assert read("the cat") == [*WORDS.encode("the cat").tolist(), WORDS.end]
    read, _ = make(SUBWORDS)
    ids = read("A dog saw the cat.")
    assert ids[-1] == SUBWORDS.end
    assert SUBWORDS.decode(ids[:-1]) == "A dog saw the cat."


@pytest.mark.parametrize("tokenizer", [WORDS, SUBWORDS])
def test_what_copies_gives_the_lines_back_in_their_order(tokenizer):
    read, translate = make(tokenizer)
    lines = ["the dog", "cat", "the old dog saw the cat", "cat"]
    for beam_size in (1, 2):
        assert translate([read(line) for line in lines], beam_size) == lines


def test_lines_of_any_length_are_translated_alone_or_together():
    read, translate = make(position_of=reversing)
    words = np.random.default_rng(0).choice(["the", "dog", "saw", "old", "cat"], 2 * MULTIPLE).tolist()
    lines = [" ".join(words[:length]) for length in (1, MULTIPLE - 1, MULTIPLE, 2 * MULTIPLE)]
    expected = [" ".join(line.split()[::-1]) for line in lines]
    assert translate([read(line) for line in lines], 1) == expected
    assert [translate([read(line)], 1)[0] for line in lines[:2]] == expected[:2]


@pytest.mark.parametrize("number", [translations.LINES_AT_ONCE, ROWS + 1])
def test_as_many_lines_are_translated_at_once_as_are_asked_for(number):
    assert translations.LINES_AT_ONCE <= ROWS
    read, translate = make()
    lines = [["the", "dog", "saw", "old", "cat"][i % 5] for i in range(number)]
    assert translate([read(line) for line in lines], 1) == lines


@pytest.mark.parametrize(
    ("tokenizer", "line", "named"),
    [
        (WORDS, "the frog saw the the Dog frog", "'frog', 'Dog'"),
        (SUBWORDS, "The H\u00fcnd \u4f60\u597d.", "'H', '\u00fc', '\u4f60', '\u597d'"),
        (SUBWORDS, "The cafe\u0301.", "'f', '\u00e9'"),  # an accent alone, which joins a letter that is known
    ],
)
def test_what_the_training_text_does_not_hold_is_named_once(tokenizer, line, named):
    read, _ = make(tokenizer)
    with pytest.raises(ValueError, match=f"^the training text does not hold {named}: leave it out or write it"):
        read(line)


def test_a_line_longer_than_the_context_is_refused_with_both_numbers():
    read, _ = make(context_length=4)
    assert len(read("the dog saw")) == 4  # with its end
    with pytest.raises(ValueError, match="the line has 5 tokens; the translator was trained on at most 4: divide"):
        read("the dog saw the")


def test_a_beam_wider_than_the_vocabulary_is_refused():
    read, translate = make()
    with pytest.raises(ValueError, match="beam_size=50 must not exceed the 7 tokens of the vocabulary"):
        translate([read("cat")], 50)


def test_a_damaged_tokenizer_is_refused():
    with pytest.raises(ValueError, match="tokenizer"):
        make(file=b"{")
