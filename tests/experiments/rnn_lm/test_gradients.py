"""Hand-derived gradients against automatic differentiation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.rnn_lm.gradients import different_tokens, errors_of_hand_derived
from models.rnn_lm import RecurrentConfig, RecurrentLM


def test_hand_derived_gradients_are_those_of_the_model_and_no_other():
    config = RecurrentConfig(7, "elman_sigmoid", width=5, d_embedding=3)
    variables = RecurrentLM(config).init(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))
    errors = errors_of_hand_derived(config, variables, [1, 2, 3, 4])
    assert max(errors["now"], errors["back"], errors["both"]) < 1e-12
    assert errors["largest"] > 0.1
    tanh = RecurrentConfig(7, "elman_tanh", width=5, d_embedding=3)
    assert errors_of_hand_derived(tanh, variables, [1, 2, 3, 4])["now"] > 1e-3


def test_four_different_tokens_are_the_first_ones():
    np.testing.assert_array_equal(different_tokens(np.array([5, 5, 2, 5, 2, 0, 1, 9])), [5, 2, 0, 1])
    with pytest.raises(ValueError, match="fewer than four different tokens"):
        different_tokens(np.array([1, 2, 3, 1]))
