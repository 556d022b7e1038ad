"""Trained arms without their data, experiments/trained_arms.py: which arm it is, what is loaded, what it answers."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from flax import errors
from regression.experiment import EXPERIMENT, TRUTH

from experiments import trained_arms
from training import parallel, run, workdirs
from training.config import override
from training.experiment import Answer, UserError

FOLDER = str(Path(__file__).parents[1] / "regression")


@pytest.fixture(scope="module")
def two_arms(tmp_path_factory):
    """(workdir, {arm: ArmResult}) of a run with two seeds; of its three arms, the first has not been trained."""
    workdir = tmp_path_factory.mktemp("two_arms") / "run"
    base = override(EXPERIMENT.config, {"num_steps": 2})
    arm_configs = run.select_arms(EXPERIMENT, base, ("wide", "plain", "quiet"), {})
    tasks = run.make_tasks(EXPERIMENT, arm_configs, parallel.SINGLE)
    with workdirs.open_workdir(workdir, FOLDER, base, arm_configs, 2, tasks):
        del tasks["wide"]
        return workdir, run.train(EXPERIMENT, tasks, arm_configs, workdir, parallel.SINGLE, num_seeds=2)


def without_data(found):
    """The run, with an experiment that fails where it makes an arm: nothing may need the data."""

    def make_arms(config):
        raise AssertionError("an arm was made")

    return found._replace(experiment=replace(found.experiment, arms=make_arms))


def with_query(found, query):
    return found._replace(experiment=replace(found.experiment, queries={"text": query}))


def test_of_a_workdir_the_first_trained_arm_is_loaded_and_of_it_the_first_seed(two_arms):
    workdir, results = two_arms
    trained = trained_arms.load_trained(without_data(trained_arms.find_run(workdir)))
    assert (trained.arm, trained.step) == ("plain", 2)
    np.testing.assert_array_equal(trained.variables["params"]["w"], results["plain"].variables["params"]["w"][0])
    assert trained.config == results["plain"].config
    assert trained.files == {"inputs.json": b'["x0", "x1", "x2"]'}


def test_an_arms_folder_or_a_step_says_which(two_arms):
    workdir, results = two_arms
    trained = trained_arms.load_trained(trained_arms.find_run(workdir / "quiet"))
    assert (trained.arm, trained.step, trained.config.noise) == ("quiet", 2, 0.0)
    np.testing.assert_array_equal(trained.variables["params"]["w"], results["quiet"].variables["params"]["w"][0])
    start = trained_arms.load_trained(trained_arms.find_run(workdir / "quiet" / "checkpoints" / "0"))
    assert start.step == 0
    assert start.variables["params"]["w"].tolist() != trained.variables["params"]["w"].tolist()
    assert trained_arms.load_trained(trained_arms.find_run(workdir), "quiet").arm == "quiet"


def test_arms_that_cannot_be_loaded_are_refused(two_arms, tmp_path):
    workdir, _ = two_arms
    with pytest.raises(UserError, match="has no trained arm 'wide'"):
        trained_arms.load_trained(trained_arms.find_run(workdir), "wide")
    with pytest.raises(UserError, match="is of arm plain; --arm=quiet is another"):
        trained_arms.load_trained(trained_arms.find_run(workdir / "plain"), "quiet")
    copy = shutil.copytree(workdir, tmp_path / "copy")
    (copy / "plain" / "inputs.json").unlink()
    with pytest.raises(UserError, match=r"plain/inputs.json cannot be read: No such file or directory; plain is of no"):
        trained_arms.load_trained(trained_arms.find_run(copy))
    record = json.loads((copy / "config.json").read_text())
    del record["files"]  # as runs before 0.2 have it
    (copy / "config.json").write_text(json.dumps(record))
    assert trained_arms.load_trained(trained_arms.find_run(copy)).files == {}
    for arm in ("plain", "quiet"):
        shutil.rmtree(copy / arm)
    with pytest.raises(UserError, match=r"no arm of .*copy has a checkpoint yet"):
        trained_arms.load_trained(trained_arms.find_run(copy))


def test_a_query_is_answered_without_the_data(two_arms, tmp_path):
    workdir, results = two_arms
    (tmp_path / "rows.txt").write_text("1 0 0\n0 0 2\n")
    trained, answer = trained_arms.answer(without_data(trained_arms.find_run(workdir)), "text", tmp_path / "rows.txt")
    weights = results["plain"].variables["params"]["w"][0]
    assert trained.arm == "plain"
    assert answer.text == f"{weights[0]:.4f}\n{2 * weights[2]:.4f}"
    assert answer.files == {"predictions.txt": answer.text.encode()}
    assert abs(float(weights[0]) - TRUTH[0]) > 0.01  # two steps: what was answered is the trained arm's


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, r"rows.txt cannot be read: No such file or directory$"),
        (b"", r"rows.txt is empty: give a row of 3 numbers a line"),
        (b"1 2 3\n1 2\n", r"rows.txt, line 2: 2 numbers for the 3 inputs"),
        (b"1 2 \xff\n", r"--text=.*rows.txt is no UTF-8: byte 0xFF at offset 4$"),
    ],
)
def test_what_cannot_be_answered_is_refused_in_one_line(two_arms, tmp_path, content, says):
    if content is not None:
        (tmp_path / "rows.txt").write_bytes(content)
    with pytest.raises(UserError, match=says) as error:
        trained_arms.answer(trained_arms.find_run(two_arms[0]), "text", str(tmp_path / "rows.txt"))
    assert len(str(error.value).splitlines()) == 1


def test_a_folder_in_place_of_a_file_is_refused(two_arms, tmp_path):
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        trained_arms.answer(trained_arms.find_run(two_arms[0]), "text", str(tmp_path))


def test_an_experiment_without_the_query_says_so_before_anything_is_loaded(two_arms, tmp_path):
    shutil.copy(two_arms[0] / "config.json", tmp_path)  # no arm is there
    found = trained_arms.find_run(tmp_path)
    with pytest.raises(UserError, match=r"^runs of regression answer no --analogy$"):
        trained_arms.answer(found, "analogy", "king - man + woman")
    analogous = found._replace(
        workdir=two_arms[0],
        experiment=replace(found.experiment, queries={"analogy": lambda trained, value: Answer(value[::-1])}),
    )
    assert trained_arms.answer(analogous, "analogy", "king - man")[1].text == "nam - gnik"


def test_a_config_that_is_not_the_checkpoints_is_refused(two_arms):
    def apply(trained, value):
        raise errors.ScopeParamShapeError("kernel", "layer", (3, 4), (3, 5))

    with pytest.raises(UserError, match=r"config.json of .*run is not the checkpoint's: .*\(3, 4\)"):
        trained_arms.answer(with_query(trained_arms.find_run(two_arms[0]), apply), "text", "")
