"""What the claims of the alternating sum are made of."""

import re

import numpy as np
import pytest

from experiments.alternating_sum import experiment as a
from experiments.alternating_sum.scalar_rnn import alternating_sum_params

SMALL = {"num_steps": 2, "batch_size": 8, "eval_batch_size": 64, "eval_every": 1, "checkpoint_every": 2}


@pytest.fixture(scope="module")
def examine():
    return a.task(a.Config(eval_batch_size=256)).examine


def test_weights_set_by_hand_are_right_at_every_length(examine):
    found = examine({"params": alternating_sum_params()})
    assert float(found["rounds_to_target"]) == 1.0
    assert np.all(found["accuracy_by_length"] == 1.0)
    assert 0.0 < float(found["share_of_ties"]) < 0.2
    assert float(found["largest_distance_of_ties"]) == 0.0
    assert float(found["least_output_above"]) == pytest.approx(1 / (1 + np.exp(-10)))


def test_a_unit_that_forgets_is_right_on_short_sequences_only(examine):
    found = examine({"params": alternating_sum_params() | {"w_rec": np.float32(-0.9)}})
    by_length = np.asarray(found["accuracy_by_length"])
    assert by_length[0] > by_length[-1] + 0.05
    assert float(found["rounds_to_target"]) < 1.0


def test_a_unit_that_adds_is_at_chance(examine):
    found = examine({"params": alternating_sum_params() | {"w_rec": np.float32(1.0)}})
    assert abs(float(found["accuracy_by_length"][-1]) - 0.5) < 0.2
    assert float(found["change_when_rescaled"]) == 0.0


def test_the_worked_example_ends_in_more_a_tie_and_less():
    markup = a.worked_figure().markup
    assert re.findall(r"= (-?\d+)</td>", markup) == ["2", "1", "0", "4", "1", "3", "2", "0", "3", "-3", "5", "-4"]
    assert "<td>2 + 3 = 5</td>" in markup  # 2 less -3
    assert [text for text in re.findall(r"<td>([^<]*)</td></tr>", markup) if text] == ["1", "0.5", "4.248e-18"]


def test_a_config_without_meaning_is_refused():
    with pytest.raises(ValueError, match="weights"):
        a.task(a.Config(weights="hand"))
    with pytest.raises(ValueError, match="context_length=7"):
        a.task(a.Config(context_length=7))
