"""What are the pieces of byte-pair encoding: frequent words, parts of many words, single letters of rare scripts?"""

import re
from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import jax
import numpy as np

from data import corpora, tokenizers
from experiments.bpe import measures as subwords
from experiments.bpe.figures import figures as of_subwords
from experiments.bpe.measures import BEGINNING, INSIDE, KINDS, SPACE, SUFFIX, WHOLE
from reporting.claims import by_id, judge_all, stated
from training.config import setting
from training.experiment import Experiment, Task

ARM = "bpe"
PARTS = (BEGINNING, INSIDE, SUFFIX)
MOST_FREQUENT = 100
# A script made rare on purpose: the share of the letters that are rewritten, one for one, in Cyrillic.
REWRITTEN_SHARES = (0.0001, 0.001, 0.01, 0.1, 0.5)
REWRITTEN_CHARACTERS = 2_000_000  # of the text that this is tried on
CYRILLIC = str.maketrans(
    {chr(latin + n): chr(other + n) for latin, other in ((65, 0x410), (97, 0x430)) for n in range(26)}
)
WITHOUT_LETTERS = dict.fromkeys(CYRILLIC)
LONG_PART = 5  # letters
NOT_REWRITTEN = "the text has too few words to rewrite, or vocab_size no room for another alphabet"
UNDEFINED = "this text and vocabulary leave it undefined: too few pieces or words of the kind, or all of them alike"


@dataclass(frozen=True)
class Config:
    corpus: str = setting("python_stdlib", "the text: python_stdlib, a file, a folder, or a TFDS data set")
    max_characters: int = setting(0, "of the training text, 0 for all")
    vocab_size: int = setting(8_000, "of the vocabulary that the claims are about, unless they name another")
    smallest_vocabulary: int = setting(500, "the first of the vocabularies, each twice the one before")
    largest_vocabulary: int = setting(32_000, "the last of them; left out are those that the text cannot fill")
    seed: int = setting(0, "of the random parts of words that pieces are compared with")


def sizes(config):
    """The vocabularies' sizes, the smallest doubled as far as the largest, and vocab_size."""
    doublings = [config.smallest_vocabulary]
    while 2 * doublings[-1] <= config.largest_vocabulary:
        doublings.append(2 * doublings[-1])
    return sorted({*doublings, config.vocab_size})


def task(config):
    if not 2 <= config.smallest_vocabulary <= config.vocab_size <= config.largest_vocabulary:
        raise ValueError(
            f"smallest_vocabulary={config.smallest_vocabulary}, vocab_size={config.vocab_size} and largest_vocabulary="
            f"{config.largest_vocabulary} must be at least 2 and in this order"
        )
    config = replace(config, seed=0)  # the seed comes in through the parameters
    # What is wrong with text or size is found here.
    if not subwords.words(texts(config)["training text"]):
        raise ValueError(
            f"corpus={config.corpus} has no word of Latin letters in its training text, and the claims are about "
            "those: take another text"
        )
    train_tokenizer(config, config.vocab_size)

    def evaluate(variables):
        z = list(analysis(config)["vocab_sizes"]).index(config.vocab_size)
        return {"bytes_per_token": (float(analysis(config)["bytes_per_token/training text"][z]), 1.0)}

    def measure(variables):
        generator = np.random.default_rng(np.asarray(variables["params"]["draws"]))
        return analysis(config) | {"productivity/random parts": productivity_of_random_parts(config, generator)}

    return Task(
        model=None,
        init=lambda key: {"params": {"draws": jax.random.bits(key, (4,))}},
        evaluate=evaluate,
        measure=measure,
        facts={"corpus": config.corpus, "sha256": load(config).sha256},
    )


# --- The text and its vocabularies, computed once whatever the number of seeds.


@lru_cache(maxsize=2)
def load(config):
    """The corpus, its training text limited."""
    return corpora.load(config.corpus, max_characters=config.max_characters)


@lru_cache(maxsize=2)
def texts(config):
    """{"training text", "held-out text"}: normalized, without WikiText's mark of rare words."""
    corpus = load(config)
    held_out = corpus.validation or corpus.test
    named = {"training text": corpus.train, "held-out text": held_out}
    return {name: subwords.normalized("\n".join(documents).replace("<unk>", "")) for name, documents in named.items()}


@lru_cache(maxsize=2)
def between_spaces(config):
    """{"training text", "held-out text"}: how often each string between two spaces occurs; no piece spans two."""
    return {name: Counter(text.split()) for name, text in texts(config).items()}


