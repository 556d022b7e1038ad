"""Figures of a report: curves over training, heat maps, attention patterns, as SVG that fits either theme.

Axis letters: N points along x, S seeds, T tokens, R rows, C columns.
"""

import math
import textwrap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reporting import grids, svg

WIDTH = 1000
MOST_CELLS = 128

# Okabe and Ito (2008), "Color universal design", without their yellow, which cannot be seen on white paper. In place of
# their black stands the page's ink.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", svg.INK)
LINE_STYLES = (
    "-",
    (0, (6, 2)),
    (0, (6, 2, 1, 2)),
    (0, (1, 1.2)),
    (0, (10, 3)),
    (0, (3, 1, 1, 1, 1, 1)),
    (0, (3, 2)),
)


@dataclass(frozen=True)
class Figure:
    """A figure: its title, one `<svg>` or `<table>` element to inline, and the caption that says what it shows."""

    title: str
    markup: str
    caption: str


def curves(
    title: str,
    caption: str,
    x_label: str,
    panels: Sequence[tuple[str, Mapping[str, tuple]]],
    *,
    marks: Mapping[str, float | tuple[float, float]] | None = None,
    references: Mapping[str, Mapping[str, float]] | None = None,
    log_x: bool = False,
    log_y: bool | Collection[str] = False,
) -> Figure:
    """Lines in panels side by side, three a row: the mean over seeds, shaded from the least to the greatest.

    Args:
      panels: (y_label, {series: (x_N, y_SN)}) of each panel; a series of one seed may be y_N. A series has the same
        colour and line style in every panel.
      marks: {label: (start, stop) or x}, spans of x that are shaded in every panel; a label that ends with a series'
        name gives its span the series' colour.
      references: {y_label: {label: y}}, horizontal lines in the panel of that y_label.
      log_y: whether y is logarithmic, for all panels; or the y_labels of the panels in which it is.
    Raises:
      ValueError: there are no panels, a reference or log_y names an unknown panel, or a series' x and y differ in
        length.
    """
    import matplotlib.style
    from matplotlib.figure import Figure as Canvas

    y_labels = [y_label for y_label, _ in panels]
    if not panels:
        raise ValueError(f"Figure {title!r} has no panels: give at least one (y_label, series).")
    for y_label in (*(references or {}), *(() if isinstance(log_y, bool) else log_y)):
        if y_label not in y_labels:
            raise ValueError(f"Figure {title!r} has no panel {y_label!r}: its panels are {', '.join(y_labels)}.")
    names = list(dict.fromkeys(name for _, series in panels for name in series))
    looks = {name: _look(index) for index, name in enumerate(names)}
    columns = min(len(panels), 3)
    rows = math.ceil(len(panels) / columns)
    most_seeds = 1

    with matplotlib.style.context(["default", svg.MATPLOTLIB_STYLE]):
        height = {1: 340, 2: 330, 3: 300}[columns] * rows + 22 * len(marks or ()) * rows
        width = 760 if columns == 1 else WIDTH
        canvas = Canvas(figsize=(width / 72, height / 72), dpi=72, layout="constrained")
        canvas.get_layout_engine().set(w_pad=0.1, h_pad=0.08, wspace=0.02)
        axes = canvas.subplots(rows, columns, squeeze=False).ravel()
        for unused in axes[len(panels) :]:
            unused.set_visible(False)
        lines = {}
        for ax, (y_label, series) in zip(axes, panels, strict=False):
            ax.set(xlabel=x_label, ylabel=y_label)
            _set_scales(ax, log_x, log_y if isinstance(log_y, bool) else y_label in log_y)
            for name, (x_N, y_SN) in series.items():
                lines[name], seeds = _draw_series(ax, title, name, np.asarray(x_N), y_SN, looks[name])
                most_seeds = max(most_seeds, seeds)
            for label, y in (references or {}).get(y_label, {}).items():
                ax.axhline(y, color=svg.INK, alpha=0.55, linewidth=1.0, linestyle=(0, (2, 2)), label=label)
            ax.autoscale_view()
            _label_references(ax, (references or {}).get(y_label, {}), height / rows)
            _draw_marks(ax, marks or {}, looks)
        if len(names) > 1:
            most_columns = max(1, int((width - 20) // (78 + max(svg.text_width(name, 12) for name in names))))
            num_columns = math.ceil(len(names) / math.ceil(len(names) / most_columns))  # rows of equal length
            handles = [lines[name] for name in names]
            canvas.legend(handles, names, loc="outside lower center", ncols=num_columns, handlelength=3.2)
        markup = svg.from_matplotlib(title, canvas)
    if most_seeds > 1:
        sentence = f"Lines are means over {most_seeds} seeds; the shade reaches from the least to the greatest."
        caption = f"{caption.rstrip('. ')}. {sentence}" if caption else sentence
    return Figure(title, markup, caption)


def histograms(
    title: str,
    caption: str,
    x_label: str,
    panels: Sequence[tuple[str, Mapping[str, np.ndarray]]],
    *,
    num_bins: int = 24,
    marks: Mapping[str, float | tuple[float, float]] | None = None,
) -> Figure:
    """Shares of each series' values in bins, as outlines in panels side by side: series of any sizes can be compared.

    Args:
      panels: (y_label, {series: values of any shape}) of each panel, as "share of rows". All panels have the same bins,
        of equal width from the least value to the greatest.
      marks: {label: (start, stop) or x}, as `curves` takes them.
    Raises:
      ValueError: there are no panels, or a series is empty or has a value that is not finite.
    """
    arrays = [(y_label, {name: np.ravel(values) for name, values in series.items()}) for y_label, series in panels]
    for _, series in arrays:
        for name, values_N in series.items():
            num_unusable = np.count_nonzero(~np.isfinite(values_N))
            if not values_N.size or num_unusable:
                reason = (
                    f"{num_unusable} of its {values_N.size} values are not finite" if values_N.size else "it is empty"
                )
                raise ValueError(f"Series {name!r} of figure {title!r} has no histogram: {reason}. Leave them out.")
    every_value = np.concatenate([values_N for _, series in arrays for values_N in series.values()] or [np.zeros(1)])
    edges = np.histogram_bin_edges(every_value, num_bins)

    def outline(values_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        shares = np.histogram(values_N, edges)[0] / values_N.size
        return np.repeat(edges, 2), np.concatenate([[0.0], np.repeat(shares, 2), [0.0]])

    outlines = [(y_label, {name: outline(values_N) for name, values_N in series.items()}) for y_label, series in arrays]
    return curves(title, caption, x_label, outlines, marks=marks)


def heatmap(
    title: str,
    caption: str,
    matrix: np.ndarray | Mapping[str, np.ndarray],
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    row_title: str,
    column_title: str,
    value_label: str,
    *,
    diverging: bool = False,
    limits: tuple[float, float] | None = None,
) -> Figure:
    """A matrix [R, C] as coloured cells, or {sub-title: matrix} side by side on one colour scale.

    The scale runs over `limits`, by default from the smallest value to the largest; with `diverging` it is centred on
    zero. Cells print their values where there is room, and show them on hover. A cell that is not finite is crossed
    out. Raises ValueError where labels and shape differ, and for more than 128 rows or columns.
    """
    matrices = matrix if isinstance(matrix, Mapping) else {"": matrix}
    matrices = {name: np.asarray(values_RC, np.float64) for name, values_RC in matrices.items()}
    _check_cells(title, matrices, (len(row_labels), len(column_labels)))
    finite = np.concatenate([values_RC[np.isfinite(values_RC)] for values_RC in matrices.values()] or [np.zeros(0)])
    low, high = limits or ((finite.min(), finite.max()) if finite.size else (0.0, 1.0))
    if diverging:
        low, high = -max(abs(low), abs(high)), max(abs(low), abs(high))
    if low == high:
        low, high = (low, low + (abs(low) or 1.0)) if not diverging else (-1.0, 1.0)

    def hover(row: int, column: int, value: float) -> str:
        number = f"{value:.4g}" if math.isfinite(value) else "not measured"
        return f"{row_title} {row_labels[row]}, {column_title} {column_labels[column]}: {value_label} {number}"

    markup = grids.draw(
        title,
        matrices,
        row_labels,
        column_labels,
        row_title,
        column_title,
        value_label,
        (low, high),
        (svg.BLUE, svg.WHITE, svg.RUST) if diverging else (svg.PALE, svg.NAVY),
        hover,
        numbers=True,
    )
    return Figure(title, markup, caption)


def attention_patterns(title: str, caption: str, tokens: Sequence[str], patterns: Mapping[str, np.ndarray]) -> Figure:
    """Attention weights [T, T], query by key, of one or more heads on one sequence: darker is more attention.

    Every cell shows its tokens, positions and weight on hover; the upper triangle of a causal pattern is left out.
    Raises ValueError where a pattern is not [T, T], and for more than 128 tokens.
    """
    patterns = {name: np.asarray(pattern_QK, np.float64) for name, pattern_QK in patterns.items()}
    _check_cells(title, patterns, (len(tokens), len(tokens)))
    is_later_QK = np.triu(np.ones((len(tokens), len(tokens)), bool), 1)
    is_causal = not any((pattern_QK[is_later_QK] > 1e-6).any() for pattern_QK in patterns.values())
    labels = [svg.visible(token) for token in tokens]

    def hover(query: int, key: int, weight: float) -> str:
        if is_causal and key > query:
            return ""
        number = f"{weight:.2g}" if math.isfinite(weight) else "not measured"
        return f"query {query} '{labels[query]}' attends to key {key} '{labels[key]}': {number}"

    greatest = max(pattern_QK[np.isfinite(pattern_QK)].max(initial=0.0) for pattern_QK in patterns.values())
    markup = grids.draw(
        title,
        patterns,
        labels,
        labels,
        "query token",
        "key token",
        "attention weight",
        (0.0, max(math.ceil(20 * greatest - 1e-6), 1) / 20),  # the next multiple of 0.05
        (svg.PALE, svg.NAVY),
        hover,
        numbers=False,
    )
    return Figure(title, markup, caption)


def _look(index: int) -> dict:
    """Colour and line style of a series: 49 different pairs, of which the first seven share neither."""
    turn, position = divmod(index, len(COLOURS))
    return {"color": COLOURS[position], "linestyle": LINE_STYLES[(position + turn) % len(LINE_STYLES)]}


def _set_scales(ax, log_x: bool, log_y: bool) -> None:
    from matplotlib.ticker import LogFormatter

    class PlainNumbers(LogFormatter):
        """Writes 0.1 for what LogFormatter, which chooses the ticks to label, writes as 1e-01."""

        def __call__(self, x, pos=None):
            return f"{x:g}" if super().__call__(x, pos) else ""

    for is_logarithmic, set_scale, axis in ((log_x, ax.set_xscale, ax.xaxis), (log_y, ax.set_yscale, ax.yaxis)):
        if is_logarithmic:
            set_scale("log")
            axis.set_major_formatter(PlainNumbers())
            axis.set_minor_formatter(PlainNumbers(labelOnlyBase=False, minor_thresholds=(1, 0.4)))


def _draw_series(ax, title: str, name: str, x_N: np.ndarray, y_SN: np.ndarray, look: dict) -> tuple:
    y_SN = np.atleast_2d(np.asarray(y_SN, np.float64))
    if x_N.ndim != 1 or y_SN.ndim != 2 or y_SN.shape[1] != x_N.size:
        shapes = f"x has shape {x_N.shape}, y {y_SN.shape}"
        raise ValueError(f"Series {name!r} of figure {title!r} needs x_N and y_SN of one length N: {shapes}.")
    y_SN = np.where(np.isfinite(y_SN), y_SN, np.nan)
    # Where a seed has diverged, the mean is a gap, never the mean of the other seeds.
    (line,) = ax.plot(x_N, y_SN.mean(axis=0), marker="o" if x_N.size == 1 else None, **look)
    if len(y_SN) > 1:
        least_N, greatest_N = np.fmin.reduce(y_SN), np.fmax.reduce(y_SN)
        ax.fill_between(x_N, least_N, greatest_N, color=look["color"], alpha=0.18, linewidth=0)
    return line, len(y_SN)


def _label_references(ax, references: Mapping[str, float], height: float) -> None:
    """Names each horizontal line at its right end outside the axes, pushed up where two would overlap."""
    to_fraction = ax.transData + ax.transAxes.inverted()
    lowest_free = -math.inf
    for label, y in sorted(references.items(), key=lambda item: item[1]):
        lines = textwrap.wrap(svg.printable(label), 16) or [""]
        half = 8.0 * len(lines) / (0.7 * height)
        centre = max(to_fraction.transform((ax.get_xlim()[0], y))[1], lowest_free + half)
        lowest_free = centre + half
        ax.text(1.015, centre, "\n".join(lines), transform=ax.transAxes, va="center", fontsize=11)


def _draw_marks(ax, marks: Mapping[str, float | tuple[float, float]], looks: Mapping[str, dict]) -> None:
    """Shades each span and names it above the axes, one name a line so that none overlap.

    A mark whose label ends with a series' name takes that series' colour.
    """
    to_fraction = ax.transData + ax.transAxes.inverted()
    for line, (label, span) in enumerate(marks.items()):
        start, stop = np.broadcast_to(np.asarray(span, np.float64), 2)
        series = max((name for name in looks if label.endswith(name)), key=len, default=None)
        colour = looks[series]["color"] if series else svg.INK
        if start < stop:
            ax.axvspan(start, stop, color=colour, alpha=0.12, linewidth=0)
        else:
            ax.axvline(start, color=colour, alpha=0.6, linewidth=1.0)
        is_on_left = to_fraction.transform((start, ax.get_ylim()[0]))[0] < 0.5
        ax.annotate(
            label,
            xy=(start if is_on_left else stop, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(0, 5 + 15 * line),
            textcoords="offset points",
            ha="left" if is_on_left else "right",
            va="bottom",
            fontsize=11,
        )


def _check_cells(title: str, matrices: Mapping[str, np.ndarray], shape: tuple[int, int]) -> None:
    if not matrices:
        raise ValueError(f"Figure {title!r} has no matrices: give at least one.")
    for name, values_RC in matrices.items():
        if values_RC.shape != shape or 0 in shape:
            raise ValueError(f"Matrix {name!r} of figure {title!r} has shape {values_RC.shape}, its labels {shape}.")
    if max(shape) > MOST_CELLS:
        raise ValueError(f"Figure {title!r} would have {shape} cells: draw a slice of at most {MOST_CELLS} a side.")
