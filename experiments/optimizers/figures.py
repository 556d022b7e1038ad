"""The figures of the report: searches, convergence on a quadratic, weight decay while ascending, Adam's steps."""

import numpy as np

from experiments.optimizers.measures import CONDITIONS, METHODS, SHOWN_CONDITION
from experiments.optimizers.search import AXES
from experiments.optimizers.sgd_flags import DECAYING
from reporting import sweeps
from reporting.figures import curves

LEAST_DISTANCE = 1e-16  # below it there is no number whose scale is drawn well


def figures(results):
    """The figures of the arms that were run."""
    all_figures = []
    if "search" in results:
        all_figures += search_figures(results["search"])
    if "quadratics" in results:
        all_figures.append(quadratic_figure(results["quadratics"]))
    if "sgd" in results:
        all_figures.append(decay_figure(results["sgd"]))
    if "adam" in results:
        all_figures.append(adam_figure(results["adam"]))
    return all_figures


def search_figures(result):
    """The best of n trials at random and on a grid, and each random trial of one seed by hyperparameter."""
    losses = {"random": result.examined["random_loss"], "grid": result.examined["grid_loss"]}
    values = dict(zip(AXES, result.examined["random_values"][0], strict=True))
    return [
        sweeps.best_so_far(losses, "mean squared error", log_y=True),
        sweeps.slices(AXES, values, result.examined["random_loss"][0], "mean squared error"),
    ]


def quadratic_figure(result):
    """Distance to the minimum by step, and lines that fall at theory's rates from the same start."""
    distance_SMT = result.examined["distance"]
    rate_M = result.examined["expected_rate"][0, :, CONDITIONS.index(SHOWN_CONDITION)]
    steps = np.arange(distance_SMT.shape[-1])
    measured = {method: (steps, np.maximum(distance_SMT[:, m], LEAST_DISTANCE)) for m, method in enumerate(METHODS)}
    expected = {
        f"slope of theory, {method}": (
            steps,
            np.maximum(distance_SMT[:, m, 0].mean() * rate_M[m] ** steps, LEAST_DISTANCE),
        )
        for m, method in enumerate(METHODS)
    }
    return curves(
        "Momentum on a convex quadratic",
        f"Distance to the minimum of a quadratic of condition {SHOWN_CONDITION:g}, cut off at {LEAST_DISTANCE:g}.",
        "step",
        [("distance", measured | expected)],
        log_y=True,
    )


def decay_figure(result):
    """A decaying weight under maximize, and with the last sign flipped instead."""
    decaying_ST, growing_ST = result.examined["decaying"], result.examined["growing"]
    steps = np.arange(decaying_ST.shape[-1])
    return curves(
        "Maximize is not a flipped sign",
        f"A weight whose gradient is 0, learning rate {DECAYING.learning_rate} and weight decay "
        f"{DECAYING.weight_decay}: ascending still lets it decay.",
        "step",
        [("weight", {"maximize": (steps, decaying_ST), "last sign flipped": (steps, growing_ST)})],
    )


def adam_figure(result):
    """Root mean square steps on noise of several scales."""
    scales = result.examined["scale"][0]
    return curves(
        "Which parameters move",
        "Root mean square step, in learning rates, of parameters whose gradients are noise of these scales.",
        "scale of the gradient",
        [("step (learning rates)", {"Adam": (scales, result.examined["size"]), "SGD": (scales, scales)})],
        log_x=True,
        log_y=True,
    )
