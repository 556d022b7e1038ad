"""Figures of optimisers: searches, convergence on a quadratic, weight decay while ascending, Adam's steps.

Axis letters: S seeds, M methods, T steps, G parameters with gradients of different scales.
"""

import numpy as np

from reporting import sweeps
from reporting.figures import curves


def search_figures(axes, found):
    """The best of n trials at random and on a grid, and each random trial by hyperparameter.

    Args:
      axes: {path: ``training.sweep.Axis``}.
      found: {"random_values" [S, axes, N], "random_loss", "grid_loss" [S, N]}; trials by hyperparameter are one seed's.
    """
    random = dict(zip(axes, found["random_values"][0], strict=True))
    losses = {"random": found["random_loss"], "grid": found["grid_loss"]}
    return [
        sweeps.best_so_far(losses, "mean squared error", log_y=True),
        sweeps.slices(axes, random, found["random_loss"][0], "mean squared error"),
    ]


def quadratic_figure(methods, distance_SMT, rate_M, condition):
    """Distance to the minimum by step, and the slopes of theory's rates."""
    steps = np.arange(distance_SMT.shape[-1])
    # Below the least number whose scale is drawn well there is nothing to see.
    series = {name: (steps, np.maximum(distance_SMT[:, i], 1e-16)) for i, name in enumerate(methods)}
    for i, name in enumerate(methods):
        series[f"slope of theory, {name}"] = (
            steps,
            np.maximum(distance_SMT[:, i, 0].mean() * rate_M[i] ** steps, 1e-16),
        )
    caption = f"Distance to the minimum of a quadratic of condition {condition:g}, cut off at 1e-16."
    return [curves("Momentum on a convex quadratic", caption, "step", [("distance", series)], log_y=True)]


def decay_figure(decaying_ST, growing_ST):
    """A decaying weight under maximize, and with the last sign flipped in its stead."""
    steps = np.arange(101)
    series = {"maximize": (steps, decaying_ST), "last sign flipped": (steps, growing_ST)}
    caption = "A weight whose gradient is 0, rate .1 and weight decay .05: ascending still lets it decay."
    return [curves("Maximize is not a flipped sign", caption, "step", [("weight", series)])]


def adam_figure(scale_G, size_SG):
    """Root mean square steps on noise of several scales."""
    series = {"Adam": (scale_G, size_SG), "SGD": (scale_G, scale_G)}
    caption = "Root mean square step, in learning rates, of parameters whose gradients are noise of these scales."
    panels = [("step (learning rates)", series)]
    return [curves("Which parameters move", caption, "scale of the gradient", panels, log_x=True, log_y=True)]
