"""What is measured of nets whose weights are set by hand: right ones, forgetting ones and adding ones."""

import jax
import numpy as np
import pytest

from experiments.alternating_sum.measures import accuracy_by_length, accuracy_sums, loss_sum, output_checks
from experiments.alternating_sum.scalar_rnn import ScalarRNN, alternating_sum_params


def logits(params, batch):
    return ScalarRNN().apply({"params": params}, batch["inputs"], batch["started"])


@pytest.fixture(scope="module")
def examine():
    """A compiled function of w_rec, the other weights being set by hand."""

    @jax.jit
    def examine(w_rec):
        params = alternating_sum_params() | {"w_rec": w_rec}
        by_length = accuracy_by_length(logits, params, jax.random.key(0), 256, 3)
        return by_length, output_checks(logits, params, jax.random.key(1), 3)

    return examine


def test_weights_set_by_hand_are_right_at_every_length(examine):
    by_length, checks = examine(-1.0)
    assert np.all(by_length == 1.0)
    assert float(checks["rounds_to_target"]) == 1.0
    assert 0.0 < float(checks["share_of_ties"]) < 0.2
    assert float(checks["largest_distance_of_ties"]) == 0.0
    assert float(checks["least_output_above"]) == pytest.approx(1 / (1 + np.exp(-10)))


def test_a_unit_that_forgets_is_right_on_short_sequences_only(examine):
    by_length, checks = examine(-0.9)
    assert by_length[0] > by_length[-1] + 0.05
    assert float(checks["rounds_to_target"]) < 1.0


def test_a_unit_that_adds_is_at_chance(examine):
    by_length, checks = examine(1.0)
    assert abs(float(by_length[-1]) - 0.5) < 0.2
    assert float(checks["change_when_rescaled"]) == 0.0


def test_ties_count_in_the_loss_and_not_in_the_accuracy():
    logits_B, targets_B = np.array([2.0, -1.0, 0.5, 3.0]), np.array([1.0, 1.0, 0.0, 0.5])
    p = 1 / (1 + np.exp(-logits_B))
    losses = -targets_B * np.log(p) - (1 - targets_B) * np.log(1 - p)
    assert float(loss_sum(logits_B, targets_B)) == pytest.approx(losses.sum(), rel=1e-5)
    assert [int(x) for x in accuracy_sums(logits_B, targets_B)] == [1, 3]
