"""Figures of a hyperparameter search: the best result of the first n trials, and every trial along each axis.

Axis letters: N trials, S seeds.
"""

import math
from collections.abc import Mapping

import numpy as np

from reporting import svg
from reporting.figures import COLOURS, WIDTH, Figure, curves
from training.sweep import Axis
from training.sweep import best_so_far as expected_best


def best_so_far(searches: Mapping[str, np.ndarray], metric: str, *, log_y: bool = False) -> Figure:
    """The expected least metric of the first n trials of each search {label: final values [N] or [S, N]}.

    A trial that diverged (its value is not finite) counts as the worst that did not; see
    ``training.sweep.best_so_far``.
    """
    series = {}
    for label, values in searches.items():
        values_SN = np.atleast_2d(np.asarray(values, float))
        series[label] = (np.arange(1, values_SN.shape[1] + 1), np.stack([expected_best(x) for x in values_SN]))
    return curves(
        "The best of n trials",
        f"The least {metric} to expect of the first n trials, over all orders in which they could have been tried.",
        "trials",
        [(metric, series)],
        log_x=True,
        log_y=log_y,
    )


def slices(axes: Mapping[str, Axis], values: Mapping[str, np.ndarray], losses_N: np.ndarray, metric: str) -> Figure:
    """Every trial's final metric against each of its hyperparameters, a panel for each axis, three panels a row.

    ``axes`` and ``values`` {path: [N]} are those of ``training.sweep.sample``. Trials that diverged (metric not
    finite) are ticks along the top. The metric's scale is logarithmic where all its values are positive.
    """
    import matplotlib.style
    from matplotlib.figure import Figure as Canvas

    losses_N = np.asarray(losses_N, float)
    is_finite_N = np.isfinite(losses_N)
    columns = min(len(axes), 3)
    rows = math.ceil(len(axes) / columns)
    with matplotlib.style.context(["default", svg.MATPLOTLIB_STYLE]):
        canvas = Canvas(figsize=((760 if columns == 1 else WIDTH) / 72, 320 * rows / 72), dpi=72, layout="constrained")
        panels = canvas.subplots(rows, columns, squeeze=False).ravel()
        for unused in panels[len(axes) :]:
            unused.set_visible(False)
        for ax, (path, axis) in zip(panels, axes.items(), strict=False):
            ax.set(xlabel=path, ylabel=metric)
            finite_values, finite_losses = values[path][is_finite_N], losses_N[is_finite_N]
            ax.plot(finite_values, finite_losses, "o", markersize=3.5, alpha=0.6, color=COLOURS[0], mew=0)
            if is_finite_N.any() and finite_losses.min() > 0:
                _make_logarithmic(ax, "y")
            if axis.kind == "log":
                _make_logarithmic(ax, "x")
            diverged = values[path][~is_finite_N]
            ax.plot(diverged, np.ones(len(diverged)), "|", color=COLOURS[1], transform=ax.get_xaxis_transform())
        markup = svg.from_matplotlib(f"{metric} by hyperparameter", canvas)
    ticks = "" if is_finite_N.all() else f" Ticks along the top are the {(~is_finite_N).sum()} that diverged."
    return Figure(
        f"{metric[:1].upper()}{metric[1:]} by hyperparameter",
        markup,
        f"Each point is one of {len(losses_N)} trials, all other hyperparameters varying with it.{ticks}",
    )


def _make_logarithmic(ax, which: str) -> None:
    """Makes the x or y axis logarithmic, labelled 0.001, 0.01, ...: SVG text cannot set powers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    getattr(ax, f"set_{which}scale")("log")
    axis = getattr(ax, f"{which}axis")
    axis.set_major_locator(LogLocator(numticks=7))
    axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axis.set_minor_formatter(NullFormatter())
