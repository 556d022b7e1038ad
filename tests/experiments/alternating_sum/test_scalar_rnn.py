"""The recurrent net of one unit, against its recurrence written as a loop."""

import math

import jax
import numpy as np
import pytest

from experiments.alternating_sum.scalar_rnn import ScalarRNN, alternating_sum_params
from experiments.alternating_sum.sequences import sum_difference

BATCH_SIZE, LENGTH = 40, 8
WEIGHTS = {"w_in": 0.7, "w_rec": -0.9, "w_out": 1.5, "b_h": 0.3, "b_out": -0.2}


@pytest.fixture(scope="module")
def batch():
    """Sequences of even lengths 2 to LENGTH at the end of their rows, zeros before them."""
    generator = np.random.default_rng(0)
    length_B1 = 2 * generator.integers(1, LENGTH // 2 + 1, size=(BATCH_SIZE, 1))
    started_BT = np.arange(LENGTH) >= LENGTH - length_B1
    inputs_BT = started_BT * generator.integers(-3, 4, size=(BATCH_SIZE, LENGTH)).astype(np.float32)
    return inputs_BT, started_BT


@pytest.mark.parametrize("activation", ["linear", "sigmoid"])
@pytest.mark.parametrize("biases", [False, True])
def test_logits_are_those_of_the_recurrence_from_the_first_step_on(batch, activation, biases):
    params = {name: np.float32(w) for name, w in WEIGHTS.items() if biases or not name.startswith("b")}
    logits = ScalarRNN(activation, biases).apply({"params": params}, *batch)
    for inputs, started, logit in zip(*batch, logits, strict=True):
        h = 0.0
        for x in inputs[started]:
            h = params["w_in"] * x + params["w_rec"] * h + params.get("b_h", 0.0)
            h = 1 / (1 + math.exp(-h)) if activation == "sigmoid" else h
        assert float(logit) == pytest.approx(params["w_out"] * h + params.get("b_out", 0.0), abs=1e-5)


def test_weights_set_by_hand_give_ten_times_the_difference(batch):
    logits = ScalarRNN().apply({"params": alternating_sum_params()}, *batch)
    np.testing.assert_array_equal(logits, 10 * sum_difference(batch[0]))


def test_biases_are_absent_unless_asked_for(batch):
    for biases, names in ((False, {"w_in", "w_rec", "w_out"}), (True, set(WEIGHTS))):
        shapes = jax.eval_shape(ScalarRNN(biases=biases).init, jax.random.key(0), *batch)
        assert set(shapes["params"]) == names


def test_an_unknown_activation_is_refused(batch):
    with pytest.raises(ValueError, match="activation='relu'"):
        jax.eval_shape(ScalarRNN("relu").init, jax.random.key(0), *batch)
