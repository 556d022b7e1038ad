"""Words rewritten in Cyrillic."""

import numpy as np

from experiments.bpe.rare_script import CYRILLIC, compare_scripts, rewrite
from experiments.bpe.words import script


def test_rewriting_takes_the_share_of_letters_and_keeps_the_rest():
    text = "\n".join(f" word {n} and a Nother." for n in range(400))
    letters = sum(c.isalpha() for c in text)
    for share in (0.01, 0.3, 1.0):
        rewritten = rewrite(text, share, np.random.default_rng(0))
        changed = [(a, b) for a, b in zip(text, rewritten, strict=True) if a != b]
        assert share * letters <= len(changed) < share * letters + 7
        assert {script(b) for _, b in changed} == {"CYRILLIC"}
        assert rewritten.translate({cyrillic: latin for latin, cyrillic in CYRILLIC.items()}) == text


def test_latin_letters_that_no_rewriting_knows_leave_it_undefined():
    text = "\n".join([" é àé"] * 20)
    assert rewrite(text, 0.5, np.random.default_rng(0)) == text
    assert np.isnan(compare_scripts(text, vocab_size=6)).all()


def test_a_vocabulary_without_room_for_both_alphabets_leaves_it_undefined():
    assert np.isnan(compare_scripts(" a b c \N{CYRILLIC SMALL LETTER A}", vocab_size=4)).all()
