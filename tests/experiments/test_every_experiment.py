"""Every experiment: its default config, its presets, a small run, its claims and figures, and its page.

A folder with an experiment.py is enough. Where there is also a test file tests/experiments/test_NAME.py, its SMALL
overrides and its ARMS make the small run, else the run is of two steps; its PRESET_SIZES make presets
quick to set up. Where the folder has a README.md, its table of claims is held against the code.

Covers reporting/report.py.
"""

import dataclasses
import functools
import importlib.util
import re
from pathlib import Path

import pytest

import experiments
from reporting import report
from training import parallel, run, workdirs
from training.config import leaves, override

ROOT = Path(__file__).parents[2]
SINGLE = parallel.SINGLE
TWO_STEPS = {"num_steps": 2, "eval_every": 1, "checkpoint_every": 1}
PAGES = [name for name in experiments.names() if (experiments.FOLDER / name / "README.md").exists()]

each_experiment = pytest.mark.parametrize("name", experiments.names())


def small_run(name):
    """(config overrides, arms or None) of a small run."""
    known = leaves(experiments.load(name).config)
    overrides = {field: value for field, value in TWO_STEPS.items() if field in known}
    return constant(name, "SMALL", overrides), constant(name, "ARMS", None)


@functools.cache
def module_of_tests(name):
    """The module tests/experiments/test_NAME.py; None where there is none."""
    path = Path(__file__).with_name(f"test_{name}.py")
    if not path.exists():
        return None
    spec = importlib.util.spec_from_file_location(f"small_run_of_{name}", path)
    tests = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tests)
    return tests


def constant(name, constant_name, default):
    """A constant of an experiment's test module."""
    return getattr(module_of_tests(name), constant_name, default)


@each_experiment
def test_the_untouched_default_makes_its_arms(name):
    """Shapes only: what train.py does before it trains."""
    experiment = experiments.load(name)
    assert set(experiment.default_arms) <= set(experiment.arms(experiment.config))
    arm_configs = run.select_arms(experiment, experiment.config, (), {})
    assert run.make_tasks(experiment, arm_configs, SINGLE).keys() == set(experiment.default_arms)


@pytest.mark.parametrize(
    ("name", "preset"),
    [(name, preset) for name in experiments.names() for preset in experiments.load(name).presets],
)
def test_every_preset_makes_its_arms(name, preset):
    experiment = experiments.load(name)
    overrides, arms, about = experiment.presets[preset]
    assert about
    config = override(experiment.config, overrides | constant(name, "PRESET_SIZES", {}))
    assert run.make_tasks(experiment, run.select_arms(experiment, config, arms, {}), SINGLE)


@each_experiment
def test_a_small_run_reports(name, tmp_path):
    experiment = experiments.load(name)
    overrides, arms = small_run(name)
    config = override(experiment.config, overrides)
    arm_configs = run.select_arms(experiment, config, arms, {})
    tasks = run.make_tasks(experiment, arm_configs, SINGLE)
    with workdirs.open_workdir(tmp_path, name, config, arm_configs, 2, tasks):
        results = run.train(experiment, tasks, arm_configs, tmp_path, SINGLE, num_seeds=2)
    workdirs.save_results(tmp_path, results)
    table = report.write(tmp_path, name, experiment, results, command="", facts={}, start=0.0)
    assert "claims pass" in table
    assert "<figure" in (tmp_path / "report.html").read_text()
    arm, result = next(iter(results.items()))
    assert experiment.figures({arm: result}), "figures of the first arm alone"


@each_experiment
def test_every_config_field_has_its_line_of_help(name):
    assert all(field.metadata["help"] for field in leaf_fields(experiments.load(name).config))


def leaf_fields(config):
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from leaf_fields(value)
        else:
            yield field


@each_experiment
def test_claims_are_of_arms_that_there_are_and_have_ids_of_their_own(name):
    experiment = experiments.load(name)
    arms = experiment.arms(experiment.config)
    for claim in experiment.claims:
        assert set(claim.of) <= set(arms), f"claim {claim.id} is of {claim.of}"
        assert re.fullmatch(r"\d+[a-z]?", claim.id)
    ids = [claim.id for claim in experiment.claims]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("name", PAGES)
def test_the_claims_of_the_page_are_those_of_the_code(name):
    """Id, statement and threshold, word for word."""
    page = (experiments.FOLDER / name / "README.md").read_text()
    in_page = re.findall(r"^\| (\d+[a-z]?) \| (.*?) \| (.*?) \|", page, re.MULTILINE)
    in_code = [(claim.id, claim.statement, claim.expected) for claim in experiments.load(name).claims]
    assert sorted(in_page) == sorted(in_code)


def test_every_experiment_of_the_readme_has_a_page_a_picture_and_a_test():
    listed = re.findall(r"^\| \[`(\w+)`\]\(experiments/\w+/README.md\)", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert listed
    for name in listed:
        folder = experiments.FOLDER / name
        for path in (folder / "README.md", folder / f"{name}.png", ROOT / "tests" / "experiments" / f"test_{name}.py"):
            assert path.exists(), path
