"""Vocabularies of several sizes, trained on one text, and how that text uses them.

What does not depend on the seed is computed once for each config, whatever the number of seeds.

Axes: Z vocabularies, P pieces, W words.
"""

from collections import Counter
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from data import corpora, tokenizers
from experiments.bpe.pieces import (
    PIECE_KINDS,
    Usage,
    classify,
    count_by_script,
    count_occurrences,
    count_usage,
    draw_part,
    used_parts,
)
from experiments.bpe.words import SPACE, count_words, normalize
from reporting.ranks import mean_ranks, rank_correlation

MOST_FREQUENT = 100  # words
FREQUENCY_BANDS = 2 ** np.arange(18)  # a band holds the words as frequent as this, and less than twice


class Text(NamedTuple):
    """A normalized text, and how often each string between two spaces occurs in it; no piece spans two of them."""

    normalized: str
    strings: Counter

    @property
    def num_bytes(self):
        """Bytes in UTF-8, without line ends."""
        return sum(count * (len(string.encode()) + 1) for string, count in self.strings.items())


@lru_cache(maxsize=2)
def load_corpus(config):
    """The corpus, its training text cut to ``max_characters``; raises what ``corpora.load`` raises."""
    return corpora.load(config.corpus, max_characters=config.max_characters)


@lru_cache(maxsize=2)
def load_texts(config):
    """The training text and the held-out text, without WikiText's mark of rare words."""
    corpus = load_corpus(config)
    return make_text(corpus.train), make_text(corpus.validation or corpus.test)


def make_text(documents):
    """The documents as one Text."""
    normalized = normalize("\n".join(documents).replace("<unk>", ""))
    return Text(normalized, Counter(normalized.split()))


@lru_cache(maxsize=2)
def count_training_words(config):
    """How often each word occurs in the training text."""
    return count_words(load_texts(config)[0].normalized)


def vocabulary_sizes(config):
    """The smallest size, doubled as far as the largest, and vocab_size among them, in rising order."""
    doublings = [config.smallest_vocabulary]
    while 2 * doublings[-1] <= config.largest_vocabulary:
        doublings.append(2 * doublings[-1])
    return sorted({*doublings, config.vocab_size})


def train_on(strings, vocab_size):
    """A sentencepiece BPE tokenizer of these strings {string: how often it occurs}, every character of them a piece.

    Raises ValueError for a vocabulary that the strings cannot fill, or that is too small for their characters.
    """
    lines = {f" {string}": count for string, count in strings.items()}
    return tokenizers.train("sentencepiece", lines, vocab_size=vocab_size, byte_fallback=False)


@lru_cache(maxsize=16)
def train_tokenizer(config, vocab_size):
    """The tokenizer of the training text; raises what ``train_on`` raises."""
    return train_on(load_texts(config)[0].strings, vocab_size)


def train_tokenizers(config):
    """{vocab_size: tokenizer} of the sizes that the training text can fill; raises ValueError if vocab_size is none."""
    trained = {}
    for vocab_size in vocabulary_sizes(config):
        try:
            trained[vocab_size] = train_tokenizer(config, vocab_size)
        except ValueError:
            if vocab_size == config.vocab_size:
                raise
    return trained


def list_pieces(tokenizer):
    """The tokenizer's pieces, in the order of their ids."""
    return [tokenizer.piece(id) for id in range(tokenizer.vocab_size)]


def count_tokens(tokenizer, strings):
    """How often each piece [P] is a token of these strings {string: how often it occurs}."""
    counts_P = np.zeros(tokenizer.vocab_size, np.int64)
    spellings = tokenizer.processor.encode([f" {string}" for string in strings])
    lengths = [len(ids) for ids in spellings]
    repeated = np.repeat(np.fromiter(strings.values(), np.int64), lengths)
    np.add.at(counts_P, np.concatenate(spellings).astype(np.int64), repeated)
    return counts_P


class Vocabulary(NamedTuple):
    """A vocabulary, and how its training text uses it."""

    tokenizer: tokenizers.SentencePiece
    pieces: list[str]
    usage: Usage  # in words
    tokens_P: np.ndarray  # how often each piece is a token of the text
    kinds_P: np.ndarray  # indices of PIECE_KINDS


@lru_cache(maxsize=2)
def analyze(config):
    """{name: array} of all that is measured of the vocabularies and does not depend on the seed.

    Returns:
      "vocab_sizes" [Z], and for each of them what ``measure_size`` returns; "kept_by_next_size" [Z - 1]: the share of a
      vocabulary's pieces that the next larger one has, NaN where there is only one; of the vocabulary of vocab_size
      what ``measure_pieces`` returns; "kind_names" and "frequency_bands", which say what the axes of some arrays are.
    """
    training, held_out = load_texts(config)
    words = count_training_words(config)
    frequencies_W = np.fromiter(words.values(), np.int64)
    spelled_words = [word.replace(SPACE, " ") for word in words]
    tokenizer_of = train_tokenizers(config)
    pieces_of = {vocab_size: list_pieces(tokenizer) for vocab_size, tokenizer in tokenizer_of.items()}
    occurrences = count_occurrences(words, set().union(*pieces_of.values()))

    sizes = []
    for vocab_size, tokenizer in tokenizer_of.items():
        pieces = pieces_of[vocab_size]
        usage = count_usage(tokenizer.processor.encode(spelled_words), frequencies_W, pieces)
        kinds_P = classify(pieces, usage.tokens_PR, occurrences)
        vocabulary = Vocabulary(tokenizer, pieces, usage, count_tokens(tokenizer, training.strings), kinds_P)
        sizes.append(measure_size(vocabulary, frequencies_W, training, held_out))
        if vocab_size == config.vocab_size:
            of_vocab_size = measure_pieces(vocabulary, frequencies_W, training, occurrences)
    smaller_and_larger = zip(list(pieces_of.values())[:-1], list(pieces_of.values())[1:], strict=True)
    kept = [len(set(smaller) & set(larger)) / len(smaller) for smaller, larger in smaller_and_larger]
    return {
        "vocab_sizes": np.array(list(tokenizer_of)),
        "kind_names": np.array(PIECE_KINDS),
        "frequency_bands": FREQUENCY_BANDS,
        "kept_by_next_size": np.array(kept or [np.nan]),
        **of_vocab_size,
        **{name: np.array([one_size[name] for one_size in sizes]) for name in sizes[0]},
    }


