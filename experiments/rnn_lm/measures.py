"""What the claims measure: each function takes results of arms, or makes one that does, and gives one number a seed.

Axes: S seeds, K steps back, T positions.
"""

import numpy as np

from experiments.rnn_lm.clipping import LEARNING_RATES
from experiments.rnn_lm.costs import exponent
from experiments.rnn_lm.exposure import OWN_STEPS, PREFIX
from experiments.rnn_lm.reach import UNTRAINED_CELLS
from probes.gradient_flow import fit_line

REACH_SHARE = 0.01  # of the gradient's norm at no steps back
LATE_POSITIONS = slice(-(OWN_STEPS // 4), None)  # the positions at the end of a passage
LAST_STEPS = slice(-20, None)  # the training steps that count as the end of a run
NO_NUMBER = 100.0  # the loss, in nats, that stands for one that is no number or larger
NOT_DERIVED = "the formulas are of one layer of sigmoid cells, untied, without positions or an adaptive softmax"
TOO_MANY_WORDS = "this vocabulary is too large for the comparison of cells"
TOO_MANY_TO_SAMPLE = "this vocabulary is too large to sample from at every step"


def distance(name, value):
    """Makes a measure: how far [S] a measurement lies from a value."""
    return lambda result: np.abs(result.examined[name] - value)


def hand_derived_error(name):
    """Makes a measure: the error [S] of hand-derived gradients, where they are of the arm's model."""
    return lambda result: result.examined.get(f"hand/{name}", NOT_DERIVED)


def least_coefficient(result):
    """The least coefficient [S] of V F, F^2 and F D in the operations of a step."""
    return result.examined["terms"][:, :3].min(1)


def greatest_coefficient(result):
    """The greatest coefficient [S] of V F, F^2 and F D in the operations of a step."""
    return result.examined["terms"][:, :3].max(1)


def growth(name, lengths):
    """Makes a measure: the power [S] of the length with which costs grow."""
    return lambda result: np.array([exponent(lengths, costs) for costs in result.examined[name]])


def speed_ratio(size, output, other):
    """Makes a measure: the tokens a second of training with one softmax over those with another [S]."""

    def measure(result):
        speeds = f"tokens_per_second/{size}"
        return result.examined[f"{speeds}/{output}"] / result.examined[f"{speeds}/{other}"]

    return measure


def perplexity_excess(result, other):
    """How much higher the first arm's perplexity is [S], as a share of the other's."""
    return result.final["perplexity"] / other.final["perplexity"] - 1


def change_over_spread(result, other):
    """The difference [1] of two arms' mean perplexities over the seeds' spread: greatest less least, mean of both."""
    if other.num_seeds < 2:
        return "a spread needs two seeds: --num_seeds=3"
    first, second = result.final["perplexity"], other.final["perplexity"]
    return abs(first.mean() - second.mean()) / np.mean([np.ptp(first), np.ptp(second)])


def excess_over_bound(result):
    """The greatest excess [S] of a gradient's log-norm over its bound, over cells and steps back."""
    norms, bounds = (
        np.stack([result.examined[f"{kind}/{cell}"] for cell in UNTRAINED_CELLS]) for kind in ("reach", "bound")
    )
    return (norms - bounds).max((0, 2))


def slope(cell):
    """Makes a measure: the slope [S] of the gradient's log-norm against steps back, before training.

    Where it is negative, the gradient vanishes.
    """

    def measure(result):
        norms_SK = result.examined[f"reach/{cell}"]
        return np.array([fit_line(np.arange(len(norms_K)), norms_K)[0] for norms_K in norms_SK])

    return measure


def slope_difference(cell, other):
    """Makes a measure: how much more slowly [S] one cell's gradient vanishes than another's."""
    return lambda result: slope(cell)(result) - slope(other)(result)


def least_lead_over_sigmoid(result):
    """How much more slowly [S] than the sigmoid cell's the fastest vanishing of the other cells' gradients vanishes."""
    slopes = [slope(cell)(result) for cell in UNTRAINED_CELLS if cell != "Elman, sigmoid"]
    return np.min(slopes, axis=0) - slope("Elman, sigmoid")(result)


def greatest_exploded_norm(result):
    """The greatest norm [S] of a gradient in training without clipping at the first rate."""
    return np.nan_to_num(result.examined["clipping/norms"][:, 0, 0], nan=0.0).max(-1)


def saved_by_clipping(learning_rate):
    """Makes a measure: the loss [S] at the end of training without clipping less that with clipping, in nats."""

    def measure(result):
        losses = result.examined["clipping/losses"][:, LEARNING_RATES.index(learning_rate), :, LAST_STEPS]
        ends = np.minimum(np.nan_to_num(losses, nan=NO_NUMBER, posinf=NO_NUMBER), NO_NUMBER).mean(-1)
        return ends[:, 0] - ends[:, 1]

    return measure


def steps_of_reach(result):
    """How many steps back [S] the gradient first has less than REACH_SHARE of its norm at no steps back."""
    relative_SK = result.examined["reach"] - result.examined["reach"][:, :1]
    below_SK = relative_SK < np.log(REACH_SHARE)
    return np.where(below_SK.any(1), below_SK.argmax(1), below_SK.shape[1])


def difference_of_reach(result, other):
    """How many more steps back [S] the first arm's gradient reaches."""
    if "reach" not in result.examined or "reach" not in other.examined:
        return TOO_MANY_WORDS
    return steps_of_reach(result) - steps_of_reach(other)


def rise(name):
    """Makes a measure: a loss late in a passage less that of the first four positions after the prefix [S], in nats."""

    def measure(result):
        if name not in result.examined:
            return TOO_MANY_TO_SAMPLE
        losses_ST = result.examined[name][:, PREFIX:]
        return losses_ST[:, LATE_POSITIONS].mean(1) - losses_ST[:, :4].mean(1)

    return measure


def difference_of_rises(result, other):
    """How much more [S] the first arm's loss on the true text rises when it reads its own samples, in nats."""
    if "own" not in result.examined or "own" not in other.examined:
        return TOO_MANY_TO_SAMPLE
    return rise("own")(result) - rise("own")(other)


def samples_over_text(result):
    """How much less likely [S] than the true text, in nats a token, a judge finds the samples late in a passage."""
    if "judged/own" not in result.examined:
        return TOO_MANY_TO_SAMPLE
    return result.examined["judged/own"][:, LATE_POSITIONS].mean(1) - result.examined["judged/text"][
        :, LATE_POSITIONS
    ].mean(1)