@lru_cache(maxsize=16)
def train_tokenizer(config, vocab_size):
    """A sentencepiece BPE tokenizer of the training text, every character of it a piece."""
    return trained(between_spaces(config)["training text"], vocab_size)


def trained(counts, vocab_size):
    """The tokenizer of a text, given how often each string between two spaces occurs in it."""
    lines = {f" {string}": count for string, count in counts.items()}
    return tokenizers.train("sentencepiece", lines, vocab_size=vocab_size, byte_fallback=False)


def possible_tokenizers(config):
    """{vocab_size: tokenizer} of the sizes that the text supports."""
    found = {}
    for vocab_size in sizes(config):
        try:
            found[vocab_size] = train_tokenizer(config, vocab_size)
        except ValueError:
            if vocab_size == config.vocab_size:
                raise
    return found


def token_counts(tokenizer, counts):
    """How often each piece [P] is used, given how often each string between two spaces occurs."""
    counts_P = np.zeros(tokenizer.vocab_size, np.int64)
    spellings = tokenizer.processor.encode([f" {string}" for string in counts])
    lengths = [len(ids) for ids in spellings]
    repeated = np.repeat(np.fromiter(counts.values(), np.int64), lengths)
    np.add.at(counts_P, np.concatenate(spellings).astype(np.int64), repeated)
    return counts_P


@lru_cache(maxsize=2)
def analysis(config):
    """{name: array} of everything that is measured and does not depend on the seed; Z vocabularies, P pieces."""
    strings = between_spaces(config)
    num_bytes = {
        name: sum(count * (len(string.encode()) + 1) for string, count in strings[name].items()) for name in strings
    }
    counts = subwords.words(texts(config)["training text"])
    frequencies_W = np.fromiter(counts.values(), np.int64)
    tokenizer_of = possible_tokenizers(config)
    pieces_of = {V: [tokenizer.piece(p) for p in range(V)] for V, tokenizer in tokenizer_of.items()}
    occurrences = subwords.occurrences(counts, set().union(*pieces_of.values()))
    found, by_size = {"vocab_sizes": np.array(list(tokenizer_of))}, []
    found |= {"kind_names": np.array(KINDS), "frequency_bands": BANDS}
    for V, tokenizer in tokenizer_of.items():
        pieces = pieces_of[V]
        usage = subwords.usage(
            tokenizer.processor.encode([word.replace(SPACE, " ") for word in counts]), frequencies_W, pieces
        )
        tokens_P = token_counts(tokenizer, strings["training text"])
        kinds_P = subwords.kinds(pieces, usage.tokens_PR, occurrences)
        kept_W = usage.pieces_W == 1
        by_size.append(
            {
                "words_kept_whole/of occurrences": (kept_W * frequencies_W).sum() / frequencies_W.sum(),
                "words_kept_whole/of distinct words": kept_W.mean(),
                "words_kept_whole/by frequency": share_by_frequency(kept_W, frequencies_W),
                "words_kept_whole/most frequent": kept_W[
                    np.argsort(-frequencies_W, kind="stable")[:MOST_FREQUENT]
                ].mean(),
                "never_used": (tokens_P == 0).mean(),
                "kinds/of the vocabulary": shares(kinds_P, np.ones(V)),
                "kinds/of tokens": shares(kinds_P, tokens_P),
                "bytes_per_token/training text": num_bytes["training text"] / tokens_P.sum(),
                "bytes_per_token/held-out text": held_out_bytes_per_token(tokenizer, strings, num_bytes),
            }
        )
        if config.vocab_size == V:
            found |= {"pieces": np.array(pieces), "kinds": kinds_P, "tokens": tokens_P, "roles": usage.tokens_PR}
            found["used_in_words"] = usage.words_PR
            found["containing_words"] = np.array([occurrences[piece][-1] for piece in pieces])
            found |= correlations(usage.pieces_W, frequencies_W)
            found |= by_script(texts(config)["training text"], pieces, tokens_P)
    smaller_and_larger = zip(list(pieces_of.values())[:-1], list(pieces_of.values())[1:], strict=True)
    kept = [len(set(smaller) & set(larger)) / len(smaller) for smaller, larger in smaller_and_larger]
    found["kept_by_next_size"] = np.array(kept or [np.nan])
    return found | rewritten(config) | {name: np.array([one[name] for one in by_size]) for name in by_size[0]}


def held_out_bytes_per_token(tokenizer, strings, num_bytes):
    if not strings["held-out text"]:
        return np.nan
    return num_bytes["held-out text"] / token_counts(tokenizer, strings["held-out text"]).sum()


