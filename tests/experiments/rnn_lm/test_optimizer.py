"""The optimisers of recurrent language models."""

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.rnn_lm.optimizer import OptimizerConfig, make_optimizer
from training.experiment import UserError


def test_rates_out_of_range_are_refused():
    with pytest.raises(UserError, match="clip"):
        OptimizerConfig(clip=0.0)


def test_the_quartered_schedule_divides_by_four():
    config = OptimizerConfig(algorithm="sgd", learning_rate=8.0, schedule="quartered", clip=100.0)
    optimizer, params = make_optimizer(config, "lstm", num_steps=12), {"w": jnp.float32(0)}
    state, steps = optimizer.init(params), []
    for _ in range(12):
        update, state = optimizer.update({"w": jnp.float32(1)}, state)
        steps.append(-float(update["w"]))
    np.testing.assert_allclose(steps, [8] * 6 + [2] * 2 + [0.5] * 2 + [0.125] * 2)
