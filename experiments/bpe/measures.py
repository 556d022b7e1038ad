"""What the pieces of a subword vocabulary are: words, parts of words, other scripts, and how productive they are.

A text is written as sentencepiece sees it: one space between words and one before each line, shown as U+2581. A word
is a longest run of Latin letters; it stands after a space or after something else. A piece has a role in each word that
it helps to spell: the whole of it, its beginning, its inside, its end.

Axes: P pieces, W words, R roles.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from typing import NamedTuple

import numpy as np

SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
ROLES = ("complete word", "word beginning", "inside", "suffix")
WHOLE, BEGINNING, INSIDE, SUFFIX = range(4)
KINDS = (*ROLES, "digits", "punctuation", "whitespace", "non-Latin script", "special")
SPECIAL = re.compile(r"<[^<>]+>")
LONGEST_PIECE = 16  # sentencepiece's default


def normalized(text: str) -> str:
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


def is_special(piece: str) -> bool:
    """Whether it is no text, as <unk>, <s> and bytes such as <0xE9> are."""
    return bool(SPECIAL.fullmatch(piece))


def words(text: str) -> Counter:
    """How often each word occurs in normalized text; those after a space begin with U+2581."""
    latin = "".join(re.escape(c) for c in sorted(set(text)) if is_latin(c))
    found = re.findall(f"(?: |(?<![{latin}]))[{latin}]+", text) if latin else []
    return Counter(word.replace(" ", SPACE) for word in found)


class Usage(NamedTuple):
    """How pieces are used to spell words: token counts by role [P, R], distinct words by role [P, R], and how many
    pieces spell each word [W]; U+2581 alone is not counted."""

    tokens_PR: np.ndarray
    words_PR: np.ndarray
    pieces_W: np.ndarray


def usage(spellings, counts_W, pieces) -> Usage:
    """Roles of the pieces in the words; ``spellings`` are ids of each word's pieces, ``counts_W`` its frequency.

    Words that differ only in the space before them are one word in ``words_PR``.
    """
    tokens_PR, pieces_W = np.zeros((len(pieces), len(ROLES)), np.int64), np.zeros(len(spellings), np.int64)
    spelled = defaultdict(set)
    space = pieces.index(SPACE) if SPACE in pieces else -1
    for w, (ids, count) in enumerate(zip(spellings, counts_W, strict=True)):
        ids = [id for id in ids if id != space]
        pieces_W[w] = len(ids)
        word = "".join(pieces[id] for id in ids).lstrip(SPACE)
        for k, id in enumerate(ids):
            role = WHOLE if len(ids) == 1 else BEGINNING if k == 0 else SUFFIX if k == len(ids) - 1 else INSIDE
            tokens_PR[id, role] += count
            spelled[id, role].add(word)
    words_PR = np.zeros_like(tokens_PR)
    for (id, role), distinct in spelled.items():
        words_PR[id, role] = len(distinct)
    return Usage(tokens_PR, words_PR, pieces_W)


def occurrences(counts: Counter, strings) -> dict[str, np.ndarray]:
    """{string: how often it stands in words in each role [R], then in how many distinct words [1]}, split or not.

    A string that begins with U+2581 stands at the beginning of words after a space only.
    """
    after_space, all_of = Counter(), Counter()
    for word, count in counts.items():
        all_of[word.lstrip(SPACE)] += count
        if word.startswith(SPACE):
            after_space[word[1:]] += count
    found = {string: np.zeros(len(ROLES) + 1, np.int64) for string in strings}
    for word, count in all_of.items():
        seen = set()
        for start in range(len(word)):
            for stop in range(start + 1, min(start + LONGEST_PIECE, len(word)) + 1):
                part = word[start:stop]
                role = (BEGINNING, WHOLE)[stop == len(word)] if start == 0 else (INSIDE, SUFFIX)[stop == len(word)]
                if part in found:
                    found[part][role] += count
                    seen.add(part)
                if start == 0 and word in after_space and SPACE + part in found:
                    found[SPACE + part][role] += after_space[word]
                    seen.add(SPACE + part)
        for part in seen:
            found[part][-1] += 1
    return found


def random_part(generator, words, piece: str, role: int) -> str:
    """A part as long as the piece, in the same role, of a random one of the distinct words that are long enough.

    One that begins with U+2581 is drawn from words after a space. The piece itself may be drawn.
    """
    length = len(piece.lstrip(SPACE))
    spaced = piece.startswith(SPACE)
    needed = length + {WHOLE: 0, BEGINNING: 1, INSIDE: 2, SUFFIX: 1}[role]
    while True:
        word = words[generator.integers(len(words))]
        letters = word.lstrip(SPACE)
        if len(letters) >= needed and (not spaced or word.startswith(SPACE)):
            break
    start = {WHOLE: 0, BEGINNING: 0, SUFFIX: len(letters) - length}.get(role)
    start = generator.integers(1, len(letters) - length) if start is None else start
    return SPACE * spaced + letters[start : start + length]


def kinds(pieces, tokens_PR, occurrences) -> np.ndarray:
    """The kind of each piece [P], an index of KINDS.

    A piece of Latin letters has the role in which it is used most; one that is not used, as it was only a step to
    longer ones, the role in which its letters occur most. Anything with a letter of another script is of its script.
    """
    nowhere_R = np.zeros(len(ROLES))
    found = []
    for piece, tokens_R in zip(pieces, tokens_PR, strict=True):
        found.append(_kind(piece, tokens_R if tokens_R.any() else occurrences.get(piece, nowhere_R)[: len(ROLES)]))
    return np.array(found)


def _kind(piece, role_counts_R):
    if is_special(piece):
        return KINDS.index("special")
    characters = piece.replace(SPACE, "").strip()
    if not characters:
        return KINDS.index("whitespace")
    letters = [c for c in characters if is_letter(c)]
    if any(script(c) != "LATIN" for c in letters):
        return KINDS.index("non-Latin script")
    if letters:
        return int(np.argmax(role_counts_R))
    return KINDS.index("digits" if any(c.isnumeric() for c in characters) else "punctuation")


def rank_correlation(x, y) -> float:
    """Spearman's (1904): Pearson's correlation of ranks, ties sharing their mean rank; NaN where one is constant."""
    ranks = np.stack([_ranks(x), _ranks(y)])
    if (np.ptp(ranks, axis=1) == 0).any():
        return float("nan")
    return float(np.corrcoef(ranks)[0, 1])


def probability_greater(x, y) -> float:
    """The probability that a random one of ``x`` is greater than one of ``y``, ties half (Mann and Whitney 1947)."""
    ranks = _ranks(np.concatenate([x, y]))
    return float((ranks[: len(x)].sum() - len(x) * (len(x) - 1) / 2) / (len(x) * len(y)))


def _ranks(x):
    """From 0; ties share their mean."""
    _, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts + 1) / 2)[inverse]
