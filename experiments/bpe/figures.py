"""The figures of the report: what a vocabulary's size buys, and what its pieces are.

Axes: S seeds, Z vocabularies, P pieces.
"""

import numpy as np

from experiments.bpe.pieces import PIECE_KINDS, ROLES
from experiments.bpe.vocabularies import FREQUENCY_BANDS
from experiments.bpe.words import SPACE
from reporting.figures import curves
from reporting.tables import table

EXAMPLES = 12  # pieces of each kind that a table shows


def figures(results):
    """The figures and tables, from the arrays of ``vocabularies.analyze`` and ``rare_script.measure_rare_script``."""
    result = results["bpe"]
    return [
        sizes_figure(result),
        kinds_figure(result),
        frequency_figure(result),
        rare_script_figure(result),
        kinds_table(result),
        scripts_table(result),
        sizes_table(result),
    ]


def sizes_figure(result):
    """Bytes a token, words kept whole and pieces never used, by the size of the vocabulary."""

    def by_size(name):
        return result.examined["vocab_sizes"][0], result.examined[name]

    panels = [
        (
            "bytes a token",
            {
                "training text": by_size("bytes_per_token/training text"),
                "held-out text": by_size("bytes_per_token/held-out text"),
            },
        ),
        (
            "share of words kept whole",
            {
                "of occurrences": by_size("words_kept_whole/of occurrences"),
                "of distinct words": by_size("words_kept_whole/of distinct words"),
            },
        ),
        ("share of pieces never used", {"of pieces": by_size("never_used")}),
    ]
    return curves(
        f"What a larger vocabulary buys: {result.config.corpus}",
        "Bytes of text for each token; the share of words that are a single piece; the share of the vocabulary that "
        "its own training text never uses, because every occurrence went on into a longer piece.",
        "vocabulary",
        panels,
        log_x=True,
    )


def kinds_figure(result):
    """Shares of the kinds of pieces, by the size of the vocabulary."""
    vocab_sizes = result.examined["vocab_sizes"][0]
    shown = [(k, kind) for k, kind in enumerate(PIECE_KINDS) if kind != "special"]  # never more than three pieces
    panels = [
        (f"share {whole}", {kind: (vocab_sizes, result.examined[f"kinds/{whole}"][:, :, k]) for k, kind in shown})
        for whole in ("of the vocabulary", "of tokens")
    ]
    return curves(
        "Kinds of pieces",
        "A piece of Latin letters has the kind of its most frequent role in words. On the left every piece counts "
        "once; on the right it counts as often as the training text uses it.",
        "vocabulary",
        panels,
        log_x=True,
    )


def frequency_figure(result):
    """Shares of words kept whole, by how often they occur, for each vocabulary."""
    shares_SZB = result.examined["words_kept_whole/by frequency"]
    shown = np.isfinite(shares_SZB[0, 0])
    series = {
        f"{vocab_size:,} pieces": (FREQUENCY_BANDS[shown], shares_SZB[:, z, shown])
        for z, vocab_size in enumerate(result.examined["vocab_sizes"][0])
    }
    return curves(
        f"Words kept whole, by how often they occur: {result.config.corpus}",
        "Distinct words, in bands from a frequency to twice that. The most frequent pair is merged next, so a word "
        "that is split occurs no more often than the last merged pair, unless it is longer than the longest piece.",
        "occurrences in the training text",
        [("share kept whole", series)],
        log_x=True,
    )


def rare_script_figure(result):
    """Tokens a letter and single characters of Cyrillic, by the share of letters in it."""

    def by_share(name):
        return result.examined["rewritten/share"][0], result.examined[f"rewritten/{name}"]

    return curves(
        "A script made rare",
        "The training text with some of its words in Cyrillic letters, one for one, and a vocabulary of "
        f"{result.config.vocab_size:,} trained for each share. The spelling is the same; only how often it is seen "
        "differs.",
        "share of the letters that is in Cyrillic",
        [
            ("tokens a letter", {"Cyrillic": by_share("tokens a letter"), "Latin": by_share("Latin tokens a letter")}),
            ("share of single characters", {"Cyrillic": by_share("single characters")}),
        ],
        log_x=True,
    )


def kinds_table(result):
    """Numbers, uses and examples of the pieces of each kind, in the vocabulary of vocab_size."""
    names = ("kinds", "tokens", "pieces", "containing_words")
    kinds_P, tokens_P, pieces_P, words_P = (result.examined[name][0] for name in names)
    rows = []
    for k, kind in enumerate(PIECE_KINDS):
        used = np.flatnonzero((kinds_P == k) & (tokens_P > 0))
        if len(used):
            examples = "  ".join(str(pieces_P[p]) for p in used[np.argsort(-tokens_P[used])[:EXAMPLES]])
            share = tokens_P[used].sum() / tokens_P.sum()
            words = np.median(words_P[used]) if k < len(ROLES) else None
            rows.append([kind, (kinds_P == k).sum(), len(used), share, words, examples])
    return table(
        f"A vocabulary of {result.config.vocab_size:,} pieces",
        f"{SPACE} stands for the space before a word. A piece is used if the training text has it as a token.",
        ["kind", "pieces", "of them used", "share of tokens", "words that contain one, median", "most frequent"],
        rows,
    )


def scripts_table(result):
    """Letters, pieces and tokens of each script of the training text."""
    names = ("script_letters", "script_pieces", "script_single", "script_tokens")
    scripts = result.examined["scripts"][0]
    rows = [
        [str(script), letters, pieces, single, tokens, tokens / letters]
        for script, letters, pieces, single, tokens in zip(
            scripts, *(result.examined[name][0] for name in names), strict=False
        )  # a text without letters has one script, "", and no counts
    ]
    return table(
        "Scripts",
        "A script is told by the first word of the letter's Unicode name. Counted are pieces with a letter of the "
        "script; a single character may have a space before it.",
        ["script", "letters in the text", "pieces", "of them single characters", "tokens", "tokens a letter"],
        rows,
    )


def sizes_table(result):
    """What sizes_figure shows, as numbers."""
    columns = {
        "bytes a token": "bytes_per_token/training text",
        "of held-out text": "bytes_per_token/held-out text",
        "words kept whole": "words_kept_whole/of occurrences",
        "of distinct words": "words_kept_whole/of distinct words",
        "pieces never used": "never_used",
    }
    rows = [
        [int(vocab_size), *(number_or_none(result.examined[name][0, z]) for name in columns.values())]
        for z, vocab_size in enumerate(result.examined["vocab_sizes"][0])
    ]
    return table("Vocabulary sizes", "Sizes that the training text can fill.", ["vocabulary", *columns], rows)


def number_or_none(x):
    """None for NaN, which a table shows as absent."""
    return None if np.isnan(x) else float(x)
