"""Tokenizers: text to ids and back, by characters, bytes, words or sentencepiece's subwords.

A tokenizer is a frozen dataclass with the same five members whatever its kind:

    vocab_size      ids are 0 ... vocab_size - 1
    end             the id that ends a document, or None
    encode(text)    ids, int32 [N]
    decode(ids)     text
    piece(id)       what to show for an id

``train`` makes one from texts, ``dumps`` and ``loads`` keep it as bytes.
"""

import base64
import binascii
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

FILE = "tokenizer.json"  # how a run keeps its tokenizer
UNKNOWN, END = "<unk>", "<eos>"
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
WORD_PATTERNS = {"spaces": r"\S+", "punctuation": r"\w+|[^\w\s]"}
# A vocabulary changes little with more text than this, and training one takes time in proportion.
LEARNT_CHARACTERS = 100_000_000
# A tokenizer of another format would be read wrongly: raise this with every change of `dumps`.
FORMAT = 1


@dataclass(frozen=True)
class Characters:
    """One id a character, in the order of code points; with ``unknown`` a last id stands for all others."""

    characters: str
    unknown: bool = False
    end = None

    @property
    def vocab_size(self):
        """Ids: one a character, and one of the unknown ones if there is one."""
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
    """One id a byte of UTF-8."""

    vocab_size = 256
    end = None

    def encode(self, text):
        """The bytes of the text in UTF-8, int32 [N]."""
        return np.frombuffer(text.encode("utf-8"), np.uint8).astype(np.int32)

    def decode(self, ids):
        """The text; U+FFFD where the bytes are no UTF-8. Raises ValueError for an id outside 0 ... 255."""
        return _checked(ids, 256).astype(np.uint8).tobytes().decode("utf-8", "replace")

    def piece(self, id):
        """The character of an ASCII byte, else the byte as <0xE9>."""
        return chr(id) if id < 128 else f"<0x{id:02X}>"


@dataclass(frozen=True)
class Words:
    """One id a word, falling in frequency after <unk> (0) and <eos> (1), which stands for the end of a line.

    ``split`` says what a word is: "spaces" takes what stands between white space, for text that is tokenized already;
    "punctuation" also sets punctuation marks apart.
    """

    words: tuple[str, ...]
    split: str = "spaces"
    end = 1

    @property
    def vocab_size(self):
        """Words, with <unk> and <eos>."""
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


@dataclass(frozen=True)
class SentencePiece:
    """Subwords of a sentencepiece model, given as its serialized bytes (Kudo and Richardson 2018)."""

    model: bytes

    @cached_property
    def processor(self):
        """The sentencepiece processor of the model."""
        from sentencepiece import SentencePieceProcessor

        try:
            return SentencePieceProcessor(model_proto=self.model)
        except RuntimeError as error:
            raise ValueError("this is not a sentencepiece model, or it is damaged") from error

    @property
    def vocab_size(self):
        """Pieces, with the special ones."""
        return self.processor.vocab_size()

    @property
    def end(self):
        """The id of </s>, or None where the model has none."""
        return self.processor.eos_id() if self.processor.eos_id() >= 0 else None

    def encode(self, text):
        """Ids of the pieces, int32 [N]."""
        return np.array(self.processor.encode(text), np.int32)

    def decode(self, ids):
        """The text of the pieces, without special ones. Raises ValueError for an id outside the vocabulary."""
        return self.processor.decode(_checked(ids, self.vocab_size).tolist())

    def piece(self, id):
        """The piece, in which U+2581 stands for a space."""
        return self.processor.id_to_piece(int(id))


Tokenizer = Characters | Bytes | Words | SentencePiece
KINDS = ("char", "byte", "word", "sentencepiece")


def train(kind: str, texts: Iterable[str], **settings) -> Tokenizer:
    """The tokenizer of ``kind`` (char, byte, word, sentencepiece) learnt from the texts.

    Settings: those of `characters`, `words` and `sentencepiece`. Raises ValueError for an unknown kind or setting.
    """
    makers = {"char": characters, "byte": lambda texts: Bytes(), "word": words, "sentencepiece": sentencepiece}
    if kind not in makers:
        raise ValueError(f"tokenizer={kind!r} is not one of {', '.join(KINDS)}")
    known = SETTINGS[kind]
    if wrong := [name for name in settings if name not in known]:
        raise ValueError(f"a {kind} tokenizer has no setting {wrong[0]!r}; it has: {', '.join(known) or 'none'}")
    return makers[kind](texts, **settings)


def characters(texts, min_count=1, unknown=None):
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


