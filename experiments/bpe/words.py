"""The words of a text, and the scripts of its letters.

A text is written as sentencepiece sees it: one space between words and one before each line, shown as U+2581. A word
is a longest run of Latin letters; it stands after a space or after something else.
"""

import re
import unicodedata
from collections import Counter

SPACE = "\N{LOWER ONE EIGHTH BLOCK}"


def normalize(text: str) -> str:
    """The text as it is split: NFKC, white space collapsed, a space before each line that is not empty."""
    lines = (" ".join(line.split()) for line in unicodedata.normalize("NFKC", text).split("\n"))
    return "\n".join(f" {line}" for line in lines if line)


def script(character: str) -> str:
    """The script of a letter: the first word of its Unicode name, as LATIN, GREEK, CYRILLIC, CJK, HIRAGANA.

    Python has no table of the Script property (Unicode Standard Annex 24); the name tells the same for letters, but
    for a few such as modifier letters.
    """
    return unicodedata.name(character, "UNNAMED").split()[0].split("-")[0]


def is_letter(character: str) -> bool:
    """Whether it is a letter or a mark that combines with one (general categories L and M)."""
    return unicodedata.category(character)[0] in "LM"


def is_latin(character: str) -> bool:
    """Whether it is a letter of the Latin script."""
    return is_letter(character) and script(character) == "LATIN"


def count_words(text: str) -> Counter:
    """How often each word occurs in normalized text; words after a space begin with U+2581."""
    latin = "".join(re.escape(c) for c in sorted(set(text)) if is_latin(c))
    words = re.findall(f"(?: |(?<![{latin}]))[{latin}]+", text) if latin else []
    return Counter(word.replace(" ", SPACE) for word in words)
