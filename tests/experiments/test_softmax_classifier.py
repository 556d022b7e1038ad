"""What the claims of the softmax classifier are made of."""

import jax
import numpy as np
import pytest

from experiments.softmax_classifier import experiment as s

SMALL = {"num_steps": 2, "batch_size": 8, "eval_batch_size": 64, "eval_every": 1, "checkpoint_every": 2}


@pytest.fixture(scope="module")
def examined():
    """Of a classifier with a bias and random weights."""
    task = s.task(s.Config(eval_batch_size=256))
    params = {"kernel": np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)}
    params["bias"] = np.array([3, 0, -3, 1, 0], np.float32)
    return task.examine({"params": params})


def test_scaling_all_logits_keeps_predictions_and_scaling_some_does_not(examined):
    assert np.all(examined["weights and bias/predictions_changed"] == 0)
    assert examined["weights/predictions_changed"][s.HALF] > 0.05
    assert examined["weights/predictions_changed"][s.WHOLE] == 0


def test_a_larger_scale_is_more_confident(examined):
    assert np.all(np.diff(examined["weights and bias/confidence"]) > 0)
    assert examined["weights and bias/confidence"][0] < 0.3
    assert examined["weights and bias/confidence"][-1] > 0.95


def test_half_and_whole_are_where_they_are_said_to_be(examined):
    assert (s.SCALES[s.HALF], s.SCALES[s.WHOLE]) == (0.5, 1.0)
    np.testing.assert_allclose(examined["shown/whole"].sum(1), 1, rtol=1e-5)


def test_gradients_and_limits_are_exact_on_random_weights():
    generator = np.random.default_rng(0)
    params, points = {"kernel": generator.normal(size=(3, 4))}, generator.normal(size=(6, 3))
    labels = generator.integers(4, size=6)
    with jax.enable_x64(True):
        found = s.gradients(params, points, labels) | s.limits(points @ params["kernel"])
    assert found["grad_refuses_a_vector"] == 1.0
    assert found["jacobian_shape"].tolist() == [6, 3, 4]
    errors = ("logit_gradient_error", "cotangent_of_ones_error", "jacobian_error", "cold_distance", "tied_distance")
    for name in errors:
        assert float(found[name]) < 1e-12, name
    assert 0 < float(found["hot_distance"]) < 1e-8


def test_huge_logits_have_a_loss_and_a_gradient_only_if_shifted_first():
    logits = np.array([[1e4, -1e4, 0.0], [-1e4, 1e4, 5.0]], np.float32)
    found = s.stability(logits, np.array([0, 0]))
    assert found["stable_loss_error"] < 1e-6
    assert found["stable_gradient_error"] < 1e-6
    assert found["naive_not_finite"] == 1.0
    assert s.stability(logits / 1e4, np.array([0, 0]))["naive_not_finite"] == 0.0


def test_sizes_that_make_no_classes_are_refused():
    with pytest.raises(ValueError, match="num_classes"):
        s.task(s.Config(num_classes=1))
