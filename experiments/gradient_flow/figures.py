"""Figures of gradient flow: gradients by layer, movement by layer, memory against depth.

Axis letters: S seeds, N draws, L layers from the input.
"""

import numpy as np

from reporting.claims import interval_95
from reporting.figures import curves
from reporting.tables import table


def norms_by_layer(log_norms):
    """The gradient's norm at each layer over that at the output, one panel a kind of network.

    Args:
      log_norms: {kind of network: {variant: log-norms [S, N, L]}}; variants that are not finite are left out.
    """
    panels = []
    for kind, variants in log_norms.items():
        series = {}
        for variant, norms_SNL in variants.items():
            norms = norms_SNL.mean(1)
            if np.isfinite(norms).all():
                relative = np.exp(np.clip(norms - norms[:, -1:], -80, 80))
                series[variant] = (np.arange(norms.shape[-1]), relative)
        panels.append((f"gradient: {kind}", series))
    title = f"Gradients in {' and '.join(log_norms)}"
    caption = (
        "Norm of the gradient in a layer's input over that in the output, geometric mean of the draws. A line that "
        "falls to the left vanishes towards the input, one that rises to the left explodes."
    )
    return curves(title, caption, "layer or time step, from the input", panels, log_y=True)


def slope_table(slopes):
    """Slopes of all variants with their interval over draws and seeds.

    Args:
      slopes: {variant: (slopes [S, N] of the log-norm in the states, the same in the weights or NaN)}.
    """
    rows = [
        [variant, *slope_cells(np.ravel(of_states)), slope_cells(np.ravel(of_weights))[0]]
        for variant, (of_states, of_weights) in slopes.items()
    ]
    columns = ["network", "log-norm a layer", "95 % interval", "in the weights"]
    caption = (
        "Slope of the log of the gradient's norm against the layer's number from the input, mean over all draws: "
        "positive where gradients vanish towards the input. Left in the layers' inputs, right in their weights. "
        "Dashes: zero or not finite."
    )
    return table("Slopes", caption, columns, rows)


def slope_cells(values):
    """The mean and its interval as cells."""
    interval = interval_95(values)
    if not np.isfinite(values).all():
        return [None, ""]
    return [float(np.mean(values)), "[{:.3f}, {:.3f}]".format(*interval) if interval else ""]


def movement_by_layer(movement_SNL, num_updates):
    """What gradient descent adds to each layer's weights, relative to them; logarithms are given."""
    layers = np.arange(1, movement_SNL.shape[-1] + 1)
    moved = np.exp(movement_SNL.mean(1))
    return curves(
        "What gradient descent moves in a deep sigmoid net",
        f"After {num_updates} steps, relative to the weights. The line is half a unit in the last place "
        "of float32: what lies far below it is rounded away.",
        "layer, from the input",
        [("movement over weights", {"sigmoid, Xavier": (layers, moved)})],
        log_y=True,
        references={"movement over weights": {"float32": 2.0**-24}},
    )


def memory_against_depth(examined, depths_of):
    """Bytes that the backward pass keeps, as traced and as compiled.

    Args:
      examined: {"saved/WAY" or "compiled/WAY": bytes [S, depths]}; other names are left out.
      depths_of: WAY -> its depths.
    """
    panels = []
    for kind, label in (("saved", "saved, as traced (bytes)"), ("compiled", "scratch, compiled (bytes)")):
        series = {}
        for name, values in examined.items():
            if name.startswith(f"{kind}/"):
                way = name.removeprefix(f"{kind}/")
                series[way] = (np.array(depths_of(way)), values)
        panels.append((label, series))
    caption = (
        "What the backward pass keeps, without weights: by the trace, and the scratch memory that the compiler "
        "assigned. Remat recomputes each layer; segments are of sqrt(L) layers."
    )
    return curves("Memory against depth", caption, "layers", panels, log_x=True, log_y=True)


def exact_table(claims):
    """The claims that were measured, as a table."""
    rows = [[claim.statement, claim.measured, claim.expected] for claim in claims if claim.measured is not None]
    return table("Exact statements", "In float64.", ["statement", "measured", "threshold"], rows)
