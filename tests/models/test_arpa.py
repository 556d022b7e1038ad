"""ARPA files, and through them our models against KenLM's own files and scores."""

import math

import numpy as np
import pytest
from kenlm_texts import FOLDER, spelled, vocabulary

from models import ngram
from models.arpa import read_arpa, write_arpa
from models.kneser_ney import FALLBACK_DISCOUNTS, kneser_ney


def entries(path):
    """{n-gram: [log10 p, log10 backoff]} of an ARPA file."""
    values = {}
    for line in path.read_text().split("\n"):
        fields = line.split("\t")
        if len(fields) > 1:
            values[fields[1]] = [float(fields[0]), float(fields[2]) if len(fields) > 2 else 0.0]
    return values


@pytest.mark.parametrize(
    ("text", "arpa", "order", "fallback"),
    [
        ("text", "order_3", 3, None),
        ("text", "order_5", 5, None),
        ("tiny", "tiny", 3, FALLBACK_DISCOUNTS),
    ],
)
def test_kneser_ney_is_kenlms(text, arpa, order, fallback, tmp_path):
    words = vocabulary(f"{text}.txt")
    counts = ngram.count(spelled(f"{text}.txt", words), order, len(words) - 1)
    write_arpa(tmp_path / "ours.arpa", kneser_ney(counts, order, fallback), words)
    ours, theirs = entries(tmp_path / "ours.arpa"), entries(FOLDER / f"{arpa}.arpa")
    assert ours.keys() == theirs.keys()
    np.testing.assert_allclose(list(map(ours.get, theirs)), list(theirs.values()), atol=2e-6)


def assert_scores_are_kenlms(model, words):
    tokens_N = spelled("test.txt", words)
    ours = ngram.log_probabilities(model, tokens_N)[tokens_N != len(words) - 1] / math.log(10)
    theirs = [float(score) for score in (FOLDER / "test_scores.txt").read_text().split()]
    np.testing.assert_allclose(ours, theirs, atol=2e-6)


def test_scores_of_another_text_are_kenlms():
    words = vocabulary("text.txt")
    model = kneser_ney(ngram.count(spelled("text.txt", words), 5, len(words) - 1), 5)
    assert_scores_are_kenlms(model, words)


def test_an_arpa_file_is_read_as_kenlm_reads_it(tmp_path):
    model, words = read_arpa(FOLDER / "order_5.arpa")
    assert words[-1] == "<s>"
    assert_scores_are_kenlms(model, words)
    write_arpa(tmp_path / "again.arpa", model, words)
    again, before = entries(tmp_path / "again.arpa"), entries(FOLDER / "order_5.arpa")
    np.testing.assert_allclose(list(map(again.get, before)), list(before.values()), atol=2e-6)


def test_a_pruned_model_is_written_as_it_was_read(tmp_path):
    # "b c" and "c" after it are missing, "a b c" is not.
    bigrams = "-0.4\t<s> a\t-0.1\n-0.5\ta b\t-0.25\n-0.6\tc a"
    unigrams = "-99\t<s>\t-0.2\n-0.5\ta\t-0.3\n-0.6\tb\t-0.15\n-0.7\tc\t-0.35"
    trigrams = "-0.11\ta b c\n-0.9\t<s> a b"
    sections = f"\\1-grams:\n{unigrams}\n\n\\2-grams:\n{bigrams}\n\n\\3-grams:\n{trigrams}\n\n\\end\\\n"
    (tmp_path / "pruned.arpa").write_text(f"\\data\\\nngram 1=4\nngram 2=3\nngram 3=2\n\n{sections}")
    model, words = read_arpa(tmp_path / "pruned.arpa")
    write_arpa(tmp_path / "again.arpa", model, words)
    before, again = entries(tmp_path / "pruned.arpa"), entries(tmp_path / "again.arpa")
    before = {entry: value for entry, value in before.items() if value[0] > -99}  # <s> is never predicted
    np.testing.assert_allclose(list(map(again.get, before)), list(before.values()), atol=1e-6)


def test_words_that_an_arpa_file_cannot_hold_are_refused(tmp_path):
    model = ngram.add_one(ngram.count(np.array([2, 0, 1]), 1, 2), 1)
    with pytest.raises(ValueError, match="different words without white space"):
        write_arpa(tmp_path / "x.arpa", model, ["a b", "c", "<s>"])


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("no arpa", "is no ARPA file"),
        ("\\data\\\n\n\\1-grams:\n-1\ta\n", "has no <s>"),
        ("\\1-grams:\n-1\t<s>\nx\ta\n", "line 3 is no 1-gram"),
        ("\\1-grams:\n-1\t<s>\n-1\n", "line 3 is no 1-gram"),
        ("\\1-grams:\n-1\t<s>\n-1\ta\n\\2-grams:\n-1\ta b\n", "an n-gram with 'b'"),
        (
            "\\1-grams:\n-1\t<s>\n-1\ta\n\\2-grams:\n-1\t<s> a\n\\3-grams:\n-1\ta a a\n",
            "begin with 'a a'",
        ),
    ],
)
def test_a_damaged_arpa_file_is_refused(content, match, tmp_path):
    (tmp_path / "x.arpa").write_text(content)
    with pytest.raises(ValueError, match=match):
        read_arpa(tmp_path / "x.arpa")
