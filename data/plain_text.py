"""Plain text divided into sentences and words by rules, as treebanks divide it."""

import itertools
import re

# The end of a sentence within a line, if a capital follows: the mark, quotes and brackets that close, and space.
_SENTENCE_END = re.compile(r"[.!?][\"'\u201d\u2019»)\]]*\s+(?=[\"'\u201c\u2018«(\[]*(\w))")
# Characters that stand by themselves: of ASCII, Latin-1, the blocks of general, Chinese and full-width punctuation, and
# the commas and stops of Arabic and of Indian scripts. Not \W, which has the vowel signs of many scripts.
_MARKS = (
    r"!-/:-@\[-`{-~\u00a1-\u00a9\u00ab-\u00b4\u00b6-\u00b9\u00bb-\u00bf"
    r"\u2010-\u206f\u3000-\u303f\uff01-\uff0f\u060c\u061b\u061f\u0964\u0965"
)
_WORD = re.compile(
    r"\w+://\S*[^\s.,;:!?)\"'\]]"  # an address
    r"|\w+(?:[.+-]\w+)*@\w+(?:[.-]\w+)+"
    r"|[0-9]+(?:[.,:][0-9]+)+"  # a number
    r"|(?:[^\W\d_]\.){2,}"  # an abbreviation of single letters
    rf"|[^\s{_MARKS}]+(?=n['\u2019]t\b)|n['\u2019]t\b|['\u2019][^\W\d_]+"  # contractions, divided as in English
    rf"|[^\s{_MARKS}]+|(\S)\1*",  # a word; a mark, or several of one kind
    re.IGNORECASE,
)


def split_sentences(text: str) -> list[str]:
    """The sentences of a text, with single spaces between words.

    A line's end ends a sentence, and so does ".", "!" or "?" before white space and a capital, even after an
    abbreviation such as "Mr."
    """
    sentences = []
    for line in re.split(r"[\r\n]+", text.removeprefix("\ufeff")):
        ends = [match.end() for match in _SENTENCE_END.finditer(line) if match[1].isupper()]
        pieces = (line[start:end].split() for start, end in itertools.pairwise([0, *ends, len(line)]))
        sentences += [" ".join(words) for words in pieces if words]
    return sentences


def split_words(sentence: str) -> list[tuple[str, bool]]:
    """The words of a sentence, each with whether white space, or nothing, follows it.

    Punctuation marks are words of their own, but not within numbers, addresses and abbreviations of single letters
    ("U.S."); several marks of one kind are one word. Contractions are divided as in English: do n't, it 's.
    """
    return [(word[0], not sentence[word.end() :][:1].strip()) for word in _WORD.finditer(sentence)]