def shares(kinds_P, weights_P):
    """Share of the weights that each of KINDS has."""
    return np.bincount(kinds_P, weights_P, len(KINDS)) / weights_P.sum()


BANDS = 2 ** np.arange(18)  # words as frequent as this, and less than twice


def share_by_frequency(kept_W, frequencies_W):
    """Share of the distinct words of each band of frequency that are kept whole; NaN where there are none."""
    band_W = np.searchsorted(BANDS, frequencies_W, side="right") - 1
    total = np.bincount(band_W, minlength=len(BANDS))
    return np.divide(np.bincount(band_W, kept_W, len(BANDS)), total, out=np.full(len(BANDS), np.nan), where=total > 0)


def correlations(pieces_W, frequencies_W):
    kept_W = pieces_W == 1
    separable = kept_W.any() and not kept_W.all()
    return {
        "frequency_and_pieces": subwords.rank_correlation(frequencies_W, pieces_W),
        "whole_is_more_frequent": subwords.probability_greater(frequencies_W[kept_W], frequencies_W[~kept_W])
        if separable
        else np.nan,
    }


def by_script(text, pieces, tokens_P):
    """{"scripts", "script_letters", "script_tokens", "script_pieces", "script_single"}: rows a script, Latin first."""
    letters, tokens, of_script, single = Counter(), Counter(), Counter(), Counter()
    for character, count in Counter(text).items():
        if subwords.is_letter(character):
            letters[subwords.script(character)] += count
    for piece, count in zip(pieces, tokens_P.tolist(), strict=True):
        inside = [c for c in piece if subwords.is_letter(c)]
        if inside and not subwords.is_special(piece):
            script = next((s for s in map(subwords.script, inside) if s != "LATIN"), "LATIN")
            tokens[script] += count
            of_script[script] += 1
            single[script] += len(inside) == 1
    scripts = sorted(letters, key=lambda script: (script != "LATIN", -letters[script]))
    columns = {"script_letters": letters, "script_tokens": tokens, "script_pieces": of_script, "script_single": single}
    rows = {name: np.array([column[script] for script in scripts], np.int64) for name, column in columns.items()}
    return {"scripts": np.array(scripts or [""])} | rows


