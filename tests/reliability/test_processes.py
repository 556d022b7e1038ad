"""Several processes that train together, training/processes.py: as one, and ended together."""

import contextlib
import re
import signal
import socket
import time

import numpy as np
import pytest
from regression.commands import (
    SLOW_RUN,
    finish,
    logged_step,
    read_losses,
    start,
    start_train,
    train,
    wait_until,
)
from regression.runs import read_final

from training import checkpoint, processes
from training.experiment import UserError


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start_two(*flags, devices=2):
    """Two processes of one training."""
    address = f"--coordinator=127.0.0.1:{free_port()}"
    return [start_train(*flags, address, "--num_processes=2", f"--process_id={i}", devices=devices) for i in (0, 1)]


@pytest.mark.slow
def test_two_processes_train_as_one_and_only_the_first_writes(tmp_path):
    flags = ["--arms=plain", "--config.noise=0", "--config.num_steps=20"]  # noise is each device's own
    train(*flags, f"--workdir={tmp_path / 'one'}")
    first, second = start_two(*flags, f"--workdir={tmp_path / 'two'}")
    finish(first)
    assert "step 20/20" not in finish(second)
    one, two = (read_losses(tmp_path / name) for name in ("one", "two"))
    assert [line[:2] for line in one] == [line[:2] for line in two]
    np.testing.assert_allclose([line[2] for line in one], [line[2] for line in two], rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("mesh", [[], ["--mesh=data=2,fsdp=2"]], ids=["pmap", "mesh"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_one_of_two_processes_ends_both_at_the_same_step(tmp_path, mesh, number):
    workdir = tmp_path / "run"
    flags = [*SLOW_RUN, *mesh]
    pair = start_two(*flags, f"--workdir={workdir}")
    wait_until(lambda: logged_step(workdir) >= 20)
    sent = time.monotonic()
    pair[1].send_signal(number)
    ends = [process.communicate(timeout=120)[1] for process in pair]
    assert [process.returncode for process in pair] == [130, 130], ends
    assert time.monotonic() - sent < 10
    steps = {re.search(r"interrupted at step (\d+)", end)[1] for end in ends}
    assert len(steps) == 1
    assert checkpoint.newest(workdir / "plain") == int(steps.pop())
    for folder in (workdir, tmp_path / "undisturbed"):
        for process in start_two(*flags, f"--workdir={folder}"):
            finish(process)
    assert read_final(workdir) == read_final(tmp_path / "undisturbed")


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_when_a_peer_dies_the_other_ends_and_a_restart_goes_on(tmp_path, victim):
    flags = [*SLOW_RUN, f"--workdir={tmp_path / 'run'}"]
    pair = start_two(*flags)
    wait_until(lambda: logged_step(tmp_path / "run") >= 30)
    killed = time.monotonic()
    pair[victim].kill()
    pair[1 - victim].communicate(timeout=60)
    assert pair[1 - victim].returncode != 0
    assert time.monotonic() - killed < 30
    pair[victim].communicate()
    for process in [*start_two(*flags), *start_two(*SLOW_RUN, f"--workdir={tmp_path / 'undisturbed'}")]:
        finish(process)
    assert read_final(tmp_path / "run") == read_final(tmp_path / "undisturbed")


@pytest.mark.slow
def test_when_one_process_fails_alone_both_end(small_disk):
    """Metrics are written by the first process only: so only it finds the disk full."""
    filler = small_disk / "filler"
    flags = ["--arms=plain", "--config.seconds=0.02", "--config.num_steps=2000", "--config.checkpoint_every=5000"]
    pair = start_two(*flags, f"--workdir={small_disk / 'run'}")
    wait_until(lambda: logged_step(small_disk / "run") >= 4)
    with contextlib.suppress(OSError), filler.open("wb") as file:
        while True:
            file.write(bytes(4096))
            file.flush()
    filled = time.monotonic()
    err = pair[0].communicate(timeout=120)[1]
    pair[1].communicate(timeout=120)
    assert time.monotonic() - filled < 60
    assert pair[0].returncode == 1, err
    assert "could not be written" in err
    assert pair[1].returncode != 0


@pytest.mark.slow
def test_two_processes_go_on_from_what_one_saved_and_one_from_what_two_saved(tmp_path):
    flags = [*SLOW_RUN, "--config.noise=0"]
    workdir = f"--workdir={tmp_path / 'run'}"
    train(*flags, workdir, "--stop_at=25")
    for process in start_two(*flags, workdir, "--stop_at=50"):
        finish(process)
    train(*flags, workdir, "--mesh=fsdp=4", "--stop_at=75", devices=4)
    train(*flags, workdir)
    train(*flags, f"--workdir={tmp_path / 'undisturbed'}")
    one, many = (read_losses(tmp_path / name) for name in ("undisturbed", "run"))
    np.testing.assert_allclose([line[2] for line in one], [line[2] for line in many], rtol=1e-4)


@pytest.mark.slow
def test_the_flagship_in_two_processes_of_four_devices_one_killed(tmp_path):
    flags = [
        "--experiment=induction_heads",
        "--arms=two_layer",
        "--config.num_steps=40",
        "--config.checkpoint_every=10",
    ]

    def start_both(workdir):
        shared = [*flags, f"--workdir={workdir}", f"--coordinator=127.0.0.1:{free_port()}", "--num_processes=2"]
        return [start("train.py", *shared, f"--process_id={i}", devices=4) for i in (0, 1)]

    pair = start_both(tmp_path / "killed")
    wait_until(lambda: checkpoint.steps(tmp_path / "killed" / "two_layer")[-1:] >= [10], seconds=300)
    pair[1].kill()
    assert pair[0].wait(timeout=60) != 0
    for process in pair:
        process.communicate()
    for name in ("killed", "undisturbed"):
        for process in start_both(tmp_path / name):
            finish(process, timeout=600)
    assert read_final(tmp_path / "killed", "two_layer") == read_final(tmp_path / "undisturbed", "two_layer")


def test_a_process_outside_its_run_is_refused_before_anything_is_written(tmp_path):
    flags = ["--coordinator=127.0.0.1:1", "--num_processes=2", "--process_id=2"]
    assert "must lie in 0 ... 1" in train(*flags, f"--workdir={tmp_path / 'run'}", expect=2)
    assert not (tmp_path / "run").exists()


def test_the_flags_of_several_processes_go_together():
    with pytest.raises(UserError, match="go together: give all three"):
        processes.join("127.0.0.1:1")


def test_what_the_processes_decide_in_common_is_what_one_alone_says():
    assert processes.first_says(7) == 7
    assert processes.any_says(True) is True
    assert processes.any_says(False) is False
    assert processes.first_decides(max, 3, 5) == 5
    with pytest.raises(UserError, match="weights are gone"):
        processes.first_decides(refuse, "weights")


def refuse(name):
    raise UserError(f"{name} are gone")
