"""The flagship's arms, and its claims where arms are absent, were trained on other data, or measure what is exact.

A small run in test_every_experiment.py covers figures.py; tests/models/test_transformer.py covers hand_wired.py.
"""

from dataclasses import replace
from types import SimpleNamespace

import jax
import pytest

from experiments.induction_heads.claims import EXACT_CLAIMS
from experiments.induction_heads.experiment import EXPERIMENT
from reporting.claims import judge_all
from training import parallel, run
from training.experiment import Measurement
from training.step import abstract_state

ARMS = ("two_layer",)  # test_contract.py runs others
SMALL = {
    "num_steps": 2,
    "batch_size": 4,
    "eval_batch_size": 4,
    "eval_every": 1,
    "context_length": 16,
    "repeats.vocab_size": 8,
    "repeats.min_period": 3,
    "d_model": 16,
    "num_heads": 2,
}


@pytest.fixture(scope="module")
def tasks():
    """{arm: Task or Measurement} of every arm at its full size."""
    arm_configs = run.select_arms(EXPERIMENT, EXPERIMENT.config, tuple(EXPERIMENT.arms(EXPERIMENT.config)), {})
    return run.make_tasks(EXPERIMENT, arm_configs, parallel.SINGLE)


def num_parameters(task):
    return sum(leaf.size for leaf in jax.tree.leaves(abstract_state(task, 1).params))


def test_the_wide_arm_has_at_least_the_parameters_of_two_layers(tasks):
    assert num_parameters(tasks["one_layer_wide"]) >= num_parameters(tasks["two_layer"])


def test_every_optional_arm_makes_a_model(tasks):
    assert tasks["with_mlp"].model.config.d_mlp == 256
    assert tasks["alibi"].model.config.positions == "alibi"
    assert tasks["hand_wired"].optimizer is None
    assert isinstance(tasks["exact"], Measurement)


def test_the_exact_statements_hold_whatever_the_seed(tasks):
    result = run.measure("exact", tasks["exact"], EXPERIMENT.config, num_seeds=2)
    verdicts = {verdict.id: verdict for verdict in judge_all(EXACT_CLAIMS, {"exact": result})}
    assert set(verdicts) == {"7a", "7b", "8d", "9a", "9b", "10d", "10e"}
    assert all(verdict.passed for verdict in verdicts.values())
    assert verdicts["9a"].values == (0.0, 0.0)
    assert verdicts["9b"].values[0] == verdicts["9b"].values[1] > 0.5


def test_claims_of_absent_arms_and_of_other_data_say_why():
    verdicts = {verdict.id: verdict for verdict in judge_all(EXPERIMENT.claims, {})}
    assert verdicts["1"].passed is None
    assert verdicts["1"].reason == "arm two_layer is not in this run"

    of_markov = SimpleNamespace(config=replace(EXPERIMENT.config, data="markov"))
    verdicts = {verdict.id: verdict for verdict in judge_all(EXPERIMENT.claims, {"two_layer": of_markov})}
    assert verdicts["1"].reason == "needs --config.data=repeats"
