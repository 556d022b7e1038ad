"""Every experiment: a small run of it, its claims, figures and docs page.

Each has a test file of its own, test_experiments_NAME.py, whose SMALL overrides make a run of seconds, if need be of
some ARMS only.
"""

import dataclasses
import importlib
import re
from pathlib import Path

import pytest

import experiments
from reporting import report
from training import parallel, run
from training.config import override

ROOT = Path(__file__).parents[2]
SINGLE = parallel.SINGLE

each_experiment = pytest.mark.parametrize("name", experiments.names())


# Of these a small run takes 8 to 30 seconds; their own files and test_contract.py try their parts.
LONG = ("alternating_sum", "approximation", "gradient_flow", "induction_heads", "optimizers", "softmax_classifier")
LONG += ("bpe", "cnn", "derivations", "mlp_lm", "rnn_lm", "statistical_induction", "transformer_lm")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in LONG else name for name in experiments.names()]
)
def test_a_small_run_reports(name, tmp_path):
    experiment = experiments.load(name)
    tests = importlib.import_module(f"experiments.test_{name}")
    config = override(experiment.config, tests.SMALL)
    arms = getattr(tests, "ARMS", experiment.default_arms)
    arm_configs = run.select_arms(experiment, config, arms, {})
    tasks = run.make_tasks(experiment, arm_configs, SINGLE)
    with run.open_workdir(tmp_path, name, config, arm_configs, 2):
        results = run.train(experiment, tasks, arm_configs, tmp_path, SINGLE, num_seeds=2)
    run.save_results(tmp_path, results)
    table = report.write(tmp_path, name, experiment, results, command="", facts={}, began=0.0)
    assert "decided claims hold" in table
    assert "<figure" in (tmp_path / "report.html").read_text()
    only_one = dict(list(results.items())[:1])
    assert len(experiment.claims(only_one)) == len(experiment.claims(results))
    experiment.figures(only_one)


@each_experiment
def test_every_config_field_has_its_line_of_help(name):
    assert all(field.metadata["help"] for field in _leaf_fields(experiments.load(name).config))


def _leaf_fields(config):
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from _leaf_fields(value)
        else:
            yield field


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n in ("cnn", "transformer_lm") else n for n in experiments.names()],
)
def test_every_preset_makes_a_config_and_tasks(name):
    experiment = experiments.load(name)
    assert set(experiment.default_arms) <= set(experiment.arms(experiment.config))
    for preset in experiment.presets.values():
        config = override(experiment.config, preset.overrides)
        arm_configs = run.select_arms(experiment, config, preset.arms, {})
        assert run.make_tasks(experiment, arm_configs, SINGLE)
        assert preset.about


@each_experiment
def test_the_claims_and_thresholds_of_the_docs_page_are_those_of_the_code(name):
    in_code = [(claim.id, claim.expected) for claim in experiments.load(name).claims({})]
    page = (ROOT / "experiments" / name / "README.md").read_text()
    in_page = re.findall(r"^\| (\d+[a-z]?) \| .*? \| (.*?) \|", page, re.MULTILINE)
    assert sorted(in_page) == sorted(in_code)
