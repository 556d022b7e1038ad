"""The recurrent net of one unit, against its recurrence written as a loop."""

import math

import jax
import numpy as np
import pytest

from experiments.alternating_sum import sequences as alternating
from experiments.alternating_sum.scalar_rnn import ScalarRNN, alternating_sum_params

WEIGHTS = {"w_in": 0.7, "w_rec": -0.9, "w_out": 1.5, "b_h": 0.3, "b_out": -0.2}


@pytest.mark.parametrize("activation", ["linear", "sigmoid"])
@pytest.mark.parametrize("biases", [False, True])
def test_logits_are_those_of_the_recurrence_from_the_first_step_on(activation, biases):
    batch = alternating.sequences(jax.random.key(0), 40, 8, 3)
    params = {name: np.float32(w) for name, w in WEIGHTS.items() if biases or not name.startswith("b")}
    logits = ScalarRNN(activation, biases).apply({"params": params}, batch["inputs"], batch["started"])
    for inputs, started, logit in zip(batch["inputs"], batch["started"], logits, strict=True):
        h = 0.0
        for x in np.asarray(inputs)[np.asarray(started)]:
            h = params["w_in"] * x + params["w_rec"] * h + params.get("b_h", 0.0)
            h = 1 / (1 + math.exp(-h)) if activation == "sigmoid" else h
        assert float(logit) == pytest.approx(params["w_out"] * h + params.get("b_out", 0.0), abs=1e-5)


def test_weights_set_by_hand_give_ten_times_the_difference():
    batch = alternating.sequences(jax.random.key(1), 500, 30, 9)
    logits = ScalarRNN().apply({"params": alternating_sum_params()}, batch["inputs"], batch["started"])
    np.testing.assert_array_equal(logits, 10 * np.asarray(alternating.difference(batch["inputs"])))


def test_biases_are_absent_unless_asked_for():
    batch = alternating.sequences(jax.random.key(0), 1, 4, 3)
    for biases, names in ((False, {"w_in", "w_rec", "w_out"}), (True, set(WEIGHTS))):
        params = ScalarRNN(biases=biases).init(jax.random.key(0), batch["inputs"], batch["started"])["params"]
        assert set(params) == names


def test_an_unknown_activation_is_refused():
    batch = alternating.sequences(jax.random.key(0), 1, 4, 3)
    with pytest.raises(ValueError, match="activation='relu'"):
        ScalarRNN("relu").init(jax.random.key(0), batch["inputs"], batch["started"])
