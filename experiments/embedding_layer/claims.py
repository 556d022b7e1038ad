"""The claims. All thresholds were written down before the first run, and say what README.md derives.

Axes: N tokens, D width, S seeds.
"""

import numpy as np

from experiments.embedding_layer.measures import GATHER, PRODUCT, STAGES, total, vocabularies
from reporting.claims import EXACT, claim, examined


def difference_from_hand(kind):
    """Measures the largest difference [S], over stages and vocabularies, of the count from the jaxpr and by hand."""

    def measure(result):
        counts = [(result.examined[f"{kind}/{stage}"], result.examined[f"by_hand/{kind}/{stage}"]) for stage in STAGES]
        return np.max([np.abs(from_jaxpr - by_hand).max(1) for from_jaxpr, by_hand in counts], axis=0)

    return measure


def growth(kind, stage):
    """Measures what a stage costs at the largest vocabulary over what it costs at the smallest [S]."""

    def measure(result):
        costs = result.examined[f"{kind}/{stage}"]
        return costs[:, -1] / costs[:, 0]

    return measure


def cost_of_a_word(kind, stage, expected):
    """Measures what one more word of the vocabulary costs over ``expected`` (N, D) [S], where it is furthest from 1."""

    def measure(result):
        slopes = np.diff(result.examined[f"{kind}/{stage}"]) / np.diff(vocabularies(result.config))
        ratios = slopes / expected(result.config.num_tokens, result.config.width)
        return np.take_along_axis(ratios, np.abs(ratios - 1).argmax(1)[:, None], 1)[:, 0]

    return measure


def saving(kind):
    """Measures a dense gradient and update over a sparse update [S], at the largest vocabulary."""

    def measure(result):
        dense = total(result, kind, (f"{GATHER}: dense gradient", "dense update"))
        return dense[:, -1] / result.examined[f"{kind}/sparse update"][:, -1]

    return measure


CLAIMS = [
    claim(
        "1a",
        "A lookup returns exactly what the one-hot product returns: largest difference",
        examined("forward_difference"),
        of="embedding",
        at_most=0.0,
    ),
    claim(
        "1b",
        "A row of infinities in the table makes the one-hot product of every other token NaN: share of other tokens",
        examined("spoiled_product"),
        of="embedding",
        at_least=1.0,
    ),
    claim(
        "1c",
        "A row of infinities in the table leaves the lookups of other tokens finite: share of lookups that are not",
        examined("spoiled_gather"),
        of="embedding",
        at_most=0.0,
    ),
    claim(
        "2a",
        "Rows of tokens that are not in the batch get no gradient: number of such rows with a gradient",
        examined("absent_rows_with_gradient"),
        of="embedding",
        at_most=0.0,
    ),
    claim(
        "2b",
        "Rows of tokens that are in the batch get a gradient: number of such rows without a gradient",
        examined("present_rows_without_gradient"),
        of="embedding",
        at_most=0.0,
    ),
    claim(
        "2c",
        "A row's gradient is the sum of the cotangents of its tokens: largest error in float64",
        examined("gradient_error"),
        of="embedding",
        at_most=EXACT,
    ),
    claim(
        "2d",
        "The one-hot product has the same gradient as the lookup: largest error in float64",
        examined("product_gradient_error"),
        of="embedding",
        at_most=EXACT,
    ),
    claim(
        "2e",
        "A sparse update gives the same table as a dense update: largest error in float64",
        examined("sparse_update_error"),
        of="embedding",
        at_most=EXACT,
    ),
    claim(
        "3a",
        "Operations counted from the jaxpr are those counted by hand: largest difference over stages and vocabularies",
        difference_from_hand("operations"),
        of="embedding",
        at_most=0.0,
    ),
    claim(
        "3b",
        "Bytes counted from the jaxpr are those counted by hand: largest difference over stages and vocabularies",
        difference_from_hand("bytes"),
        of="embedding",
        at_most=0.0,
    ),
    claim(
        "4a",
        "A lookup moves as many bytes in the largest vocabulary as in the smallest: ratio",
        growth("bytes", f"{GATHER}: forward"),
        of="embedding",
        at_least=1.0,
        at_most=1.0,
    ),
    claim(
        "4b",
        "One more word costs the lookup's dense gradient 4 D bytes, D the table's width: bytes a word over 4 D",
        cost_of_a_word("bytes", f"{GATHER}: dense gradient", lambda N, D: 4 * D),
        of="embedding",
        at_least=1.0,
        at_most=1.0,
    ),
    claim(
        "4c",
        "One more word costs a dense update 20 D bytes, D the table's width: bytes a word over 20 D",
        cost_of_a_word("bytes", "dense update", lambda N, D: 20 * D),
        of="embedding",
        at_least=1.0,
        at_most=1.0,
    ),
    claim(
        "4d",
        "One more word costs the one-hot product 2 N D operations, N tokens of width D: operations a word over 2 N D",
        cost_of_a_word("operations", f"{PRODUCT}: forward", lambda N, D: 2 * N * D),
        of="embedding",
        at_least=1.0,
        at_most=1.0,
    ),
    claim(
        "4e",
        "One more word costs the one-hot product 4 (N + D) bytes, N tokens of width D: bytes a word over 4 (N + D)",
        cost_of_a_word("bytes", f"{PRODUCT}: forward", lambda N, D: 4 * (N + D)),
        of="embedding",
        at_least=1.0,
        at_most=1.0,
    ),
    claim(
        "4f",
        "A sparse update moves as many bytes in the largest vocabulary as in the smallest: ratio",
        growth("bytes", "sparse update"),
        of="embedding",
        at_least=1.0,
        at_most=1.0,
    ),
    claim(
        "5a",
        "In the largest vocabulary a dense gradient and update move more bytes than a sparse update: ratio",
        saving("bytes"),
        of="embedding",
        at_least=100.0,
    ),
    claim(
        "5b",
        "In the largest vocabulary a dense gradient and update take longer than a sparse update: ratio of wall times",
        saving("seconds"),
        of="embedding",
        at_least=10.0,
    ),
    claim(
        "6a",
        "A lookup takes hardly longer in the largest vocabulary than in the smallest: ratio of wall times",
        growth("seconds", f"{GATHER}: forward"),
        of="embedding",
        at_most=10.0,
    ),
    claim(
        "6b",
        "The lookup's dense gradient takes longer in the largest vocabulary than in the smallest: ratio of wall times",
        growth("seconds", f"{GATHER}: dense gradient"),
        of="embedding",
        at_least=10.0,
    ),
    claim(
        "6c",
        "A dense update takes longer in the largest vocabulary than in the smallest: ratio of wall times",
        growth("seconds", "dense update"),
        of="embedding",
        at_least=10.0,
    ),
    claim(
        "6d",
        "The one-hot product takes longer in the largest vocabulary than in the smallest: ratio of wall times",
        growth("seconds", f"{PRODUCT}: forward"),
        of="embedding",
        at_least=20.0,
    ),
    claim(
        "7",
        "XLA charges a lookup in the largest vocabulary for the whole table: bytes by XLA's count over ours",
        examined("xla_bytes_over_ours"),
        of="embedding",
    ),
]
