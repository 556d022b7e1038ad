"""The claims. Thresholds were written down before the first run; 2d, 3d and 3e were stated after it, see README.md.

Axes: S seeds, Z vocabularies, P used parts of words.
"""

from typing import NamedTuple

import numpy as np

from experiments.bpe.pieces import PARTS, WHOLE, used_parts
from experiments.bpe.rare_script import REWRITTEN_SHARES
from experiments.bpe.words import SPACE
from reporting.claims import claim, examined
from reporting.ranks import rank_correlation

NOT_REWRITTEN = "the text has too few words to rewrite, or vocab_size no room for another alphabet"
UNDEFINED = "this text and vocabulary leave it undefined: too few pieces or words of the kind, or all of them alike"


def defined_measure(measure):
    """Makes a measure: what ``measure`` gives, or as text that it is undefined where that is not a finite number."""

    def measure_if_finite(result):
        values = measure(result)
        return values if isinstance(values, str) or np.isfinite(values).all() else UNDEFINED

    return measure_if_finite


def value_at_vocab_size(name):
    """Makes a measure: what the vocabulary of vocab_size has of an array [S, Z, ...]."""

    def measure(result):
        (z,) = np.flatnonzero(result.examined["vocab_sizes"][0] == result.config.vocab_size)
        return result.examined[name][:, z]

    return measure


class Parts(NamedTuple):
    """The pieces that are parts of words and are used; each is compared with a random part of a word."""

    words_P: np.ndarray  # distinct words that contain the part
    tokens_P: np.ndarray  # how often the training text uses it
    letters_P: np.ndarray
    words_of_random_P: np.ndarray  # distinct words that contain the random part


def each_seeds_parts(measure_one):
    """Makes a measure: what ``measure_one`` makes of the Parts of each seed."""

    def measure(result):
        values = []
        for s in range(result.num_seeds):
            arrays = {name: array[s] for name, array in result.examined.items()}
            used = used_parts(arrays["kinds"], arrays["roles"])
            if not used.any():
                return "no part of a word is used"
            parts = Parts(
                words_P=arrays["containing_words"][used],
                tokens_P=arrays["tokens"][used],
                letters_P=np.char.str_len(np.char.lstrip(arrays["pieces"][used], SPACE)),
                words_of_random_P=arrays["productivity/random parts"],
            )
            values.append(measure_one(parts))
        return np.array(values)

    return measure


def words_over_random(parts, at_least_letters=1):
    """Words that contain a part over words that contain its random counterpart: ratio of geometric means."""
    chosen = parts.letters_P >= at_least_letters
    logs = np.log(parts.words_P[chosen]) - np.log(parts.words_of_random_P[chosen])
    return np.exp(logs.mean()) if chosen.any() else np.nan


def other_scripts(counted, divisor):
    """Makes a measure: a ratio of two counts of ``count_by_script``, each summed over all scripts but Latin."""

    def measure(result):
        others = result.examined["scripts"][0] != "LATIN"
        if result.examined["script_letters"][:, others].sum() == 0:
            return "the training text has no letter of another script"
        return result.examined[counted][:, others].sum(1) / result.examined[divisor][:, others].sum(1)

    return measure


def latin_tokens_a_letter(result):
    """Tokens over letters [S] of the Latin script."""
    latin = result.examined["scripts"][0] == "LATIN"
    if not latin.any():
        return "the training text has no Latin letter"
    return (result.examined["script_tokens"][:, latin] / result.examined["script_letters"][:, latin])[:, 0]


def rewritten_text_measure(share, measure_tokens_a_letter):
    """Makes a measure of (Cyrillic, Latin) tokens a letter [S] where this share of the letters was rewritten."""

    def measure(result):
        k = REWRITTEN_SHARES.index(share)
        cyrillic = result.examined["rewritten/tokens a letter"][:, k]
        latin = result.examined["rewritten/Latin tokens a letter"][:, k]
        defined = np.isfinite(cyrillic).all() and np.isfinite(latin).all()
        return measure_tokens_a_letter(cyrillic, latin) if defined else NOT_REWRITTEN

    return measure


