"""What claims and figures read off a trained arm. A measure returns one number a seed [S] unless it says otherwise.

Networks are found by their place in ``result.model``. Axes: S seeds, W widths, M targets, N draws.
"""

import numpy as np

from experiments.approximation.networks import TRAINABLE, WIDE_DEEP, WIDE_LAYER, WIDTHS
from experiments.approximation.targets import TARGETS, points_on_interval
from reporting.ranks import rank_correlation


def unexplained_share(network, reduce=np.min):
    """Makes a measure: the share of variance that a network leaves unexplained, the best of its draws by default."""

    def measure(result):
        return reduce(result.examined["unexplained"][:, list(result.model).index(network), 0], axis=-1)

    return measure


def error_over_least_squares(kind, reduce):
    """Makes a measure: the errors of networks of a kind over that of least squares, reduced over depths and draws."""

    def measure(result):
        places = [place for place, name in enumerate(result.model) if name.startswith(kind)]
        errors_SKN = result.examined["unexplained"][:, places, 0]
        return reduce(errors_SKN / result.examined["floor"][:, None, None], axis=(1, 2))

    return measure


def error_over_floor(network, floor):
    """Makes a measure: a network's error, best of the draws, over what "linear" or "quadratic" least squares leaves."""

    def measure(result):
        return unexplained_share(network)(result) / result.examined["floors"][:, ("linear", "quadratic").index(floor)]

    return measure


def relative_rmse(result, target):
    """[S, W]: the best draw's error on the test grid, as a root mean square over the target's deviation."""
    errors_SWN = result.examined["unexplained_in_test"][:, :, list(TARGETS).index(target)]
    return np.sqrt(errors_SWN.min(-1))


def slope_in_width(target):
    """Makes a measure: the slope of log error against log width: error ~ width^slope."""

    def measure(result):
        return np.polyfit(np.log(WIDTHS), np.log(relative_rmse(result, target)).T, 1)[0]

    return measure


def rank_correlation_with_width(result):
    """Spearman's correlation of error and width, the greatest over targets: -1 where every doubling helps."""
    correlations = [
        [rank_correlation(errors_W, WIDTHS) for errors_W in relative_rmse(result, target)] for target in TARGETS
    ]
    return np.max(correlations, axis=0)


def widest_over_narrowest(target):
    """Makes a measure: the error of the widest network over that of the narrowest."""

    def measure(result):
        errors_SW = relative_rmse(result, target)
        return errors_SW[:, -1] / errors_SW[:, 0]

    return measure


def jump_error_at_zero(result):
    """The least uniform error of a continuous function to the jump, max(|f(0)|, |f(0) - 1|), over all networks."""
    points, number = points_on_interval(result.config.batch_size, TARGETS.values()), list(TARGETS).index("jump")
    f_0 = result.examined["at_zero"][:, :, number] * points.deviation[number] + points.mean[number]
    return np.maximum(np.abs(f_0), np.abs(f_0 - 1)).min((1, 2))


def pieces_over_power(reduce):
    """Makes a measure: the number of linear pieces of the constructed k-fold tents over 2^k, reduced over k."""

    def measure(result):
        pieces = result.examined["pieces"]
        return reduce(pieces / 2.0 ** np.arange(1, pieces.shape[1] + 1), axis=1)

    return measure


def deep_over_one_layer(result):
    """The error of the wide deep network over that of one layer of as many parameters, best of the draws each."""
    return unexplained_share(WIDE_DEEP)(result) / unexplained_share(WIDE_LAYER)(result)


def worst_trainable(result):
    """The error of the worst network whose layers all train, mean over draws."""
    return np.max([unexplained_share(name, np.mean)(result) for name in TRAINABLE], axis=0)


def first_layer_moved(networks, reduce):
    """Makes a measure: the largest change of a parameter in a network's first layer, reduced over networks."""

    def measure(result):
        places = [list(result.model).index(name) for name in networks]
        return reduce(result.examined["first_layer_moved"][:, places], axis=1)

    return measure
