"""What an experiment is made of (training/experiment.py): arms that measure, alone and beside arms that are trained."""

import json
from dataclasses import dataclass, replace

import jax
import numpy as np
import pytest
from regression import experiment as regression
from regression.runs import read_final, train

from reporting import report, search
from reporting.claims import claim, examined
from training import checkpoint, parallel, run, sweep
from training.config import setting
from training.experiment import Arm, Experiment, Measurement, UserError
from training.summary import summarize


@dataclass(frozen=True)
class Config:
    size: int = setting(4, "numbers to draw")
    scale: float = setting(2.0, "what they are multiplied by")
    seed: int = setting(0, "seed of the first run; --num_seeds=N measures with seed, seed+1, ...")


def drawn_measurement(config):
    if config.size < 1:
        raise ValueError(f"size={config.size} must be at least 1")

    def measure(key):
        numbers = config.scale * jax.random.normal(key, (config.size,))
        return {"mean": numbers.mean(), "numbers": numbers, "one": np.float64(1.0)}

    return Measurement(measure, facts={"sha256": "abc"})


MEASUREMENTS = Experiment(
    question="What is drawn?",
    config=Config(),
    arms=lambda config: {"drawn": Arm(drawn_measurement), "large": Arm(drawn_measurement, {"scale": 100.0})},
    default_arms=("drawn",),
    claims=[claim("1", "One is one", examined("one"), of="drawn", at_least=1.0)],
    figures=lambda results: [],
)
# One arm that is trained, and one that measures.
BOTH = replace(
    regression.EXPERIMENT,
    arms=lambda config: {
        "plain": Arm(regression.task),
        "exact": Arm(lambda config: Measurement(lambda key: {"steps": np.int32(config.num_steps)})),
    },
)


def measure(workdir, arms=("drawn",), **settings):
    return train(workdir, experiment=MEASUREMENTS, arms=arms, **settings)


def test_final_json_holds_the_numbers_that_an_arm_measured_and_no_hash(tmp_path):
    results = measure(tmp_path, arms=("drawn", "large"))
    final = read_final(tmp_path, "drawn")
    assert final == {"step": 0, "mean": pytest.approx(float(results["drawn"].examined["numbers"].mean())), "one": 1.0}
    assert read_final(tmp_path, "large")["mean"] == pytest.approx(50 * final["mean"], rel=1e-6)
    assert [path.name for path in (tmp_path / "drawn").iterdir()] == ["final.json"]
    result = results["drawn"]
    assert result.examined["numbers"].shape == (1, 4)
    assert (result.model, result.variables, result.step, result.num_parameters) == (None, None, 0, 0)
    assert not result.final
    assert not result.evaluation.values
    assert json.loads((tmp_path / "config.json").read_text())["data"]["drawn"] == {"sha256": "abc"}


def test_several_seeds_are_measured_each_by_itself(tmp_path):
    together = measure(tmp_path / "together", num_seeds=3)["drawn"]
    assert together.examined["numbers"].shape == (3, 4)
    final = read_final(tmp_path / "together", "drawn")
    assert len(set(final["mean"])) == 3
    assert final["one"] == [1.0, 1.0, 1.0]
    assert final["step"] == 0
    alone = measure(tmp_path / "alone", seed=2)["drawn"]
    np.testing.assert_array_equal(alone.examined["numbers"][0], together.examined["numbers"][2])


def test_a_run_is_judged_reported_and_measured_again(tmp_path):
    results = measure(tmp_path, num_seeds=2)
    table = report.write(tmp_path, "drawn", MEASUREMENTS, results, command="", facts={}, start=0.0)
    assert "PASS" in table
    assert json.loads((tmp_path / "claims.json").read_text())[0]["values"] == [1.0, 1.0]
    record = checkpoint.read_run(tmp_path)
    again = run.evaluate(MEASUREMENTS, record, tmp_path)
    np.testing.assert_array_equal(again["drawn"].examined["numbers"], results["drawn"].examined["numbers"])
    metrics = run.metrics_of(again)
    assert metrics["drawn"]["step"] == 0
    np.testing.assert_array_equal(metrics["drawn"]["mean"], results["drawn"].examined["mean"])
    record["data"]["drawn"]["sha256"] = "xyz"
    with pytest.raises(UserError, match="trained on other data: drawn: sha256"):
        run.evaluate(MEASUREMENTS, record, tmp_path)


def test_stopping_leaves_a_measured_arm_done_and_a_trained_one_unfinished(tmp_path):
    assert set(measure(tmp_path / "measured", stop_at=2)) == {"drawn"}
    assert train(tmp_path / "both", experiment=BOTH, arms=("plain", "exact"), stop_at=2) is None
    assert read_final(tmp_path / "both", "exact") == {"step": 0, "steps": 8}
    assert not (tmp_path / "both" / "plain" / "final.json").exists()
    assert set(train(tmp_path / "both", experiment=BOTH, arms=("plain", "exact"))) == {"plain", "exact"}


def test_the_summary_has_a_line_for_it():
    config = regression.Config()
    tasks = run.make_tasks(BOTH, {"plain": config, "exact": config}, parallel.choose("pmap"))
    lines = summarize(tasks, describe=None).splitlines()
    assert lines[0] == "plain: 3 parameters"
    assert lines[-1] == "exact: a measurement; it trains nothing"


def test_a_search_takes_the_arms_that_are_trained(tmp_path):
    axes = sweep.parse("scale=uniform(0,1)")
    with pytest.raises(UserError, match="has no arm here that trains anything: there is nothing to sweep"):
        search.search(
            tmp_path / "new",
            "drawn",
            MEASUREMENTS,
            {"drawn": Config()},
            axes,
            sweep.sample(axes, 2),
            command="",
            start=0.0,
        )
    assert not (tmp_path / "new").exists()
    assert run.is_trained(run.make_task(BOTH, "plain", regression.Config()))
    assert not run.is_trained(run.make_task(BOTH, "exact", regression.Config()))


def test_a_config_that_does_not_fit_is_refused():
    with pytest.raises(UserError, match="arm drawn: size=0 must be at least 1"):
        run.make_task(MEASUREMENTS, "drawn", Config(size=0))
