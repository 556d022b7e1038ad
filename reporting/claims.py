"""Claims: a statement, what was measured for it in every seed, and whether its threshold was met.

Axis letter: S seeds.
"""

import math
import shutil
import textwrap
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

# 97.5 % quantiles of Student's t distribution with 1, 2, ... 29 degrees of freedom.
T_QUANTILES = (
    *(12.706205, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912, 2.364624, 2.306004, 2.262157, 2.228139),
    *(2.200985, 2.178813, 2.160369, 2.144787, 2.131450, 2.119905, 2.109816, 2.100922, 2.093024, 2.085963),
    *(2.079614, 2.073873, 2.068658, 2.063899, 2.059539, 2.055529, 2.051831, 2.048407, 2.045230),
)
NORMAL_QUANTILE = 1.959964

# Columns of `table` are set apart by two spaces; a statement gets a line of its own below this width.
COLUMN_GAP = "  "
NARROWEST_STATEMENT = 24

ASCII_SPELLINGS = str.maketrans("×−–—‘’“”·", "x---''\"\"*")  # noqa: RUF001
ASCII_SPELLINGS |= str.maketrans({"±": "+-", "≥": ">=", "≤": "<=", "≠": "!=", "≈": "~", "→": "->"})


@dataclass(frozen=True)
class Claim:
    """One claim and its verdict.

    `measured` is the mean over seeds, `values` one number a seed, `interval` the 95 % interval of the mean (None
    for one seed), `expected` the bounds as text. `passed` is None where nothing was decided; `reason` says why.
    """

    id: str
    statement: str
    measured: float | None
    expected: str
    passed: bool | None
    seeds: int
    values: tuple[float, ...]
    interval: tuple[float, float] | None
    reason: str = ""


