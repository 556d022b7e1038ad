"""The sentence pairs of an arm: generated or real, as text, as token ids, and in buckets by length.

Axes: N pairs, T target time, S source time, B pairs of a chunk, C chunks.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from data import parallel_text, tokenizers
from data.buckets import Buckets, make_buckets
from data.subwords import train_sentencepiece
from experiments.seq2seq_attention import language, sequences
from experiments.seq2seq_attention.translation_scores import REFERENCES_FILE, TRANSLATIONS_FILE
from training.progress import say

GENERATED, FILES = "generated", "files"
KNOWN = (GENERATED, *sequences.TASKS)  # corpora whose alignment is known
HELD_OUT = ("validation", "test")
SPLITS = ("train", *HELD_OUT)
SPLIT_SEEDS = {split: seed for seed, split in enumerate(SPLITS)}  # of what is generated, whatever the run's seed
FILE_FIELDS = tuple(f"{prefix}{side}" for prefix in ("", "validation_", "test_") for side in ("source", "target"))
CHUNK = 128  # sentences that are evaluated at once, at most


class Pairs(NamedTuple):
    """Sentence pairs as token ids, padded with 0; each sentence ends with the end token, which its length counts."""

    source: np.ndarray  # [N, S]
    source_length: np.ndarray  # [N]
    target: np.ndarray  # [N, T]
    target_length: np.ndarray  # [N]

    @property
    def number(self):
        """How many pairs there are."""
        return len(self.source)

    def fit(self, context_length):
        """Which pairs [N] have no sentence that is longer than the context."""
        return np.maximum(self.source_length, self.target_length) <= context_length


class Gold(NamedTuple):
    """What is known of the words of a generated target."""

    links: np.ndarray  # bool [N, T, S]: which source words a target word depends on
    kinds: np.ndarray  # int [N, T]: the place of its kind in language.KINDS, -1 where there is no word


@dataclass(frozen=True, eq=False)  # so that a corpus can be a key of a cache
class Corpus:
    """What an arm trains on and is tested on.

    text:      {split: ((source line, target line), ...)}
    pairs:     {split: Pairs}; training pairs longer than the context are left out
    alignable: {split: Pairs} of validation and test pairs, those whose attention is measured: padded to the longest
               that fits the context; each longer one is empty, with lengths 1 and 0
    buckets:   of the training pairs
    gold:      {split: Gold} of the alignable pairs; empty where the alignment is not known
    facts:     which text it is, for config.json
    """

    name: str
    tokenizer: Any
    text: Mapping[str, tuple[tuple[str, str], ...]]
    pairs: Mapping[str, Pairs]
    alignable: Mapping[str, Pairs]
    buckets: Buckets
    gold: Mapping[str, Gold]
    facts: Mapping[str, Any]
    context_length: int

    @property
    def end(self):
        """The id of the end token."""
        return self.tokenizer.end


def read_corpus(config):
    """The Corpus of a config; the last few are kept.

    Raises:
      ValueError: a corpus that there is not, files that cannot be read, and sizes out of range.
    """
    for name in ("train_pairs", "validation_pairs", "test_pairs", "context_length", "num_buckets"):
        if getattr(config, name) < 1:
            raise ValueError(f"{name}={getattr(config, name)} must be at least 1")
    if config.corpus in KNOWN:
        sizes = tuple(getattr(config, f"{split}_pairs") for split in SPLITS)
        lengths = () if config.corpus == GENERATED else (config.shortest, config.longest)
        if config.corpus == GENERATED and any(getattr(config, name) for name in FILE_FIELDS):
            return _read_files(config)
        return _generate(config.corpus, sizes, lengths, config.context_length, config.num_buckets)
    return _read_files(config)


def _read_files(config):
    corpus = "" if config.corpus in (GENERATED, FILES) else config.corpus
    if config.corpus == FILES and not (config.source and config.target):
        raise ValueError("corpus=files: give the training files as --config.source=FILE --config.target=FILE")
    held_out = ((config.validation_source, config.validation_target), (config.test_source, config.test_target))
    most = tuple(getattr(config, f"{split}_pairs") for split in HELD_OUT)
    sizes = config.vocab_size, config.context_length, config.num_buckets
    return _read(config.source, config.target, corpus, held_out, most, *sizes)


@lru_cache(maxsize=4)
def _generate(name, sizes, lengths, context_length, num_buckets):
    if name == GENERATED:
        examples = {s: language.generate(size, SPLIT_SEEDS[s]) for s, size in zip(SPLITS, sizes, strict=True)}
        words = [word for both in language.words() for word in both]
    else:
        examples = {
            s: sequences.generate(name, size, *lengths, SPLIT_SEEDS[s]) for s, size in zip(SPLITS, sizes, strict=True)
        }
        words = sequences.SYMBOLS
    text = {s: tuple((" ".join(e.source), " ".join(e.target)) for e in examples[s]) for s in SPLITS}
    tokenizer = tokenizers.train("word", [" ".join(words)])
    sha256 = hashlib.sha256(repr(text).encode()).hexdigest()
    corpus = _make(name, tokenizer, text, {"sha256": sha256}, context_length, num_buckets)
    return replace(corpus, gold={s: _gold(examples[s], corpus.alignable[s]) for s in HELD_OUT})


@lru_cache(maxsize=2)
def _read(source, target, corpus, held_out, most, vocab_size, context_length, num_buckets):
    loaded = _load(source, target, corpus, held_out)
    for warning in loaded.warnings:
        say(f"warning: {warning}")
    if loaded.num_dropped:
        say(
            f"warning: pairs left out because a line of them is blank: {loaded.num_dropped}; line i of "
            f"{TRANSLATIONS_FILE} belongs to line i of {REFERENCES_FILE}, not of the files that were read"
        )
    text = {s: loaded[s] for s in SPLITS}
    for split, number in zip(HELD_OUT, most, strict=True):
        if split not in loaded.from_files:
            text[split] = _spread(split, text[split], number)
    lines = [line for pair in text["train"] for line in pair]
    # Not exact: a word has the same pieces wherever it stands in a line.
    tokenizer = train_sentencepiece(lines, vocab_size, byte_fallback=False, exact=False)
    facts = {"sha256": loaded.sha256, "left_out_as_blank": loaded.num_dropped}
    return _make(loaded.name, tokenizer, text, facts, context_length, num_buckets)


def _load(source, target, corpus, held_out):
    try:
        return parallel_text.load(source, target, corpus=corpus, validation=held_out[0], test=held_out[1])
    except ValueError as error:
        near = get_close_matches(corpus, (GENERATED, FILES, *sequences.TASKS), n=1)
        guess = f"; did you mean {near[0]}?" if near and corpus else ""
        raise ValueError(f"{error}{guess}") from error


def _spread(split, pairs, most):
    """At most so many of the pairs, spread evenly over all: a large text has more than can be translated."""
    if len(pairs) <= most:
        return pairs
    say(f"of {len(pairs)} {split} pairs, for which no files are given, {most} are taken: {split}_pairs={most}")
    return tuple(pairs[i * len(pairs) // most] for i in range(most))


def _make(name, tokenizer, text, facts, context_length, num_buckets):
    """The Corpus of lines, without gold."""
    pairs, alignable = {}, {}
    for split in SPLITS:
        pairs[split] = _encode(tokenizer, text[split], context_length if split == "train" else math.inf)
        fits_N = pairs[split].fit(context_length)
        if not fits_N.any():
            kind = "training" if split == "train" else split
            raise ValueError(f"context_length={context_length} is shorter than every {kind} sentence of {name}")
        if split in HELD_OUT:
            alignable[split] = _empty_longer(pairs[split], fits_N)
    facts = {
        "corpus": name,
        **facts,
        "pairs": {split: len(text[split]) for split in SPLITS},
        "left_out_as_too_long": len(text["train"]) - pairs["train"].number,
        "too_long_to_align": {split: int((~pairs[split].fit(context_length)).sum()) for split in HELD_OUT},
        "tokens": tokenizer.vocab_size,
    }
    buckets = make_buckets(pairs["train"].source_length, pairs["train"].target_length, num_buckets)
    return Corpus(name, tokenizer, text, pairs, alignable, buckets, {}, facts, context_length)


def _encode(tokenizer, text, context_length):
    """The Pairs of those lines that fit the context."""
    ids = [[[*tokenizer.encode(line).tolist(), tokenizer.end] for line in pair] for pair in text]
    fitting = [pair for pair in ids if max(map(len, pair)) <= context_length]
    sides = []
    for side in (0, 1):
        sentences = [pair[side] for pair in fitting]
        length_N = np.array([len(sentence) for sentence in sentences], np.int32)
        padded = np.zeros((len(sentences), length_N.max(initial=0)), np.int32)
        padded[np.arange(padded.shape[1]) < length_N[:, None]] = [id for sentence in sentences for id in sentence]
        sides += [padded, length_N]
    return Pairs(*sides)


def _empty_longer(pairs, fits_N):
    """The Pairs padded to the longest of those that fit; the others are empty."""
    S, T = pairs.source_length[fits_N].max(), pairs.target_length[fits_N].max()
    return Pairs(
        np.where(fits_N[:, None], pairs.source[:, :S], 0),
        np.where(fits_N, pairs.source_length, 1),
        np.where(fits_N[:, None], pairs.target[:, :T], 0),
        np.where(fits_N, pairs.target_length, 0),
    )


def _gold(examples, pairs):
    """The Gold of pairs; of empty ones, nothing is known."""
    (N, S), T = pairs.source.shape, pairs.target.shape[1]
    links_NTS, kinds_NT = np.zeros((N, T, S), bool), np.full((N, T), -1, np.int8)
    for i in np.flatnonzero(pairs.target_length):
        example = examples[i]
        for t, (positions, kind) in enumerate(zip(example.links, example.kinds, strict=True)):
            links_NTS[i, t, list(positions)] = True
            kinds_NT[i, t] = language.KINDS.index(kind)
    return Gold(links_NTS, kinds_NT)


class Chunked(NamedTuple):
    """Pairs of one bucket in chunks: ``pairs`` are arrays [C, B, ...]; filler has target length 0."""

    pairs: Pairs
    rows: np.ndarray  # [C, B]: which pair of the split each is, -1 of filler


def chunk(pairs, num_buckets, context_length=math.inf):
    """The pairs in chunks of similar length, a tuple of ``Chunked``: so that little of what is computed is padding.

    Pairs longer than the context are in chunks of their own, smaller ones the longer they are: so that a long line
    needs no more memory than it must.
    """
    fits_N, chunked = pairs.fit(context_length), []
    for numbers in (np.flatnonzero(fits_N), np.flatnonzero(~fits_N)):
        if not len(numbers):
            continue
        buckets = make_buckets(pairs.source_length[numbers], pairs.target_length[numbers], num_buckets)
        members = np.split(numbers[buckets.order_N], np.cumsum(buckets.sizes)[:-1])
        for rows, (S, T) in zip(members, buckets.lengths, strict=True):
            longest = max(S, T)
            most = CHUNK if longest <= context_length else max(CHUNK * context_length // longest, 1)
            num_chunks = -(-len(rows) // most)
            B = -(-len(rows) // num_chunks)
            rows_CB = np.pad(rows, (0, num_chunks * B - len(rows)), constant_values=-1).reshape(num_chunks, B)
            chunked.append(_take(pairs, rows_CB, S, T))
    return tuple(chunked)


def _take(pairs, rows_CB, S, T):
    is_filler = rows_CB < 0
    return Chunked(
        Pairs(
            pairs.source[rows_CB, :S],
            np.where(is_filler, 1, pairs.source_length[rows_CB]).astype(np.int32),
            pairs.target[rows_CB, :T],
            np.where(is_filler, 0, pairs.target_length[rows_CB]).astype(np.int32),
        ),
        rows_CB,
    )
