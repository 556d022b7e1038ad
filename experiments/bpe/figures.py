"""Figures of a subword vocabulary: what its size buys, and what its pieces are.

Axes: Z vocabularies, P pieces, S seeds.
"""

import numpy as np

from reporting.figures import curves
from reporting.tables import table

SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
NUM_ROLES = 4  # the first kinds are the roles in words
EXAMPLES = 12  # of each kind, in a table


def figures(result):
    """The figures of one arm's result, from the arrays of `experiments.bpe.analysis`."""
    return [
        sizes_figure(result),
        kinds_figure(result),
        frequency_figure(result),
        rewritten_figure(result),
        kinds_table(result),
        scripts_table(result),
        sizes_table(result),
    ]


def of_sizes(result, *names):
    """{series: (sizes, values [S, Z])} of measurements named "group/series"."""
    V = result.examined["vocab_sizes"][0]
    return {name.rpartition("/")[2]: (V, result.examined[name]) for name in names}


def sizes_figure(result):
    return curves(
        f"What a larger vocabulary buys: {result.config.corpus}",
        "Bytes of text for each token; the share of words that are a single piece; the share of the vocabulary that "
        "its own training text never uses, since every occurrence went on into a longer piece.",
        "vocabulary",
        [
            ("bytes a token", of_sizes(result, "bytes_per_token/training text", "bytes_per_token/held-out text")),
            (
                "share of words kept whole",
                of_sizes(result, "words_kept_whole/of occurrences", "words_kept_whole/of distinct words"),
            ),
            (
                "share of pieces never used",
                {"of pieces": (result.examined["vocab_sizes"][0], result.examined["never_used"])},
            ),
        ],
        log_x=True,
    )


def kinds_figure(result):
    V, kinds = (
        result.examined["vocab_sizes"][0],
        result.examined["kind_names"][0],
    )  # the last, special, is nothing to see
    panels = [
        (f"share {of}", {str(kinds[k]): (V, result.examined[f"kinds/{of}"][:, :, k]) for k in range(len(kinds) - 1)})
        for of in ("of the vocabulary", "of tokens")
    ]
    return curves(
        "Kinds of pieces",
        "A piece of Latin letters has the kind of its most frequent role in words. Left every piece counts once, right "
        "as often as the training text uses it.",
        "vocabulary",
        panels,
        log_x=True,
    )


def frequency_figure(result):
    V, bands = result.examined["vocab_sizes"][0], result.examined["frequency_bands"][0]
    shares = result.examined["words_kept_whole/by frequency"]
    shown = np.isfinite(shares[0, 0])
    series = {f"{v:,} pieces": (bands[shown], shares[:, z, shown]) for z, v in enumerate(V)}
    return curves(
        f"Words kept whole, by how often they occur: {result.config.corpus}",
        "Distinct words, in bands from a frequency to twice that. The most frequent pair is merged next, so a word "
        "that is split occurs no more often than the last merged pair, unless it is longer than the longest piece.",
        "occurrences in the training text",
        [("share kept whole", series)],
        log_x=True,
    )


def rewritten_figure(result):
    def of(name):
        return result.examined["rewritten/share"][0], result.examined[f"rewritten/{name}"]

    return curves(
        "A script made rare",
        "The training text with some of its words in Cyrillic letters, one for one, and a vocabulary of "
        f"{result.config.vocab_size:,} trained for each share. The spelling is the same; only how often it is seen "
        "differs.",
        "share of the letters that is in Cyrillic",
        [
            ("tokens a letter", {"Cyrillic": of("tokens a letter"), "Latin": of("Latin tokens a letter")}),
            ("share of single characters", {"Cyrillic": of("single characters")}),
        ],
        log_x=True,
    )


def kinds_table(result):
    one = {name: x[0] for name, x in result.examined.items()}
    rows = []
    for k, kind in enumerate(one["kind_names"].tolist()):
        members = np.flatnonzero((one["kinds"] == k) & (one["tokens"] > 0))
        if len(members):
            examples = [str(one["pieces"][p]) for p in members[np.argsort(-one["tokens"][members])[:EXAMPLES]]]
            of_kind, tokens = (one["kinds"] == k).sum(), one["tokens"][members].sum()
            words = np.median(one["containing_words"][members]) if k < NUM_ROLES else None
            rows.append([kind, of_kind, len(members), tokens / one["tokens"].sum(), words, "  ".join(examples)])
    return table(
        f"A vocabulary of {result.config.vocab_size:,} pieces",
        f"{SPACE} stands for the space before a word. A piece is used if the training text has it as a token.",
        ["kind", "pieces", "of them used", "share of tokens", "words that contain one, median", "most frequent"],
        rows,
    )


def scripts_table(result):
    one = {name: x[0] for name, x in result.examined.items()}
    columns = zip(*(one[f"script_{name}"] for name in ("letters", "tokens", "pieces", "single")), strict=True)
    rows = [
        [str(script), letters, pieces, single, tokens, tokens / letters]
        for script, (letters, tokens, pieces, single) in zip(one["scripts"], columns, strict=False)
    ]
    return table(
        "Scripts",
        "By the first word of the letter's Unicode name. Pieces with a letter of the script; a single character may "
        "have a space before it.",
        ["script", "letters in the text", "pieces", "of them single characters", "tokens", "tokens a letter"],
        rows,
    )


def sizes_table(result):
    one = {name: x[0] for name, x in result.examined.items()}
    names = ("bytes_per_token/training text", "bytes_per_token/held-out text", "words_kept_whole/of occurrences")
    names += ("words_kept_whole/of distinct words", "never_used")
    rows = [[int(V), *(number(one[name][z]) for name in names)] for z, V in enumerate(one["vocab_sizes"])]
    return table(
        "Vocabulary sizes",
        "Those that the training text supports.",
        [
            "vocabulary",
            "bytes a token",
            "of held-out text",
            "words kept whole",
            "of distinct words",
            "pieces never used",
        ],
        rows,
    )


def number(x):
    """None for NaN, which a table shows as absent."""
    return None if np.isnan(x) else float(x)
