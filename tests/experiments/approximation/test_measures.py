"""What claims read off a trained arm, on arms whose numbers are known."""

import numpy as np
import pytest

from experiments.approximation.experiment import Config
from experiments.approximation.measures import jump_error_at_zero
from training.experiment import ArmResult


def test_a_jump_is_at_least_half_its_height_away_from_any_value():
    def error(values):
        """Of networks with these values at 0, in deviations about the mean: 0 lies half-way up the jump."""
        at_zero = np.zeros((1, 4, 4, 1)) + np.reshape(values, (-1, 1, 1))
        return jump_error_at_zero(ArmResult("width", Config(batch_size=16), 1, {"at_zero": at_zero}))

    assert error([-3.0, -1.0, 0.0, 1.0]) == pytest.approx(0.5)
    assert error([2.0]) == pytest.approx(1.5)
    assert error([-2.0]) == pytest.approx(1.5)
