"""Matrices as grids of coloured cells in hand-written SVG, each cell with its exact value as hover text.

Axis letters: R rows, C columns.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reporting import svg

WIDTH = 1000
GAP = 28
LABEL_SIZE = 11.0
SMALLEST_LABEL = 8.5
TITLE_SIZE = 12.0
NUMBER_SIZE = 10.5
LONGEST_LABEL = 24
SCALE_WIDTH = 240
SCALE_STEPS = 48


@dataclass(frozen=True)
class Layout:
    """Lengths, in pixels, of cells, labels and panels.

    left, top: space for labels before a panel's cells
    columns:   panels a row
    turned:    for each column label, whether it runs upwards
    """

    cell_width: float
    cell_height: float
    left: float
    top: float
    panel_width: float
    panel_height: float
    columns: int
    column_label_size: float
    turned: tuple[bool, ...]


def draw(
    label: str,
    matrices: Mapping[str, np.ndarray],
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    row_title: str,
    column_title: str,
    value_label: str,
    limits: tuple[float, float],
    colours: Sequence[tuple[float, float, float]],
    hover: Callable[[int, int, float], str],
    numbers: bool,
) -> str:
    """An `<svg>` of all `matrices` {sub-title: [R, C]}, at most 1000 px wide, on one colour scale over `limits`.

    `hover` (row, column, value) returns a cell's text; a cell whose text is empty is not drawn. With `numbers` values
    are printed where cells have room; otherwise cells are square.
    """
    row_labels = [shorten(name) for name in row_labels]
    column_labels = [shorten(name) for name in column_labels]
    layout = _layout(list(matrices), row_labels, column_labels, row_title, column_title, numbers)
    format_number = _number_format(matrices, layout) if numbers else None
    parts = []
    for index, (name, values_RC) in enumerate(matrices.items()):
        row, column = divmod(index, layout.columns)
        x, y = column * (layout.panel_width + GAP), row * (layout.panel_height + GAP)
        cells = draw_cells(values_RC, layout, limits, colours, hover, format_number)
        labels = draw_labels(name, row_labels, column_labels, row_title, column_title, layout)
        parts.append(f'<g transform="translate({x:g} {y:g})">{labels}{cells}</g>')
    rows = math.ceil(len(matrices) / layout.columns)
    height = rows * (layout.panel_height + GAP)
    parts.append(draw_scale(layout.left, height - 6, value_label, limits, colours))
    width = layout.columns * (layout.panel_width + GAP) - GAP
    width = max(width, layout.left + max(SCALE_WIDTH + 30, svg.text_width(value_label, TITLE_SIZE)))
    return svg.document(label, min(width + 4, WIDTH), height + 42, "\n".join(parts))


def _layout(
    names: list[str],
    row_labels: list[str],
    column_labels: list[str],
    row_title: str,
    column_title: str,
    numbers: bool,
) -> Layout:
    left = 26 + max(svg.text_width(label, LABEL_SIZE) for label in row_labels)
    smallest, largest = (26, 64) if numbers else (10, 26)
    for columns in range(len(names), 0, -1):
        cell_width = (WIDTH - 4 - columns * left - (columns - 1) * GAP) / (columns * len(column_labels))
        if cell_width >= smallest:
            break
    cell_width = max(math.floor(min(cell_width, largest)), 4)
    cell_height = min(cell_width, 32, max(18, 640 // len(row_labels))) if numbers else cell_width
    # A row title runs upwards beside the rows: where there are few rows, they may have to be higher for it.
    cell_height = max(cell_height, min(math.ceil(svg.text_width(row_title, TITLE_SIZE) / len(row_labels)), 48))

    # Column labels lie flat where most of them fit, and only the long ones are turned; elsewhere all are turned.
    widths = [svg.text_width(label, 1.0) for label in column_labels]
    size = min(LABEL_SIZE, (cell_width - 3) / max(np.quantile(widths, 0.75), 0.64))
    most_fit = size >= SMALLEST_LABEL
    if not most_fit:
        size = min(LABEL_SIZE, max(cell_width - 1, SMALLEST_LABEL))
    turned = tuple(not most_fit or width * size > cell_width - 2 for width in widths)
    bottom = 30 + size * max([1.0, *(width for width, turn in zip(widths, turned, strict=True) if turn)])
    top = 26 if any(names) else 6
    heading = max(svg.text_width(name, TITLE_SIZE) for name in [*names, column_title])
    panel_width = left + max(len(column_labels) * cell_width, heading)
    columns = max(1, min(columns, int((WIDTH - 4 + GAP) // (panel_width + GAP))))
    panel_height = top + len(row_labels) * cell_height + bottom
    return Layout(cell_width, cell_height, left, top, panel_width, panel_height, columns, size, turned)


def draw_cells(values_RC, layout: Layout, limits, colours, hover, format_number: Callable[[float], str] | None) -> str:
    """The cells of one matrix [R, C], each with its hover text, and with its value where there is a `format_number`."""
    low, high = limits
    fractions_RC = (np.where(np.isfinite(values_RC), values_RC, low) - low) / (high - low)
    fills_RC = svg.ramp(fractions_RC, colours)
    words_RC = [
        [hover(row, column, float(values_RC[row, column])) for column in range(values_RC.shape[1])]
        for row in range(values_RC.shape[0])
    ]
    seam = 1 if min(layout.cell_width, layout.cell_height) >= 8 else 0
    width, height = layout.cell_width - seam, layout.cell_height - seam
    sheet, cells, numbers = [], [], []
    for row, words_C in enumerate(words_RC):
        y = layout.top + row * layout.cell_height
        drawn_columns = [column for column, words in enumerate(words_C) if words]
        if drawn_columns:
            x = layout.left + drawn_columns[0] * layout.cell_width
            row_width = (drawn_columns[-1] + 1 - drawn_columns[0]) * layout.cell_width
            sheet.append(f"M{x - 1:g} {y - 1:g}h{row_width + 1:g}v{layout.cell_height + 1:g}h{-row_width - 1:g}z")
        for column in drawn_columns:
            x, value = layout.left + column * layout.cell_width, values_RC[row, column]
            fill = fills_RC[row, column] if math.isfinite(value) else "#fff"
            cells.append(
                f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" fill="{fill}">'
                f"<title>{svg.escape(svg.printable(words_C[column]))}</title></rect>"
            )
            if not math.isfinite(value):
                cells.append(f'<path d="M{x:g} {y + height:g}l{width:g} {-height:g}" stroke="#999"/>')
            elif format_number is not None:
                ink = "#fff" if _is_dark(fill) else "#111"
                middle = f'x="{x + width / 2:g}" y="{y + height / 2:g}" dy=".35em"'
                numbers.append(f'<text {middle} fill="{ink}">{format_number(value)}</text>')
    # A white sheet under the cells keeps the seams white on dark paper, too, where dark seams would stand out.
    parts = [f'<path d="{"".join(sheet)}" fill="#fff"/>', *cells]
    if numbers:
        style = f'font-size="{NUMBER_SIZE}" text-anchor="middle" pointer-events="none"'
        parts.append(f"<g {style}>{''.join(numbers)}</g>")
    return "\n".join(parts)


def draw_labels(name, row_labels, column_labels, row_title, column_title, layout: Layout) -> str:
    """A matrix's name above its cells, the rows' labels on their left and the columns' labels below."""
    left, top, cell_width, cell_height = layout.left, layout.top, layout.cell_width, layout.cell_height
    width, height = len(column_labels) * cell_width, len(row_labels) * cell_height
    titles = [svg.text(left, 10, name, "start", attributes=' font-weight="600"')] if name else []
    fits = svg.text_width(column_title, TITLE_SIZE) <= width
    titles.append(
        svg.text(
            left + width / 2 if fits else left,
            layout.panel_height - 9,
            column_title,
            "middle" if fits else "start",
        )
    )
    room = 2 * min(top + height / 2, layout.panel_height - top - height / 2)
    row_title_size = min(TITLE_SIZE, TITLE_SIZE * room / svg.text_width(row_title or " ", TITLE_SIZE))
    turned_size = f' font-size="{row_title_size:.3g}"'
    titles.append(svg.text(9, top + height / 2, row_title, rotate=-90, attributes=turned_size))
    row_size = min(LABEL_SIZE, max(0.9 * cell_height, SMALLEST_LABEL))
    rows = [
        svg.text(left - 6, top + (row + 0.5) * cell_height, label, "end")
        for row, label in _spaced_labels(row_labels, cell_height)
    ]
    size = layout.column_label_size
    columns = [
        svg.text(
            left + (column + 0.5) * cell_width,
            top + height + (5 if layout.turned[column] else size / 2 + 4),
            label,
            "end" if layout.turned[column] else "middle",
            -90 if layout.turned[column] else 0,
        )
        for column, label in _spaced_labels(column_labels, cell_width)
    ]
    return (
        f'<g font-size="{TITLE_SIZE:g}">{"".join(titles)}</g>'
        f'<g font-size="{row_size:g}">{"".join(rows)}</g>'
        f'<g font-size="{size:.3g}">{"".join(columns)}</g>'
    )


