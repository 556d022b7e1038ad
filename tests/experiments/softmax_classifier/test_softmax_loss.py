"""Softmax and its loss on random weights and on logits that overflow."""

import jax
import numpy as np
import pytest

from experiments.softmax_classifier.softmax_loss import gradients, limits, properties, stability


@pytest.fixture(scope="module")
def classifier():
    """Random parameters, points and labels."""
    generator = np.random.default_rng(0)
    params, points = {"kernel": generator.normal(size=(3, 4))}, generator.normal(size=(6, 3))
    return params, points, generator.integers(4, size=6)


def test_gradients_and_limits_are_exact_on_random_weights(classifier):
    params, points, labels = classifier
    with jax.enable_x64(True):
        measured = gradients(params, points, labels) | limits(points @ params["kernel"])
    assert measured["grad_refuses_a_vector"] == 1.0
    assert measured["jacobian_shape"].tolist() == [6, 3, 4]
    errors = ("logit_gradient_error", "cotangent_of_ones_error", "jacobian_error", "cold_distance", "tied_distance")
    for name in errors:
        assert float(measured[name]) < 1e-12, name
    assert 0 < float(measured["hot_distance"]) < 1e-8


def test_huge_logits_have_a_loss_and_a_gradient_only_if_shifted_first():
    logits = np.array([[1e4, -1e4, 0.0], [-1e4, 1e4, 5.0]], np.float32)
    measured = stability(logits, np.array([0, 0]))
    assert measured["stable_loss_error"] < 1e-6
    assert measured["stable_gradient_error"] < 1e-6
    assert measured["naive_not_finite"] == 1.0
    assert stability(logits / 1e4, np.array([0, 0]))["naive_not_finite"] == 0.0


def test_a_classifiers_logits_are_scaled_until_the_definition_overflows(classifier):
    measured = properties(*classifier)
    assert measured["naive_not_finite"] > 0.5
    assert measured["stable_loss_error"] < 1e-6
    assert measured["logit_gradient_error"] < 1e-12
