"""Tables of a report: numbers and text in rows, as one HTML element that takes the page's style.

Axis letters: R rows, C columns.
"""

from collections.abc import Iterable, Sequence
from html import escape
from numbers import Integral, Real

import numpy as np

from reporting import svg
from reporting.figures import Figure
from reporting.verdict_text import number_text

ABSENT = "–"  # noqa: RUF001


def table(title: str, caption: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Figure:
    """Rows of cells under named columns, as a `<table>`; a column whose cells are all numbers is right-aligned.

    A cell is a number, text, or None for what was not measured. Numbers are printed with 4 significant digits, whole
    numbers in full with thousands set apart. A text of several lines keeps its lines, in letters of equal width, as
    `matrix_text` needs it. A column's name includes its unit. Raises ValueError for no columns, and for a row with more
    or fewer cells than there are columns.
    """
    rows = [list(row) for row in rows]
    if not columns:
        raise ValueError(f"Table {title!r} has no columns: give at least one name.")
    for number, row in enumerate(rows, start=1):
        if len(row) != len(columns):
            raise ValueError(f"Row {number} of table {title!r} has {len(row)} cells for {len(columns)} columns.")
    numeric = [is_numeric(row[column] for row in rows) for column in range(len(columns))]
    head = "".join(
        _element("th", column, is_number, ' scope="col"') for column, is_number in zip(columns, numeric, strict=True)
    )
    cells = [
        [_element("td", cell_text(cell), is_number) for cell, is_number in zip(row, numeric, strict=True)]
        for row in rows
    ]
    body = "\n".join(f"<tr>{''.join(row)}</tr>" for row in cells)
    return Figure(title, f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>", caption)


def matrix_text(matrix: np.ndarray) -> str:
    """A vector [C] or a matrix [R, C] as text: one line a row, numbers right-aligned in columns.

    Raises ValueError for other shapes.
    """
    matrix = np.asarray(matrix)
    if matrix.ndim not in (1, 2) or 0 in matrix.shape:
        raise ValueError(f"An array of shape {matrix.shape} has no rows and columns to print: give one or two axes.")
    texts = [[cell_text(value) for value in row] for row in np.atleast_2d(matrix).tolist()]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    return "\n".join("  ".join(t.rjust(w) for t, w in zip(row, widths, strict=True)) for row in texts)


def is_numeric(values: Iterable[object]) -> bool:
    """Whether at least one value is present (not None), and all that are present are numbers."""
    present = [value for value in values if value is not None]
    return bool(present) and all(isinstance(value, Real) and not isinstance(value, bool) for value in present)


def cell_text(value: object) -> str:
    """A cell's text: a dash for None, whole numbers with thousands set apart, others with 4 significant digits."""
    if value is None:
        return ABSENT
    if isinstance(value, bool) or not isinstance(value, Real):
        return str(value)
    return f"{value:,}" if isinstance(value, Integral) else number_text(value)


def _element(tag: str, text: str, is_number: bool, attributes: str = "") -> str:
    lines = [escape(svg.printable(line)) for line in str(text).split("\n")]
    classes = ["number"] * is_number + ["lines"] * (len(lines) > 1)
    class_attribute = f' class="{" ".join(classes)}"' if classes else ""
    return f"<{tag}{attributes}{class_attribute}>" + "\n".join(lines) + f"</{tag}>"