def bytes_a_token_by_doubling(result):
    """Bytes a token [S, Z] of the training text, of the sizes that double."""
    vocab_sizes = result.examined["vocab_sizes"][0]
    first = result.config.smallest_vocabulary
    doubled = [z for z, V in enumerate(vocab_sizes) if V % first == 0 and (V // first).bit_count() == 1]
    return result.examined["bytes_per_token/training text"][:, doubled]


def rises_with_doubling(measure_rises):
    """Makes a measure of the rises [S, Z - 1] of bytes a token with each doubling of the vocabulary."""

    def measure(result):
        rises = np.diff(bytes_a_token_by_doubling(result))
        return measure_rises(rises) if rises.shape[1] > 1 else "the text fills fewer than three vocabularies"

    return measure


def training_over_held_out(result):
    """Bytes a token of training over held-out text, the largest vocabulary over the smallest [S]."""
    ratio = result.examined["bytes_per_token/training text"] / result.examined["bytes_per_token/held-out text"]
    return ratio[:, -1] / ratio[:, 0] if np.isfinite(ratio).all() else "there is no held-out text"


def share_of_whole_words(kind_shares):
    """Makes a measure: the share [S] of whole words among all that are words or parts of words."""

    def measure(result):
        shares = value_at_vocab_size(kind_shares)(result)
        return shares[:, WHOLE] / shares[:, [WHOLE, *PARTS]].sum(1)

    return measure


CLAIMS = [
    claim(
        "1a",
        "Frequent words are spelled with fewer pieces: rank correlation of a word's frequency and its number of pieces",
        defined_measure(examined("frequency_and_pieces")),
        of="bpe",
        at_most=-0.5,
    ),
    claim(
        "1b",
        "Words kept whole are more frequent than words that are split: probability over random pairs of the two",
        defined_measure(examined("whole_is_more_frequent")),
        of="bpe",
        at_least=0.95,
    ),
    claim(
        "1c",
        "The 100 most frequent words are kept whole: share of them that is a single piece",
        value_at_vocab_size("words_kept_whole/most frequent"),
        of="bpe",
        at_least=0.99,
    ),
    claim(
        "2a",
        "Pieces that are parts of words are parts of many words: distinct words that contain such a piece, median over "
        "pieces",
        each_seeds_parts(lambda parts: np.median(parts.words_P)),
        of="bpe",
        at_least=10.0,
    ),
    claim(
        "2b",
        "Pieces that are parts of words are in more words than random parts of words, as long and in the same place: "
        "ratio of geometric means of the numbers of words that contain them",
        each_seeds_parts(words_over_random),
        of="bpe",
        at_least=2.0,
    ),
    claim(
        "2c",
        "Pieces that are parts of more words are used more often: rank correlation of the words that contain a piece "
        "and its frequency as a token",
        defined_measure(each_seeds_parts(lambda parts: rank_correlation(parts.words_P, parts.tokens_P))),
        of="bpe",
        at_least=0.5,
    ),
    claim(
        "2d",
        "Pieces of 5 letters and more that are parts of words are in more words than random parts of words, as long "
        "and in the same place: ratio of geometric means of the numbers of words that contain them",
        defined_measure(each_seeds_parts(lambda parts: words_over_random(parts, at_least_letters=5))),
        of="bpe",
        at_least=1.5,
    ),
    claim(
        "3a",
        "Pieces of scripts other than Latin are single characters: share of the pieces of other scripts that are one "
        "character",
        defined_measure(other_scripts("script_single", "script_pieces")),
        of="bpe",
        at_least=0.9,
    ),
    claim(
        "3b",
        "Text in scripts other than Latin is spelled letter by letter: tokens a letter",
        other_scripts("script_tokens", "script_letters"),
        of="bpe",
        at_least=0.8,
    ),
    claim(
        "3c",
        "Text in Latin script is spelled with several letters a token: tokens a letter",
        latin_tokens_a_letter,
        of="bpe",
        at_most=0.4,
    ),
    claim(
        "3d",
        "If one letter in 10,000 is rewritten in Cyrillic, the rewritten words are spelled letter by letter: tokens "
        "per Cyrillic letter",
        rewritten_text_measure(0.0001, lambda cyrillic, latin: cyrillic),
        of="bpe",
        at_least=0.95,
    ),
    claim(
        "3e",
        "If every second letter is rewritten in Cyrillic, it costs as many tokens as a Latin letter: tokens per "
        "Cyrillic letter over tokens per Latin letter",
        rewritten_text_measure(0.5, lambda cyrillic, latin: cyrillic / latin),
        of="bpe",
        at_least=0.9,
        at_most=1.1,
    ),
    claim(
        "4a",
        "A token holds more text with every doubling of the vocabulary: least rise of bytes a token",
        rises_with_doubling(lambda rises: rises.min(1)),
        of="bpe",
        above=0.0,
    ),
    claim(
        "4b",
        "Doubling the vocabulary buys less and less: rise of bytes a token with the first doubling over that with the "
        "last",
        defined_measure(rises_with_doubling(lambda rises: rises[:, 0] / rises[:, -1])),
        of="bpe",
        at_least=2.0,
    ),
    claim(
        "4c",
        "A larger vocabulary fits its training text more than held-out text: bytes a token of the training text over "
        "those of the held-out text, that ratio with the largest vocabulary over that with the smallest",
        training_over_held_out,
        of="bpe",
        at_least=1.02,
    ),
    claim(
        "5",
        "A vocabulary keeps all pieces of the next smaller one: share that it keeps, least over vocabularies",
        defined_measure(lambda result: result.examined["kept_by_next_size"].min(1)),
        of="bpe",
        at_least=1.0,
    ),
    claim(
        "6a",
        "Most tokens that spell words are whole words: share of whole words among tokens that spell words",
        defined_measure(share_of_whole_words("kinds/of tokens")),
        of="bpe",
        at_least=0.5,
    ),
    claim(
        "6b",
        "Many pieces that spell words are whole words: share of whole words among pieces that spell words",
        defined_measure(share_of_whole_words("kinds/of the vocabulary")),
        of="bpe",
    ),
    claim(
        "7",
        "Some pieces of a vocabulary are never used in its own training text: share of the vocabulary",
        value_at_vocab_size("never_used"),
        of="bpe",
    ),
]
