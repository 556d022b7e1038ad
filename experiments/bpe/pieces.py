"""The pieces of a subword vocabulary: their roles in words, their kinds, their scripts, and which words contain them.

A piece has a role in each word that it helps to spell: the whole of it, its beginning, its inside, its end.

Axes: P pieces, W words, R roles.
"""

import re
from collections import Counter, defaultdict
from typing import NamedTuple

import numpy as np

from experiments.bpe.words import SPACE, is_letter, script

ROLES = ("complete word", "word beginning", "inside", "suffix")
WHOLE, BEGINNING, INSIDE, SUFFIX = range(4)
PARTS = (BEGINNING, INSIDE, SUFFIX)
PIECE_KINDS = (*ROLES, "digits", "punctuation", "whitespace", "non-Latin script", "special")
SPECIAL = re.compile(r"<[^<>]+>")
LONGEST_PIECE = 16  # characters; sentencepiece's default


def is_special(piece: str) -> bool:
    """Whether the piece is no text, as <unk>, <s> and bytes such as <0xE9> are."""
    return bool(SPECIAL.fullmatch(piece))


class Usage(NamedTuple):
    """How pieces spell words; U+2581 alone is not counted."""

    tokens_PR: np.ndarray  # how often each piece is a token of a word, by its role there
    words_PR: np.ndarray  # in how many distinct words, by its role there
    pieces_W: np.ndarray  # how many pieces spell each word


def count_usage(spellings, frequencies_W, pieces) -> Usage:
    """Counts the roles of the pieces [P] in words, given the ids that spell each word [W] and how often it occurs.

    Words that differ only in the space before them are one word in ``words_PR``.
    """
    tokens_PR, pieces_W = np.zeros((len(pieces), len(ROLES)), np.int64), np.zeros(len(spellings), np.int64)
    spelled = defaultdict(set)
    space = pieces.index(SPACE) if SPACE in pieces else -1
    for w, (ids, count) in enumerate(zip(spellings, frequencies_W, strict=True)):
        ids = [id for id in ids if id != space]
        pieces_W[w] = len(ids)
        word = "".join(pieces[id] for id in ids).lstrip(SPACE)
        for k, id in enumerate(ids):
            role = role_of(starts=k == 0, ends=k == len(ids) - 1)
            tokens_PR[id, role] += count
            spelled[id, role].add(word)
    words_PR = np.zeros_like(tokens_PR)
    for (id, role), distinct in spelled.items():
        words_PR[id, role] = len(distinct)
    return Usage(tokens_PR, words_PR, pieces_W)


def role_of(*, starts, ends):
    """The role of a piece that starts its word or does not, and ends it or does not."""
    if starts:
        return WHOLE if ends else BEGINNING
    return SUFFIX if ends else INSIDE


def count_occurrences(words: Counter, strings) -> dict[str, np.ndarray]:
    """{string: how often it stands in words in each role [R], then in how many distinct words [1]}, split or not.

    ``words`` are those of ``count_words``. A string that begins with U+2581 stands only at the beginning of words after
    a space.
    """
    after_space, anywhere = Counter(), Counter()
    for word, count in words.items():
        anywhere[word.lstrip(SPACE)] += count
        if word.startswith(SPACE):
            after_space[word[1:]] += count
    counts = {string: np.zeros(len(ROLES) + 1, np.int64) for string in strings}
    for word, count in anywhere.items():
        contained = set()
        for start in range(len(word)):
            for stop in range(start + 1, min(start + LONGEST_PIECE, len(word)) + 1):
                part = word[start:stop]
                if part in counts:
                    counts[part][role_of(starts=start == 0, ends=stop == len(word))] += count
                    contained.add(part)
                if start == 0 and word in after_space and SPACE + part in counts:
                    counts[SPACE + part][role_of(starts=True, ends=stop == len(word))] += after_space[word]
                    contained.add(SPACE + part)
        for part in contained:
            counts[part][-1] += 1
    return counts


def draw_part(generator, words, piece: str, role: int) -> str:
    """A part as long as the piece, in the same role, of a random one of the distinct words that are long enough.

    A part that begins with U+2581 is drawn from words after a space. The piece itself may be drawn.
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


def classify(pieces, tokens_PR, occurrences) -> np.ndarray:
    """The kind of each piece [P], an index of PIECE_KINDS.

    A piece of Latin letters has the role in which it is used most. One that is never used, as it was only a step to
    longer ones, has the role in which its letters occur most, by ``count_occurrences``. A piece with a letter of
    another script is of that script.
    """
    nowhere_R = np.zeros(len(ROLES))
    kinds = []
    for piece, tokens_R in zip(pieces, tokens_PR, strict=True):
        kinds.append(_kind(piece, tokens_R if tokens_R.any() else occurrences.get(piece, nowhere_R)[: len(ROLES)]))
    return np.array(kinds)


def _kind(piece, role_counts_R):
    if is_special(piece):
        return PIECE_KINDS.index("special")
    characters = piece.replace(SPACE, "").strip()
    if not characters:
        return PIECE_KINDS.index("whitespace")
    letters = [c for c in characters if is_letter(c)]
    if any(script(c) != "LATIN" for c in letters):
        return PIECE_KINDS.index("non-Latin script")
    if letters:
        return int(np.argmax(role_counts_R))
    return PIECE_KINDS.index("digits" if any(c.isnumeric() for c in characters) else "punctuation")


def used_parts(kinds_P, tokens_PR):
    """Which pieces [P] are parts of words and are used."""
    return np.isin(kinds_P, PARTS) & (tokens_PR.sum(1) > 0)


def count_by_script(text, pieces, tokens_P):
    """How many letters, tokens and pieces each script of a text has, Latin first, then by falling number of letters.

    Returns:
      {"scripts": their names, [""] where the text has no letter; "script_letters"; "script_tokens" and "script_pieces":
      those with a letter of the script, or of Latin where they have no other; "script_single": pieces of one letter}.
    """
    letters, tokens, of_script, single = Counter(), Counter(), Counter(), Counter()
    for character, count in Counter(text).items():
        if is_letter(character):
            letters[script(character)] += count
    for piece, count in zip(pieces, tokens_P.tolist(), strict=True):
        in_piece = [c for c in piece if is_letter(c)]
        if in_piece and not is_special(piece):
            name = next((s for s in map(script, in_piece) if s != "LATIN"), "LATIN")
            tokens[name] += count
            of_script[name] += 1
            single[name] += len(in_piece) == 1
    scripts = sorted(letters, key=lambda name: (name != "LATIN", -letters[name]))
    columns = {"script_letters": letters, "script_tokens": tokens, "script_pieces": of_script, "script_single": single}
    rows = {name: np.array([column[s] for s in scripts], np.int64) for name, column in columns.items()}
    return {"scripts": np.array(scripts or [""])} | rows
