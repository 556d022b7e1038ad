"""Pictures of alignments: which source words each target word looks at, with the gold links framed.

Axis letters: T target words, S source words. Lengths are CSS pixels.
"""

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from reporting import grids, svg
from reporting.figures import COLOURS, MOST_CELLS, Figure

LONGEST_SIDE = 224  # of a picture's cells, as far as the cells stay within the sizes below
SMALLEST_CELL, LARGEST_CELL = 12, 24
LABEL_MARGIN = 34  # beside the row labels: the turned title "target" and the gap to the cells
TITLE_LINE = 16
SHORTEST_TITLE_LINE = 200  # a narrow picture's title may be this wide before it is broken
LEGEND_CELL = 16
LEGEND_GAP = 56
TOLERANCE = 1e-3  # by which rounding may put a weight outside 0 to 1
FRAME = COLOURS[1]  # vermilion: apart from both ends of the blue ramp, for the colour-blind too


class AlignmentPicture(NamedTuple):
    """One sentence pair and the weights [T, S] between its words; `gold_TS` says which pairs are linked, if known."""

    title: str
    source: Sequence[str]
    target: Sequence[str]
    weights_TS: np.ndarray
    gold_TS: np.ndarray | None = None


class Panel(NamedTuple):
    """A picture in pixels: its markup, where its cells begin, and how large it is."""

    markup: str
    left: float
    width: float
    height: float


def alignment_pictures(
    title: str,
    caption: str,
    pictures: Sequence[AlignmentPicture],
    *,
    value_label: str = "attention weight",
    link_name: str = "gold link",
) -> Figure:
    """Pictures of sentence pairs, side by side where they fit: target words by source words, darker for more weight.

    All pictures share one colour scale from 0 to 1. Every cell shows its words, its weight and whether it is a link on
    hover, and linked cells are framed. A weight that is not finite is crossed out. The caption is completed with how to
    read the colours and the frames.

    Args:
      pictures: with weights [T, S] of T target and S source words.
      value_label: what the weights are, at the colour scale.
      link_name: what a frame marks, in the legend, the caption and the hover texts.
    Raises:
      ValueError: there are no pictures, words and shapes differ, a weight lies outside 0 to 1, or a sentence has more
        than 128 words.
    """
    if not pictures:
        raise ValueError(f"Figure {title!r} has no pictures: give at least one AlignmentPicture.")
    pictures = [_checked(title, picture) for picture in pictures]
    parts, row_left, row_top, row_height, width = [], 0.0, 0.0, 0.0, 0.0
    panels = [_draw_picture(picture, link_name) for picture in pictures]
    for panel in panels:
        if row_left and row_left + panel.width > grids.WIDTH - 4:
            row_left, row_top, row_height = 0.0, row_top + row_height + grids.GAP, 0.0
        parts.append(f'<g transform="translate({row_left:g} {row_top:g})">{panel.markup}</g>')
        width = max(width, row_left + panel.width)
        row_left, row_height = row_left + panel.width + grids.GAP, max(row_height, panel.height)
    has_links = any(picture.gold_TS is not None for picture in pictures)
    legend_top = row_top + row_height + grids.GAP - 6
    legend, legend_width = _draw_legend(panels[0].left, legend_top, value_label, link_name if has_links else "")
    parts.append(legend)
    markup = svg.document(title, min(max(width, legend_width) + 4, grids.WIDTH), legend_top + 48, "\n".join(parts))
    reading = "The darker a cell, the more weight: what is white on black in other pictures of attention is dark here."
    if has_links:
        reading += f" An orange frame marks a {link_name}."
    return Figure(title, markup, f"{caption.rstrip('. ')}. {reading}" if caption else reading)


def _checked(title: str, picture: AlignmentPicture) -> AlignmentPicture:
    """The picture with arrays of floats and of truth values; raises ValueError where it cannot be drawn."""
    shape = (len(picture.target), len(picture.source))
    name = f"Picture {picture.title!r} of figure {title!r}"
    weights_TS = np.asarray(picture.weights_TS, np.float64)
    gold_TS = None if picture.gold_TS is None else np.asarray(picture.gold_TS).astype(bool)
    if 0 in shape:
        raise ValueError(f"{name} has {shape[0]} target and {shape[1]} source words: give at least one of each.")
    for kind, array in (("weights", weights_TS), ("gold links", gold_TS)):
        if array is not None and array.shape != shape:
            raise ValueError(
                f"{name} has {kind} of shape {array.shape} for {shape[0]} target and {shape[1]} source words: give a "
                "row for each target word and a column for each source word."
            )
    if max(shape) > MOST_CELLS:
        raise ValueError(f"{name} would have {shape} cells: draw a sentence of at most {MOST_CELLS} words.")
    finite = weights_TS[np.isfinite(weights_TS)]
    if finite.size and not -TOLERANCE <= finite.min() <= finite.max() <= 1.0 + TOLERANCE:
        raise ValueError(f"{name} has weights from {finite.min():.3g} to {finite.max():.3g}: give weights from 0 to 1.")
    return picture._replace(weights_TS=weights_TS, gold_TS=gold_TS)


