"""Tokenizers: text to ids and back, by characters, bytes, words or the subwords of `data.subwords`.

A tokenizer is a frozen dataclass with the same five members whatever its kind:

    vocab_size      ids are 0 ... vocab_size - 1
    end             the id that ends a document, or None
    encode(text)    ids, int32 [N]
    decode(ids)     text
    piece(id)       what to show for an id

`train` makes one from texts, `dumps` and `loads` keep it as bytes.
"""

import base64
import binascii
import inspect
import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from data.ids import check_ids
from data.subwords import SentencePiece, train_sentencepiece

FILE = "tokenizer.json"  # the name of the file in which a run keeps its tokenizer
UNKNOWN, END = "<unk>", "<eos>"
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
WORD_SPLITS = ("spaces", "punctuation")
WORD_OR_MARK = re.compile(r"\w+|[^\w\s]|\n")
# A tokenizer of another format would be read wrongly: raise this with every change of `dumps`.
FORMAT = 1


@dataclass(frozen=True)
class Characters:
    """One id for each character, in the order of code points; with ``unknown`` a last id stands for all others."""

    characters: str
    unknown: bool = False
    end = None

    @property
    def vocab_size(self):
        """The number of characters, and one more where an id stands for the unknown ones."""
        return len(self.characters) + self.unknown

    @cached_property
    def _code_points(self):
        return _code_points(self.characters)

    def encode(self, text):
        """Ids of the characters, int32 [N]; raises ValueError that names unknown ones where no id stands for them."""
        points_N = _code_points(text)
        ids_N = np.searchsorted(self._code_points, points_N).clip(max=len(self.characters) - 1)
        missing_N = self._code_points[ids_N] != points_N
        if missing_N.any():
            if not self.unknown:
                named = "".join(sorted(set(_text(points_N[missing_N]))))
                more = f" and {len(named) - 8} more" if len(named) > 8 else ""
                raise ValueError(
                    f"the text has characters that the vocabulary has not: {named[:8]!r}{more}; "
                    "leave them out, or train the tokenizer with an <unk>"
                )
            ids_N[missing_N] = len(self.characters)
        return ids_N.astype(np.int32)

    def decode(self, ids):
        """The characters; U+FFFD for the unknown. Raises ValueError for an id outside the vocabulary."""
        ids_N = _checked(ids, self.vocab_size)
        return _text(np.append(self._code_points, ord(REPLACEMENT))[ids_N])

    def piece(self, id):
        """The character, or <unk>."""
        return UNKNOWN if id == len(self.characters) else self.characters[id]


@dataclass(frozen=True)
class Bytes:
    """One id for each byte of UTF-8."""

    vocab_size = 256
    end = None

    def encode(self, text):
        """The bytes of the text in UTF-8, int32 [N]."""
        return np.frombuffer(text.encode("utf-8"), np.uint8).astype(np.int32)

    def decode(self, ids):
        """The text; U+FFFD where the bytes are no UTF-8. Raises ValueError for an id outside 0 ... 255."""
        return _checked(ids, 256).astype(np.uint8).tobytes().decode("utf-8", "replace")

    def piece(self, id):
        """The character of an ASCII byte; any other byte as <0xE9>."""
        return chr(id) if id < 128 else f"<0x{id:02X}>"


@dataclass(frozen=True)
class Words:
    """One id for each word, the most frequent first, after <unk> (0) and <eos> (1), which stands for the end of a line.

    ``split`` says what a word is: with "spaces" it is what stands between white space, for text that is tokenized
    already; with "punctuation" every punctuation mark is a word too.
    """

    words: tuple[str, ...]
    split: str = "spaces"
    end = 1

    @property
    def vocab_size(self):
        """The number of words, <unk> and <eos> included."""
        return len(self.words)

    @cached_property
    def _ids(self):
        return {word: id for id, word in enumerate(self.words)}

    def encode(self, text):
        """Ids of the words, and of <eos> for every line feed, int32 [N]; other white space is lost."""
        ids = self._ids
        return np.array([ids.get(word, 0) for word in _words(text, self.split)], np.int32)

    def decode(self, ids):
        """The words with spaces between, a line feed for <eos>. Raises ValueError for an id outside the vocabulary."""
        words = [self.words[id] for id in _checked(ids, self.vocab_size)]
        lines = " ".join("\n" if word == END else word for word in words)
        return re.sub(r" ?\n ?", "\n", lines)

    def piece(self, id):
        """The word."""
        return self.words[id]


Tokenizer = Characters | Bytes | Words | SentencePiece


