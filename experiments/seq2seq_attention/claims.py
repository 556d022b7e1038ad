"""The claims, and what they measure.

Thresholds of claims 1 to 7, 8a and 9 were fixed before the first run. The generated language and the models' settings
were chosen in exploratory runs, which had shown that the attention of `additive` does not meet its claims and that its
states are the reason; `word_values` and claims 11 were stated after that look, with the same thresholds. The tolerance
of claim 8b is ours, chosen before it was measured.

Axes: S seeds, N pairs, T target time, E evaluations.
"""

import functools
import hashlib

import numpy as np

from experiments.seq2seq_attention.corpus import read_corpus
from experiments.seq2seq_attention.language import KINDS
from probes.alignment import area_under_curve
from reporting.claims import claim, difference, examined, greatest

ATTENTIVE = ("additive", "word_values")  # of the default arms
MORE_ATTENTIVE = ("dot", "general", "transformer")
# Of the 1000 pairs of Multi30k's test 2016, English-French: each source and target line with a line feed.
MULTI30K_TEST_SHA256 = "3d6fc0ee35f512dc772e5a1db41ca9dfa60d6fdcc90486d226af81805e7da02c"
LEARNT = 0.99  # accuracy at which a task of sequences counts as learnt
QUARTER = 0.25
NO_SUCH_WORDS = "the test set has no words with so many links"  # such as that of copying


def only_known(measure):
    """A measure that gives a reason where it is not known what target words depend on."""

    @functools.wraps(measure)
    def measure_known(*results):
        known = all(read_corpus(result.config).gold for result in results)
        return measure(*results) if known else "what the words of this text depend on is not known"

    return measure_known


def only_real(measure):
    """A measure that gives a reason where the text is not Multi30k."""

    @functools.wraps(measure)
    def measure_real(*results):
        is_real = all(hash_test_set(read_corpus(result.config)) == MULTI30K_TEST_SHA256 for result in results)
        reason = "the text is not Multi30k, English-French: --preset=multi30k with its files trains on it"
        return measure(*results) if is_real else reason

    return measure_real


def hash_test_set(corpus):
    """The SHA-256 of a corpus's test pairs."""
    lines = "".join(f"{line}\n" for pair in corpus.text["test"] for line in pair)
    return hashlib.sha256(lines.encode()).hexdigest()


def gold_of(result):
    """The Gold of a result's test set."""
    return read_corpus(result.config).gold["test"]


def mean_of_rows(name, rows):
    """Measures the mean [S] of a quantity of rows, over those that ``rows`` picks from the test set's Gold."""

    def measure(result):
        rows_NT = rows(gold_of(result))
        return result.examined[name][:, rows_NT].mean(-1, dtype=np.float64) if rows_NT.any() else NO_SUCH_WORDS

    return only_known(measure)


def has_links(number):
    """Picks the rows [N, T] of words with so many links."""
    return lambda gold: gold.links.sum(-1) == number


def is_one_to_one(gold):
    """Picks the rows [N, T] of one-to-one words."""
    return gold.kinds == KINDS.index("one_to_one")


@only_known
def separation(result):
    """The area under the ROC curve [S] by which row entropy tells words with two links from words with one."""
    gold = gold_of(result)
    two_NT, one_NT = has_links(2)(gold), has_links(1)(gold)
    if not (two_NT.any() and one_NT.any()):
        return NO_SUCH_WORDS
    return [area_under_curve(entropy_NT[two_NT], entropy_NT[one_NT]) for entropy_NT in result.examined["row_entropy"]]


def lost_with(rows):
    """Measures the accuracy [S] that is lost where rows are replaced, "uniform" or "gold"."""
    return only_known(lambda result: result.examined["accuracy_of_own"] - result.examined[f"accuracy_of_{rows}"])