def _draw_picture(picture: AlignmentPicture, link_name: str) -> Panel:
    target, source = ([svg.visible(word) for word in words] for words in (picture.target, picture.source))
    target_labels, source_labels = ([grids.shorten(word) for word in words] for words in (target, source))
    layout, heading = _layout(picture.title, target_labels, source_labels)

    def hover(row: int, column: int, weight: float) -> str:
        number = f"{weight:.2f}" if np.isfinite(weight) else "not measured"
        link = f", {link_name}" if picture.gold_TS is not None and picture.gold_TS[row, column] else ""
        return f"target '{target[row]}' looks at source '{source[column]}': {number}{link}"

    cells = grids.draw_cells(picture.weights_TS, layout, (0.0, 1.0), (svg.PALE, svg.NAVY), hover, None)
    labels = grids.draw_labels("", target_labels, source_labels, "target", "source", layout)
    lines = [
        svg.text(layout.left, 10 + TITLE_LINE * number, line, "start", attributes=' font-weight="600"')
        for number, line in enumerate(heading)
    ]
    frames = [] if picture.gold_TS is None else [_draw_frame(layout, *link) for link in np.argwhere(picture.gold_TS)]
    markup = "\n".join([f'<g font-size="{grids.TITLE_SIZE:g}">{"".join(lines)}</g>', labels, cells, *frames])
    return Panel(markup, layout.left, layout.panel_width, layout.panel_height)


def _layout(title: str, target_labels: Sequence[str], source_labels: Sequence[str]) -> tuple[grids.Layout, list[str]]:
    """Where a picture's parts lie, and the lines of its title."""
    num_rows, num_columns = len(target_labels), len(source_labels)
    left = LABEL_MARGIN + max(svg.text_width(label, grids.LABEL_SIZE) for label in target_labels)
    cell = int(np.clip(LONGEST_SIDE // max(num_rows, num_columns), SMALLEST_CELL, LARGEST_CELL))
    cell = max(min(cell, int((grids.WIDTH - 4 - left) // num_columns)), 4)
    title = svg.printable(title)
    room = min(max(num_columns * cell, SHORTEST_TITLE_LINE), grids.WIDTH - 4 - left)
    mean_width = svg.text_width(title, grids.TITLE_SIZE) / max(len(title), 1)
    heading = textwrap.wrap(title, max(int(room / (mean_width or 1)), 1))
    widths = [num_columns * cell, *(svg.text_width(line, grids.TITLE_SIZE) for line in [*heading, "source"])]
    size = min(grids.LABEL_SIZE, max(cell - 1, grids.SMALLEST_LABEL))
    top = 6 + TITLE_LINE * len(heading) + 4 * bool(heading)
    bottom = 30 + max(svg.text_width(label, size) for label in source_labels)
    layout = grids.Layout(
        cell_width=cell,
        cell_height=cell,
        left=left,
        top=top,
        panel_width=min(left + max(widths), grids.WIDTH - 4),
        panel_height=top + num_rows * cell + bottom,
        columns=1,
        column_label_size=size,
        turned=(True,) * num_columns,
    )
    return layout, heading


def _draw_frame(layout: grids.Layout, row: int, column: int) -> str:
    x, y = layout.left + column * layout.cell_width, layout.top + row * layout.cell_height
    return _frame(x, y, layout.cell_width - (1 if layout.cell_width >= 8 else 0))


def _frame(x: float, y: float, size: float) -> str:
    """The outline of a square cell, drawn inside of it."""
    line = 2 if size >= 10 else 1
    inner = size - line
    return (
        f'<rect x="{x + line / 2:g}" y="{y + line / 2:g}" width="{inner:g}" height="{inner:g}" fill="none" '
        f'stroke="{FRAME}" stroke-width="{line}" pointer-events="none"/>'
    )


def _draw_legend(x: float, y: float, value_label: str, link_name: str) -> tuple[str, float]:
    """The colour scale and, where links are named, a framed cell beside it; and how far to the right they reach."""
    scale = grids.draw_scale(x, y, value_label, (0.0, 1.0), (svg.PALE, svg.NAVY))
    scale_width = max(grids.SCALE_WIDTH, svg.text_width(value_label, grids.TITLE_SIZE))
    if not link_name:
        return scale, x + scale_width + 10
    left, top = x + scale_width + LEGEND_GAP, y + 9
    cell = f'<rect x="{left:g}" y="{top:g}" width="{LEGEND_CELL}" height="{LEGEND_CELL}" fill="{svg.ramp(0.0)}"/>'
    name = svg.text(left + LEGEND_CELL + 8, top + LEGEND_CELL / 2, link_name, "start")
    legend = f'{scale}{cell}{_frame(left, top, LEGEND_CELL)}<g font-size="{grids.TITLE_SIZE:g}">{name}</g>'
    return legend, left + LEGEND_CELL + 8 + svg.text_width(link_name, grids.TITLE_SIZE)
