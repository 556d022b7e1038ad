"""The claims. Their thresholds were written down before the first run, except where the statement says otherwise."""

import numpy as np

from experiments.approximation.measures import (
    deep_over_one_layer,
    error_over_floor,
    error_over_least_squares,
    first_layer_moved,
    jump_error_at_zero,
    pieces_over_power,
    rank_correlation_with_width,
    slope_in_width,
    unexplained_share,
    widest_over_narrowest,
    worst_trainable,
)
from experiments.approximation.networks import SMALL_DEEP, SMALL_DEEP_STARTED_NEAR, TRAINABLE
from experiments.approximation.targets import CONTINUOUS_TARGETS, TARGETS
from reporting.claims import EXACT, claim, examined

CLAIMS = [
    claim(
        "1a",
        "A deep linear network is one affine map, the product of its layers: largest difference of outputs in float64",
        examined("factorisation_error"),
        of="linear",
        at_most=EXACT,
    ),
    claim(
        "1b",
        "A trained linear network of any depth does as well as linear least squares: "
        "largest ratio of their mean square errors over depths and draws",
        error_over_least_squares("linear", np.max),
        of="linear",
        at_most=1.001,
    ),
    claim(
        "1c",
        "A trained linear network of any depth does no better than linear least squares: "
        "smallest ratio of their mean square errors over depths and draws",
        error_over_least_squares("linear", np.min),
        of="linear",
        at_least=0.9999,
    ),
    claim(
        "1d",
        "Networks of 2 and 6 layers with ReLUs between them do better than linear least squares: "
        "largest ratio of their mean square errors over depths and draws",
        error_over_least_squares("ReLU", np.max),
        of="linear",
        at_most=0.5,
    ),
    claim(
        "2a",
        "One hidden layer approximates better the wider it is: "
        "greatest rank correlation of error and width over four targets",
        rank_correlation_with_width,
        of="width",
        at_most=-0.9,
    ),
    *(
        claim(
            f"2{letter}",
            f"The error of one hidden layer on the target {target} falls at least as fast as Barron's bound, "
            "width^(-1/2): slope of log error against log width",
            slope_in_width(target),
            of="width",
            at_most=-0.5,
        )
        for letter, target in zip("bcd", CONTINUOUS_TARGETS, strict=True)
    ),
    claim(
        "2e",
        "One hidden layer approaches a jump on average: "
        "root-mean-square error of the widest network over that of the narrowest",
        widest_over_narrowest("jump"),
        of="width",
        at_most=0.5,
    ),
    claim(
        "2f",
        "No network with one hidden layer approaches a jump uniformly: "
        "least uniform error over all widths and draws, in heights of the jump",
        jump_error_at_zero,
        of="width",
        at_least=0.5,
    ),
    claim(
        "2g",
        "On two sines the error of units set by hand falls as width^(-2) (stated after 2c had failed): "
        "slope of log error against log width, 64 to 512 units in one layer",
        examined("interpolation_slopes", list(TARGETS).index("two sines")),
        of="width",
        at_least=-2.1,
        at_most=-1.9,
    ),
    claim(
        "2h",
        "On a jump the error of units set by hand falls as width^(-1/2) (stated after 2c had failed): "
        "slope of log error against log width, 64 to 512 units in one layer",
        examined("interpolation_slopes", list(TARGETS).index("jump")),
        of="width",
        at_least=-0.6,
        at_most=-0.4,
    ),
    claim(
        "3a",
        "2k ReLUs in k layers compute the k-fold tent: largest error in float64, k = 1 ... 8",
        examined("deep_error"),
        of="depth",
        at_most=EXACT,
    ),
    claim(
        "3b",
        "The k-fold tent of 2k ReLUs in k layers has at least 2^k linear pieces: "
        "least ratio of the number counted to 2^k, k = 1 ... 8",
        pieces_over_power(np.min),
        of="depth",
        at_least=1.0,
    ),
    claim(
        "3c",
        "The k-fold tent of 2k ReLUs in k layers has at most 2^k linear pieces: "
        "greatest ratio of the number counted to 2^k, k = 1 ... 8",
        pieces_over_power(np.max),
        of="depth",
        at_most=1.0,
    ),
    claim(
        "3d",
        "One layer of W ReLUs has at most W + 1 linear pieces: "
        "greatest ratio of the number counted to W + 1 in random networks",
        examined("pieces_over_bound"),
        of="depth",
        at_most=1.0,
    ),
    claim(
        "3e",
        "2^k ReLUs in one layer compute the k-fold tent: largest error in float64, k = 1 ... 8",
        examined("shallow_error"),
        of="depth",
        at_most=EXACT,
    ),
    claim(
        "3f",
        "2^k - 1 ReLUs in one layer do not compute the k-fold tent, though they have enough bends: "
        "least root-mean-square error over k = 1, 2, 3 and all ways for units to face",
        examined("error_with_one_unit_less"),
        of="depth",
        at_least=1e-3,
    ),
    claim(
        "3g",
        "A deep network, trained on the 4-fold tent, beats one layer of as many parameters: "
        "ratio of their unexplained variances, best draws",
        deep_over_one_layer,
        of="depth",
        below=1.0,
    ),
    claim(
        "3h",
        "8 ReLUs in 4 layers, trained from random weights, do not find the 4-fold tent: "
        "unexplained share of the variance, best draw",
        unexplained_share(SMALL_DEEP),
        of="depth",
        at_least=0.1,
    ),
    claim(
        "3i",
        "8 ReLUs in 4 layers, trained from within 5 % of the construction, find the 4-fold tent: "
        "unexplained share of the variance, best draw",
        unexplained_share(SMALL_DEEP_STARTED_NEAR),
        of="depth",
        at_most=0.01,
    ),
    claim(
        "4a",
        "A network with the identity as activation function fits a straight line: "
        "mean square error over that of linear least squares, best draw",
        error_over_floor("identity", "linear"),
        of="activation",
        at_least=0.9999,
        at_most=1.001,
    ),
    claim(
        "4b",
        "A network with the square as activation function fits a parabola: "
        "mean square error over that of quadratic least squares, best draw",
        error_over_floor("square", "quadratic"),
        of="activation",
        at_least=0.9999,
        at_most=1.001,
    ),
    claim(
        "4c",
        "A network with a constant activation function fits the mean: unexplained share of the variance, best draw",
        unexplained_share("constant"),
        of="activation",
        at_least=0.9999,
        at_most=1.001,
    ),
    claim(
        "4d",
        "Training never moves the first layer in front of a step or a constant: largest change of a parameter",
        first_layer_moved(("step", "constant"), np.max),
        of="activation",
        at_most=0.0,
    ),
    claim(
        "4e",
        "Training moves the first layer in front of min(x, x/2), ReLU, sigmoid and sin: "
        "largest change of a parameter, least over the four",
        first_layer_moved(TRAINABLE, np.min),
        of="activation",
        above=0.0,
    ),
    claim(
        "4f",
        "Networks with min(x, x/2), ReLU, sigmoid and sin fit the target: "
        "unexplained share of the variance, mean over draws, worst of the four",
        worst_trainable,
        of="activation",
        at_most=0.02,
    ),
    claim(
        "4g",
        "A network with steps fits the target by random steps and a trained last layer: "
        "unexplained share of the variance, mean over draws",
        unexplained_share("step", np.mean),
        of="activation",
    ),
]
