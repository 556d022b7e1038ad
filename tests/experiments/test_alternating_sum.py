"""The experiment, its figures and its config; claims.py is judged on the small run of test_every_experiment.py."""

import re

import jax
import pytest

from experiments.alternating_sum.experiment import Config, hand_set_task
from experiments.alternating_sum.figures import worked_table
from experiments.alternating_sum.scalar_rnn import alternating_sum_params

SMALL = {"num_steps": 2, "batch_size": 8, "eval_batch_size": 64, "eval_every": 1, "checkpoint_every": 2}


def test_weights_set_by_hand_are_not_trained():
    task = hand_set_task(Config(eval_batch_size=2))
    assert task.optimizer is None
    assert task.init(jax.random.key(0)) == {"params": alternating_sum_params()}


def test_the_worked_sequences_end_in_more_a_tie_and_less():
    markup = worked_table().markup
    assert re.findall(r"= (-?\d+)</td>", markup) == ["2", "1", "0", "4", "1", "3", "2", "0", "3", "-3", "5", "-4"]
    assert "<td>2 + 3 = 5</td>" in markup  # 2 minus -3
    assert [text for text in re.findall(r"<td>([^<]*)</td></tr>", markup) if text] == ["1", "0.5", "4.248e-18"]


def test_an_odd_length_is_refused():
    with pytest.raises(ValueError, match="context_length=7"):
        hand_set_task(Config(context_length=7))
