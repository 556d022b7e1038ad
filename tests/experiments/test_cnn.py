"""The arms of the experiment about convolutional networks, and the tasks that they make.

classifier.py is covered by the small run of the arm table in test_every_experiment.py.
"""

import pytest

from experiments.cnn import experiment as cnn
from reporting.claims import judge_all
from training import parallel, run
from training.config import override
from training.experiment import UserError

ARMS = ("table",)  # the others take longer to compile: see the slow test
SMALL = {
    "num_steps": 2,
    "eval_every": 2,
    "checkpoint_every": 2,
    "num_draws": 2,
    "train_size": 20,
    "test_size": 20,
    "image_size": 9,
}


def make_task(arm, **overrides):
    """A small arm's task."""
    config = override(cnn.Config(), SMALL | overrides)
    return run.make_task(cnn.EXPERIMENT, arm, config)


@pytest.mark.slow
def test_all_arms_report(tmp_path):
    experiment = cnn.EXPERIMENT
    config = override(experiment.config, SMALL)
    arm_configs = run.select_arms(experiment, config, (*experiment.default_arms, "residual", "airbench"), {})
    tasks = run.make_tasks(experiment, arm_configs, parallel.SINGLE)
    results = run.train(experiment, tasks, arm_configs, tmp_path, parallel.SINGLE, num_seeds=2)
    verdicts = {verdict.id: verdict for verdict in judge_all(experiment.claims, results)}
    exact = [verdict for id, verdict in verdicts.items() if id[0] in "1234" and len(id) == 2]
    assert len(exact) == 14
    assert all(verdict.passed for verdict in exact)
    assert {id for id, verdict in verdicts.items() if verdict.measured is None} <= {"5b", "6c", "10a", "10b"}
    assert len(experiment.figures(results)) == 12


def test_small_batches_fit_two_devices():
    """One example a device: batch normalisation takes both together."""
    parallel.Pmap(2).check_batch(make_task("norms_2", batch_size=2))


def test_an_arm_fills_in_what_the_config_leaves_open():
    open_fields = ("num_steps", "eval_every", "checkpoint_every", "image_size", "train_size")
    on_digits = cnn.arms(cnn.Config())
    assert [on_digits["overfitting"].changes[name] for name in open_fields] == [150, 150, 150, 16, 200]
    on_cifar10 = cnn.arms(cnn.Config(dataset="cifar10"))
    assert [on_cifar10["overfitting"].changes[name] for name in open_fields] == [200, 200, 200, 32, 500]
    assert [on_digits["table"].changes[name] for name in open_fields[:4]] == [300, 60, 75, 32]
    for arms in (on_digits, on_cifar10):  # as many images
        small, large = arms["norms_2"].changes, arms["norms_128"].changes
        assert small["num_steps"] * small["batch_size"] == large["num_steps"] * large["batch_size"]
    given = dict.fromkeys(open_fields, 7)
    for arm in cnn.arms(override(cnn.Config(), given)).values():
        assert not set(given) & set(arm.changes)


def test_a_learning_rate_of_sgd_that_is_not_given_goes_by_the_data_set():
    assert cnn.sgd_rate(cnn.Config()) == 0.05
    assert cnn.sgd_rate(cnn.Config(dataset="cifar10")) == 0.01
    assert cnn.sgd_rate(override(cnn.Config(), {"sgd.learning_rate": 0.0})) == 0.0


@pytest.mark.parametrize(
    ("arm", "overrides", "says"),
    [
        ("norms_128", {"batch_size": 1}, "cannot train on a batch of 1"),
        ("table", {"image_size": 2}, "too small to pool"),
        ("table", {"dataset": "digit"}, "digit is no data set"),
        ("overfitting", {"train_size": 10**6}, "takes 100000 of class"),
        ("space", {"test_size": 0}, "test_size=0 must be at least 1"),
        ("airbench", {"image_size": 8}, "image_size=8 is too small for airbench"),
        ("airbench", {"airbench_width": 0}, "airbench_width=0 must be at least 1"),
    ],
)
def test_settings_that_do_not_fit_are_refused(arm, overrides, says):
    with pytest.raises(UserError, match=says):
        make_task(arm, **overrides)


def test_a_data_set_that_is_not_there_is_refused_with_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(UserError, match="prepare it with"):
        make_task("table", dataset="cifar10")
