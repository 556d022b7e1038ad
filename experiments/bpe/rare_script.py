"""A script made rare on purpose: random words of a text are rewritten, letter by letter, in Cyrillic."""

import re
from collections import Counter
from functools import lru_cache

import numpy as np

from experiments.bpe.pieces import count_by_script
from experiments.bpe.vocabularies import count_tokens, list_pieces, load_texts, train_on
from experiments.bpe.words import is_letter, script

REWRITTEN_SHARES = (0.0001, 0.001, 0.01, 0.1, 0.5)  # of the letters
REWRITTEN_CHARACTERS = 2_000_000  # of the text that this is tried on
CAPITAL_A, SMALL_A = ord("\N{CYRILLIC CAPITAL LETTER A}"), ord("\N{CYRILLIC SMALL LETTER A}")
CYRILLIC = {ord("A") + n: CAPITAL_A + n for n in range(26)} | {ord("a") + n: SMALL_A + n for n in range(26)}
NO_LETTERS = dict.fromkeys(CYRILLIC)


@lru_cache(maxsize=2)
def measure_rare_script(config):
    """What a vocabulary of vocab_size makes of Cyrillic that is rare, and then less rare, one trained for each share.

    Returns:
      {"rewritten/share": REWRITTEN_SHARES; "rewritten/tokens a letter" of Cyrillic; "rewritten/single characters": the
      share of Cyrillic pieces that are one letter; "rewritten/Latin tokens a letter"}. NaN where vocab_size has no room
      for another alphabet, and where the text has no letter of one of the two.
    """
    text = load_texts(config)[0].normalized[:REWRITTEN_CHARACTERS]
    generator = np.random.default_rng(0)
    rows = [compare_scripts(rewrite(text, share, generator), config.vocab_size) for share in REWRITTEN_SHARES]
    cyrillic, single, latin = np.array(rows).T
    return {
        "rewritten/share": np.array(REWRITTEN_SHARES),
        "rewritten/tokens a letter": cyrillic,
        "rewritten/single characters": single,
        "rewritten/Latin tokens a letter": latin,
    }


def compare_scripts(text, vocab_size):
    """(Cyrillic tokens a letter, share of Cyrillic pieces that are one letter, Latin tokens a letter) of a text."""
    undefined = (np.nan, np.nan, np.nan)
    if not {"LATIN", "CYRILLIC"} <= set(map(script, filter(is_letter, set(text)))):
        return undefined
    strings = Counter(text.split())
    try:
        tokenizer = train_on(strings, vocab_size)
    except ValueError:
        return undefined
    counts = count_by_script(text, list_pieces(tokenizer), count_tokens(tokenizer, strings))
    row_of = {name: row for row, name in enumerate(counts["scripts"].tolist())}
    tokens_a_letter = counts["script_tokens"] / counts["script_letters"]
    single = counts["script_single"] / counts["script_pieces"]
    return tokens_a_letter[row_of["CYRILLIC"]], single[row_of["CYRILLIC"]], tokens_a_letter[row_of["LATIN"]]


def rewrite(text, share, generator):
    """The text with random words in Cyrillic letters, as many as hold ``share`` of the letters a-z and A-Z."""
    strings = re.split("([ \n])", text)
    letters = [len(string) - len(string.translate(NO_LETTERS)) for string in strings]
    left = share * sum(letters)
    for index in generator.permutation(len(strings)):
        if left <= 0:
            break
        strings[index] = strings[index].translate(CYRILLIC)
        left -= letters[index]
    return "".join(strings)
