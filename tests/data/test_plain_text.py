"""Plain text: where sentences end, and which words stand alone."""

import pytest

from data.plain_text import split_sentences, split_words


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One two.\nThree\n\n\tfour \r\nfive", ["One two.", "Three", "four", "five"]),
        ("Go on! Why? \u201cSo be it.\u201d (Then left.) It was 3.5 m. long.", 5),
        ("in no. 5 there is e.g. one", 1),  # no capital follows
        ("Ça va. Été comme hiver. Это. Да.", 4),
        (" \n\ufeff\n", 1),
        ("", 0),
    ],
)
def test_sentences_end_with_lines_and_before_capitals(text, sentences):
    found = split_sentences(text)
    assert found == sentences if isinstance(sentences, list) else len(found) == sentences


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        ("I don't know, it's 3,000.5 U.S. dollars...", "I|do|n't|know|,|it|'s|3,000.5|U.S.|dollars|..."),
        ('He said: "Stop!!" -- (no)', 'He|said|:|"|Stop|!!|"|--|(|no|)'),
        ("see http://a.b/c?d=1, or ask x.y@z.org.", "see|http://a.b/c?d=1|,|or|ask|x.y@z.org|."),
        ("well-known CAN'T can\u2019t", "well|-|known|CA|N'T|ca|n\u2019t"),
        ("नमस्ते दुनिया। 你好\uff0c世界。", "नमस्ते|दुनिया|।|你好|\uff0c|世界|。"),
        ("a \U0001f600\U0001f600 b", "a|\U0001f600\U0001f600|b"),
    ],
)
def test_words_and_marks(sentence, words):
    assert [word for word, _ in split_words(sentence)] == words.split("|")


def test_no_character_is_lost():
    sentence = "".join(map(chr, range(33, 1500))) + " it's 'tis n't x@y ://z"
    rebuilt = "".join(word + " " * has_space for word, has_space in split_words(sentence))
    assert rebuilt.split() == sentence.split()