def quarters(result):
    """The test accuracy [S] of the quarter of the pairs with the shortest sources, and of that with the longest."""
    test = read_corpus(result.config).pairs["test"]
    low, high = np.quantile(test.source_length, [QUARTER, 1 - QUARTER])
    is_word_NT = np.arange(test.target.shape[1]) < test.target_length[:, None]
    accuracies = []
    for is_chosen_N in (test.source_length <= low, test.source_length >= high):
        words = is_word_NT[is_chosen_N].sum()
        accuracies.append(result.examined["correct"][:, is_chosen_N].sum((1, 2)) / words)
    return accuracies


def drop(result):
    """The accuracy [S] by which long sources are worse than short ones."""
    short_S, long_S = quarters(result)
    return short_S - long_S


def steps_to_learn(result):
    """Steps [S] until validation accuracy reaches LEARNT, interpolated between evaluations; infinite where never."""
    steps_E, accuracy_ES = result.evaluation.steps, result.evaluation["accuracy"]
    return np.array([_crossing(steps_E, accuracy_E) for accuracy_E in accuracy_ES.T])


def _crossing(steps_E, accuracy_E):
    reached = np.flatnonzero(accuracy_E >= LEARNT)
    if not len(reached):
        return np.inf
    after = reached[0]
    if not after:
        return float(steps_E[0])
    return float(np.interp(LEARNT, accuracy_E[after - 1 : after + 1], steps_E[after - 1 : after + 1]))


def share_more(result, other):
    """By which share the first takes more steps to learn [S]; text where one has not learnt."""
    steps_S, other_S = steps_to_learn(result), steps_to_learn(other)
    if not np.isfinite([steps_S, other_S]).all():
        return f"{result.arm} or {other.arm} did not reach a validation accuracy of {LEARNT:g}"
    return steps_S / other_S - 1


def error_rate(name):
    """Measures an alignment error rate [S]."""
    return only_known(examined(name))


def claims_of_pixels(arm, ids, attention):
    """The claims on what the pixels of an alignment picture mean, of one arm.

    Args:
      ids: of the nine claims, in order.
      attention: what the statements call the arm's attention.
    """
    stated = [
        (
            "a row with one bright pixel is a one-to-one word: mean largest weight of rows of one-to-one words",
            mean_of_rows("largest_weight", is_one_to_one),
            {"of": arm, "at_least": 0.9},
        ),
        (
            "rows of words that depend on two source words look at two: mean effective number, exp(entropy)",
            mean_of_rows("effective_number", has_links(2)),
            {"of": arm, "at_least": 1.5, "at_most": 2.5, "unit": "words"},
        ),
        (
            "single pixels are white and pairs are grey: mean largest weight of rows with two gold links",
            mean_of_rows("largest_weight", has_links(2)),
            {"of": arm, "at_most": 0.65},
        ),
        (
            "row entropy tells words with two gold links from words with one: area under the ROC curve",
            separation,
            {"of": arm, "at_least": 0.9},
        ),
        (
            "attention is an alignment: error rate against gold links, at the better shift",
            error_rate("alignment_error_rate"),
            {"of": arm, "at_most": 0.1},
        ),
        (
            "it aligns better than the diagonal: error rate of the diagonal minus its own",
            only_known(lambda r: r.examined["diagonal_error_rate"] - r.examined["alignment_error_rate"]),
            {"of": arm, "at_least": 0.3},
        ),
        (
            "it aligns better than the attention of random weights: their error rate minus its own",
            only_known(difference(examined("alignment_error_rate"))),
            {"of": ("random_weights", arm), "at_least": 0.3},
        ),
        (
            "attention is used: test accuracy lost where each row is replaced by uniform weights",
            lost_with("uniform"),
            {"of": arm, "at_least": 0.2},
        ),
        (
            "gold links serve as well: test accuracy lost where each row is replaced by its word's gold links",
            lost_with("gold"),
            {"of": arm, "at_most": 0.03},
        ),
    ]
    return [
        claim(id, f"{attention}: {statement}", measure, **bounds)
        for id, (statement, measure, bounds) in zip(ids, stated, strict=True)
    ]


