"""What the flagship's claims are made of."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np

from experiments.induction_heads import experiment as induction_heads
from training import parallel, run
from training.experiment import History

SINGLE = parallel.SINGLE
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


def test_the_wide_arm_has_at_least_the_parameters_of_two_layers():
    experiment = induction_heads.EXPERIMENT
    arm_configs = run.select_arms(experiment, experiment.config, ("two_layer", "one_layer_wide"), {})
    tasks = run.make_tasks(experiment, arm_configs, SINGLE)
    lines = [line for line in run.summary(tasks, lambda *model: "").splitlines() if not line.startswith(" ")]
    sizes = {line.split(":")[0]: int(line.split()[1].replace(",", "")) for line in lines}
    assert sizes["one_layer_wide"] >= sizes["two_layer"]


def test_every_optional_arm_makes_a_model():
    experiment = induction_heads.EXPERIMENT
    arm_configs = run.select_arms(experiment, experiment.config, tuple(experiment.arms(experiment.config)), {})
    tasks = run.make_tasks(experiment, arm_configs, SINGLE)
    assert tasks["with_mlp"].model.config.d_mlp == 256
    assert tasks["alibi"].model.config.positions == "alibi"


class Ramp:
    """An arm whose accuracy rises along a straight line from step 100 to step 200, in two seeds 50 steps apart."""

    num_seeds = 2
    evaluation = History(
        np.arange(0, 401, 10),
        {
            "induction_accuracy": np.stack(
                [np.clip((np.arange(0, 401, 10) - start) / 100, 0, 1) for start in (100, 150)], axis=1
            )
        },
    )


def test_rise_steps_of_a_straight_line():
    np.testing.assert_allclose(induction_heads.rise_steps(Ramp), [[110, 150, 190], [160, 200, 240]])
    np.testing.assert_allclose(induction_heads.relative_rise(Ramp), [80 / 150, 80 / 200])


def test_without_others_the_control_is_not_decided():
    examined = {
        "is_previous_token_head": np.ones((1, 1, 2)),
        "is_induction_head": np.ones((1, 1, 2)),
        "is_other_head": np.zeros((1, 1, 2)),
        "accuracy_without_set/zero": np.array([[0.1, 0.2, 1.0, 1.0]]),
    }
    result = SimpleNamespace(examined=examined)
    assert induction_heads.without("induction")(result) == 0.2
    assert "others would be needed" in induction_heads.without("others_as_many_as_induction")(result)
    result = SimpleNamespace(examined=examined | {"is_induction_head": np.zeros((1, 1, 2))})
    assert "no head counts as induction head" in induction_heads.without("induction")(result)


def test_claims_of_absent_arms_and_of_other_data_say_why():
    experiment = induction_heads.EXPERIMENT
    claims = {claim.id: claim for claim in experiment.claims({})}
    assert claims["1"].passed is None
    assert claims["1"].reason == "arm two_layer is not in this run"
    assert claims["9a"].passed is True
    assert claims["9a"].measured == 0.0

    of_markov = SimpleNamespace(config=replace(experiment.config, data="markov"))
    claims = {claim.id: claim for claim in experiment.claims({"two_layer": of_markov})}
    assert claims["1"].reason == "needs --config.data=repeats"