def interval_95(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % interval of the mean of `values`, mean ± t s / sqrt(n), s with n - 1 in its denominator.

    None for fewer than two values, or where one is not finite. Beyond 30 values the normal quantile stands in for
    Student's. Source: Student (1908), "The probable error of a mean".
    """
    values_S = np.asarray(values, np.float64)
    if values_S.size < 2 or not np.isfinite(values_S).all():
        return None
    quantile = T_QUANTILES[values_S.size - 2] if values_S.size <= 30 else NORMAL_QUANTILE
    mean = float(values_S.mean())
    half = quantile * float(values_S.std(ddof=1)) / math.sqrt(values_S.size)
    return mean - half, mean + half


def judge(
    id: str,
    statement: str,
    values_S: float | Sequence[float],
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    above: float | None = None,
    unit: str = "",
) -> Claim:
    """The claim that `statement` holds: passed only if EVERY seed meets every bound (a NaN meets none).

    `values_S` has one number a seed, a bare number being one seed; `unit` follows the bounds in `expected`. Give
    one lower bound, one upper bound, both, or none: with none the number is reported and `passed` is None. Raises
    ValueError for no values, for two bounds on the same side and for bounds that no number can meet.
    """
    values = tuple(float(value) for value in np.atleast_1d(np.asarray(values_S, np.float64)).ravel())
    if not values:
        raise ValueError(f"Claim {id!r} has no values: use absent() for what this run did not measure.")
    if (at_least is not None and above is not None) or (at_most is not None and below is not None):
        raise ValueError(f"Claim {id!r} has two bounds on the same side: give one lower and one upper at most.")
    lowest = at_least if above is None else above
    highest = at_most if below is None else below
    strict = above is not None or below is not None
    if lowest is not None and highest is not None and (lowest > highest or (strict and lowest == highest)):
        raise ValueError(f"Claim {id!r}: no number lies between its bounds {lowest:g} and {highest:g}.")

    tests = (
        (">=", at_least, lambda value: value >= at_least),
        (">", above, lambda value: value > above),
        ("<=", at_most, lambda value: value <= at_most),
        ("<", below, lambda value: value < below),
    )
    stated = [(f"{symbol} {bound:g}", meets) for symbol, bound, meets in tests if bound is not None]
    expected = " and ".join(text for text, _ in stated) or "no threshold"
    passed = all(meets(value) for _, meets in stated for value in values) if stated else None
    return Claim(
        id=id,
        statement=statement,
        measured=float(np.mean(values)),
        expected=f"{expected} {unit}".rstrip(),
        passed=passed,
        seeds=len(values),
        values=values,
        interval=interval_95(values),
        reason="" if stated else "reported, no threshold",
    )


def absent(id: str, statement: str, expected: str, reason: str) -> Claim:
    """The claim that this run cannot decide, and the reason why."""
    return Claim(id, statement, None, expected, None, seeds=0, values=(), interval=None, reason=reason)


class Stated(NamedTuple):
    """A claim before it is judged.

    `measure` takes the results of `arms`, in their order, and returns one number a seed [S], or as text the reason why
    they do not decide the claim. `bounds` are those of `judge`.
    """

    id: str
    statement: str
    arms: tuple[str, ...]
    measure: Callable
    bounds: Mapping[str, float] = {}
    unit: str = ""


def stated(arm: str, id: str, statement: str, measure: Callable, **bounds: float) -> Stated:
    """A claim about a single arm, with the bounds of `judge` as keywords."""
    return Stated(id, statement, (arm,), measure, bounds)


def judge_all(stated: Sequence[Stated], results: Mapping) -> list[Claim]:
    """Judges every stated claim whose arms are among `results` {arm: its result}, and says why not of the others."""
    return [_judge_stated(one, results) for one in stated]


def _judge_stated(one: Stated, results: Mapping) -> Claim:
    missing = [arm for arm in one.arms if arm not in results]
    found = f"arm {missing[0]} is not in this run" if missing else one.measure(*(results[arm] for arm in one.arms))
    if isinstance(found, str):
        expected = judge(one.id, one.statement, 0.0, **one.bounds, unit=one.unit).expected
        return absent(one.id, one.statement, expected, found)
    return judge(one.id, one.statement, found, **one.bounds, unit=one.unit)


def by_id(claim: Claim) -> tuple[int, str]:
    """Sorts claims as a reader counts: 1, 2a, 2b, ..., 10a."""
    return int("".join(filter(str.isdigit, claim.id))), claim.id


def to_json(claims: Sequence[Claim]) -> list[dict]:
    """The claims as dicts for strict JSON: NaN and infinities are null, floats keep 6 significant digits."""
    return [
        {
            "id": str(claim.id),
            "statement": str(claim.statement),
            "measured": _json_number(claim.measured),
            "expected": str(claim.expected),
            "passed": None if claim.passed is None else bool(claim.passed),
            "seeds": int(claim.seeds),
            "interval": None if claim.interval is None else [_json_number(end) for end in claim.interval],
            "values": [_json_number(value) for value in claim.values],
            "reason": str(claim.reason),
        }
        for claim in claims
    ]


def number_text(value: float | None) -> str:
    """A measured number with 4 significant digits, or more where 4 would make it look like a whole number."""
    if value is None:
        return "-"
    for digits in (4, 6, 9, 12):
        text = f"{value:.{digits}g}"
        if float(text) == value or not float(text).is_integer():
            break
    return text


def measured_text(claim: Claim) -> str:
    """The mean over seeds, with ± half its 95 % interval where several seeds give one."""
    if claim.interval is None:
        return number_text(claim.measured)
    return f"{number_text(claim.measured)} ± {(claim.interval[1] - claim.interval[0]) / 2:.2g}"


def summary(claims: Sequence[Claim]) -> str:
    """How many of the decided claims hold and how many are not decided, in one line."""
    decided = [claim for claim in claims if claim.passed is not None]
    held = sum(bool(claim.passed) for claim in decided)
    return f"{held} of {len(decided)} decided claims hold; {len(claims) - len(decided)} not decided"


def table(claims: Sequence[Claim], width: int | None = None) -> str:
    """The claims as ASCII text, one row a claim, `width` characters wide (by default, as the terminal).

    Columns: verdict, id, statement (wrapped; below its row where the terminal is narrow), measured, expected. The
    last line is `summary`.
    """
    width = width or shutil.get_terminal_size().columns
    header = ("", "id", "statement", "measured", "expected")
    rows = [header, *(_row(claim) for claim in claims)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    statement_width = width - sum(widths[:2]) - sum(widths[3:]) - 4 * len(COLUMN_GAP)
    beside = statement_width >= NARROWEST_STATEMENT
    lines = []
    for number, (verdict, id, statement, measured, expected) in enumerate(rows):
        wrapped = textwrap.wrap(statement, statement_width if beside else max(width - 6, NARROWEST_STATEMENT))
        cells = [verdict.ljust(widths[0]), id.ljust(widths[1]), measured.ljust(widths[3]), expected]
        if beside:
            cells.insert(2, wrapped.pop(0).ljust(statement_width) if wrapped else " " * statement_width)
        lines.append(COLUMN_GAP.join(cells).rstrip())
        indent = " " * (widths[0] + widths[1] + 2 * len(COLUMN_GAP) if beside else 6)
        if beside or number > 0:
            lines.extend(indent + line for line in wrapped)
    return "\n".join([*lines, "", summary(claims)])


def _row(claim: Claim) -> tuple[str, str, str, str, str]:
    verdict = {True: "PASS", False: "FAIL", None: "----"}[None if claim.passed is None else bool(claim.passed)]
    statement = f"{claim.statement} ({claim.reason})" if claim.reason else claim.statement
    return (verdict, *(_ascii(text) for text in (claim.id, statement, measured_text(claim), claim.expected)))


def _ascii(text: str) -> str:
    spelled = " ".join(text.split()).translate(ASCII_SPELLINGS)
    # Decomposed, an accented letter keeps its base letter; only the accent is dropped.
    letters = [c for c in unicodedata.normalize("NFKD", spelled) if not unicodedata.combining(c)]
    names = [unicodedata.name(c, "").split() for c in letters]
    plain = "".join(n[-1].lower() if n[:1] == ["GREEK"] else c for c, n in zip(letters, names, strict=True))
    return plain.encode("ascii", "replace").decode("ascii")


def _json_number(value: float | None) -> float | None:
    return float(f"{value:.6g}") if value is not None and math.isfinite(value) else None