def train(kind: str, texts: Iterable[str], **settings) -> Tokenizer:
    """The tokenizer of a kind (char, byte, word or sentencepiece), trained on the texts.

    Settings are the keywords of `train_characters`, `train_words` and `data.subwords.train_sentencepiece`; bytes have
    none. Raises ValueError for an unknown kind or setting.
    """
    if kind not in TRAINERS:
        raise ValueError(f"tokenizer={kind!r} is not one of {', '.join(TRAINERS)}")
    known = list(inspect.signature(TRAINERS[kind]).parameters)[1:]
    if wrong := [name for name in settings if name not in known]:
        raise ValueError(f"a {kind} tokenizer has no setting {wrong[0]!r}; it has: {', '.join(known) or 'none'}")
    return TRAINERS[kind](texts, **settings)


def train_characters(texts, min_count=1, unknown=None):
    """Characters that the texts hold at least ``min_count`` times; an <unk> for the rest where ``unknown`` is true.

    By default there is an <unk> where ``min_count`` leaves characters of the texts out. Raises ValueError for texts
    without characters.
    """
    counts = Counter()
    for text in texts:
        points, times = np.unique(_code_points(text), return_counts=True)
        counts.update(dict(zip(points.tolist(), times.tolist(), strict=True)))
    kept = sorted(point for point, count in counts.items() if count >= min_count)
    if not kept:
        raise ValueError(f"no character occurs {min_count} times in the training text: there is nothing to tokenize")
    return Characters("".join(map(chr, kept)), len(kept) < len(counts) if unknown is None else unknown)


def train_words(texts, min_count=1, vocab_size=0, split="spaces"):
    """Words that the texts hold at least ``min_count`` times, or the ``vocab_size`` most frequent (0: no limit).

    The most frequent words come first, equally frequent ones in the order of code points; <unk> and <eos> come before
    them all. Raises ValueError for a vocabulary of fewer than three and for an unknown way to ``split``.
    """
    if split not in WORD_SPLITS:
        raise ValueError(f"split={split!r} is not one of {', '.join(WORD_SPLITS)}")
    if vocab_size and vocab_size < 3:
        raise ValueError(f"vocab_size={vocab_size} must be 0 or at least 3: {UNKNOWN}, {END} and a word")
    counts = Counter()
    for text in texts:
        counts.update(_words(text, split))
    kept = [(word, count) for word, count in counts.items() if word not in (UNKNOWN, END) and count >= min_count]
    ranked = [word for word, _ in sorted(kept, key=lambda pair: (-pair[1], pair[0]))]
    if not ranked:
        raise ValueError(f"no word occurs {min_count} times in the training text: there is nothing to tokenize")
    return Words((UNKNOWN, END, *ranked[: vocab_size - 2 if vocab_size else None]), split)


TRAINERS = {
    "char": train_characters,
    "byte": lambda texts: Bytes(),
    "word": train_words,
    "sentencepiece": train_sentencepiece,
}


def dumps(tokenizer: Tokenizer) -> bytes:
    """The tokenizer as JSON."""
    match tokenizer:
        case Characters(characters, unknown):
            content = {"kind": "char", "characters": characters, "unknown": unknown}
        case Bytes():
            content = {"kind": "byte"}
        case Words(words, split):
            content = {"kind": "word", "words": words, "split": split}
        case SentencePiece(model):
            content = {"kind": "sentencepiece", "model": base64.b64encode(model).decode("ascii")}
    return json.dumps({"format": FORMAT} | content).encode("ascii")


def loads(content: bytes) -> Tokenizer:
    """The tokenizer that `dumps` has written; raises ValueError for anything else."""
    try:
        fields = json.loads(content)
        if fields.pop("format") != FORMAT:
            raise ValueError(f"a tokenizer of this version has format {FORMAT}")
        match fields.pop("kind"):
            case "char":
                return Characters(**fields)
            case "byte":
                return Bytes()
            case "word":
                return Words(tuple(fields["words"]), fields["split"])
            case "sentencepiece":
                return SentencePiece(base64.b64decode(fields["model"], validate=True))
            case kind:
                raise ValueError(f"its kind is {kind!r}")
    except (ValueError, TypeError, KeyError, AttributeError, binascii.Error) as error:
        raise ValueError(f"this is no tokenizer that this version can read: {error}") from error


def _code_points(text):
    return np.frombuffer(text.encode("utf-32-le"), "<u4")


def _text(points):
    return points.astype("<u4").tobytes().decode("utf-32-le")


def _words(text, split):
    """The words of a text, with END for every line feed."""
    if split == "punctuation":
        return [END if word == "\n" else word for word in WORD_OR_MARK.findall(text)]
    lines = text.split("\n")
    return [word for line in lines[:-1] for word in (*line.split(), END)] + lines[-1].split()


def _checked(ids, vocab_size):
    """The ids as int64 [N]; raises ValueError where one lies outside the vocabulary."""
    ids_N = np.asarray(ids).reshape(-1)
    check_ids(ids_N, vocab_size)
    return ids_N.astype(np.int64)
