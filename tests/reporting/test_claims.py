"""Claims: intervals against closed forms, measures over arms, verdicts seed by seed, strict JSON."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest

from reporting import claims
from reporting.claims import absent, claim, interval_95, judge, judge_all, to_json


def judged(values, unit="", **bounds):
    """The verdict on a claim of one arm with these bounds and values."""
    return judge(claim("c", "s", None, of="arm", unit=unit, **bounds), values)


def central_mass(quantile, degrees, steps=4000):
    """P(|t| < quantile), by Simpson's rule on the density of Student's t."""
    log_norm = math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2) - 0.5 * math.log(degrees * math.pi)
    width = quantile / steps
    total = 0.0
    for i in range(steps + 1):
        weight = 1 if i in (0, steps) else (4 if i % 2 else 2)
        total += weight * math.exp(log_norm - (degrees + 1) / 2 * math.log1p((i * width) ** 2 / degrees))
    return 2 * total * width / 3


def test_t_quantiles_equal_the_closed_forms():
    alpha = 4 * 0.975 * 0.025
    q = math.cos(math.acos(math.sqrt(alpha)) / 3) / math.sqrt(alpha)
    closed = {1: math.tan(math.pi * 0.475), 2: 0.95 * math.sqrt(2 / alpha), 4: 2 * math.sqrt(q - 1)}
    for degrees, quantile in closed.items():
        assert claims.T_QUANTILES[degrees - 1] == pytest.approx(quantile, abs=1e-6)


def test_t_quantiles_hold_95_percent_of_the_density():
    assert len(claims.T_QUANTILES) == 29
    for degrees, quantile in enumerate(claims.T_QUANTILES, start=1):
        assert central_mass(quantile, degrees) == pytest.approx(0.95, abs=2e-7)
    assert math.erf(claims.NORMAL_QUANTILE / math.sqrt(2)) == pytest.approx(0.95, abs=1e-6)


def test_interval_of_two_values_is_their_mean_and_spread():
    low, high = interval_95([0.0, 2.0])  # standard deviation sqrt(2), so half = t_1 sqrt(2) / sqrt(2)
    assert (low + high) / 2 == pytest.approx(1.0)
    assert (high - low) / 2 == pytest.approx(math.tan(math.pi * 0.475), abs=1e-6)


def test_interval_switches_from_student_to_normal_after_thirty_values():
    for count, quantile in ((30, claims.T_QUANTILES[28]), (31, claims.NORMAL_QUANTILE)):
        values = [float(i) for i in range(count)]
        mean = sum(values) / count
        deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / (count - 1))
        low, high = interval_95(values)
        assert (high - low) / 2 == pytest.approx(quantile * deviation / math.sqrt(count), rel=1e-12)


def test_interval_is_absent_for_one_value_and_for_nan():
    assert interval_95([3.0]) is None
    assert interval_95([]) is None
    assert interval_95([1.0, math.nan]) is None
    assert interval_95([0.5, 0.5, 0.5]) == (0.5, 0.5)


def test_interval_covers_the_mean_95_times_in_100():
    draws = np.random.default_rng(0).normal(2.0, 3.0, (4000, 3))
    covered = sum(low <= 2.0 <= high for low, high in map(interval_95, draws))
    assert covered / 4000 == pytest.approx(0.95, abs=0.011)  # three standard errors


@pytest.mark.parametrize(
    ("bound", "below", "at", "above"),
    [
        ("at_least", False, True, True),
        ("above", False, False, True),
        ("at_most", True, True, False),
        ("below", True, False, False),
    ],
)
def test_each_bound_is_strict_or_not(bound, below, at, above):
    for value, passes in ((0.4, below), (0.5, at), (0.6, above)):
        assert judged([value], **{bound: 0.5}).passed is passes


def test_one_failing_seed_fails_the_claim_though_the_mean_passes():
    verdict = judged([1.0, 1.0, 0.98], at_least=0.99)
    assert verdict.measured > 0.99
    assert verdict.passed is False
    assert judged([1.0, 1.0, 0.991], at_least=0.99).passed is True


def test_two_bounds_are_both_needed():
    assert judged([0.5], at_least=0.1, below=0.6).passed is True
    assert judged([0.6], at_least=0.1, below=0.6).passed is False
    assert judged([0.05], at_least=0.1, below=0.6).passed is False
    assert judged([0.5], at_least=0.1, below=0.6, unit="nats").expected == ">= 0.1 and < 0.6 nats"


def test_nan_never_passes():
    for bound in ("at_least", "at_most", "below", "above"):
        assert judged([1.0, math.nan], **{bound: 1.0}).passed is False


def test_no_bound_is_a_report():
    verdict = judged(np.float32(0.25))
    assert (verdict.passed, verdict.reason, verdict.seeds, verdict.values) == (
        None,
        "reported, no threshold",
        1,
        (0.25,),
    )


def test_arrays_and_numpy_scalars_become_plain_numbers():
    verdict = judged(np.array([True, True]), at_least=1)
    assert verdict.passed is True
    assert all(type(value) is float for value in (*verdict.values, verdict.measured))


@pytest.mark.parametrize(
    "bounds",
    [
        {"at_least": 0, "above": 0},
        {"at_most": 0, "below": 0},
        {"at_least": 2, "at_most": 1},
        {"above": 1, "at_most": 1},
    ],
)
def test_contradictory_bounds_are_refused(bounds):
    with pytest.raises(ValueError, match="bounds"):
        judged([1.0], **bounds)


def test_no_values_are_refused():
    with pytest.raises(ValueError, match="no values"):
        judged([], at_least=1)


def test_json_is_strict_and_has_exactly_the_keys():
    made = [
        judged([1 / 3, math.inf, math.nan], at_least=0),
        judged(np.array([0.1, 0.2]), at_most=1),
        absent(claim("c", "s", None, of="arm", at_least=1), "no arm"),
    ]
    rows = json.loads(json.dumps(to_json(made), allow_nan=False))
    keys = ["id", "statement", "measured", "expected", "passed", "seeds", "interval", "values", "reason"]
    assert all(list(row) == keys for row in rows)
    assert rows[0]["values"] == [0.333333, None, None]
    assert (rows[0]["measured"], rows[0]["passed"], rows[0]["interval"]) == (None, False, None)
    assert rows[1]["interval"] == pytest.approx(interval_95([0.1, 0.2]), rel=1e-5)
    assert (rows[2]["passed"], rows[2]["measured"], rows[2]["reason"]) == (None, None, "no arm")


@pytest.mark.parametrize(
    ("bounds", "margin"),
    [
        ({"at_least": 0.5}, 0.25),
        ({"above": 0.5}, 0.25),
        ({"at_most": 0.5}, -0.25),
        ({"at_least": 0.5, "at_most": 0.875}, 0.125),  # to the nearer of the two
        ({"at_least": 0.5, "below": 0.625}, -0.125),
        ({}, None),
    ],
)
def test_the_margin_is_the_distance_of_the_mean_on_the_claims_side(bounds, margin):
    assert judged([0.5, 1.0], **bounds).margin == margin


def test_standard_error_is_the_deviation_over_the_root_of_the_seeds():
    assert judged([0.0, 2.0]).standard_error == pytest.approx(1.0)  # deviation sqrt(2), two seeds
    assert judged([1.0]).standard_error is None
    assert judged([1.0, math.nan]).standard_error is None


RESULTS = {
    "small": SimpleNamespace(final={"loss": np.array([3.0, 5.0])}, examined={"x": np.array([[1.0, 2.0], [3.0, 4.0]])}),
    "large": SimpleNamespace(final={"loss": np.array([1.0, 2.0])}, examined={"x": np.array([[5.0, 6.0], [7.0, 0.0]])}),
}


@pytest.mark.parametrize(
    ("measure", "of", "values"),
    [
        (claims.final("loss"), "small", (3.0, 5.0)),
        (claims.examined("x", 1), "large", (6.0, 0.0)),
        (claims.difference(claims.final("loss")), ("small", "large"), (2.0, 3.0)),
        (claims.ratio(claims.final("loss")), ("small", "large"), (3.0, 2.5)),
        (claims.greatest(claims.examined("x", 1)), ("small", "large"), (6.0, 4.0)),
        (claims.least(claims.examined("x", 1)), ("large", "small"), (2.0, 0.0)),
    ],
)
def test_measures_of_arms_keep_the_seeds(measure, of, values):
    (verdict,) = judge_all([claim("1", "s", measure, of=of)], RESULTS)
    assert verdict.values == values


def test_claims_are_judged_in_the_order_in_which_a_reader_counts():
    listed = [claim(id, "s", lambda result: 1.0, of="small") for id in ("10a", "2b", "2a", "1")]
    assert [verdict.id for verdict in judge_all(listed, RESULTS)] == ["1", "2a", "2b", "10a"]


def test_a_claim_without_its_arm_or_with_a_reason_is_not_decided():
    listed = [
        claim("1", "s", claims.final("loss"), of=("small", "wired"), at_least=1),
        claim("2", "s", lambda result: "no head has that role", of="small", at_least=1),
    ]
    verdicts = judge_all(listed, RESULTS)
    assert [verdict.reason for verdict in verdicts] == ["arm wired is not in this run", "no head has that role"]
    assert all(verdict.passed is None and verdict.expected == ">= 1" for verdict in verdicts)
