"""The experiment and its claims; its figures are drawn by test_every_experiment.py."""

from types import SimpleNamespace

import numpy as np
import pytest

from experiments.softmax_classifier.claims import decrease_by_halving, increase_by_halving
from experiments.softmax_classifier.experiment import Config, linear_task
from experiments.softmax_classifier.scaling import SCALES

SMALL = {"num_steps": 2, "batch_size": 8, "eval_batch_size": 64, "eval_every": 1, "checkpoint_every": 2}


def test_halving_compares_half_the_weights_with_the_weights_as_trained():
    result = SimpleNamespace(examined={"weights/loss": np.stack([10 * SCALES, -SCALES])})
    np.testing.assert_array_equal(increase_by_halving("loss")(result), [-5, 0.5])
    np.testing.assert_array_equal(decrease_by_halving("loss")(result), [5, -0.5])


def test_sizes_that_make_no_classes_are_refused():
    with pytest.raises(ValueError, match="num_classes"):
        linear_task(Config(num_classes=1))
