"""The claims, and what they measure. All thresholds were fixed before the first run; README.md tells their reasons.

Axis: S seeds.
"""

import numpy as np

from experiments.mlp_lm.ngram_models import ORDERS
from experiments.mlp_lm.strategies import COLD, HOT, STRATEGIES, strategies_of
from reporting.claims import claim, examined, ratio


def neural_over_counted(result):
    """The neural model's perplexity over Kneser-Ney's [S]."""
    return result.examined["neural_perplexity"] / result.examined["counted_perplexity"]


def mixture_over_better(result):
    """The interpolation's perplexity over that of the better of its two models [S]."""
    better_S = np.minimum(result.examined["neural_perplexity"], result.examined["counted_perplexity"])
    return result.examined["mixture_perplexity"] / better_S


def least_rise_of_unseen(result):
    """The smallest step of the share of unseen n-grams from one order to the next [S]."""
    return np.diff(result.examined["unseen_share"], axis=1).min(1)


def infinite_orders(result):
    """At how many of ORDERS maximum likelihood has an infinite perplexity [S]."""
    return np.isinf(result.examined["likelihood_perplexity"]).sum(1)


def wrong_prompt_tokens(result):
    """How many tokens after single prompts differ from those by whole windows [S]."""
    return result.examined["prompt_errors"].sum(1)


def missing_strategy(result, needed):
    """The reason why a run that did not compare the needed strategies decides nothing; None where it did."""
    missing = [name for name in needed if name not in strategies_of(result.config)]
    return f"strategy {missing[0]} is not in this run" if missing else None


def distinct_pairs(result, strategy):
    """The share of distinct 2-grams [S] in the texts that a strategy wrote."""
    return result.examined["distinct"][:, strategies_of(result.config).index(strategy), 1]


def greedy_repetition(result):
    """The share of repeated 4-grams in greedy texts [S]."""
    if reason := missing_strategy(result, ["greedy"]):
        return reason
    return result.examined["repeated"][:, strategies_of(result.config).index("greedy")]


def greedy_distinct_over_plain(result):
    """The distinct 2-grams of greedy texts over those of plain sampling [S]."""
    if reason := missing_strategy(result, ["greedy", "plain"]):
        return reason
    return distinct_pairs(result, "greedy") / distinct_pairs(result, "plain")


def most_distinct_over_plain(result):
    """The most distinct 2-grams of any other strategy over those of plain sampling [S]."""
    if reason := missing_strategy(result, STRATEGIES):
        return reason
    others = [distinct_pairs(result, name) for name in STRATEGIES if name != "plain"]
    return np.max(others, axis=0) / distinct_pairs(result, "plain")


CLAIMS = [
    claim(
        "1a",
        "Some 2-grams of the test text were never seen in training: their share",
        examined("unseen_share", ORDERS.index(2)),
        of="large",
    ),
    claim(
        "1b",
        "Some 3-grams of the test text were never seen in training: their share",
        examined("unseen_share", ORDERS.index(3)),
        of="large",
    ),
    claim(
        "1c",
        "Some 4-grams of the test text were never seen in training: their share",
        examined("unseen_share", ORDERS.index(4)),
        of="large",
    ),
    claim(
        "1d",
        "Most 5-grams of the test text were never seen in training: their share",
        examined("unseen_share", ORDERS.index(5)),
        of="large",
        at_least=0.5,
    ),
    claim(
        "1e",
        "The share of test n-grams never seen in training rises with the order n: its least rise from one order to the "
        "next",
        least_rise_of_unseen,
        of="large",
        above=0.0,
    ),
    claim(
        "2",
        "Maximum likelihood has an infinite perplexity on the test text: number of the orders 2 to 5 where it is so",
        infinite_orders,
        of="large",
        at_least=4,
    ),
    claim(
        "3",
        "Kneser-Ney's probabilities of the next token sum to 1: largest error",
        examined("sum_error"),
        of="large",
        at_most=1e-9,
    ),
    claim(
        "4a",
        "The neural model's test perplexity differs from that of Kneser-Ney of the same order, small corpus: neural "
        "over Kneser-Ney",
        neural_over_counted,
        of="small",
    ),
    claim(
        "4b",
        "The neural model's test perplexity differs from that of Kneser-Ney of the same order, large corpus: neural "
        "over Kneser-Ney",
        neural_over_counted,
        of="large",
    ),
    claim(
        "4c",
        "More text helps the neural model more than Kneser-Ney: ratio of test perplexities (neural over Kneser-Ney) "
        "on the large corpus over that on the small one",
        ratio(neural_over_counted),
        of=("large", "small"),
        below=1.0,
    ),
    claim(
        "5a",
        "The interpolation of the neural model and Kneser-Ney beats both, small corpus: its test perplexity over the "
        "better one's",
        mixture_over_better,
        of="small",
        below=1.0,
    ),
    claim(
        "5b",
        "The interpolation of the neural model and Kneser-Ney beats both, large corpus: its test perplexity over the "
        "better one's",
        mixture_over_better,
        of="large",
        below=1.0,
    ),
    claim(
        "6a",
        "Words that are nearest neighbours by embedding share contexts: share of other words that are used less alike "
        "(chance 0.5)",
        examined("neighbour_rank"),
        of="large",
        at_least=0.8,
    ),
    claim(
        "6b",
        "Words drawn at random share contexts no more than by chance: share of other words that are used less alike "
        "(chance 0.5)",
        examined("random_rank"),
        of="large",
        at_least=0.45,
        at_most=0.55,
    ),
    claim(
        "7a",
        "Sampling strategies keep the sets of tokens of their definitions, up to rounding: number of wrong sets",
        examined("kept_set_errors"),
        of="large",
        at_most=0,
    ),
    claim(
        "7b",
        f"Sampling at temperature {COLD:g} is argmax: total variation from it",
        examined("cold_distance"),
        of="large",
        at_most=0.01,
    ),
    claim(
        "7c",
        f"Sampling at temperature {HOT:g} is uniform: total variation from the uniform distribution",
        examined("hot_distance"),
        of="large",
        at_most=0.01,
    ),
    claim(
        "8a",
        "Greedy texts repeat themselves: share of their 4-grams that stood in the text before",
        greedy_repetition,
        of="large",
        at_least=0.5,
    ),
    claim(
        "8b",
        "Greedy texts are far less varied than plain sampling: ratio of their shares of distinct 2-grams",
        greedy_distinct_over_plain,
        of="large",
        at_most=0.5,
    ),
    claim(
        "8c",
        "Every other sampling strategy is less varied than plain sampling: largest ratio of shares of distinct 2-grams",
        most_distinct_over_plain,
        of="large",
        below=1.0,
    ),
    claim(
        "9",
        "Single prompts of 1, n-1, n and n+1 tokens are continued as whole windows are: wrong tokens of 32",
        wrong_prompt_tokens,
        of="large",
        at_most=0,
    ),
]
