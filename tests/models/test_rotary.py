"""Rotary positions: the definition as loops, relative positions only, and each way of stretching by its closed form."""

import math
from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest

from models.rotary import Rotary, attention_factor, frequencies, rotate

LLAMA3 = Rotary(base=500000.0, kind="llama3", factor=8.0, original_context_length=8192)
YARN = Rotary(kind="yarn", factor=4.0, original_context_length=2048)
EVERY_KIND = (Rotary(), Rotary(fraction=0.25), Rotary(kind="linear", factor=4.0), LLAMA3, YARN)


rotate_compiled = partial(jax.jit, static_argnums=2)(rotate)


def slow_rotation(x_BTHC, positions_BT, angular, scale):
    out = np.array(x_BTHC, np.float64)
    half = len(angular)
    for b, t, h in np.ndindex(x_BTHC.shape[:3]):
        for c in range(half):
            angle = positions_BT[b][t] * angular[c]
            first, second = x_BTHC[b, t, h, c], x_BTHC[b, t, h, c + half]
            out[b, t, h, c] = scale * (first * math.cos(angle) - second * math.sin(angle))
            out[b, t, h, c + half] = scale * (second * math.cos(angle) + first * math.sin(angle))
    return out


@pytest.mark.parametrize("rotary", EVERY_KIND, ids=str)
def test_pairs_turn_by_position_times_frequency(rotary):
    rng = np.random.default_rng(0)
    x_BTHC = rng.standard_normal((2, 3, 2, 16)).astype(np.float32)
    positions_BT = np.array([[0, 1, 2], [5, 3, 40]])
    expected = slow_rotation(x_BTHC, positions_BT, frequencies(rotary, 16), attention_factor(rotary))
    np.testing.assert_allclose(rotate_compiled(x_BTHC, positions_BT, rotary), expected, atol=2e-5)


@pytest.mark.parametrize("rotary", EVERY_KIND, ids=str)
def test_scores_depend_on_distance_alone(rotary):
    """One query and one key, each at every position: scores are equal along diagonals, and lengths at all positions."""
    rows_BTHC = np.random.default_rng(1).standard_normal((2, 1, 1, 64)).astype(np.float32).repeat(110, axis=1)
    q_TC, k_TC = np.asarray(rotate_compiled(rows_BTHC, np.arange(110), rotary))[:, :, 0]
    scores_QK = q_TC @ k_TC.T
    for distance in range(-5, 6):
        scores = np.diagonal(scores_QK, distance)
        np.testing.assert_allclose(scores, scores[0], atol=1e-3)
    assert abs(scores_QK[9, 4] - scores_QK[9, 8]) > 1e-2
    if rotary.fraction == 1:
        length = attention_factor(rotary) * np.linalg.norm(rows_BTHC[0, 0])
        np.testing.assert_allclose(np.linalg.norm(q_TC, axis=-1), length, rtol=1e-5)


def test_default_frequencies_are_powers_of_the_base():
    np.testing.assert_allclose(frequencies(Rotary(base=100.0), 4), [1.0, 0.1])
    np.testing.assert_allclose(frequencies(Rotary(base=100.0, fraction=0.5), 8), [1.0, 0.1])


def test_linear_stretching_divides_positions():
    np.testing.assert_allclose(frequencies(Rotary(kind="linear", factor=4.0), 8), frequencies(Rotary(), 8) / 4)


def test_llama3_keeps_short_waves_and_stretches_long_ones():
    kept, stretched = frequencies(Rotary(base=500000.0), 128), frequencies(LLAMA3, 128)
    for before, after in zip(kept, stretched, strict=True):
        wavelength = 2 * math.pi / before
        if wavelength < 8192 / 4:
            assert after == before
        elif wavelength > 8192:
            assert after == pytest.approx(before / 8)
        else:
            smooth = (8192 / wavelength - 1) / (4 - 1)
            assert after == pytest.approx((1 - smooth) * before / 8 + smooth * before)
    assert stretched[0] == kept[0]
    assert stretched[-1] < kept[-1]


def test_yarn_goes_over_between_32_turns_and_1():
    kept = frequencies(Rotary(), 128)
    turns = 2048 * kept / (2 * math.pi)
    stretching = kept / frequencies(YARN, 128)
    np.testing.assert_allclose(stretching[turns > 40], 1.0)
    np.testing.assert_allclose(stretching[turns < 0.8], 4.0)
    assert np.all(np.diff(stretching) >= -1e-12)
    between = (turns < 30) & (turns > 1.2)
    assert between.sum() > 10
    assert np.all((stretching[between] > 1) & (stretching[between] < 4))


def test_yarns_ramp_begins_and_ends_at_whole_channels():
    # The channels that make 32 turns and 1 turn within 2048 tokens: 16.1 and 40.2 of 64.
    share_kept = 1 - np.clip((np.arange(64) - 16) / (41 - 16), 0, 1)
    kept = 10000.0 ** (-np.arange(64) / 64)
    np.testing.assert_allclose(frequencies(YARN, 128), share_kept * kept + (1 - share_kept) * kept / 4)
    first, last = (128 * math.log(2048 / (2 * math.pi * turns)) / (2 * math.log(10000)) for turns in (32, 1))
    share_kept = 1 - np.clip((np.arange(64) - first) / (last - first), 0, 1)
    expected = share_kept * kept + (1 - share_kept) * kept / 4
    np.testing.assert_allclose(frequencies(replace(YARN, whole_channels=False), 128), expected)


def test_yarn_scales_attention():
    assert attention_factor(YARN) == pytest.approx(0.1 * math.log(4) + 1)
    assert attention_factor(Rotary(kind="yarn", factor=4.0, original_context_length=8, attention_scale=1.5)) == 1.5
    assert attention_factor(LLAMA3) == 1.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "dynamic"}, "'dynamic' is not one of default, linear, llama3, yarn"),
        ({"fraction": 0.0}, "fraction=0.0"),
        ({"fraction": 1.5}, "fraction=1.5"),
        ({"base": 1.0}, "base=1.0"),
        ({"base": math.nan}, "base=nan"),
        ({"factor": 0.0}, "factor=0.0"),
        ({"factor": math.inf}, "factor=inf"),
        ({"kind": "yarn", "factor": 2.0}, "needs original_context_length"),
        ({"kind": "llama3", "original_context_length": 8, "low_frequency_factor": 4.0}, "high_frequency_factor above"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Rotary(**settings)


def test_an_odd_number_of_rotated_channels_is_refused():
    with pytest.raises(ValueError, match="gives 3, which is not a positive even number"):
        frequencies(Rotary(fraction=0.5), 6)