def rewritten(config):
    """{"rewritten/tokens a letter", "rewritten/single characters", "rewritten/Latin tokens a letter"} by share.

    Random words are rewritten until they hold that share of the letters; a vocabulary is trained for each share. NaN
    where vocab_size has no room for another alphabet, and where no letter is in one of the two.
    """
    text = texts(config)["training text"][:REWRITTEN_CHARACTERS]
    generator, rows = np.random.default_rng(0), []
    for share in REWRITTEN_SHARES:
        mixed = rewrite(text, share, generator)
        both = {"LATIN", "CYRILLIC"} <= set(map(subwords.script, filter(subwords.is_letter, set(mixed))))
        try:
            tokenizer = trained(Counter(mixed.split()), config.vocab_size) if both else None
        except ValueError:
            tokenizer = None
        if tokenizer is None:
            rows.append((np.nan,) * 3)
            continue
        tokens_P = token_counts(tokenizer, Counter(mixed.split()))
        found = by_script(mixed, [tokenizer.piece(p) for p in range(config.vocab_size)], tokens_P)
        of = {script: row for row, script in enumerate(found["scripts"].tolist())}
        a_letter = found["script_tokens"] / found["script_letters"]
        single = found["script_single"] / found["script_pieces"]
        rows.append((a_letter[of["CYRILLIC"]], single[of["CYRILLIC"]], a_letter[of["LATIN"]]))
    names = ("tokens a letter", "single characters", "Latin tokens a letter")
    found = {f"rewritten/{name}": np.array(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}
    return found | {"rewritten/share": np.array(REWRITTEN_SHARES)}


def rewrite(text, share, generator):
    """The text with random words in Cyrillic letters, as many as hold ``share`` of the letters a-z and A-Z."""
    strings = re.split("([ \n])", text)
    letters = [len(string) - len(string.translate(WITHOUT_LETTERS)) for string in strings]
    left = share * sum(letters)
    for index in generator.permutation(len(strings)):
        if left <= 0:
            break
        strings[index] = strings[index].translate(CYRILLIC)
        left -= letters[index]
    return "".join(strings)


def used_parts(examined):
    """Which pieces [P] are parts of words that are used; ``examined`` of one seed."""
    return np.isin(examined["kinds"], PARTS) & (examined["roles"].sum(1) > 0)


def productivity_of_random_parts(config, generator):
    """For each used part a random one of the same length and role, from a random word: how many words contain it."""
    found = analysis(config)
    counts = subwords.words(texts(config)["training text"])
    chosen = used_parts(found)
    words = list(counts)
    wanted = zip(found["pieces"][chosen].tolist(), found["kinds"][chosen].tolist(), strict=True)
    drawn = [subwords.random_part(generator, words, piece, role) for piece, role in wanted]
    occurrences = subwords.occurrences(counts, set(drawn))
    return np.array([occurrences[part][-1] for part in drawn])


# --- Claims. All thresholds were written down before the first run of what they are about. 2d, 3d and 3e were
# added after a first look at the others.


def examined(name):
    return lambda result: result.examined[name]


def at_vocab_size(name):
    def measure(result):
        (z,) = np.flatnonzero(result.examined["vocab_sizes"][0] == result.config.vocab_size)
        return result.examined[name][:, z]

    return measure


class Parts(NamedTuple):
    """Of each used part of words: words that contain it, its tokens, its letters, words with the random part."""

    words: np.ndarray
    tokens: np.ndarray
    letters: np.ndarray
    words_of_random: np.ndarray


def of_parts(measure_one):
    """What ``measure_one`` makes of each seed's Parts."""

    def measure(result):
        values = []
        for s in range(result.num_seeds):
            one = {name: x[s] for name, x in result.examined.items()}
            used = used_parts(one)
            if not used.any():
                return "no part of a word is used"
            letters = np.char.str_len(np.char.lstrip(one["pieces"][used], SPACE))
            columns = one["containing_words"][used], one["tokens"][used], letters, one["productivity/random parts"]
            values.append(measure_one(Parts(*columns)))
        return np.array(values)

    return measure


def over_random(parts, at_least_letters=1):
    """Words that contain a part over words that contain its random counterpart: ratio of geometric means."""
    chosen = parts.letters >= at_least_letters
    logs = np.log(parts.words[chosen]) - np.log(parts.words_of_random[chosen])
    return np.exp(logs.mean()) if chosen.any() else np.nan


def of_other_scripts(measure_one):
    """What ``measure_one`` makes of the sums over scripts that are not Latin: letters, tokens, pieces, single ones."""
    names = ("script_letters", "script_tokens", "script_pieces", "script_single")

    def measure(result):
        rows = [result.examined[name][:, result.examined["scripts"][0] != "LATIN"] for name in names]
        if rows[0].sum() == 0:
            return "the training text has no letter of another script"
        return measure_one(*(row.sum(1) for row in rows))

    return measure


def latin_tokens_a_letter(result):
    """Tokens over letters [S] of the Latin script."""
    latin = result.examined["scripts"][0] == "LATIN"
    if not latin.any():
        return "the training text has no Latin letter"
    return (result.examined["script_tokens"][:, latin] / result.examined["script_letters"][:, latin])[:, 0]


def at_share(share, measure_one):
    """What ``measure_one`` makes of (Cyrillic, Latin) tokens a letter where this share was rewritten."""

    def measure(result):
        k = REWRITTEN_SHARES.index(share)
        pair = [result.examined[f"rewritten/{name}"][:, k] for name in ("tokens a letter", "Latin tokens a letter")]
        return measure_one(*pair) if np.isfinite(pair).all() else NOT_REWRITTEN

    return measure


def doublings(result):
    """Bytes a token [S, Z] of the training text for the sizes that double."""
    vocab_sizes = result.examined["vocab_sizes"][0]
    first = result.config.smallest_vocabulary
    doubled = [z for z, V in enumerate(vocab_sizes) if V % first == 0 and (V // first).bit_count() == 1]
    return result.examined["bytes_per_token/training text"][:, doubled]


def several_sizes(measure_rises):
    def measure(result):
        rises = np.diff(doublings(result))
        return measure_rises(rises) if rises.shape[1] > 1 else "the text fills fewer than three vocabularies"

    return measure


def fitted(result):
    """Bytes a token of the training text over those of the held-out text, largest vocabulary over smallest."""
    ratio = result.examined["bytes_per_token/training text"] / result.examined["bytes_per_token/held-out text"]
    return ratio[:, -1] / ratio[:, 0] if np.isfinite(ratio).all() else "there is no held-out text"


def share_of(kind_shares, *kinds):
    """The share of the given kinds among all that are words or parts of words."""

    def measure(result):
        shares = at_vocab_size(kind_shares)(result)
        return shares[:, list(kinds)].sum(1) / shares[:, [WHOLE, *PARTS]].sum(1)

    return measure


STATED = [
    stated(
        ARM,
        "1a",
        "words: rank correlation of frequency and number of pieces",
        examined("frequency_and_pieces"),
        at_most=-0.5,
    ),
    stated(
        ARM,
        "1b",
        "a word kept whole is more frequent than one that is split: probability",
        examined("whole_is_more_frequent"),
        at_least=0.95,
    ),
    stated(
        ARM,
        "1c",
        f"share kept whole of the {MOST_FREQUENT} most frequent words",
        at_vocab_size("words_kept_whole/most frequent"),
        at_least=0.99,
    ),
    stated(
        ARM,
        "2a",
        "parts: words that contain one, median",
        of_parts(lambda parts: np.median(parts.words)),
        at_least=10.0,
    ),
    stated(
        ARM,
        "2b",
        "over those of random parts as long and in the same place: ratio of geometric means",
        of_parts(over_random),
        at_least=2.0,
    ),
    stated(
        ARM,
        "2c",
        "rank correlation of a part's frequency as a token and the words that contain it",
        of_parts(lambda parts: subwords.rank_correlation(parts.words, parts.tokens)),
        at_least=0.5,
    ),
    stated(
        ARM,
        "2d",
        f"the ratio of 2b for parts of {LONG_PART} letters and more",
        of_parts(lambda parts: over_random(parts, LONG_PART)),
        at_least=1.5,
    ),
    stated(
        ARM,
        "3a",
        "other scripts: share of their pieces that are single characters",
        of_other_scripts(lambda letters, tokens, pieces, single: single / pieces),
        at_least=0.9,
    ),
    stated(
        ARM,
        "3b",
        "other scripts: tokens a letter",
        of_other_scripts(lambda letters, tokens, pieces, single: tokens / letters),
        at_least=0.8,
    ),
    stated(
        ARM,
        "3c",
        "Latin script: tokens a letter",
        latin_tokens_a_letter,
        at_most=0.4,
    ),
    stated(
        ARM,
        "3d",
        "one letter in 10,000 rewritten in Cyrillic: its tokens a letter",
        at_share(0.0001, lambda cyrillic, latin: cyrillic),
        at_least=0.95,
    ),
    stated(
        ARM,
        "3e",
        "every second one: its tokens a letter over those of Latin",
        at_share(0.5, lambda cyrillic, latin: cyrillic / latin),
        at_least=0.9,
        at_most=1.1,
    ),
    stated(
        ARM,
        "4a",
        "bytes a token: least rise with a doubled vocabulary",
        several_sizes(lambda rises: rises.min(1)),
        above=0.0,
    ),
    stated(
        ARM,
        "4b",
        "its rise with the first doubling over that with the last",
        several_sizes(lambda rises: rises[:, 0] / rises[:, -1]),
        at_least=2.0,
    ),
    stated(
        ARM,
        "4c",
        "bytes a token of the training text over the held-out text, largest vocabulary over smallest",
        fitted,
        at_least=1.02,
    ),
    stated(
        ARM,
        "5",
        "share of a vocabulary that the next larger one keeps, least",
        lambda result: result.examined["kept_by_next_size"].min(1),
        at_least=1.0,
    ),
    stated(
        ARM,
        "6a",
        "of the tokens that spell words, share that are whole words",
        share_of("kinds/of tokens", WHOLE),
        at_least=0.5,
    ),
    stated(
        ARM,
        "6b",
        "of the pieces that spell words, share that are whole words",
        share_of("kinds/of the vocabulary", WHOLE),
    ),
    stated(
        ARM, "7", "share of the vocabulary that is never used in its own training text", at_vocab_size("never_used")
    ),
]


def decided(one):
    """The stated claim, not decided where its measure is not defined on this text."""

    def measure(result):
        values = one.measure(result)
        return values if isinstance(values, str) or np.isfinite(values).all() else UNDEFINED

    return one._replace(measure=measure)


def claims(results):
    """Claims 1 to 7 of experiments/bpe/README.md."""
    return sorted(judge_all([decided(one) for one in STATED], results), key=by_id)


def figures(results):
    """The figures of the report."""
    return of_subwords(results[ARM])


EXPERIMENT = Experiment(
    question=__doc__,
    config=Config(),
    arms=lambda config: {ARM: {}},
    default_arms=(ARM,),
    task=task,
    claims=claims,
    figures=figures,
)
