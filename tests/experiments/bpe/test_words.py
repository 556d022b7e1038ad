"""Words and scripts, on texts small enough to count by hand."""

from experiments.bpe.words import count_words, is_latin, is_letter, normalize, script


def test_text_is_normalized_as_it_is_split():
    assert normalize("a  b\tc \n\n  \N{LATIN SMALL LIGATURE FI}n\n") == " a b c\n fin"


def test_scripts_by_name():
    scripts = ["LATIN", "LATIN", "GREEK", "CYRILLIC", "CJK", "HIRAGANA", "ARABIC", "DEVANAGARI"]
    assert [script(c) for c in "aßμж語あع\N{DEVANAGARI VOWEL SIGN AA}"] == scripts
    assert [is_letter(c) for c in "aß語1_-\N{COMBINING ACUTE ACCENT}"] == [True] * 3 + [False] * 3 + [True]
    assert [is_latin(c) for c in "aßμ1"] == [True, True, False, False]


def test_words_are_runs_of_latin_letters():
    assert count_words(" it's it\n self.it2it жit é_x  ") == {"▁it": 2, "s": 1, "▁self": 1, "it": 3, "▁é": 1, "x": 1}
    assert count_words(" 1 2\n ж") == {}
