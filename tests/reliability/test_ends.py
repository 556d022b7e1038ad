"""How a run ends: by itself, an error, a signal (training/signals.py), a full disk, or a loss that is not finite.

Covers training/signals.py.
"""

import contextlib
import re
import signal
import time

import jax.numpy as jnp
import numpy as np
import pytest
from regression.commands import SLOW_RUN, evaluate, finish, logged_step, start_train, train, wait_until
from regression.experiment import Config, task
from regression.runs import read_final

from training import checkpoint, files
from training.step import State, abstract_state


@pytest.mark.parametrize("end", [None, RuntimeError, SystemExit, KeyboardInterrupt])
def test_however_a_program_ends_its_last_save_is_committed(tmp_path, end):
    state = State(jnp.int32(0), jnp.int32(0), {"w": jnp.arange(3.0)}, {}, (jnp.ones(3),))
    with contextlib.suppress(RuntimeError, SystemExit, KeyboardInterrupt), checkpoint.Saver(tmp_path) as saver:
        saver.save(state)
        if end:
            raise end
    assert checkpoint.newest(tmp_path) == 0


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM])
def test_a_signal_saves_and_ends_within_ten_seconds(undisturbed, tmp_path, number):
    workdir = tmp_path / "run"
    # No checkpoint is due: only the signal's own is there to go on from.
    flags = [*SLOW_RUN[:-1], "--config.checkpoint_every=1000", f"--workdir={workdir}"]
    process = start_train(*flags)
    wait_until(lambda: logged_step(workdir) >= 4)
    sent = time.monotonic()
    process.send_signal(number)
    err = finish(process, expect=130)
    assert time.monotonic() - sent < 10
    step = int(re.search(r"interrupted at step (\d+), which is saved", err)[1])
    assert checkpoint.newest(workdir / "plain") == step > 0
    train(*flags)
    assert read_final(workdir)["params_sha256"] == read_final(undisturbed)["params_sha256"]


@pytest.mark.slow
def test_a_signal_while_the_program_is_busy_elsewhere_ends_it_all_the_same(tmp_path):
    """Nothing looks at the signal while a batch takes a minute: the deadline ends the process."""
    process = start_train("--arms=plain", "--config.seconds=60", f"--workdir={tmp_path / 'run'}")
    wait_until(lambda: logged_step(tmp_path / "run") >= 0)
    time.sleep(5)  # the first step has its batch; the second waits for one
    sent = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert "the last checkpoint stands" in finish(process, expect=130)
    assert time.monotonic() - sent < 10
    assert checkpoint.newest(tmp_path / "run" / "plain") == 0


def test_a_full_disk_ends_with_1_and_leaves_the_old_steps_whole(small_disk):
    workdir = small_disk / "run"
    # A checkpoint is .6 MB; two are kept while a third is written.
    flags = ["--arms=plain", "--config.width=40000", "--config.checkpoint_every=2", f"--workdir={workdir}"]
    err = train(*flags, "--config.num_steps=50", expect=1)
    # Whichever finds the disk full first: a checkpoint or the metrics.
    step = int(re.search(r"error: .*(?:checkpoint of step|could not be written at step) (\d+)", err)[1])
    assert "No space left" in err or "RESOURCE_EXHAUSTED" in err, err
    assert "Traceback" not in err
    whole_steps = checkpoint.steps(workdir / "plain")
    assert whole_steps
    assert step - whole_steps[-1] <= 2  # one interval
    for whole_step in whole_steps:
        assert files.damage(checkpoint.step_folder(workdir / "plain", whole_step)) is None


@pytest.mark.slow
def test_outputs_that_do_not_fit_on_the_disk_end_with_1_and_one_line(small_disk, tmp_path):
    flags = ["--arms=plain", "--config.width=100000", "--config.num_steps=1"]
    train(*flags, f"--workdir={tmp_path / 'run'}")  # its examined.json alone is 2 MB
    err = evaluate(f"--checkpoint={tmp_path / 'run'}", f"--workdir={small_disk / 'eval'}", expect=1)
    folder = small_disk / "eval" / "plain"
    assert re.fullmatch(rf"error: No space left on device: {folder}/(weights.bin|examined.json)\n", err)
    assert {path.name for path in folder.iterdir()} <= {"weights.bin"}  # whole, or not there


def test_a_loss_that_is_not_finite_ends_with_1_and_the_parameters_stay_good(tmp_path):
    err = train("--arms=plain", "--config.poisoned_step=5", f"--workdir={tmp_path / 'run'}", expect=1)
    assert re.search(r"diverged at step 6: .*last good checkpoint is .*checkpoints/4", err)
    state = abstract_state(task(Config()), 1)
    for step in checkpoint.steps(tmp_path / "run" / "plain"):
        restored = checkpoint.restore_variables(tmp_path / "run" / "plain", step, state)
        assert np.isfinite(restored["params"]["w"]).all()
