"""The figures of the report.

Axes: S seeds, N draws, L layers from the input.
"""

import numpy as np

from experiments.gradient_flow.backward_memory import depths_of
from experiments.gradient_flow.gradient_identities import RADII
from experiments.gradient_flow.layer_gradients import VARIANTS
from experiments.gradient_flow.measures import log_norms, slopes
from reporting.claims import interval_95
from reporting.figures import curves
from reporting.tables import table

NETWORKS = {"mlp": "MLPs", "residual": "residual networks", "cnn": "CNNs", "rnn": "recurrent networks"}


def figures(results):
    """Gradients by layer and their slopes, what gradient descent moves, and what the backward pass costs."""
    random_networks = [results[arm] for arm in NETWORKS if arm in results]
    all_figures = []
    for pair in (("mlp", "residual"), ("cnn", "rnn")):
        if pair_results := [result for result in random_networks if result.arm in pair]:
            all_figures.append(norms_by_layer(pair_results))
    if random_networks:
        all_figures.append(slope_table(random_networks))
    if "mlp" in results:
        all_figures.append(movement_by_layer(results["mlp"]))
    if "exact" in results:
        all_figures.append(linear_rnn_table(results["exact"]))
    if "program" in results:
        all_figures.append(memory_against_depth(results["program"]))
    return all_figures


def norms_by_layer(results):
    """The gradient's norm at each layer over that at the output, one panel an arm; what is not finite is left out."""
    panels = []
    for result in results:
        series = {}
        for variant in VARIANTS[result.arm]:
            norms_SL = log_norms(result, variant).mean(1)
            if np.isfinite(norms_SL).all():
                relative_SL = np.exp(np.clip(norms_SL - norms_SL[:, -1:], -80, 80))
                series[variant] = (np.arange(norms_SL.shape[-1]), relative_SL)
        panels.append((f"gradient: {NETWORKS[result.arm]}", series))
    return curves(
        f"Gradients in {' and '.join(NETWORKS[result.arm] for result in results)}",
        "Norm of the gradient in a layer's input over that in the output, geometric mean of the draws. Where a line "
        "falls to the left, gradients vanish towards the input; where it rises to the left, they explode.",
        "layer or time step, from the input",
        panels,
        log_y=True,
    )


def slope_table(results):
    """Slopes of all variants with their interval over draws and seeds."""
    rows = []
    for result in results:
        for variant in VARIANTS[result.arm]:
            of_states = slope_cells(slopes(result, variant))
            has_weights = "of_weights" in result.examined
            of_weights = slope_cells(slopes(result, variant, "of_weights"))[0] if has_weights else None
            rows.append([variant, *of_states, of_weights])
    return table(
        "Slopes",
        "Slope of the log of the gradient's norm against the layer's number from the input, mean over all draws: "
        "positive where gradients vanish towards the input. Left in the layers' inputs, right in their weights. "
        "Dashes: zero, not finite or not measured.",
        ["network", "log-norm a layer", "95 % interval", "in the weights"],
        rows,
    )


def slope_cells(slopes_SN):
    """The mean over all draws and its interval, as two cells."""
    values = np.ravel(slopes_SN)
    interval = interval_95(values)
    if not np.isfinite(values).all():
        return [None, ""]
    return [float(np.mean(values)), "[{:.3f}, {:.3f}]".format(*interval) if interval else ""]


def movement_by_layer(result):
    """What gradient descent adds to each layer's weights, relative to them."""
    movement_SL = result.examined["movement"].mean(1)
    layers = np.arange(1, movement_SL.shape[-1] + 1)
    return curves(
        "What gradient descent moves in a deep sigmoid net",
        f"After {result.config.num_updates} steps, relative to the weights. The line is half a unit in the last place "
        "of float32: what lies far below it is rounded away.",
        "layer, from the input",
        [("movement over weights", {"sigmoid, Xavier": (layers, np.exp(movement_SL))})],
        log_y=True,
        references={"movement over weights": {"float32": 2.0**-24}},
    )


def linear_rnn_table(result):
    """How gradients grow in linear recurrent networks of several spectral radii."""
    measured = result.examined["linear_rnn_slopes"][0]  # the same for every seed
    return table(
        "Gradients of linear recurrent networks",
        "Slope of the gradient's log-norm a time step, far back in time, beside what the spectral radius predicts.",
        ["spectral radius", "its logarithm", "measured slope"],
        [[radius, float(np.log(radius)), float(slope)] for radius, slope in zip(RADII, measured, strict=True)],
    )


def memory_against_depth(result):
    """Bytes that the backward pass keeps, as traced and as compiled."""
    panels = []
    for kind, label in (("saved", "saved, as traced (bytes)"), ("compiled", "scratch, compiled (bytes)")):
        series = {}
        for name, bytes_SP in result.examined.items():
            if name.startswith(f"{kind}/"):
                way = name.removeprefix(f"{kind}/")
                series[way] = (np.array(depths_of(way)), bytes_SP)
        panels.append((label, series))
    return curves(
        "Memory against depth",
        "What the backward pass keeps, without weights: by the trace, and the scratch memory that the compiler "
        "assigned. Remat recomputes each layer; segments are of sqrt(L) layers.",
        "layers",
        panels,
        log_x=True,
        log_y=True,
    )
