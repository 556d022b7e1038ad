"""Verdicts as text: numbers, one line that counts them, and the table that the terminal shows."""

import math
import shutil
import textwrap
import unicodedata
from collections.abc import Sequence

from reporting.claims import Verdict

# Columns of `table` are set apart by two spaces; a statement gets a line of its own below this width.
COLUMN_GAP = "  "
NARROWEST_STATEMENT = 24

ASCII_SPELLINGS = str.maketrans("×−–—‘’“”·", "x---''\"\"*")  # noqa: RUF001
ASCII_SPELLINGS |= str.maketrans({"±": "+-", "≥": ">=", "≤": "<=", "≠": "!=", "≈": "~", "→": "->"})


def number_text(value: float | None) -> str:
    """A measured number with 4 significant digits, or more where 4 would make it look like a whole number."""
    if value is None:
        return "-"
    for digits in (4, 6, 9, 12):
        text = f"{value:.{digits}g}"
        if float(text) == value or not float(text).is_integer():
            break
    return text


def margin_text(verdict: Verdict) -> str:
    """How far the mean lies on the claim's side of its threshold; in its standard errors (s.e.) where seeds differ."""
    if verdict.margin is None or math.isnan(verdict.margin):
        return "-"
    error = verdict.standard_error
    if error:
        return f"{verdict.margin / error:+.2g} s.e."
    return f"{verdict.margin:+.2g}" if verdict.margin else "0"


def measured_text(verdict: Verdict) -> str:
    """The mean over seeds, with ± half its 95 % interval where several seeds give one."""
    if verdict.interval is None:
        return number_text(verdict.measured)
    return f"{number_text(verdict.measured)} ± {(verdict.interval[1] - verdict.interval[0]) / 2:.2g}"


def summary(verdicts: Sequence[Verdict]) -> str:
    """How many of the decided claims pass and how many are not decided, in one line."""
    decided = [verdict.passed for verdict in verdicts if verdict.passed is not None]
    return f"{sum(decided)} of {len(decided)} claims pass; {len(verdicts) - len(decided)} not decided"


def table(verdicts: Sequence[Verdict], width: int | None = None) -> str:
    """The claims as ASCII text, one row a claim, `width` characters wide (by default, as the terminal).

    Columns: verdict, id, statement (wrapped; below its row where the terminal is narrow), measured, expected, and the
    margin by which the claim passes or fails. The last line is `summary`.
    """
    width = width or shutil.get_terminal_size().columns
    header = ("", "id", "statement", "measured", "expected", "margin")
    rows = [header, *(_row(verdict) for verdict in verdicts)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    statement_width = width - sum(widths[:2]) - sum(widths[3:]) - 5 * len(COLUMN_GAP)
    beside = statement_width >= NARROWEST_STATEMENT
    lines = []
    for number, (outcome, id, statement, measured, expected, margin) in enumerate(rows):
        wrapped = textwrap.wrap(statement, statement_width if beside else max(width - 6, NARROWEST_STATEMENT))
        cells = [outcome.ljust(widths[0]), id.ljust(widths[1]), measured.ljust(widths[3]), expected.ljust(widths[4])]
        cells.append(margin)
        if beside:
            cells.insert(2, wrapped.pop(0).ljust(statement_width) if wrapped else " " * statement_width)
        lines.append(COLUMN_GAP.join(cells).rstrip())
        indent = " " * (widths[0] + widths[1] + 2 * len(COLUMN_GAP) if beside else 6)
        if beside or number > 0:
            lines.extend(indent + line for line in wrapped)
    return "\n".join([*lines, "", summary(verdicts)])


def _row(verdict: Verdict) -> tuple[str, ...]:
    outcome = {True: "PASS", False: "FAIL", None: "----"}[verdict.passed]
    statement = f"{verdict.statement} ({verdict.reason})" if verdict.reason else verdict.statement
    texts = (verdict.id, statement, measured_text(verdict), verdict.expected, margin_text(verdict))
    return (outcome, *map(_ascii, texts))


def _ascii(text: str) -> str:
    spelled = " ".join(text.split()).translate(ASCII_SPELLINGS)
    # Decomposed, an accented letter keeps its base letter; only the accent is dropped.
    letters = [c for c in unicodedata.normalize("NFKD", spelled) if not unicodedata.combining(c)]
    names = [unicodedata.name(c, "").split() for c in letters]
    plain = "".join(n[-1].lower() if n[:1] == ["GREEK"] else c for c, n in zip(letters, names, strict=True))
    return plain.encode("ascii", "replace").decode("ascii")
