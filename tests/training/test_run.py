"""Whole runs of the engine: exact resumption, extra checkpoints, divergence, refusals."""

import json
import os
import re
import signal
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import regression

from training import checkpoint, metrics, parallel, run, signals
from training.config import override
from training.experiment import Interrupted, RunFailed, UserError
from training.step import abstract_state, init_state, repeat, train_step, without_sums

SINGLE = parallel.SINGLE


def train(workdir, *, num_seeds=1, stop_at=None, arms=("plain",), experiment=regression.EXPERIMENT, **overrides):
    base = override(experiment.config, overrides)
    arm_configs = run.select_arms(experiment, base, arms, {})
    tasks = run.make_tasks(experiment, arm_configs, SINGLE)
    with run.open_workdir(workdir, "regression", base, arm_configs, num_seeds):
        return run.train(experiment, tasks, arm_configs, workdir, SINGLE, num_seeds, stop_at)


def final(workdir, arm="plain"):
    return json.loads((workdir / arm / "final.json").read_text())


def logged(workdir):
    lines = [json.loads(line) for line in (workdir / "plain" / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "steps_per_second"} for line in lines if line["split"] != "time"]


@pytest.mark.parametrize("num_seeds", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_run_stopped_and_resumed_equals_a_run_left_alone(tmp_path, num_seeds):
    settings = {"num_seeds": num_seeds}
    assert train(tmp_path / "halves", stop_at=4, **settings) is None
    train(tmp_path / "halves", **settings)
    train(tmp_path / "whole", **settings)
    assert final(tmp_path / "halves") == final(tmp_path / "whole")
    assert logged(tmp_path / "halves") == logged(tmp_path / "whole")
    assert isinstance(final(tmp_path / "whole")["params_sha256"], list) == (num_seeds > 1)


@pytest.mark.parametrize("stop_at", [pytest.param(40, marks=pytest.mark.slow), 55])
def test_a_run_stops_where_it_is_told_whatever_the_intervals(tmp_path, stop_at):
    settings = {"num_steps": 100, "eval_every": 40, "checkpoint_every": 100}
    train(tmp_path / "halves", stop_at=stop_at, **settings)
    assert checkpoint.steps(tmp_path / "halves" / "plain")[-1] == stop_at
    train(tmp_path / "halves", **settings)
    train(tmp_path / "whole", **settings)
    assert final(tmp_path / "halves") == final(tmp_path / "whole")
    assert logged(tmp_path / "halves") == logged(tmp_path / "whole")


def test_an_interrupt_saves_the_step_that_it_names(tmp_path):
    def task(config):
        good = regression.task(config)

        def probe(variables):
            jax.debug.callback(lambda: os.kill(os.getpid(), signal.SIGTERM))
            return good.probe(variables)

        return replace(good, probe=probe)

    saved = pytest.raises(Interrupted, match=r"interrupted at step (\d+), which is saved")
    with signals.handled(), saved as error:
        train(tmp_path, experiment=replace(regression.EXPERIMENT, task=task), checkpoint_every=100, eval_every=100)
    step = int(re.search(r"step (\d+)", str(error.value))[1])
    assert 0 < step < 8
    assert checkpoint.steps(tmp_path / "plain")[-1] == step
    train(tmp_path, checkpoint_every=100, eval_every=100)
    train(tmp_path / "whole", checkpoint_every=100, eval_every=100)
    assert final(tmp_path) == final(tmp_path / "whole")


def test_lines_past_the_last_checkpoint_are_redone(tmp_path):
    train(tmp_path / "whole")
    train(tmp_path / "killed", stop_at=6)
    for split in ("eval", "probe"):  # as a kill between logging and saving leaves them
        with (tmp_path / "killed/plain/metrics.jsonl").open("a") as file:
            file.write(json.dumps({"step": 8, "split": split, "loss": 0.0}) + "\n")
    train(tmp_path / "killed")
    assert logged(tmp_path / "killed") == logged(tmp_path / "whole")


def test_seeds_trained_at_once_are_the_seeds_trained_alone(tmp_path):
    together = train(tmp_path / "together", num_seeds=2)["plain"]
    for i in range(2):
        alone = train(tmp_path / f"alone{i}", seed=i)["plain"]
        np.testing.assert_allclose(together.evaluation["loss"][:, i], alone.evaluation["loss"][:, 0], rtol=1e-5)


def test_results_read_back_have_the_seed_axis(tmp_path):
    result = train(tmp_path)["plain"]
    assert result.evaluation["loss"].shape == (5, 1)  # steps 0, 2, 4, 6, 8
    assert result.train.steps.tolist() == [2, 4, 6, 8]
    assert result.probes["weights"].shape == (5, 1, 3)
    assert result.examined["distance"].shape == (1, 3)
    assert result.final["loss"].shape == (1,)
    assert result.variables["params"]["w"].shape == (1, 3)


def test_extra_checkpoints_are_kept_where_the_watched_metric_moves(tmp_path):
    watching = replace(regression.EXPERIMENT, watch=("loss", 1e-12))  # any change counts
    train(tmp_path, experiment=watching, checkpoint_every=100)
    assert checkpoint.steps(tmp_path / "plain") == [2, 4, 6, 8]
    train(tmp_path / "other", experiment=replace(watching, watch=("loss", 1e9)), checkpoint_every=100)
    assert checkpoint.steps(tmp_path / "other" / "plain") == [0, 8]


def test_a_checkpoint_holds_the_state_of_its_own_step(tmp_path):
    """Saving goes on in the background while the next steps reuse the state's memory."""
    train(tmp_path, experiment=replace(regression.EXPERIMENT, watch=("loss", 1e-12)), num_steps=40, eval_every=4)
    task = regression.task(regression.Config(num_steps=40, eval_every=4))
    abstract = abstract_state(task, 1)
    steps = jax.jit(repeat(train_step(task)))
    for step in checkpoint.steps(tmp_path / "plain"):
        expected = without_sums(steps(init_state(task, 0), step))
        jax.tree.map(
            np.testing.assert_array_equal, checkpoint.restore_state(tmp_path / "plain", step, abstract), expected
        )


def test_divergence_names_the_step_and_the_last_good_checkpoint(tmp_path):
    def task(config):
        good = regression.task(config)

        def batch(seed, step):
            rows = good.batch(seed, step)
            return rows | {"y": jnp.where(step == 5, jnp.inf, rows["y"])}

        return replace(good, batch=batch)

    with pytest.raises(RunFailed, match=r"diverged at step 6.*checkpoints/4"):
        train(tmp_path, experiment=replace(regression.EXPERIMENT, task=task))
    assert checkpoint.steps(tmp_path / "plain")[-1] == 4
    assert metrics.read(tmp_path / "plain", 1)["eval"].steps[-1] == 4


def test_a_workdir_of_another_config_is_refused_with_the_fields(tmp_path):
    train(tmp_path)
    with pytest.raises(UserError, match=r"config.batch_size \(16 there, 4 now\)"):
        train(tmp_path, batch_size=4)
    with pytest.raises(UserError, match=r"num_seeds \(1 there, 2 now\)"):
        train(tmp_path, num_seeds=2)
    train(tmp_path, arms=("quiet",))  # another arm of the same run is welcome
    assert set(json.loads((tmp_path / "config.json").read_text())["arms"]) == {"plain", "quiet"}


def test_a_folder_with_other_things_is_refused_untouched(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="not empty and holds no run"):
        train(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_arms_refuse_to_have_their_fields_overridden():
    experiment = regression.EXPERIMENT
    with pytest.raises(UserError, match=r"arm wide sets width=6 itself; leave the arm out with --arms=plain"):
        run.select_arms(experiment, experiment.config, ("plain", "wide"), {"width": 4})
    with pytest.raises(UserError, match="unknown arm 'plane'; did you mean plain"):
        run.select_arms(experiment, experiment.config, ("plane",), {})


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ({"width": 0}, "arm plain: width=0 must be at least 1"),
        ({"eval_every": 0}, "eval_every=0 must be at least 1"),
        ({"batch_size": -1}, "batch_size=-1 must be at least 1"),
        ({"num_steps": -1}, "num_steps=-1 must be at least 0"),
    ],
)
def test_configs_that_do_not_fit_together_are_refused_before_anything_is_written(tmp_path, overrides, says):
    with pytest.raises(UserError, match=says):
        train(tmp_path / "new", **overrides)
    assert not (tmp_path / "new").exists()
