"""The texts of tests/fixtures/kenlm as ids of KenLM's words, for the tests of n-gram models."""

from pathlib import Path

import numpy as np

FOLDER = Path(__file__).with_name("fixtures") / "kenlm"


def vocabulary(name):
    """KenLM's words of a text file: <unk>, </s> and those of the text; <s> last."""
    return ("<unk>", "</s>", *dict.fromkeys((FOLDER / name).read_text().split()), "<s>")


def sentences(name):
    """The lines of a text file as tuples of words, with <s> before and </s> after each."""
    return [("<s>", *line.split(), "</s>") for line in (FOLDER / name).read_text().split("\n")[:-1]]


def spelled(name, words):
    """The ids of a text file's sentences, int64 [N]."""
    ids = {word: id for id, word in enumerate(words)}
    return np.array([ids.get(word, ids["<unk>"]) for sentence in sentences(name) for word in sentence])
