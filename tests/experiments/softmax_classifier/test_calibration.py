"""Calibration against bins filled one example at a time, and two classifiers whose error is known."""

import math

import numpy as np
import pytest

from experiments.softmax_classifier.calibration import expected_calibration_error, reliability


def random_classifier(size=500, classes=4, seed=0):
    generator = np.random.default_rng(seed)
    probabilities = generator.dirichlet(np.ones(classes), size)
    return probabilities, generator.integers(classes, size=size)


def bins_by_loop(probabilities, labels, num_bins):
    members = [[] for _ in range(num_bins)]
    for p, label in zip(probabilities, labels, strict=True):
        predicted = int(np.argmax(p))
        members[max(math.ceil(p[predicted] * num_bins) - 1, 0)].append((p[predicted], predicted == label))
    return members


@pytest.mark.parametrize("num_bins", [1, 5, 15])
def test_bins_and_error_are_those_of_a_loop(num_bins):
    probabilities, labels = random_classifier()
    members = bins_by_loop(probabilities, labels, num_bins)
    bins = reliability(probabilities.astype(np.float32), labels, num_bins)
    assert bins["count"].tolist() == [len(m) for m in members]
    error = 0.0
    for i, inside in enumerate(members):
        if not inside:
            assert np.isnan(bins["accuracy"][i])
            continue
        confidence, accuracy = (np.mean(column) for column in zip(*inside, strict=True))
        assert float(bins["confidence"][i]) == pytest.approx(confidence, abs=1e-5)
        assert float(bins["accuracy"][i]) == pytest.approx(accuracy, abs=1e-5)
        error += len(inside) / len(labels) * abs(confidence - accuracy)
    measured = expected_calibration_error(probabilities.astype(np.float32), labels, num_bins)
    assert float(measured) == pytest.approx(error, abs=1e-5)


def test_certain_and_right_has_no_error_and_certain_and_wrong_has_all():
    certain = np.eye(3, dtype=np.float32)[[0, 1, 2, 0]]
    assert float(expected_calibration_error(certain, np.array([0, 1, 2, 0]))) == 0.0
    assert float(expected_calibration_error(certain, np.array([1, 2, 0, 1]))) == 1.0


def test_labels_drawn_from_the_probabilities_are_calibrated_and_sharpened_ones_are_not():
    generator = np.random.default_rng(1)
    probabilities = generator.dirichlet(np.ones(3), 20_000).astype(np.float32)
    labels = (generator.random((20_000, 1)) > probabilities.cumsum(1)).sum(1).clip(max=2)
    sharper = probabilities**3 / (probabilities**3).sum(1, keepdims=True)
    assert float(expected_calibration_error(probabilities, labels)) < 0.02
    assert float(expected_calibration_error(sharper, labels)) > 0.1
