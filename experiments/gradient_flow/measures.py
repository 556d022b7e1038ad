"""What claims and figures read off the arms. A measure returns one number a seed [S] unless it says otherwise.

Axes: S seeds, N draws, L layers from the input (of gradients also the output), P depths of programs.
"""

import numpy as np

from experiments.gradient_flow.backward_memory import SCANNED_DEPTHS, depths_of
from experiments.gradient_flow.layer_gradients import CELLS, LARGE_DEVIATION, VARIANTS
from probes.gradient_flow import fit_line
from reporting.ranks import rank_correlation


def log_norms(result, variant, of="of_states"):
    """[S, N, L]: log-norms of the gradient in the layers' inputs and the output, or "of_weights", of a variant."""
    return result.examined[of][:, :, VARIANTS[result.arm].index(variant)]


def slopes(result, variant, of="of_states"):
    """Slopes [S, N] of the gradient's log-norm against the layer's number: positive where it vanishes to the input."""
    norms_SNL = log_norms(result, variant, of)
    if result.arm == "rnn":
        norms_SNL = norms_SNL[..., :-1]  # the last is the loss's own gradient, which no cell has passed
    return np.array([[fit_line(np.arange(norms_L.size), norms_L)[0] for norms_L in seed] for seed in norms_SNL])


def slope(variant):
    """Makes a measure: the slope of the gradient's log-norm against the layer's number, mean over draws."""
    return lambda result: slopes(result, variant).mean(1)


def slope_difference(variant, other):
    """Makes a measure: the slope of a variant minus that of the other."""
    return lambda result: slope(variant)(result) - slope(other)(result)


def straightness(variant):
    """Makes a measure: the share R^2 of the log-norm's variance over layers that a line explains, mean over draws."""

    def measure(result):
        return [
            np.mean([fit_line(np.arange(norms_L.size), norms_L)[1] for norms_L in seed])
            for seed in log_norms(result, variant)
        ]

    return measure


def power_of_depth(variant):
    """Makes a measure: the slope of the gradient's log-norm against log(1 + l), mean over draws."""

    def measure(result):
        norms_SNL = log_norms(result, variant)
        x_L = np.log(1 + np.arange(norms_SNL.shape[-1]))
        return [np.mean([fit_line(x_L, norms_L)[0] for norms_L in seed]) for seed in norms_SNL]

    return measure


def saturated_share(result):
    """The share of units of the tanh network with large weights that are saturated."""
    return result.examined["saturated"].mean(1)


def early_zeros(result):
    """The share of the first half of the layers whose weights' gradient is exactly zero, tanh with large weights."""
    norms_SNL = log_norms(result, f"tanh, {LARGE_DEVIATION}", "of_weights")
    return np.mean(norms_SNL[..., : norms_SNL.shape[-1] // 2] == -np.inf, axis=(1, 2))


def last_kurtosis(result):
    """The fourth moment over the squared second of the last tanh layer's gradient, all draws pooled."""
    second, fourth = np.moveaxis(result.examined["last_moments"].mean(1), -1, 0)
    with np.errstate(invalid="ignore"):  # NaN where every gradient is zero
        return fourth / second**2


def overflow_share(result):
    """The share of draws in which the first layer's gradient is not finite, ReLU with large weights."""
    norms_SNL = log_norms(result, f"relu, {LARGE_DEVIATION}", "of_weights")
    return np.mean(~np.isfinite(norms_SNL[..., 0]), axis=1)


def movement_order(result):
    """The rank correlation of how far a layer moves with its number from the input, least over draws."""
    movement_SNL = result.examined["movement"]
    order = np.arange(movement_SNL.shape[-1])
    return [min(rank_correlation(movement_L, order) for movement_L in seed) for seed in movement_SNL]


def first_over_last(result):
    """The first layer's movement over the last layer's, each relative to its weights, greatest over draws."""
    movement_SNL = result.examined["movement"]
    return np.exp(movement_SNL[..., 0] - movement_SNL[..., -1]).max(1)


def first_weights_changed(result):
    """The share of the first layer's weights that are other numbers after training in float32, mean over draws."""
    return result.examined["weights_changed"][..., 0].mean(1)


def lead_of_cell(cell):
    """Makes a measure: the slope of a recurrent cell minus the greatest of the other cells'."""

    def measure(result):
        others = [slope(other)(result) for other in CELLS if other != cell]
        return slope(cell)(result) - np.max(others, axis=0)

    return measure


def growth(kind, way):
    """Makes a measure: the bytes a layer, "saved" or "compiled": the slope of memory against depth."""

    def measure(result):
        return np.array([fit_line(depths_of(way), bytes_P)[0] for bytes_P in result.examined[f"{kind}/{way}"]])

    return measure


def growth_ratio(kind, way, other):
    """Makes a measure: the bytes a layer of one way over those of another."""
    return lambda result: growth(kind, way)(result) / growth(kind, other)(result)


def linearity(kind, way):
    """Makes a measure: the share R^2 of the variance of memory over depths that a line explains."""
    return lambda result: [fit_line(depths_of(way), bytes_P)[1] for bytes_P in result.examined[f"{kind}/{way}"]]


def power_of_memory(kind, way):
    """Makes a measure: the power of the depth with which memory grows."""

    def measure(result):
        return [fit_line(np.log(depths_of(way)), np.log(bytes_P))[0] for bytes_P in result.examined[f"{kind}/{way}"]]

    return measure


def chain_over_depth(direction, passes, reduce):
    """Makes a measure: the longest chain of products over ``passes`` times the depth, reduced over all programs."""

    def measure(result):
        chains = [result.examined[f"{direction}_chain/{size}"] for size in ("one", "batch")]
        return reduce(np.stack(chains) / (passes * np.array(SCANNED_DEPTHS)), axis=(0, 2))

    return measure