CLAIMS = [
    claim(
        "1a",
        "Additive attention: every row of weights sums to one: greatest deviation over the rows of the test set",
        greatest(examined("largest_sum_error")),
        of=ATTENTIVE,
        at_most=1e-6,
    ),
    claim(
        "1b",
        "Additive attention: padded source positions get a weight of exactly zero: greatest weight over the rows "
        "of the test set",
        greatest(examined("padding_weight")),
        of=ATTENTIVE,
        at_most=0.0,
    ),
    claim(
        "1c",
        "Dot, general and Transformer: every row of weights sums to one: greatest deviation over all maps and rows of "
        "the test set",
        greatest(examined("largest_sum_error")),
        of=MORE_ATTENTIVE,
        at_most=1e-6,
    ),
    claim(
        "1d",
        "Dot, general and Transformer: padded source positions get a weight of exactly zero: greatest weight over all "
        "maps and rows of the test set",
        greatest(examined("padding_weight")),
        of=MORE_ATTENTIVE,
        at_most=0.0,
    ),
    *claims_of_pixels(
        "additive",
        ("2a", "2b", "3", "4", "5a", "5b", "5c", "6a", "6b"),
        "Additive attention that reads a bidirectional GRU's states",
    ),
    claim(
        "7",
        "Without attention the fixed vector is the bottleneck: test accuracy lost from the quarter of the "
        "shortest sources (with ties) to that of the longest, minus the same with additive attention",
        difference(drop),
        of=("none", "additive"),
        at_least=0.2,
    ),
    claim(
        "8a",
        "Attention finds a fixed permutation of the source: alignment error rate at the better shift",
        error_rate("alignment_error_rate"),
        of="permutation",
        at_most=0.02,
    ),
    claim(
        "8b",
        "Reversing takes at most a quarter more steps to learn than copying: difference of the steps to 99 % "
        "validation accuracy, as a share of those of copying",
        share_more,
        of=("reverse", "copy"),
        at_most=0.25,
    ),
    claim(
        "9a",
        "Multi30k English-French, test 2016: BLEU of additive attention, detokenised and with case, tokenised as 13a",
        only_real(examined("bleu")),
        of="additive",
        at_least=45.0,
    ),
    claim(
        "9b",
        "Multi30k English-French, test 2016: BLEU that is lost without attention, after equally many steps",
        only_real(difference(examined("bleu"))),
        of=("additive", "none"),
        at_least=10.0,
    ),
    claim(
        "9c",
        "Multi30k English-French, test 2016: attention agrees with an HMM aligner on more tokens than the diagonal "
        "does: difference of the shares",
        only_real(lambda r: r.examined["aligner_agreement"] - r.examined["diagonal_agreement"]),
        of="additive",
        above=0.0,
    ),
    *claims_of_pixels(
        "word_values",
        ("11a", "11b", "11c", "11d", "11e", "11f", "11g", "11h", "11i"),
        "Additive attention that reads single words",
    ),
    claim(
        "12a",
        "Dot-product attention that reads a bidirectional GRU's states: alignment error rate against gold links, at "
        "the better shift",
        error_rate("alignment_error_rate"),
        of="dot",
    ),
    claim(
        "12b",
        "General attention that reads a bidirectional GRU's states: alignment error rate against gold links, at the "
        "better shift",
        error_rate("alignment_error_rate"),
        of="general",
    ),
    claim(
        "12c",
        "The cross-attention of a Transformer, the head that aligns best on validation pairs: alignment error rate "
        "against gold links, at the better shift",
        error_rate("alignment_error_rate"),
        of="transformer",
    ),
    claim(
        "13a",
        "A Transformer against a recurrent net with additive attention: difference of test accuracies",
        difference(examined("test_accuracy")),
        of=("transformer", "additive"),
    ),
    claim(
        "13b",
        "Dot-product against additive attention: difference of test accuracies",
        difference(examined("test_accuracy")),
        of=("dot", "additive"),
    ),
    claim(
        "13c",
        "General against additive attention: difference of test accuracies",
        difference(examined("test_accuracy")),
        of=("general", "additive"),
    ),
]
