"""A run's folder: what it may hold, and what is written into it. Its lock is tested in tests/reliability."""

import json
from dataclasses import replace

import numpy as np
import pytest
from regression import experiment as regression

from training import workdirs
from training.config import override
from training.experiment import ArmResult, History, UserError

CONFIG = regression.Config()


def open_and_leave(workdir, config=CONFIG, arms=("plain",), num_seeds=1, tasks=None):
    with workdirs.open_workdir(workdir, "regression", config, {arm: config for arm in arms}, num_seeds, tasks):
        pass


def test_a_workdir_of_another_config_is_refused_with_the_fields(tmp_path):
    open_and_leave(tmp_path)
    with pytest.raises(UserError, match=r"config.batch_size \(16 there, 4 now\)"):
        open_and_leave(tmp_path, override(CONFIG, {"batch_size": 4}))
    with pytest.raises(UserError, match=r"num_seeds \(1 there, 2 now\)"):
        open_and_leave(tmp_path, num_seeds=2)
    open_and_leave(tmp_path, arms=("quiet",))  # another arm of the same run is welcome
    record = json.loads((tmp_path / "config.json").read_text())
    assert set(record["arms"]) == {"plain", "quiet"}
    assert record["config"]["optimizer"]["learning_rate"] == 0.05
    assert {"jax", "flax", "python"} <= set(record["versions"])


def test_a_folder_with_other_things_is_refused_untouched(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="not empty and holds no run"):
        open_and_leave(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_run_goes_on_with_its_own_data_alone(tmp_path):
    tasks = {"plain": regression.resident_task(CONFIG)}
    open_and_leave(tmp_path, tasks=tasks)
    record = json.loads((tmp_path / "config.json").read_text())
    assert record["data"] == {"plain": {"sha256": "abc"}}
    assert record["files"] == {"plain": ["tokenizer.json"]}
    open_and_leave(tmp_path, tasks=tasks)
    open_and_leave(tmp_path, arms=("quiet",), tasks={"quiet": regression.task(CONFIG)})
    record = json.loads((tmp_path / "config.json").read_text())
    assert record["files"] == {"plain": ["tokenizer.json"], "quiet": ["inputs.json"]}
    with pytest.raises(UserError, match="trained on other data: plain: sha256"):
        open_and_leave(tmp_path, tasks={"plain": replace(tasks["plain"], facts={"sha256": "xyz"})})


def test_results_are_saved_under_their_arms(tmp_path):
    probes = History(np.array([0, 2]), {"score": np.ones((2, 3, 4))})
    results = {"a": ArmResult("a", CONFIG, 3, {"size": np.arange(3)}, probes=probes)}
    workdirs.save_results(tmp_path, results)
    saved = np.load(tmp_path / "results.npz")
    assert {name: saved[name].shape for name in saved} == {
        "a/steps": (2,),
        "a/training/score": (2, 3, 4),
        "a/final/size": (3,),
    }


def test_storage_that_cannot_be_reached_is_refused():
    with pytest.raises(UserError, match="no such kind of storage"):
        workdirs.make_folder("ftp://host/run")
