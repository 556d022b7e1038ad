"""Scaled weights of a classifier with a bias and random weights."""

import flax.linen as nn
import jax
import numpy as np
import pytest

from experiments.softmax_classifier.scaling import HALF, SCALES, WHOLE, effects


@pytest.fixture(scope="module")
def measured():
    generator = np.random.default_rng(0)
    params = {
        "kernel": generator.normal(size=(4, 5)).astype(np.float32),
        "bias": np.array([3, 0, -3, 1, 0], np.float32),
    }
    points, labels = generator.normal(size=(256, 4)).astype(np.float32), generator.integers(5, size=256)
    return jax.jit(effects, static_argnums=0)(nn.Dense(5), params, points, labels)


def test_scaling_all_logits_keeps_predictions_and_scaling_some_does_not(measured):
    assert np.all(measured["weights and bias/predictions_changed"] == 0)
    assert measured["weights/predictions_changed"][HALF] > 0.05
    assert measured["weights/predictions_changed"][WHOLE] == 0


def test_a_larger_scale_is_more_confident(measured):
    assert np.all(np.diff(measured["weights and bias/confidence"]) > 0)
    assert measured["weights and bias/confidence"][0] < 0.3
    assert measured["weights and bias/confidence"][-1] > 0.95


def test_half_and_whole_are_where_they_are_said_to_be(measured):
    assert (SCALES[HALF], SCALES[WHOLE]) == (0.5, 1.0)
    change = np.abs(measured["shown/whole"] - measured["shown/halved"]).max()
    np.testing.assert_allclose(measured["shown/whole"].sum(1), 1, rtol=1e-5)
    assert 0 < change <= measured["weights/largest_probability_change"][HALF] + 1e-6
