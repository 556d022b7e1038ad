"""Figures of a hyperparameter search: the best so far after n trials, and what each axis does by itself.

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

    Trials that diverged (not finite) count as the worst that did not; see ``training.sweep.best_so_far``.
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
    """Every trial's final metric against each of its hyperparameters, a panel an axis, three a row.

    ``axes`` and ``values`` {path: [N]} are those of ``training.sweep.sample``. Trials that diverged (not finite) are
    ticks along the top. The metric's scale is logarithmic where all its values are positive.
    """
    import matplotlib.style
    from matplotlib.figure import Figure as Canvas

    losses_N = np.asarray(losses_N, float)
    finite = np.isfinite(losses_N)
    columns = min(len(axes), 3)
    rows = math.ceil(len(axes) / columns)
    with matplotlib.style.context(["default", svg.MATPLOTLIB_STYLE]):
        canvas = Canvas(figsize=((760 if columns == 1 else WIDTH) / 72, 320 * rows / 72), dpi=72, layout="constrained")
        panels = canvas.subplots(rows, columns, squeeze=False).ravel()
        for unused in panels[len(axes) :]:
            unused.set_visible(False)
        for ax, (path, axis) in zip(panels, axes.items(), strict=False):
            ax.set(xlabel=path, ylabel=metric)
            ax.plot(values[path][finite], losses_N[finite], "o", markersize=3.5, alpha=0.6, color=COLOURS[0], mew=0)
            if finite.any() and losses_N[finite].min() > 0:
                _logarithmic(ax, "y")
            if axis.kind == "log":
                _logarithmic(ax, "x")
            diverged = values[path][~finite]
            ax.plot(diverged, np.ones(len(diverged)), "|", color=COLOURS[1], transform=ax.get_xaxis_transform())
        drawn = svg.from_matplotlib(f"{metric} by hyperparameter", canvas)
    lost = f" Ticks along the top are the {(~finite).sum()} that diverged." if not finite.all() else ""
    return Figure(
        f"{metric[:1].upper()}{metric[1:]} by hyperparameter",
        drawn,
        f"Each point is one of {len(losses_N)} trials, all other hyperparameters varying with it.{lost}",
    )


def _logarithmic(ax, which: str) -> None:
    """A logarithmic scale labelled 0.001, 0.01, ..., not in powers, which SVG text cannot set."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    getattr(ax, f"set_{which}scale")("log")
    axis = getattr(ax, f"{which}axis")
    axis.set_major_locator(LogLocator(numticks=7))
    axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axis.set_minor_formatter(NullFormatter())
