"""Gaussian classes: their statistics, and that no classifier beats the one that is called best."""

import jax
import numpy as np

from experiments.softmax_classifier import gaussian_classes

MEANS = np.array([[2.0, 0.0], [-1.0, 1.0], [0.0, -3.0]], np.float32)


def batch(size=20_000):
    return jax.tree.map(np.asarray, gaussian_classes.points(jax.random.key(0), size, MEANS))


def test_points_have_their_class_mean_and_unit_covariance():
    made = batch()
    shares = np.bincount(made["labels"]) / len(made["labels"])
    np.testing.assert_allclose(shares, 1 / 3, atol=0.02)
    for label, mean in enumerate(MEANS):
        members = made["points"][made["labels"] == label]
        np.testing.assert_allclose(members.mean(0), mean, atol=0.06)
        np.testing.assert_allclose(np.cov(members.T), np.eye(2), atol=0.06)


def test_bayes_logits_are_the_gaussians_log_densities_up_to_a_constant():
    x = batch(50)["points"]
    logits = np.asarray(gaussian_classes.bayes_logits(x, MEANS))
    densities = np.array([[-((point - mean) ** 2).sum() / 2 for mean in MEANS] for point in x])
    np.testing.assert_allclose(logits - logits[:, :1], densities - densities[:, :1], atol=1e-4)


def test_the_bayes_classifier_is_better_than_the_same_without_its_bias():
    made = batch()
    best = np.asarray(gaussian_classes.bayes_logits(made["points"], MEANS)).argmax(1)
    without = (made["points"] @ MEANS.T).argmax(1)
    assert np.mean(best == made["labels"]) > np.mean(without == made["labels"]) + 0.01


def test_means_depend_on_the_key_and_have_the_spread_asked_for():
    one, other = (np.asarray(gaussian_classes.class_means(jax.random.key(seed), 40, 50, 3.0)) for seed in (0, 1))
    assert one.shape == (40, 50)
    assert not np.array_equal(one, other)
    np.testing.assert_allclose(one.std(), 3.0, rtol=0.1)