def measure_size(vocabulary, frequencies_W, training, held_out):
    """{name: number or array} of what is compared between vocabularies of different sizes.

    Returns:
      shares of words that are a single piece: "words_kept_whole/of occurrences", "/of distinct words", "/by frequency"
      (in each of FREQUENCY_BANDS) and "/most frequent" (of the 100 most frequent); "never_used": share of the pieces;
      "kinds/of the vocabulary" and "kinds/of tokens": shares of PIECE_KINDS; "bytes_per_token/training text" and
      "bytes_per_token/held-out text", NaN where no text is held out.
    """
    tokens_P, kept_W = vocabulary.tokens_P, vocabulary.usage.pieces_W == 1
    most_frequent = np.argsort(-frequencies_W, kind="stable")[:MOST_FREQUENT]
    held_out_tokens = count_tokens(vocabulary.tokenizer, held_out.strings).sum() if held_out.strings else np.nan
    return {
        "words_kept_whole/of occurrences": (kept_W * frequencies_W).sum() / frequencies_W.sum(),
        "words_kept_whole/of distinct words": kept_W.mean(),
        "words_kept_whole/by frequency": share_by_frequency(kept_W, frequencies_W),
        "words_kept_whole/most frequent": kept_W[most_frequent].mean(),
        "never_used": (tokens_P == 0).mean(),
        "kinds/of the vocabulary": kind_shares(vocabulary.kinds_P, np.ones(len(tokens_P))),
        "kinds/of tokens": kind_shares(vocabulary.kinds_P, tokens_P),
        "bytes_per_token/training text": training.num_bytes / tokens_P.sum(),
        "bytes_per_token/held-out text": held_out.num_bytes / held_out_tokens,
    }


def share_by_frequency(kept_W, frequencies_W):
    """The share of the distinct words of each of FREQUENCY_BANDS that are kept whole; NaN where there are none."""
    num_bands = len(FREQUENCY_BANDS)
    band_W = np.searchsorted(FREQUENCY_BANDS, frequencies_W, side="right") - 1
    total = np.bincount(band_W, minlength=num_bands)
    return np.divide(np.bincount(band_W, kept_W, num_bands), total, out=np.full(num_bands, np.nan), where=total > 0)


def kind_shares(kinds_P, weights_P):
    """The share of the weights that pieces of each of PIECE_KINDS have."""
    return np.bincount(kinds_P, weights_P, len(PIECE_KINDS)) / weights_P.sum()


def measure_pieces(vocabulary, frequencies_W, training, occurrences):
    """{name: array} of a single vocabulary's pieces, and of how it spells words of different frequency.

    Returns:
      "pieces", "kinds", "tokens" [P]; "roles" and "used_in_words" [P, R], as Usage has them; "containing_words" [P]:
      distinct words that contain the piece's letters; "bytes_per_token" of the training text; "frequency_and_pieces":
      rank correlation of a word's frequency and its number of pieces; "whole_is_more_frequent": the probability that a
      word kept whole is more frequent than a split one, NaN where there are not both; what ``count_by_script`` returns.
    """
    kept_W = vocabulary.usage.pieces_W == 1
    are_both = kept_W.any() and not kept_W.all()
    return {
        "pieces": np.array(vocabulary.pieces),
        "kinds": vocabulary.kinds_P,
        "tokens": vocabulary.tokens_P,
        "roles": vocabulary.usage.tokens_PR,
        "used_in_words": vocabulary.usage.words_PR,
        "containing_words": np.array([occurrences[piece][-1] for piece in vocabulary.pieces]),
        "bytes_per_token": training.num_bytes / vocabulary.tokens_P.sum(),
        "frequency_and_pieces": rank_correlation(frequencies_W, vocabulary.usage.pieces_W),
        "whole_is_more_frequent": (
            probability_greater(frequencies_W[kept_W], frequencies_W[~kept_W]) if are_both else np.nan
        ),
        **count_by_script(training.normalized, vocabulary.pieces, vocabulary.tokens_P),
    }


def probability_greater(x, y) -> float:
    """The probability that a random one of ``x`` is greater than one of ``y``, ties half (Mann and Whitney 1947)."""
    ranks = mean_ranks(np.concatenate([x, y]))
    return float((ranks[: len(x)].sum() - len(x) * (len(x) - 1) / 2) / (len(x) * len(y)))


def count_words_with_random_parts(config, generator):
    """For each used part a random one of the same length and role, from a random word: how many words contain it."""
    analysis, words = analyze(config), count_training_words(config)
    used = used_parts(analysis["kinds"], analysis["roles"])
    distinct_words = list(words)
    pieces_and_roles = zip(analysis["pieces"][used].tolist(), analysis["kinds"][used].tolist(), strict=True)
    parts = [draw_part(generator, distinct_words, piece, role) for piece, role in pieces_and_roles]
    occurrences = count_occurrences(words, set(parts))
    return np.array([occurrences[part][-1] for part in parts])
