"""Processes that are killed at any moment, and the same commands again."""

import functools
import random
import time

import jax
import pytest
from regression.commands import SLOW_RUN, finish, logged_step, read_losses, start, start_train, train, wait_until
from regression.experiment import EXPERIMENT, task
from regression.runs import read_final

from training import checkpoint, files
from training.config import override
from training.step import init_state, train_step


@functools.cache
def hashes(num_steps):
    """The parameters' hash at each step of a run, computed one after the other, without the loop."""
    task_without_delay = task(override(EXPERIMENT.config, {"num_steps": num_steps, "seconds": 1e-9}))
    take_step, state = jax.jit(train_step(task_without_delay)), init_state(task_without_delay, 0)
    hashes_by_step = [checkpoint.params_sha256(state.params)]
    for step in range(num_steps):
        state = take_step(state, task_without_delay.batch(0, step))
        hashes_by_step.append(checkpoint.params_sha256(state.params))
    return hashes_by_step


def kill_at_random(workdir, generator, process, num_steps):
    """Kills a process at some time after its first checkpoint; looks at what it left."""
    wait_until(lambda: logged_step(workdir) >= 0 or process.poll() is not None)
    time.sleep(generator.uniform(0, 1.5))
    process.kill()
    process.communicate()
    saved_steps = checkpoint.steps(workdir / "plain")
    for step in saved_steps:
        assert files.damage(checkpoint.step_folder(workdir / "plain", step)) is None
        restored = checkpoint.restore_as_saved(workdir / "plain", step)
        assert checkpoint.params_sha256(restored["params"]) == hashes(num_steps)[step]
    # One interval, and one more that may have passed while the last checkpoint was being written.
    assert not saved_steps or logged_step(workdir) - saved_steps[-1] <= 2 * 10


def kill_and_resume(workdir, flags, kills, num_steps):
    """Kills a run so many times, and lets it end."""
    generator = random.Random(kills)
    for _ in range(kills):
        kill_at_random(workdir, generator, start_train(*flags, f"--workdir={workdir}"), num_steps)
    train(*flags, f"--workdir={workdir}")
    assert not [path for path in workdir.rglob("*") if "tmp" in path.name or "unfinished" in path.name]


def test_killed_at_a_random_moment_it_ends_as_if_left_alone(undisturbed, tmp_path):
    kill_and_resume(tmp_path / "run", SLOW_RUN, kills=1, num_steps=100)
    assert read_final(tmp_path / "run") == read_final(undisturbed)
    assert read_losses(tmp_path / "run") == read_losses(undisturbed)


@pytest.mark.slow
def test_killed_twenty_times_it_ends_as_if_left_alone(tmp_path):
    flags = [*SLOW_RUN, "--config.num_steps=400"]
    kill_and_resume(tmp_path / "run", flags, kills=20, num_steps=400)
    train(*flags, f"--workdir={tmp_path / 'undisturbed'}")
    assert read_final(tmp_path / "run") == read_final(tmp_path / "undisturbed")
    assert read_losses(tmp_path / "run") == read_losses(tmp_path / "undisturbed")


def test_the_hash_of_a_run_is_that_of_its_steps_taken_one_after_the_other(undisturbed):
    assert read_final(undisturbed)["params_sha256"] == hashes(100)[100]


@pytest.mark.slow
def test_the_flagship_killed_at_any_moment_ends_with_the_same_parameters(tmp_path):
    command = ["train.py", "--experiment=induction_heads", "--arms=two_layer"]
    generator = random.Random(0)
    for _ in range(4):
        process = start(*command, f"--workdir={tmp_path / 'killed'}")
        time.sleep(generator.uniform(5, 40))
        process.kill()
        process.communicate()
    for name in ("killed", "undisturbed"):
        finish(start(*command, f"--workdir={tmp_path / name}"), timeout=600)
    assert read_final(tmp_path / "killed", "two_layer") == read_final(tmp_path / "undisturbed", "two_layer")
