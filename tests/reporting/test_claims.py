"""Claims: intervals against closed forms, verdicts seed by seed, strict JSON, the table of the terminal."""

import json
import math

import numpy as np
import pytest

from reporting import claims
from reporting.claims import absent, interval_95, judge, summary, table, to_json


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
        assert judge("c", "s", [value], **{bound: 0.5}).passed is passes


def test_one_failing_seed_fails_the_claim_though_the_mean_passes():
    claim = judge("c", "s", [1.0, 1.0, 0.98], at_least=0.99)
    assert claim.measured > 0.99
    assert claim.passed is False
    assert judge("c", "s", [1.0, 1.0, 0.991], at_least=0.99).passed is True


def test_two_bounds_are_both_needed():
    assert judge("c", "s", [0.5], at_least=0.1, below=0.6).passed is True
    assert judge("c", "s", [0.6], at_least=0.1, below=0.6).passed is False
    assert judge("c", "s", [0.05], at_least=0.1, below=0.6).passed is False
    assert judge("c", "s", [0.5], at_least=0.1, below=0.6, unit="nats").expected == ">= 0.1 and < 0.6 nats"


def test_nan_never_passes():
    for bound in ("at_least", "at_most", "below", "above"):
        assert judge("c", "s", [1.0, math.nan], **{bound: 1.0}).passed is False


def test_no_bound_is_a_report():
    claim = judge("c", "s", np.float32(0.25))
    assert (claim.passed, claim.reason, claim.seeds, claim.values) == (None, "reported, no threshold", 1, (0.25,))


def test_arrays_and_numpy_scalars_become_plain_numbers():
    claim = judge("c", "s", np.array([True, True]), at_least=1)
    assert claim.passed is True
    assert all(type(value) is float for value in (*claim.values, claim.measured))


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
        judge("c", "s", [1.0], **bounds)


def test_no_values_are_refused():
    with pytest.raises(ValueError, match="absent"):
        judge("c", "s", [], at_least=1)


def test_json_is_strict_and_has_exactly_the_keys():
    made = [
        judge("a", "s", [1 / 3, math.inf, math.nan], at_least=0),
        judge("b", "s", np.array([0.1, 0.2]), at_most=1),
        absent("c", "s", ">= 1", "no arm"),
        claims.Claim("d", "s", np.float32(1.5), "x", np.bool_(True), np.int64(1), (np.float32(1.5),), None),
    ]
    rows = json.loads(json.dumps(to_json(made), allow_nan=False))
    keys = ["id", "statement", "measured", "expected", "passed", "seeds", "interval", "values", "reason"]
    assert all(list(row) == keys for row in rows)
    assert rows[0]["values"] == [0.333333, None, None]
    assert (rows[0]["measured"], rows[0]["passed"], rows[0]["interval"]) == (None, False, None)
    assert rows[1]["interval"] == pytest.approx(interval_95([0.1, 0.2]), rel=1e-5)
    assert (rows[2]["passed"], rows[2]["measured"], rows[2]["reason"]) == (None, None, "no arm")
    assert (rows[3]["passed"], rows[3]["measured"], rows[3]["seeds"]) == (True, 1.5, 1)


def test_a_number_just_below_one_does_not_look_like_one():
    assert claims.number_text(0.99996) == "0.99996"
    assert claims.number_text(1.0) == "1"
    assert claims.number_text(0.123456) == "0.1235"
    assert claims.number_text(math.nan) == "nan"


def sample():
    return [
        judge(
            "completes", "two layers complete " + "many " * 30 + "repeats — naïvely, κ ≥ 2 ✗", [0.99, 1.0], at_least=0.9
        ),
        judge("fails", "one layer does not", [0.9], at_most=0.25),
        judge("size", "the score itself", [0.5]),
        absent("wired", "written weights do", "≥ 1 ± 0.1", "arm hand_wired was not in this run"),
    ]


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_table_fits_the_terminal_in_ascii_and_loses_no_word(width):
    text = table(sample(), width)
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= width
    words = text.split()
    assert words.count("many") == 30
    for word in ("PASS", "FAIL", "----", "completes", "repeats", "naively,", "kappa", "+-", "hand_wired"):
        assert word in words
    assert [line.split()[0] for line in text.splitlines() if line[:4].strip()][:4] == ["PASS", "FAIL", "----", "----"]


def test_table_ends_with_the_summary():
    assert table(sample(), 100).splitlines()[-1] == "1 of 2 decided claims hold; 2 not decided"
    assert summary([]) == "0 of 0 decided claims hold; 0 not decided"
