"""The claims. Thresholds come from the statements themselves and were fixed before the first run, but for 8i."""

import numpy as np

from experiments.optimizers.measures import DROPOUT_RATES
from reporting.claims import claim, examined

LIKE_TORCH = 1e-6  # in parameters of order one, over 100 steps
UNLIKE_TORCH = 1e-3  # far more than LIKE_TORCH
ROUNDING = 1e-12  # in float64
RATE_ERROR = 0.02  # of the logarithm of a rate: at a double root t rate^t falls that much slower over the fit
SAMPLING_ERROR = 0.05  # bounds around a theory's number lie that far from it, relative
FASTER = 5.0


def largest_relative_error(name, expected):
    """Makes a measure: the largest relative error [S] of an array [S, N] from what theory expects [N]."""
    return lambda result: np.abs(result.examined[name] / np.asarray(expected) - 1).max(-1)


def first_over_second(name):
    """Makes a measure: the first entry of an array [S, N] over its second."""
    return lambda result: result.examined[name][:, 0] / result.examined[name][:, 1]


def neighbours_change(result):
    """The largest change of the other trials' losses by those that diverge [S], or words where a seed has none."""
    if not result.examined["diverged_share"].all():
        return "no trial diverged"
    return result.examined["neighbours_change"]


CLAIMS = [
    claim(
        "1",
        "Our SGD takes the steps of torch.optim.SGD for all 20 legal combinations of its flags: "
        "largest difference of a parameter over 100 steps",
        examined("torch_error"),
        of="sgd",
        at_most=LIKE_TORCH,
    ),
    claim(
        "2a",
        "Our SGD, whose dampening scales the new gradient, takes the steps of torch.optim.SGD: "
        "largest difference of a parameter over 100 steps with a dampened momentum",
        examined("torch_error_dampened"),
        of="sgd",
        at_most=LIKE_TORCH,
    ),
    claim(
        "2b",
        "SGD whose dampening scaled the old momentum would leave the trajectory of torch.optim.SGD: "
        "largest difference of a parameter over 100 steps, least over flags",
        examined("misread_dampening_error"),
        of="sgd",
        at_least=UNLIKE_TORCH,
    ),
    claim(
        "3a",
        "Without weight decay, SGD whose last sign was flipped would take the steps of torch.optim.SGD with maximize: "
        "largest difference of a parameter over 100 steps",
        examined("flipped_error_without_decay"),
        of="sgd",
        at_most=LIKE_TORCH,
    ),
    claim(
        "3b",
        "With weight decay, SGD whose last sign was flipped would leave the trajectory of torch.optim.SGD with "
        "maximize: largest difference of a parameter over 100 steps, least over flags",
        examined("flipped_error_with_decay"),
        of="sgd",
        at_least=UNLIKE_TORCH,
    ),
    claim(
        "3c",
        "A weight without gradient decays as (1 - rate x decay)^t under maximize, and grows as (1 + rate x decay)^t "
        "if the last sign is flipped instead: largest error over 100 steps",
        examined("decay_error"),
        of="sgd",
        at_most=ROUNDING,
    ),
    claim(
        "4a",
        "Gradient descent on quadratics of condition 10, 100 and 1000 converges at theory's rate: largest relative "
        "error of the rate's logarithm",
        examined("rate_error", 0),
        of="quadratics",
        at_most=RATE_ERROR,
    ),
    claim(
        "4b",
        "The heavy ball on quadratics of condition 10, 100 and 1000 converges at theory's rate: largest relative "
        "error of the rate's logarithm",
        examined("rate_error", 1),
        of="quadratics",
        at_most=RATE_ERROR,
    ),
    claim(
        "4c",
        "Nesterov's method on quadratics of condition 10, 100 and 1000 converges at theory's rate: largest relative "
        "error of the rate's logarithm",
        examined("rate_error", 2),
        of="quadratics",
        at_most=RATE_ERROR,
    ),
    claim(
        "4d",
        "Momentum is not pointless on a convex problem: steps that the best gradient descent needs to come a million "
        "times closer to the minimum of a quadratic of condition 100, over the heavy ball's",
        first_over_second("steps_to_a_millionth"),
        of="quadratics",
        at_least=FASTER,
    ),
    claim(
        "5a",
        "Adam's step is a running mean over the root of another, both corrected: largest error of these means written "
        "out as sums, in learning rates",
        examined("means_error"),
        of="adam",
        at_most=ROUNDING,
    ),
    claim(
        "5b",
        "Adam's first step is the learning rate whatever the gradient's scale: largest relative error",
        examined("first_step_error"),
        of="adam",
        at_most=1e-4,
    ),
    claim(
        "5c",
        "Adam's first step without correction would be too long, not too short: that step in learning rates",
        examined("uncorrected_first_step"),
        of="adam",
        at_least=3.16,
        at_most=3.165,
    ),
    claim(
        "5d",
        "Adam gives gradients that are 10,000-fold apart steps of one size: largest root mean square step over the "
        "least",
        examined("spread"),
        of="adam",
        at_most=1.5,
    ),
    claim(
        "5e",
        "Parameters with small gradients gain when Adam replaces SGD: rank correlation of the ratio of Adam's to SGD's "
        "steps and the size of the gradient",
        examined("gain_correlation"),
        of="adam",
        at_most=-0.9,
    ),
    claim(
        "5f",
        "Adam moves a parameter whose gradient is noise by sqrt((1-b1)/(1+b1)) = 0.2294 learning rates: root mean "
        "square step in learning rates",
        examined("noise_size"),
        of="adam",
        at_least=0.2179,
        at_most=0.2409,
    ),
    claim(
        "5g",
        "Adam moves a parameter whose gradient is steady by one learning rate: largest relative error",
        examined("steady_size_error"),
        of="adam",
        at_most=1e-4,
    ),
    claim(
        "6a",
        "A Xavier layer of 784 to 10 units multiplies the variance by 2 fan_in / (fan_in + fan_out) = 1.975: variance "
        "of its outputs over that of its inputs",
        examined("forward/784_to_10"),
        of="xavier",
        at_least=1.876,
        at_most=2.074,
    ),
    claim(
        "6b",
        "A Xavier layer of 50 to 1000 units multiplies the variance by 2 fan_in / (fan_in + fan_out) = 0.09524: "
        "variance of its outputs over that of its inputs",
        examined("forward/50_to_1000"),
        of="xavier",
        at_least=0.09048,
        at_most=0.1,
    ),
    claim(
        "6c",
        "A Xavier layer of 300 to 300 units multiplies the variance by 2 fan_in / (fan_in + fan_out) = 1: variance of "
        "its outputs over that of its inputs",
        examined("forward/300_to_300"),
        of="xavier",
        at_least=0.95,
        at_most=1.05,
    ),
    claim(
        "6d",
        "A Xavier layer of 784 to 10 units multiplies the variance of gradients by 2 fan_out / (fan_in + fan_out) = "
        "0.02519: variance of its inputs' gradients over that of its outputs'",
        examined("backward/784_to_10"),
        of="xavier",
        at_least=0.02393,
        at_most=0.02645,
    ),
    claim(
        "6e",
        "No weight of a Xavier layer exceeds sqrt(6 / (fan_in + fan_out)): largest weight of a layer of 300 to 300 "
        "units over that bound",
        examined("largest/300_to_300"),
        of="xavier",
        at_least=0.99,
        at_most=1.000001,
    ),
    claim(
        "7a",
        "Dropout with gamma = 1/(1-p) keeps the expectation for p from 0.1 to 0.8: largest relative error of the mean "
        "over masks",
        largest_relative_error("mean_ratio", np.ones(len(DROPOUT_RATES))),
        of="dropout",
        at_most=0.01,
    ),
    claim(
        "7b",
        "Dropout with gamma = 1/(1-p) does not keep the variance: a sum's grows by p/(1-p) times the squares of its "
        "summands, largest relative error of that",
        largest_relative_error("variance_of_sum", np.array(DROPOUT_RATES) / (1 - np.array(DROPOUT_RATES))),
        of="dropout",
        at_most=SAMPLING_ERROR,
    ),
    claim(
        "7c",
        "Dropout changes nothing in evaluation: largest change of its input",
        examined("evaluation_change"),
        of="dropout",
        at_most=0.0,
    ),
    claim(
        "8a",
        "Trials at once train more trials per second than runs one after another, each compiled for itself: "
        "ratio, compilation included",
        first_over_second("trials_a_second_compiled"),
        of="search",
        at_least=FASTER,
    ),
    claim(
        "8b",
        "Trials at once train more trials per second than trials one after another in a program compiled once: "
        "ratio, compilation left out",
        first_over_second("trials_a_second"),
        of="search",
        at_least=FASTER,
    ),
    claim(
        "8c",
        "Trials at once reach the final losses of the same trials one after another: largest relative difference, "
        "float32",
        examined("largest_difference"),
        of="search",
        at_most=1e-3,
    ),
    claim(
        "8d",
        "Trials that diverge do not harm those beside them: largest change of the others' final losses when the "
        "diverging ones get a small learning rate",
        neighbours_change,
        of="search",
        at_most=0.0,
    ),
    claim(
        "8e",
        "The learning rate decides the final loss: share of the variance of the losses' ranks that it explains",
        examined("explained", 0),
        of="search",
        at_least=0.5,
    ),
    claim(
        "8f",
        "A weight decay below 1e-6 does not decide the final loss: share of the variance of the losses' ranks that it "
        "explains",
        examined("explained", 1),
        of="search",
        at_most=0.15,
    ),
    claim(
        "8g",
        "A grid over both a hyperparameter that matters and one that does not wastes trials: best of 16 on grids minus "
        "best of 16 at random, mean squared error",
        examined("grid_lag"),
        of="search",
        above=0.0,
    ),
    claim(
        "8h",
        "60 random trials hold one of the best 5 %: share of bootstrap samples that do",
        examined("found_top"),
        of="search",
        at_least=0.95,
    ),
    claim(
        "8i",
        "Trials at once differ from the same trials one after another by rounding alone: largest relative difference "
        "of final losses, float64 (stated after 8c had failed)",
        examined("largest_difference_float64"),
        of="search",
        at_most=1e-6,
    ),
    claim(
        "8j",
        "Some random trials diverge: share of them",
        examined("diverged_share"),
        of="search",
    ),
]
