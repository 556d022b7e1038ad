"""Claims are data: a statement, what is measured for it, and its threshold. The engine judges them.

Axis letter: S seeds.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

EXACT = 1e-10  # the rounding that a statement true by construction may show in float64
# 97.5 % quantiles of Student's t distribution with 1, 2, ... 29 degrees of freedom.
T_QUANTILES = (
    *(12.706205, 4.302653, 3.182446, 2.776445, 2.570582, 2.446912, 2.364624, 2.306004, 2.262157, 2.228139),
    *(2.200985, 2.178813, 2.160369, 2.144787, 2.131450, 2.119905, 2.109816, 2.100922, 2.093024, 2.085963),
    *(2.079614, 2.073873, 2.068658, 2.063899, 2.059539, 2.055529, 2.051831, 2.048407, 2.045230),
)
NORMAL_QUANTILE = 1.959964
SYMBOLS = {"at_least": ">=", "above": ">", "at_most": "<=", "below": "<"}


@dataclass(frozen=True)
class Claim:
    """A statement that measurements of some arms bear out or do not; made by `claim`.

    `measure` takes the results of the arms `of`, in their order, and returns one number a seed [S], or as text the
    reason why they do not decide the claim. `bounds` is {"at_least", "above", "at_most" or "below": number}; without
    any the number is reported and nothing is decided. `unit` follows the bounds where they are printed.
    """

    id: str
    statement: str
    measure: Callable
    of: tuple[str, ...]
    bounds: Mapping[str, float] = field(default_factory=dict)
    unit: str = ""

    @property
    def lowest(self) -> float:
        """The least number that the bounds allow; minus infinity where there is no lower one."""
        return self.bounds.get("at_least", self.bounds.get("above", -math.inf))

    @property
    def highest(self) -> float:
        """The greatest number that the bounds allow; infinity where there is no upper one."""
        return self.bounds.get("at_most", self.bounds.get("below", math.inf))

    @property
    def expected(self) -> str:
        """The bounds as text."""
        stated = [f"{symbol} {self.bounds[name]:g}" for name, symbol in SYMBOLS.items() if name in self.bounds]
        return f"{' and '.join(stated) or 'no threshold'} {self.unit}".rstrip()


def claim(
    id: str,
    statement: str,
    measure: Callable,
    *,
    of: str | Sequence[str],
    at_least: float | None = None,
    at_most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    unit: str = "",
) -> Claim:
    """A claim about the arm `of`, or about several. Give one lower bound, one upper bound, both, or none.

    An id is a number and at most one letter, such as 2b; claims are sorted by it. Raises ValueError for two bounds on
    the same side and for bounds that no number can meet.
    """
    given = {"at_least": at_least, "above": above, "at_most": at_most, "below": below}
    bounds = {name: bound for name, bound in given.items() if bound is not None}
    if {"at_least", "above"} <= bounds.keys() or {"at_most", "below"} <= bounds.keys():
        raise ValueError(f"Claim {id!r} has two bounds on the same side: give one lower and one upper at most.")
    made = Claim(id, statement, measure, (of,) if isinstance(of, str) else tuple(of), bounds, unit)
    strict = "above" in bounds or "below" in bounds
    if made.lowest > made.highest or (strict and made.lowest == made.highest):
        raise ValueError(f"Claim {id!r}: no number lies between its bounds {made.lowest:g} and {made.highest:g}.")
    return made


# --- What claims measure. Each function here makes a measure: from the results of a claim's arms to one number a seed.


def final(name: str) -> Callable:
    """Measures a metric [S] of the last evaluation."""
    return lambda result: result.final[name]


def examined(name: str, *index) -> Callable:
    """Measures what an arm's examination or measurement calls `name`, at this index behind the seed axis [S]."""
    return lambda result: result.examined[name][(slice(None), *index)]


def difference(measure: Callable) -> Callable:
    """Measures how much more [S] of something the first of two arms has."""
    return lambda result, other: np.asarray(measure(result)) - np.asarray(measure(other))


def ratio(measure: Callable) -> Callable:
    """Measures how many times as much [S] of something the first of two arms has."""
    return lambda result, other: np.asarray(measure(result)) / np.asarray(measure(other))


def greatest(measure: Callable) -> Callable:
    """Measures the greatest [S] over arms of something."""
    return lambda *results: np.max([measure(result) for result in results], axis=0)


def least(measure: Callable) -> Callable:
    """Measures the least [S] over arms of something."""
    return lambda *results: np.min([measure(result) for result in results], axis=0)


# --- Verdicts.


