"""The figures of the report. Fitted functions are those of the first seed and the first draw."""

import numpy as np

from experiments.approximation.measures import first_layer_moved, relative_rmse, unexplained_share
from experiments.approximation.networks import EFFECTS, TRAINABLE, UNITS, WIDTHS
from experiments.approximation.targets import TARGETS, points_on_interval, wave
from reporting.figures import curves
from reporting.tables import table


def figures(results):
    """What the arms of this run show of width, depth, activation functions and depth without them."""
    all_figures = []
    if "width" in results:
        all_figures += [error_against_width(results["width"]), fits_by_width(results["width"])]
    if "depth" in results:
        all_figures += [pieces_against_units(), training_curves(results["depth"], "The tent with 8 teeth, trained")]
    if "activation" in results:
        all_figures += [fits_by_activation(results["activation"]), activation_table(results["activation"])]
    if "linear" in results:
        floor = {"least squares": results["linear"].examined["floor"][0]}
        all_figures.append(training_curves(results["linear"], "Depth without activation functions", floor))
    return all_figures


def error_against_width(result):
    """The error of one hidden layer by its width, a line for each target."""
    series = {target: (np.array(WIDTHS), relative_rmse(result, target)) for target in TARGETS}
    return curves(
        "Error against width",
        "One hidden layer of ReLUs, best of the draws, on a test grid. Straight lines fall as a power of the width.",
        "hidden units",
        [("RMSE over the target's deviation", series)],
        log_x=True,
        log_y=True,
    )


def fits_by_width(result, shown_widths=(2, 8, 64)):
    """Fitted functions of some widths, a panel a target."""
    points = points_on_interval(result.config.batch_size, TARGETS.values())
    x_G = points.x_test[:, 0]
    predicted = dict(zip(WIDTHS, result.examined["predicted"][0], strict=True))  # width -> [targets, points]
    panels = []
    for number, target in enumerate(TARGETS):
        fitted = {f"{width} units": (x_G, predicted[width][number]) for width in shown_widths}
        panels.append((f"{target} (in deviations)", {"target": (x_G, points.y_test[:, number]), **fitted}))
    return curves(
        "What one hidden layer makes of four targets",
        "The fits of one draw.",
        "x",
        panels,
    )


def pieces_against_units():
    """How many linear pieces ReLUs can make in many layers and in one."""
    k = np.arange(1, 11)
    series = {
        "depth: 2k units in k layers": (2 * k, 2.0**k),
        "one layer of as many units: at most": (2 * k, 2.0 * k + 1),
    }
    return curves(
        "Linear pieces that ReLUs can make",
        "A composition doubles the number of pieces; a further unit in the same layer adds one.",
        "ReLUs",
        [("linear pieces", series)],
        log_y=True,
    )


def training_curves(result, title, floor=None):
    """Unexplained variance of the best draw of each network over training; ``floor`` is {label: a level}."""
    steps, errors = result.probes.steps, result.probes["unexplained"].min((3, 4))
    label = "unexplained share of the variance"
    return curves(
        title,
        "The best of the draws at each step.",
        "training step",
        [(label, {name: (steps, errors[:, :, place].T) for place, name in enumerate(result.model)})],
        log_y=True,
        references={label: floor} if floor else None,
    )


def fits_by_activation(result):
    """Two panels: what the activation functions that train make of the target, and what the others do."""
    points = points_on_interval(result.config.batch_size, [wave])
    x_G, y_G = points.x_test[:, 0], points.y_test[:, 0]
    predicted = dict(zip(EFFECTS, result.examined["predicted"][0, :, 0], strict=True))
    limited = [name for name in EFFECTS if name not in TRAINABLE]
    panels = [
        (label, {"target": (x_G, y_G), **{name: (x_G, predicted[name]) for name in names}})
        for label, names in (
            ("fitted function: these train", TRAINABLE),
            ("fitted function: these are limited", limited),
        )
    ]
    return curves(
        "What an activation function lets a network learn",
        f"One hidden layer of {UNITS} units, trained alike; min is min(x, x/2). The fits of one draw.",
        "x",
        panels,
    )


def activation_table(result):
    """Why each activation function trains or does not."""
    return table(
        "Which activation functions train",
        "Means over draws and seeds.",
        ["activation", "unexplained share of the variance", "largest change in the first layer", "why"],
        [
            [
                name,
                float(unexplained_share(name, np.mean)(result).mean()),
                float(first_layer_moved([name], np.max)(result).mean()),
                effect,
            ]
            for name, effect in EFFECTS.items()
        ],
    )
