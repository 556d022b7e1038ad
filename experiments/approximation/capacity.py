"""What networks of ReLUs or without activation functions can compute, trained or not: all in float64.

Axes: B points, D inputs, F features.
"""

from itertools import product

import numpy as np

from experiments.approximation import tent
from experiments.approximation.parallel_networks import gaussian_params
from models.mlp import MLP, linear_map


def least_squares_residual(features, y):
    """What the best linear function of features [B, F], with a constant, leaves of y."""
    design = np.hstack([features, np.ones((len(features), 1))])
    return y - design @ np.linalg.lstsq(design, y, rcond=None)[0]


def least_squares_error(features, y):
    """The least share of y's variance that a linear function of the features, with a constant, leaves unexplained."""
    return np.mean(np.square(least_squares_residual(features, y))) / np.var(y)


def mlp_outputs(params, x, activation=lambda z: np.maximum(z, 0)):
    """The outputs of an MLP at x [B, D], from its definition."""
    for number in range(len(params)):
        x = x if number == 0 else activation(x)
        x = x @ params[f"layer_{number}"]["kernel"] + params[f"layer_{number}"]["bias"]
    return x


def factorisation_error(networks, inputs):
    """How far deep linear networks of random weights are from the one affine map that their product is."""
    generator, errors = np.random.default_rng(0), []
    for network in networks:
        params, x = gaussian_params(network, inputs, generator.standard_normal), generator.normal(size=(64, inputs))
        W, b = linear_map(params)
        errors.append(np.abs(mlp_outputs(params, x, lambda z: z) - (x @ W + b)).max())
    return max(errors)


def count_pieces(x, y):
    """Linear pieces of a piecewise linear function with values y at increasing x that include all of its bends."""
    slopes = np.diff(y) / np.diff(x)
    return 1 + np.count_nonzero(np.abs(np.diff(slopes)) > 1e-6 * np.abs(slopes).max())


def pieces_of_one_layer(width, generator):
    """Linear pieces on [0, 1] of a random ReLU network with one hidden layer."""
    params = gaussian_params(MLP((width, 1)), 1, generator.standard_normal)
    bends = -params["layer_0"]["bias"] / params["layer_0"]["kernel"][0]
    x = np.unique([0.0, 1.0, *bends[(bends > 0) & (bends < 1)]])
    return count_pieces(x, mlp_outputs(params, x[:, None])[:, 0])


def error_with_one_unit_less(k):
    """The least RMSE to the k-fold tent of one layer of 2^k - 1 ReLUs, bent where it must be, facing left or right."""
    bends, x = np.arange(1, 2**k) / 2**k, np.linspace(0, 1, 2 ** (k + 3) + 1)
    y, errors = tent.composed_tent(x, k), []
    for faces in product((1, -1), repeat=len(bends)):
        units = np.maximum(np.array(faces) * (x[:, None] - bends), 0)
        errors.append(np.sqrt(np.mean(np.square(least_squares_residual(units, y)))))
    return min(errors)


def interpolation_rmse(target, width):
    """RMSE on [-1, 1] of a layer of ``width`` ReLUs that meets the target at its ends and at equally spaced bends."""
    nodes, x = np.linspace(-1, 1, width + 1), np.linspace(-1, 1, 40 * width, endpoint=False) + 1 / (40 * width)
    return np.sqrt(np.mean(np.square(np.interp(x, nodes, target(nodes)) - target(x))))


def interpolation_slopes(targets):
    """Slope of log error against log width, for each target, of ReLU networks that interpolate it."""
    widths = np.array([64, 128, 256, 512])
    errors = [[interpolation_rmse(target, width) for width in widths] for target in targets]
    return np.polyfit(np.log(widths), np.log(errors).T, 1)[0]


def measure_tents(most_folds):
    """What is exact about the composed tent maps of 1, 2, ... ``most_folds`` folds.

    Returns:
      {"deep_error", "shallow_error": greatest error of the networks in many layers and in one that compute them;
      "pieces" [most_folds]: linear pieces of the deep ones; "pieces_over_bound": greatest ratio of the pieces of random
      layers to their width + 1; "error_with_one_unit_less": the least over folds}.
    """
    generator = np.random.default_rng(0)
    deep_errors, shallow_errors, pieces = [], [], []
    for k in range(1, most_folds + 1):
        x = np.arange(2 ** (k + 2) + 1) / 2 ** (k + 2)
        y = tent.composed_tent(x, k)
        deep, shallow = (mlp_outputs(make(k), x[:, None])[:, 0] for make in (tent.deep_params, tent.shallow_params))
        deep_errors.append(np.abs(deep - y).max())
        shallow_errors.append(np.abs(shallow - y).max())
        pieces.append(count_pieces(x, deep))
    ratios = [max(pieces_of_one_layer(width, generator) for _ in range(20)) / (width + 1) for width in (1, 3, 15)]
    return {
        "deep_error": max(deep_errors),
        "shallow_error": max(shallow_errors),
        "pieces": np.array(pieces),
        "pieces_over_bound": max(ratios),
        "error_with_one_unit_less": min(error_with_one_unit_less(k) for k in (1, 2, 3)),
    }
