"""The registry, experiments/__init__.py: experiments by name and by path, and their trained arms in Python."""

import sys
from pathlib import Path

import numpy as np
import pytest
from regression.experiment import EXPERIMENT as REGRESSION

import experiments
from training import parallel, run, workdirs
from training.config import override
from training.experiment import UserError

REGRESSION_FOLDER = str(Path(__file__).parents[1] / "regression")
OUTSIDE = """
from dataclasses import dataclass

from {folder}.nouns import drawn_measurement
from training.config import setting
from training.experiment import Arm, Experiment


@dataclass(frozen=True)
class Config:
    seed: int = setting(0, "seed of the first run; --num_seeds=N measures with seed, seed+1, ...")


EXPERIMENT = Experiment(
    question="Is it here?",
    config=Config(),
    arms=lambda config: {{"drawn": Arm(drawn_measurement)}},
    default_arms=("drawn",),
    claims=[],
    figures=lambda results: [],
)
"""
NOUNS = """
import jax

from training.experiment import Measurement


def drawn_measurement(config):
    return Measurement(lambda key: {"number": jax.random.uniform(key)})
"""


@pytest.fixture(autouse=True)
def forget_modules(monkeypatch, tmp_path):
    """What a test imports from its own folder is forgotten after it."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name, module in list(sys.modules.items()):
        locations = [*getattr(module, "__path__", ()), getattr(module, "__file__", None) or ""]
        if any(location.startswith(str(tmp_path)) for location in locations):
            del sys.modules[name]


@pytest.fixture
def write_experiment(tmp_path):
    """A folder's name -> that folder, with an experiment of two files."""

    def write(name):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "experiment.py").write_text(OUTSIDE.format(folder=name))
        (folder / "nouns.py").write_text(NOUNS)
        return folder

    return write


def test_a_folder_with_an_experiment_is_one_by_its_name_and_by_its_path():
    assert "embedding_layer" in experiments.names()
    assert experiments.names() == sorted(experiments.names())
    path = experiments.FOLDER / "embedding_layer"
    for name in ("embedding_layer", str(path), f"{path}/"):
        assert experiments.identify(name) == "embedding_layer"
        assert experiments.load(name) is experiments.load("embedding_layer")


def test_an_unknown_name_is_refused_with_the_closest():
    with pytest.raises(UserError, match="unknown experiment 'embeding_layer'; did you mean embedding_layer"):
        experiments.load("embeding_layer")


def test_an_experiment_outside_the_repository_imports_what_lies_beside_it(write_experiment, tmp_path, monkeypatch):
    folder = write_experiment("my_experiment")
    assert experiments.identify(str(folder)) == str(folder)
    experiment = experiments.load(str(folder))
    assert experiment.question == "Is it here?"
    assert experiments.load(str(folder)) is experiment
    arms = {"drawn": experiment.config}
    tasks = run.make_tasks(experiment, arms, parallel.SINGLE)
    assert "number" in run.train(experiment, tasks, arms, tmp_path / "run", parallel.SINGLE, 1)["drawn"].examined
    monkeypatch.chdir(tmp_path)
    assert experiments.load("./my_experiment") is experiment
    assert experiments.identify("my_experiment") == str(folder)


def test_a_folder_that_has_the_name_of_another_module_is_refused(write_experiment, tmp_path):
    with pytest.raises(UserError, match="email has the name of another module, email: rename the folder"):
        experiments.load(str(write_experiment("email")))
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    folder = write_experiment("twice")
    experiments.load(str(folder))
    other = folder.rename(tmp_path / "one" / "twice")
    with pytest.raises(UserError, match="twice has the name of another module, twice"):
        experiments.load(str(other))


def test_what_is_missing_within_an_experiment_is_no_clash(write_experiment):
    folder = write_experiment("incomplete")
    (folder / "nouns.py").unlink()
    with pytest.raises(ModuleNotFoundError, match=r"incomplete\.nouns"):
        experiments.load(str(folder))


def test_a_path_without_an_experiment_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"is no experiment: it must be a folder with experiment.py in it"):
        experiments.load(str(tmp_path))
    with pytest.raises(UserError, match=r"/absent is no experiment"):
        experiments.load(str(tmp_path / "absent"))


def test_a_trained_arm_is_restored_by_the_runs_record(tmp_path):
    config = override(REGRESSION.config, {"num_steps": 2})
    arms = {"plain": config}
    tasks = run.make_tasks(REGRESSION, arms, parallel.SINGLE)
    with workdirs.open_workdir(tmp_path / "run", REGRESSION_FOLDER, config, arms, 1):
        result = run.train(REGRESSION, tasks, arms, tmp_path / "run", parallel.SINGLE, 1)["plain"]
    model, params, restored_config = experiments.restore(tmp_path / "run", "plain")
    assert model is None  # least squares have none
    np.testing.assert_array_equal(params["w"], result.variables["params"]["w"][0])
    assert restored_config == config
    with pytest.raises(UserError, match="has no arm 'plane'; did you mean plain"):
        experiments.restore(tmp_path / "run", "plane")
    with pytest.raises(UserError, match="has no checkpoint of step 1; there are: 0, 2"):
        experiments.restore(tmp_path / "run", "plain", step=1)


def test_there_is_nothing_to_restore_of_an_arm_that_trains_nothing(write_experiment, tmp_path):
    folder = write_experiment("another_experiment")
    config = experiments.load(str(folder)).config
    with workdirs.open_workdir(tmp_path / "run", str(folder), config, {"drawn": config}, 1):
        pass
    with pytest.raises(UserError, match="trains nothing: there is no model to restore"):
        experiments.restore(tmp_path / "run", "drawn")