@dataclass(frozen=True)
class Verdict:
    """A claim, judged.

    `measured` is the mean over seeds, `values` one number a seed, `interval` the 95 % interval of the mean (None
    for one seed), `expected` the bounds as text. `passed` is None where nothing was decided; `reason` says why.
    `margin` is how far the mean lies on the claim's side of its nearest bound, negative on the other side; None where
    nothing was decided.
    """

    id: str
    statement: str
    measured: float | None
    expected: str
    passed: bool | None
    seeds: int
    values: tuple[float, ...]
    interval: tuple[float, float] | None
    margin: float | None = None
    reason: str = ""

    @property
    def standard_error(self) -> float | None:
        """Of the mean over seeds, s / sqrt(n); None for one seed or where a value is not finite."""
        return standard_error(self.values)


def standard_error(values: Sequence[float]) -> float | None:
    """The standard error of the mean, s / sqrt(n); None for fewer than two values, or where one is not finite."""
    values_S = np.asarray(values, np.float64)
    if values_S.size < 2 or not np.isfinite(values_S).all():
        return None
    return float(values_S.std(ddof=1)) / math.sqrt(values_S.size)


def interval_95(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % interval of the mean of `values`, mean ± t s / sqrt(n), s with n - 1 in its denominator.

    None for fewer than two values, or where one is not finite. Beyond 30 values the normal quantile stands in for
    Student's. Source: Student (1908), "The probable error of a mean".
    """
    error = standard_error(values)
    if error is None:
        return None
    quantile = T_QUANTILES[len(values) - 2] if len(values) <= 30 else NORMAL_QUANTILE
    mean = float(np.mean(np.asarray(values, np.float64)))
    return mean - quantile * error, mean + quantile * error


def judge(claim: Claim, values_S: float | Sequence[float]) -> Verdict:
    """The verdict on a claim for which these numbers were measured, one a seed.

    It passes only if EVERY seed meets every bound (a NaN meets none). Raises ValueError for no values.
    """
    values = tuple(float(value) for value in np.atleast_1d(np.asarray(values_S, np.float64)).ravel())
    if not values:
        raise ValueError(f"Claim {claim.id!r} has no values: return the reason as text where nothing was measured.")
    measured = float(np.mean(values))
    decided = bool(claim.bounds)
    return Verdict(
        id=claim.id,
        statement=claim.statement,
        measured=measured,
        expected=claim.expected,
        passed=all(_meets(claim.bounds, value) for value in values) if decided else None,
        seeds=len(values),
        values=values,
        interval=interval_95(values),
        margin=min(measured - claim.lowest, claim.highest - measured) if decided else None,
        reason="" if decided else "reported, no threshold",
    )


def _meets(bounds: Mapping[str, float], value: float) -> bool:
    return (
        value >= bounds.get("at_least", -math.inf)
        and value <= bounds.get("at_most", math.inf)
        and ("above" not in bounds or value > bounds["above"])
        and ("below" not in bounds or value < bounds["below"])
    )


def absent(claim: Claim, reason: str) -> Verdict:
    """The verdict on a claim that this run cannot decide, and the reason why."""
    return Verdict(claim.id, claim.statement, None, claim.expected, None, 0, (), None, reason=reason)


def judge_all(claims: Sequence[Claim], results: Mapping) -> list[Verdict]:
    """The verdict on every claim from `results` {arm: its result}, sorted as a reader counts: 1, 2a, 2b, ..., 10a."""
    return sorted((_judge_by_results(claim, results) for claim in claims), key=_reading_order)


def _judge_by_results(claim: Claim, results: Mapping) -> Verdict:
    for arm in claim.of:
        if arm not in results:
            return absent(claim, f"arm {arm} is not in this run")
    measured = claim.measure(*(results[arm] for arm in claim.of))
    return absent(claim, measured) if isinstance(measured, str) else judge(claim, measured)


def _reading_order(verdict: Verdict) -> tuple[int, str]:
    return int("".join(filter(str.isdigit, verdict.id)) or 0), verdict.id


def to_json(verdicts: Sequence[Verdict]) -> list[dict]:
    """The verdicts as dicts for strict JSON: NaN and infinities are null, floats keep 6 significant digits."""
    return [
        {
            "id": verdict.id,
            "statement": verdict.statement,
            "measured": _json_number(verdict.measured),
            "expected": verdict.expected,
            "passed": verdict.passed,
            "seeds": verdict.seeds,
            "interval": None if verdict.interval is None else [_json_number(end) for end in verdict.interval],
            "values": [_json_number(value) for value in verdict.values],
            "reason": verdict.reason,
        }
        for verdict in verdicts
    ]


def _json_number(value: float | None) -> float | None:
    return float(f"{value:.6g}") if value is not None and math.isfinite(value) else None
