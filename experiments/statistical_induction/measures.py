"""What the claims measure: when a model is closest to each predictor, for how long, and how good it gets.

Axes: N evaluations, S seeds. The first axis of [3, ...] is that of ``PREDICTORS``.
"""

import numpy as np

PREDICTORS = ("uniform", "unigram", "bigram")  # in the order in which a model should pass them


def divergences(result):
    """KL divergences [3, N, S] of the model's predictions from those of the predictors, in nats a token."""
    return np.stack([result.evaluation[f"kl_to_{name}"] for name in PREDICTORS])


def closest_steps(result):
    """The steps [3, S] at which the model was closest to each predictor."""
    return result.evaluation.steps[divergences(result).argmin(1)]


def least_divergence(predictor):
    """Measures how close [S] the model ever came to a predictor, in nats."""
    return lambda result: result.evaluation[f"kl_to_{predictor}"].min(0)


def steps_between(earlier, later):
    """Measures the steps [S] from the closest approach to one predictor to that to another."""

    def measure(result):
        closest = dict(zip(PREDICTORS, closest_steps(result), strict=True))
        return closest[later] - closest[earlier]

    return measure


def plateau(result):
    """The steps [S] of the run during which the unigram predictor is the nearest of the three."""
    nearest_NS = divergences(result).argmin(0)
    lasted_N = np.diff(result.evaluation.steps, append=result.evaluation.steps[-1])
    return (nearest_NS == PREDICTORS.index("unigram")).astype(float).T @ lasted_N


def step_of_half_the_gain(result):
    """The step [S] at which the loss first was halfway to the bigram predictor's; NaN where it never was.

    Halfway from the better of the predictors that know no transitions (uniform, unigram); interpolated.
    """
    steps_N, crossings = result.evaluation.steps, []
    for seed, loss_N in enumerate(result.evaluation["loss"].T):
        without_transitions = min(result.final[f"{name}_loss"][seed] for name in ("uniform", "unigram"))
        halfway = (without_transitions + result.final["bigram_loss"][seed]) / 2
        below = np.flatnonzero(loss_N <= halfway)
        if below.size and below[0]:
            around = slice(below[0] - 1, below[0] + 1)
            crossings.append(np.interp(-halfway, -loss_N[around], steps_N[around]))
        else:
            crossings.append(np.nan)
    return np.array(crossings)


def loss_above_bigram(result):
    """The final loss above that of the bigram predictor [S], in nats."""
    return result.final["loss"] - result.final["bigram_loss"]


def ratio_of_steps(measure):
    """Measures the steps [S] of one arm over those of another, or says as text that the other has none."""

    def measure_or_reason(result, other):
        steps_S = measure(other)
        return measure(result) / steps_S if steps_S.all() else "there is nothing to compare with: it is 0 steps"

    return measure_or_reason