def draw_scale(x: float, y: float, value_label: str, limits: tuple[float, float], colours) -> str:
    """The colour scale: its name, the colours, and the values at both ends and the middle."""
    low, high = limits
    step = SCALE_WIDTH / SCALE_STEPS
    fills = svg.ramp(np.linspace(0.0, 1.0, SCALE_STEPS), colours)
    bar = "".join(
        f'<rect x="{x + index * step:g}" y="{y + 12:g}" width="{step:g}" height="11" fill="{fill}"/>'
        for index, fill in enumerate(fills)
    )
    ticks = "".join(
        svg.text(x + fraction * SCALE_WIDTH, y + 33, _with_minus_sign(f"{low + fraction * (high - low):.3g}"), anchor)
        for fraction, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end"))
    )
    name = svg.text(x, y, value_label, "start")
    return (
        f'<g font-size="{LABEL_SIZE:g}"><g font-size="{TITLE_SIZE:g}">{name}</g>'
        f'<g shape-rendering="crispEdges">{bar}</g>{ticks}</g>'
    )


def _number_format(matrices: Mapping[str, np.ndarray], layout: Layout) -> Callable[[float], str] | None:
    """The function that prints the figure's values: counts whole, others with the decimals that the largest needs.

    None where cells have no room for numbers.
    """
    values = np.concatenate([values_RC[np.isfinite(values_RC)] for values_RC in matrices.values()])
    largest = np.abs(values).max(initial=0.0)
    formats = ((1e5, ".1e"), (100, ".0f"), (10, ".1f"), (0.1, ".2f"), (0.01, ".3f"), (0.0, ".1e"))
    are_counts = largest < 1e5 and np.array_equal(values, np.round(values))
    number_format = ".0f" if are_counts else next(format_ for bound, format_ in formats if largest >= bound)
    longest = max((len(format(value, number_format)) for value in values), default=0)
    have_room = 0.6 * NUMBER_SIZE * longest + 3 <= layout.cell_width and layout.cell_height >= NUMBER_SIZE + 4
    return (lambda value: _with_minus_sign(format(value, number_format))) if have_room else None


def _spaced_labels(labels: Sequence[str], spacing: float) -> list[tuple[int, str]]:
    """(index, label) of every label, or of every nth where they would be too close to each other."""
    every = max(1, math.ceil(SMALLEST_LABEL / spacing))
    return list(enumerate(labels))[::every]


def _with_minus_sign(number: str) -> str:
    return number.replace("-", "\N{MINUS SIGN}")


def shorten(label: str) -> str:
    """A label as it is printed: its control characters spelled out, and cut where it is very long."""
    label = svg.printable(label)
    return label if len(label) <= LONGEST_LABEL else label[: LONGEST_LABEL - 1] + "…"


def _is_dark(colour: str) -> bool:
    """Whether white text is read more easily than black on `#rrggbb` (relative luminance as in WCAG 2)."""
    encoded = np.array([int(colour[start : start + 2], 16) for start in (1, 3, 5)]) / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722)) < 0.179