def words(texts, min_count=1, vocab_size=0, split="spaces"):
    """Words that the texts hold at least ``min_count`` times, or the ``vocab_size`` most frequent (0: no limit).

    Ids fall in frequency, ties in the order of code points; <unk> and <eos> come first. Raises ValueError for a
    vocabulary of fewer than three and for an unknown way to ``split``.
    """
    if split not in WORD_PATTERNS:
        raise ValueError(f"split={split!r} is not one of {', '.join(WORD_PATTERNS)}")
    if vocab_size and vocab_size < 3:
        raise ValueError(f"vocab_size={vocab_size} must be 0 or at least 3: {UNKNOWN}, {END} and a word")
    counts = Counter()
    for text in texts:
        counts.update(_words(text, split))
    found = [(word, count) for word, count in counts.items() if word not in (UNKNOWN, END) and count >= min_count]
    ranked = [word for word, _ in sorted(found, key=lambda pair: (-pair[1], pair[0]))]
    if not ranked:
        raise ValueError(f"no word occurs {min_count} times in the training text: there is nothing to tokenize")
    return Words((UNKNOWN, END, *ranked[: vocab_size - 2 if vocab_size else None]), split)


def sentencepiece(texts, vocab_size=4096, model_type="bpe", byte_fallback=True, character_coverage=1.0, exact=True):
    """A sentencepiece model trained on the lines of the texts.

    Args:
      texts:              texts, of which the first 100 million characters are learnt from; or {line: how often it
                          occurs}, which is faster where lines repeat. Lines of the latter have no tab.
      vocab_size:         pieces, with <unk>, <s>, </s>, and the bytes of ``byte_fallback``.
      model_type:         "bpe" (Sennrich et al. 2016) or "unigram" (Kudo 2018).
      byte_fallback:      whether characters outside the vocabulary become bytes; else they are <unk>.
      character_coverage: share of the text's characters that get a piece of their own.
      exact:              whether decoding gives the text back to the byte: no normalization, every space and line feed
                          kept (only a U+2581, sentencepiece's sign for a space, comes back as one). Else as
                          sentencepiece does by default: NFKC, white space collapsed, and each line begun by a space,
                          so that a word has the same pieces wherever it stands.

    Raises:
      ValueError: a vocabulary that the text cannot fill, or too small for its characters.
    """
    from sentencepiece import SentencePieceTrainer

    if model_type not in ("bpe", "unigram"):
        raise ValueError(f"model_type={model_type!r} is not bpe or unigram")
    manner = {}
    if exact:
        manner = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False, "add_dummy_prefix": False}
        manner |= {"user_defined_symbols": ["\n"], "allow_whitespace_only_pieces": True}
    lines = (line for text in _at_most(texts, LEARNT_CHARACTERS) for line in text.split("\n") if line.strip())
    if isinstance(texts, Mapping):
        manner["input_format"] = "tsv"
        lines = (f"{line}\t{count}" for line, count in texts.items())
    model = io.BytesIO()
    try:
        SentencePieceTrainer.train(
            sentence_iterator=lines,
            model_writer=model,
            vocab_size=vocab_size,
            model_type=model_type,
            byte_fallback=byte_fallback,
            character_coverage=character_coverage,
            max_sentence_length=1 << 30,
            num_threads=1,
            minloglevel=2,
            **manner,
        )
    except RuntimeError as error:
        raise ValueError(_sentencepiece_error(str(error), vocab_size)) from error
    return SentencePiece(model.getvalue())


SETTINGS = {
    "char": ("min_count", "unknown"),
    "byte": (),
    "word": ("min_count", "vocab_size", "split"),
    "sentencepiece": ("vocab_size", "model_type", "byte_fallback", "character_coverage", "exact"),
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


def _at_most(texts, num_characters):
    for text in texts:
        yield text[:num_characters]
        num_characters -= len(text)
        if num_characters <= 0:
            break


def _code_points(text):
    return np.frombuffer(text.encode("utf-32-le"), "<u4")


def _text(points):
    return points.astype("<u4").tobytes().decode("utf-32-le")


def _words(text, split):
    pattern = re.compile(f"{WORD_PATTERNS[split]}|\n") if split != "spaces" else None
    if pattern:
        return [END if word == "\n" else word for word in pattern.findall(text)]
    lines = text.split("\n")
    return [word for line in lines[:-1] for word in (*line.split(), END)] + lines[-1].split()


def _checked(ids, vocab_size):
    ids_N = np.asarray(ids).reshape(-1)
    if ids_N.size and not (ids_N.min() >= 0 and ids_N.max() < vocab_size):
        raise ValueError(f"ids must lie in 0 ... {vocab_size - 1}: found {ids_N.min()} ... {ids_N.max()}")
    return ids_N.astype(np.int64)


def _sentencepiece_error(message, vocab_size):
    if match := re.search(r"too high \(\d+\).*<= (\d+)", message):
        return f"vocab_size={vocab_size} is more than the training text supports: take at most {match[1]}, or more text"
    if match := re.search(r"smaller than required_chars\. \d+ vs (\d+)", message):
        return (
            f"vocab_size={vocab_size} is too small for the text's characters and the special pieces: take at least "
            f"{match[1]}, or a lower character_coverage"
        )
    return f"sentencepiece refused the training text: {' '.join(message.split())[:200]}"
