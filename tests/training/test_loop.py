"""Training of one arm: exact resumption, extra checkpoints, divergence, arrays that stay on the devices."""

import functools
import json
import os
import re
import signal
import threading
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from regression import experiment as regression
from regression.runs import read_final, read_lines, train, with_arm

from training import checkpoint, loop, metrics, parallel, signals
from training.experiment import Interrupted, RunFailed
from training.step import abstract_state, init_state, repeat, reset_sums, train_step


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """num_seeds -> the workdir of a run that nothing disturbed."""

    @functools.cache
    def run(num_seeds=1):
        workdir = tmp_path_factory.mktemp("undisturbed") / "run"
        train(workdir, num_seeds=num_seeds)
        return workdir

    return run


@pytest.mark.parametrize("num_seeds", [1, 2])
def test_a_run_stopped_and_resumed_equals_a_run_left_alone(undisturbed, tmp_path, num_seeds):
    assert train(tmp_path, stop_at=6, num_seeds=num_seeds) is None
    train(tmp_path, num_seeds=num_seeds)
    assert read_final(tmp_path) == read_final(undisturbed(num_seeds))
    assert read_lines(tmp_path) == read_lines(undisturbed(num_seeds))
    assert isinstance(read_final(tmp_path)["params_sha256"], list) == (num_seeds > 1)


def test_a_run_stops_where_it_is_told_whatever_the_intervals(tmp_path):
    intervals = {"num_steps": 100, "eval_every": 40, "checkpoint_every": 100}
    for stop_at in (40, 55):
        train(tmp_path / "parts", stop_at=stop_at, **intervals)
        assert checkpoint.steps(tmp_path / "parts" / "plain")[-1] == stop_at
    train(tmp_path / "parts", **intervals)
    train(tmp_path / "whole", **intervals)
    assert read_final(tmp_path / "parts") == read_final(tmp_path / "whole")
    assert read_lines(tmp_path / "parts") == read_lines(tmp_path / "whole")


def test_an_interrupt_saves_the_step_that_it_names(tmp_path):
    def interrupted_task(config):
        task = regression.task(config)

        def probe(variables):
            jax.debug.callback(lambda: os.kill(os.getpid(), signal.SIGTERM))
            return task.probe(variables)

        return replace(task, probe=probe)

    intervals = {"checkpoint_every": 100, "eval_every": 100}
    saved = pytest.raises(Interrupted, match=r"interrupted at step (\d+), which is saved")
    with signals.catch(), saved as error:
        train(tmp_path, experiment=with_arm(interrupted_task), **intervals)
    step = int(re.search(r"step (\d+)", str(error.value))[1])
    assert 0 < step < 8
    assert checkpoint.steps(tmp_path / "plain")[-1] == step
    train(tmp_path, **intervals)
    train(tmp_path / "whole", **intervals)
    assert read_final(tmp_path) == read_final(tmp_path / "whole")


def test_lines_past_the_last_checkpoint_are_redone(undisturbed, tmp_path):
    train(tmp_path, stop_at=6)
    for split in ("eval", "probe"):  # as a kill between logging and saving leaves them
        with (tmp_path / "plain/metrics.jsonl").open("a") as file:
            file.write(json.dumps({"step": 8, "split": split, "loss": 0.0}) + "\n")
    train(tmp_path)
    assert read_lines(tmp_path) == read_lines(undisturbed())


def test_extra_checkpoints_are_kept_where_the_watched_metric_moves(tmp_path):
    """And each holds the state of its own step: saving goes on while the next steps reuse the state's memory."""
    watching = replace(regression.EXPERIMENT, watch=("loss", 1e-12))  # any change counts
    train(tmp_path, experiment=watching, checkpoint_every=100)
    steps = checkpoint.steps(tmp_path / "plain")
    assert steps == [2, 4, 6, 8]
    task = regression.task(regression.Config())
    take_steps = jax.jit(repeat(train_step(task)))
    for step in steps:
        expected = reset_sums(take_steps(init_state(task, 0), step))
        restored = checkpoint.restore_state(tmp_path / "plain", step, abstract_state(task, 1))
        jax.tree.map(np.testing.assert_array_equal, restored, expected)


def test_no_extra_checkpoint_is_made_where_the_watched_metric_stays(undisturbed, tmp_path):
    train(tmp_path, experiment=replace(regression.EXPERIMENT, watch=("loss", 1e9)))
    assert checkpoint.steps(tmp_path / "plain") == checkpoint.steps(undisturbed() / "plain") == [4, 8]


