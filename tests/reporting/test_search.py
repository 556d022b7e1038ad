"""A search: its trials, its page, and what cannot be searched."""

import json
from dataclasses import replace

import numpy as np
import pytest
from regression import experiment as regression
from regression.runs import with_arm

from reporting import search
from training import sweep
from training.config import override
from training.experiment import UserError

EXPERIMENT = regression.EXPERIMENT
CONFIG = override(EXPERIMENT.config, {"num_steps": 6, "eval_every": 3})


def run(folder, text="optimizer.learning_rate=log(1e-3,1e3)", arms=("plain",), experiment=EXPERIMENT):
    axes = sweep.parse(text)
    values = sweep.sample(axes, 9, 0, "grid")
    arm_configs = {arm: CONFIG for arm in arms}
    command = "python train.py"
    return search.search(folder, "regression", experiment, arm_configs, axes, values, command=command, start=0.0)


def test_it_names_the_best_trial_and_reports_all(tmp_path):
    line = run(tmp_path, arms=("plain", "quiet"))
    record = json.loads((tmp_path / "trials.json").read_text())
    trials = record["trials"]["plain"]
    rates, losses = (np.array(x, float) for x in (trials["values"]["optimizer.learning_rate"], trials["final"]["loss"]))
    assert len(rates) == 9
    best = rates[np.nanargmin(losses)]
    assert f"--config.optimizer.learning_rate={best:.4g}" in line.splitlines()[0]
    assert line.splitlines()[1].startswith("quiet: best loss")
    page = (tmp_path / "report.html").read_text()
    assert "The best of n trials" in page
    assert "plain: the best trials" in page
    assert page.count("<figure") == 5  # the curve; slices and table of each arm


def test_arms_that_train_nothing_are_left_out(tmp_path):
    by_hand = with_arm(lambda config: replace(regression.task(config), optimizer=None))
    with pytest.raises(UserError, match="nothing to sweep"):
        run(tmp_path / "new", "noise=uniform(0,1)", experiment=by_hand)
    assert not (tmp_path / "new").exists()


def test_a_folder_that_holds_a_run_is_left_alone(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="holds no search"):
        run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


@pytest.mark.parametrize("text", ["width=log(1,3)", "seconds=uniform(0.1,1)", "absent=log(1,2)"])
def test_what_cannot_be_swept_is_refused_before_anything_is_written(tmp_path, text):
    with pytest.raises(UserError):
        run(tmp_path / "new", text)
    assert not (tmp_path / "new").exists()
