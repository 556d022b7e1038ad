"""The claims. Their thresholds were fixed before the first run."""

from experiments.statistical_induction.measures import (
    least_divergence,
    loss_above_bigram,
    plateau,
    ratio_of_steps,
    step_of_half_the_gain,
    steps_between,
)
from reporting.claims import claim

CLOSE = 0.01  # nats, of the final loss above the Bayes predictor's
PASSED = 0.02  # nats, of the KL divergence from a predictor that is passed through
HALF = 0.5


def claims_of_order(number, arm, states):
    """The claims that a model of chains with so many states passes the predictors in order."""
    return [
        claim(
            f"{number}a",
            f"With {states} states the model comes near the uniform predictor first and near the unigram predictor "
            "later: steps between its closest approaches to the two",
            steps_between("uniform", "unigram"),
            of=arm,
            above=0.0,
        ),
        claim(
            f"{number}b",
            f"With {states} states the model comes near the unigram predictor first and near the bigram predictor "
            "later: steps between its closest approaches to the two",
            steps_between("unigram", "bigram"),
            of=arm,
            above=0.0,
        ),
        claim(
            f"{number}c",
            f"With {states} states the model passes through the unigram predictor, not around it: least divergence "
            "from it over training (nats)",
            least_divergence("unigram"),
            of=arm,
            at_most=PASSED,
        ),
        claim(
            f"{number}d",
            f"With {states} states the unigram predictor is for some time the nearest of uniform, unigram and bigram: "
            "number of steps",
            plateau,
            of=arm,
            above=0.0,
        ),
        claim(
            f"{number}e",
            f"With {states} states the model ends as good as the add-one bigram predictor: final loss minus that "
            "predictor's (nats)",
            loss_above_bigram,
            of=arm,
            at_most=CLOSE,
        ),
    ]


CLAIMS = [
    *claims_of_order(1, "two_states", "two"),
    *claims_of_order(2, "three_states", "three"),
    claim(
        "3a",
        "Doubly stochastic rows make the unigram predictor useless, and the plateau near it shrinks: its steps, over "
        "those with Dirichlet rows",
        ratio_of_steps(plateau),
        of=("doubly_stochastic", "two_states"),
        at_most=HALF,
    ),
    claim(
        "3b",
        "With doubly stochastic rows the transitions are learned sooner: step of half the gain, over that with "
        "Dirichlet rows",
        ratio_of_steps(step_of_half_the_gain),
        of=("doubly_stochastic", "two_states"),
        below=1.0,
    ),
]