def test_a_resumed_run_compares_with_the_last_evaluation_that_was_saved(undisturbed):
    folder = undisturbed() / "plain"
    logged = metrics.read(folder, 1)["eval"]
    watch = loop.Watch(("loss", 1.0), folder, 1, saved_step=4)
    assert not watch.has_moved({"loss": logged["loss"][2] + 0.9})  # of steps 0, 2, 4, 6, 8
    assert watch.has_moved({"loss": logged["loss"][2] - 1.1})
    watch.note_save({"loss": logged["loss"][2] - 1.1})
    assert not watch.has_moved({"loss": logged["loss"][2] - 1.1})
    assert not loop.Watch(None, folder, 1, saved_step=4).has_moved({"loss": logged["loss"][2]})


def test_a_dispatch_takes_twice_as_many_steps_while_dispatches_are_short():
    pace = loop.Pace()
    assert [pace.choose_count(9), pace.choose_count(1)] == [1, 1]
    for expected in (2, 4, 8, 16):
        pace.adapt(pace.choose_count(100), seconds=0.1)
        assert pace.choose_count(100) == expected
    pace.adapt(16, seconds=0.9)
    pace.adapt(3, seconds=0.1)  # cut short by what was due
    assert pace.choose_count(100) == 16


def test_divergence_names_the_step_and_the_last_good_checkpoint(tmp_path):
    with pytest.raises(RunFailed, match=r"diverged at step 6.*checkpoints/4"):
        train(tmp_path, poisoned_step=5)
    assert checkpoint.steps(tmp_path / "plain")[-1] == 4
    assert metrics.read(tmp_path / "plain", 1)["eval"].steps[-1] == 4


def test_divergence_on_batches_from_the_host_names_the_dispatch(tmp_path):
    def on_host(config):
        task = regression.task(config)
        return replace(task, batch=lambda *at: jax.device_get(task.batch(*at)), batch_on_host=True)

    num_threads = threading.active_count()
    # There are many steps to come, for which the thread that makes batches would wait.
    with pytest.raises(RunFailed, match=r"diverged between steps 5 and 6.*checkpoints/4") as error:
        train(tmp_path, experiment=with_arm(on_host), poisoned_step=5, num_steps=100)
    # While the error and its frames are still here: a thread within jax would crash the interpreter's end.
    assert error.value
    assert threading.active_count() <= num_threads


@pytest.mark.parametrize(
    ("parallelism", "mesh", "num_seeds"),
    [
        ("single", "", 1),
        ("pmap", "", 2),
        ("mesh", "data=2,fsdp=2,model=2", 2),
        pytest.param("single", "", 2, marks=pytest.mark.slow),
        pytest.param("pmap", "", 1, marks=pytest.mark.slow),
        pytest.param("mesh", "data=2,fsdp=2,model=2", 1, marks=pytest.mark.slow),
    ],
)
def test_resident_arrays_train_as_arrays_in_the_program_do(constant_weights, tmp_path, parallelism, mesh, num_seeds):
    weights = final_weights(regression.resident_task, tmp_path, parallel.choose(parallelism, mesh), num_seeds)
    np.testing.assert_allclose(weights.reshape(num_seeds, -1), constant_weights[:num_seeds], rtol=1e-5)


def final_weights(make, folder, placement, num_seeds):
    config = regression.Config(noise=0.0, num_steps=4)
    task = make(config)
    placement.check_batch(task)
    variables, step = loop.train_arm("plain", task, config, folder, loop.Options(placement, num_seeds))
    assert step == 4
    return np.asarray(variables["params"]["w"])


@pytest.fixture(scope="module")
def constant_weights(tmp_path_factory):
    """The final weights [S, 3] of two seeds whose rows are constants of their program."""
    return final_weights(regression.constant_task, tmp_path_factory.mktemp("constant"), parallel.SINGLE, 2)


def test_perplexity_is_that_of_the_mean_loss():
    task = regression.resident_task(regression.Config())
    values = loop.means(task, {"loss": (jnp.array([3.0, 8.0]), jnp.array([2.0, 2.0])), "right": (0.0, 0.0)})
    np.testing.assert_allclose(values["perplexity"], np.exp([1.5, 4.0]))
    assert np.isnan(values["right"])
