"""Figures of approximation: errors against width, fitted functions, linear pieces, training curves.

Axis letters: S seeds, W widths, M targets, G points of the test grid.
"""

import numpy as np

from reporting.figures import curves
from reporting.tables import table


def error_against_width(widths, rmse):
    """Errors {target: [S, W]} over the target's deviation, of networks with one hidden layer of these widths."""
    series = {target: (np.array(widths), rmse_SW) for target, rmse_SW in rmse.items()}
    return curves(
        "Error against width",
        "One hidden layer of ReLUs, best of the draws, on a test grid. Straight lines fall as a power of the width.",
        "hidden units",
        [("RMSE over the target's deviation", series)],
        log_x=True,
        log_y=True,
    )


def fits(x_G, targets, predicted, shown=(2, 8, 64)):
    """Fitted functions of some widths, a panel a target.

    Args:
      targets: {target: its values [G]}.
      predicted: {width: its fits [M, G], in the order of the targets}.
    """
    panels = []
    for number, (target, y_G) in enumerate(targets.items()):
        fitted = {f"{width} units": (x_G, predicted[width][number]) for width in shown}
        panels.append((f"{target} (in deviations)", {"target": (x_G, y_G), **fitted}))
    return curves("What one hidden layer makes of four targets", "Of one draw.", "x", panels)


def pieces_against_units():
    """How many linear pieces ReLUs can make in many layers and in one."""
    k = np.arange(1, 11)
    series = {
        "depth: 2k units in k layers": (2 * k, 2.0**k),
        "one layer of as many units: at most": (2 * k, 2.0 * k + 1),
    }
    caption = "A composition doubles the number of pieces; a further unit in the same layer adds one."
    return curves("Linear pieces that ReLUs can make", caption, "ReLUs", [("linear pieces", series)], log_y=True)


def training_curves(result, title, floor=None):
    """Unexplained variance of the best draw of each network over training."""
    steps, errors = result.probes.steps, result.probes["unexplained"].min((3, 4))
    series = {name: (steps, errors[:, :, i].T) for i, name in enumerate(result.model)}
    label = "unexplained share of the variance"
    caption = "The best of the draws at each step."
    references = {label: floor} if floor else None
    return curves(title, caption, "training step", [(label, series)], log_y=True, references=references)


def fits_by_activation(x_G, y_G, predicted, trainable, units):
    """Two panels: what the activations that train make of the target, and what the others do.

    Args:
      predicted: {activation: the fitted function [G]}.
      trainable: the names of those that train.
    """
    panels = []
    for label, names in (
        ("fitted function: these train", trainable),
        ("fitted function: these are limited", [name for name in predicted if name not in trainable]),
    ):
        panels.append((label, {"target": (x_G, y_G), **{name: (x_G, predicted[name]) for name in names}}))
    caption = f"One hidden layer of {units} units, trained alike; min is min(x, x/2). Of one draw."
    return curves("What an activation function lets a network learn", caption, "x", panels)


def activation_table(reasons, unexplained, moved):
    """Why each activation function trains or does not: {name: reason}, {name: share left}, {name: largest change}."""
    rows = [[name, unexplained[name], moved[name], reason] for name, reason in reasons.items()]
    columns = ["activation", "unexplained share of the variance", "largest change in the first layer", "why"]
    caption = "Means over draws and seeds."
    return table("Which activation functions train", caption, columns, rows)
