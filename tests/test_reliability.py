"""Faults: what is killed, cut short, flipped, filled up or run twice, and what the commands make of it.

The commands are the real ones, run with the small experiment of regression.py. docs/reliability.md is the table of all
this. What takes minutes is marked slow.
"""

import contextlib
import hashlib
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
import regression
from conftest import QUICK_COMPILATION

from training import checkpoint, files, parallel, run
from training.config import override
from training.experiment import RunFailed, UserError
from training.step import abstract_state, init_state, repeat, train_step

ROOT = Path(__file__).parent.parent
SLOW_RUN = ("--arms=plain", "--config.seconds=0.02", "--config.num_steps=200", "--config.checkpoint_every=10")


def command(which, *flags, devices=1):
    """A command with the small experiment, begun."""
    experiment = ["--experiment=regression"] if which == "train" else []
    return begun(ROOT / "tests" / "regression.py", which, *experiment, *flags, devices=devices)


def begun(script, *arguments, devices=1):
    environment = os.environ | {
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices} {QUICK_COMPILATION}",
        "JAX_COMPILATION_CACHE_DIR": str(jax.config.jax_compilation_cache_dir),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    return subprocess.Popen(
        [sys.executable, script, *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def done(process, expect=0, timeout=120):
    """stderr of a process that ends with the expected code."""
    out, err = process.communicate(timeout=timeout)
    assert process.returncode == expect, out + err
    return err


def train(*flags, devices=1, expect=0):
    return done(command("train", *flags, devices=devices), expect)


def final(workdir, arm="plain"):
    return json.loads((workdir / arm / "final.json").read_text())


def losses(workdir):
    lines = [json.loads(line) for line in (workdir / "plain" / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["split"], line["loss"]) for line in lines if "loss" in line]


def eventually(condition, seconds=60):
    """Waits until a condition holds; fails the test where it never does."""
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.02)


def logged_step(workdir):
    with contextlib.suppress(OSError, IndexError, ValueError):
        return json.loads((workdir / "plain" / "metrics.jsonl").read_text().splitlines()[-1])["step"]
    return -1


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The workdir of a run of 200 steps that nothing disturbed."""
    workdir = tmp_path_factory.mktemp("whole")
    train(*SLOW_RUN, f"--workdir={workdir}")
    return workdir


def params_at(step):
    """The parameters' hash at a step of that run, computed without the loop."""
    config = override(regression.EXPERIMENT.config, {"num_steps": 200})
    task = regression.task(config)
    state = jax.jit(repeat(train_step(task)))(init_state(task, 0), step)
    return checkpoint.params_sha256(jax.device_get(state.params))


def kill_at_random(workdir, generator, process):
    """Kills a process at some time after its first checkpoint; looks at what it left."""
    eventually(lambda: logged_step(workdir) >= 0 or process.poll() is not None)
    time.sleep(generator.uniform(0, 1.5))
    process.kill()
    process.communicate()
    found = checkpoint.steps(workdir / "plain")
    for step in found:
        assert files.damage(checkpoint.step_folder(workdir / "plain", step)) is None
        state = abstract_state(regression.task(regression.Config(num_steps=200)), 1)
        restored = checkpoint.restore_variables(workdir / "plain", step, state)
        assert checkpoint.params_sha256(restored["params"]) == params_at(step)
    # One interval, and one more that may have passed while the last checkpoint was being written.
    assert not found or logged_step(workdir) - found[-1] <= 2 * 10


def killed_and_resumed(workdir, kills, seed):
    generator = random.Random(seed)
    for _ in range(kills):
        kill_at_random(workdir, generator, command("train", *SLOW_RUN, f"--workdir={workdir}"))
    train(*SLOW_RUN, f"--workdir={workdir}")
    assert not [path for path in workdir.rglob("*") if "tmp" in path.name or "unfinished" in path.name]


@pytest.mark.parametrize("kills", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_random_moments_it_ends_as_if_left_alone(whole, tmp_path, kills):
    killed_and_resumed(tmp_path / "run", kills, seed=kills)
    assert final(tmp_path / "run") == final(whole)
    assert losses(tmp_path / "run") == losses(whole)


def test_the_hash_of_a_run_is_that_of_its_steps_taken_one_after_the_other(whole):
    assert final(whole)["params_sha256"] == params_at(200)


@pytest.fixture
def saved(tmp_path):
    """An arm's folder with checkpoints of steps 0, 10 and 20."""
    task = regression.task(regression.Config())
    state = init_state(task, 0)
    with checkpoint.Saver(tmp_path) as saver:
        for step in (0, 10, 20):
            saver.save(state._replace(step=np.int32(step)), keep=True)
    return tmp_path


def files_of(folder):
    return sorted(path for path in Path(folder).rglob("*") if path.is_file())


def flip(path, generator):
    content = bytearray(path.read_bytes())
    if not content:
        return False
    content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
    path.write_bytes(content)
    return True


def test_every_flipped_bit_is_noticed_and_passed_over_with_one_warning(saved, capsys):
    newest = checkpoint.step_folder(saved, 20)
    generator = random.Random(0)
    flips = 0
    for path in files_of(newest) * 3:
        before = path.read_bytes()
        if flip(path, generator):
            flips += 1
            assert files.damage(newest), path
            assert checkpoint.newest(saved) == 10
            assert capsys.readouterr().err.count("warning") == 1
        path.write_bytes(before)
        assert files.damage(newest) is None
    assert flips >= 40


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def largest(folder):
    return max(files_of(folder), key=lambda path: path.stat().st_size)


BREAKAGES = {
    "a truncated file": lambda folder: cut(largest(folder)),
    "a deleted file": lambda folder: largest(folder).unlink(),
    "a truncated manifest": lambda folder: cut(folder / files.MANIFEST),
    "a deleted manifest": lambda folder: (folder / files.MANIFEST).unlink(),
    "a deleted item": lambda folder: shutil.rmtree(folder / "params"),
    "a file too many": lambda folder: (folder / "params" / "more").write_text("x"),
    "an empty step folder": lambda folder: (shutil.rmtree(folder), folder.mkdir()),
}


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_what_is_cut_or_missing_is_passed_over_or_ends_in_one_short_error(saved, breakage):
    BREAKAGES[breakage](Path(checkpoint.step_folder(saved, 20)))
    assert checkpoint.newest(saved) == 10
    with pytest.raises((RunFailed, UserError)):
        checkpoint.newest(saved, 20)
    for step in (0, 10):
        BREAKAGES[breakage](Path(checkpoint.step_folder(saved, step)))
    with pytest.raises(RunFailed, match="no whole checkpoint") as error:
        checkpoint.newest(saved)
    assert len(str(error.value)) <= 300
    assert re.search("step [0-9]+", str(error.value))
    assert str(saved)[-40:] in str(error.value)
    before = files_of(saved)
    with pytest.raises(RunFailed):
        checkpoint.newest_to_go_on_from(saved)
    assert files_of(saved) == before  # nothing is cleared away where nothing is whole


def test_going_on_sets_damaged_steps_aside_and_removes_unfinished_ones(saved):
    cut(largest(Path(checkpoint.step_folder(saved, 20))))
    (Path(checkpoint.step_folder(saved, 0)) / files.MANIFEST).unlink()
    assert checkpoint.newest_to_go_on_from(saved) == 10
    assert sorted(path.name for path in (saved / "checkpoints").iterdir()) == ["10", "20.damaged"]


def test_both_commands_notice_damage_and_training_ends_as_it_would_have(whole, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(whole, workdir)
    flip(largest(workdir / "plain" / "checkpoints" / "200" / "rest"), random.Random(1))
    err = done(command("eval", f"--checkpoint={workdir}", f"--workdir={tmp_path / 'eval'}"))
    assert re.search(r"warning: passed over damaged .*step 200 .*Step 190 is whole", err)
    step = workdir / "plain" / "checkpoints" / "200"
    err = done(command("eval", f"--checkpoint={step}", f"--workdir={tmp_path / 'step'}"), expect=1)
    assert "step 200" in err
    assert len(err) < 400
    (workdir / "plain" / "final.json").unlink()
    err = train(*SLOW_RUN, f"--workdir={workdir}")
    assert err.count("warning: passed over") == 1
    assert final(workdir) == final(whole)


@pytest.mark.parametrize("end", [None, RuntimeError, SystemExit, KeyboardInterrupt])
def test_however_a_program_ends_its_last_save_is_committed(tmp_path, end):
    state = init_state(regression.task(regression.Config()), 0)
    with contextlib.suppress(RuntimeError, SystemExit, KeyboardInterrupt), checkpoint.Saver(tmp_path) as saver:
        saver.save(state)
        if end:
            raise end
    assert checkpoint.newest(tmp_path) == 0


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM])
def test_a_signal_saves_and_ends_within_ten_seconds(whole, tmp_path, number):
    workdir = tmp_path / "run"
    # No checkpoint is due: only the signal's own is there to go on from.
    flags = [*SLOW_RUN[:-1], "--config.checkpoint_every=1000", f"--workdir={workdir}"]
    process = command("train", *flags)
    eventually(lambda: logged_step(workdir) >= 4)
    began = time.monotonic()
    process.send_signal(number)
    err = done(process, expect=130)
    assert time.monotonic() - began < 10
    step = int(re.search(r"interrupted at step (\d+), which is saved", err)[1])
    assert checkpoint.newest(workdir / "plain") == step > 0
    train(*flags)
    assert final(workdir)["params_sha256"] == final(whole)["params_sha256"]


@pytest.mark.slow
def test_a_signal_while_the_program_is_busy_elsewhere_ends_it_all_the_same(tmp_path):
    """Nothing looks at the signal while a batch takes a minute: the deadline ends the process."""
    process = command("train", "--arms=plain", "--config.seconds=60", f"--workdir={tmp_path / 'run'}")
    eventually(lambda: logged_step(tmp_path / "run") >= 0)
    time.sleep(5)  # the first step has its batch; the second waits for one
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert "the last checkpoint stands" in done(process, expect=130)
    assert time.monotonic() - began < 10
    assert checkpoint.newest(tmp_path / "run" / "plain") == 0


def test_a_second_run_on_a_workdir_is_refused(tmp_path):
    base = regression.EXPERIMENT.config
    with run.open_workdir(tmp_path / "run", "regression", base, {}, 1):
        err = train("--arms=plain", f"--workdir={tmp_path / 'run'}", expect=2)
        assert re.search(rf"is in use by process {os.getpid()} on ", err)
    train("--arms=plain", f"--workdir={tmp_path / 'run'}", "--stop_at=0")  # the lock went with its holder


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a file system of 3 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_ends_with_1_and_leaves_the_old_steps_whole(small_disk):
    workdir = small_disk / "run"
    # A checkpoint is 1.2 MB; two are kept while a third is written.
    flags = ["--arms=plain", "--config.width=100000", f"--workdir={workdir}"]
    err = train(*flags, "--config.num_steps=50", expect=1)
    # Whichever finds the disk full first: a checkpoint or the metrics.
    step = int(re.search(r"error: .*(?:checkpoint of step|could not be written at step) (\d+)", err)[1])
    assert "No space left" in err or "RESOURCE_EXHAUSTED" in err, err
    assert "Traceback" not in err
    found = checkpoint.steps(workdir / "plain")
    assert found
    assert step - found[-1] <= 2  # one interval
    for good in found:
        assert files.damage(checkpoint.step_folder(workdir / "plain", good)) is None


def test_a_loss_that_is_not_finite_ends_with_1_and_the_parameters_stay_good(tmp_path):
    err = train("--arms=plain", "--config.poisoned_step=5", f"--workdir={tmp_path / 'run'}", expect=1)
    assert re.search(r"diverged at step 6: .*last good checkpoint is .*checkpoints/4", err)
    state = abstract_state(regression.task(regression.Config()), 1)
    for step in checkpoint.steps(tmp_path / "run" / "plain"):
        restored = checkpoint.restore_variables(tmp_path / "run" / "plain", step, state)
        assert np.isfinite(restored["params"]["w"]).all()


def test_another_seed_batch_size_or_field_on_resume_is_refused_by_name(whole):
    flags = [*SLOW_RUN, f"--workdir={whole}", "--config.seed=1", "--config.batch_size=8"]
    err = train(*flags, "--config.optimizer.b1=0.8", expect=2)
    for difference in ("seed (0 there, 1 now)", "batch_size (16 there, 8 now)", "optimizer.b1 (0.9 there, 0.8 now)"):
        assert difference in err


def test_evaluation_reads_no_optimiser_state_and_leaves_the_folder_as_it_was(whole, tmp_path):
    def fingerprint():
        return {str(p): (p.stat().st_mtime_ns, hashlib.sha256(p.read_bytes()).digest()) for p in files_of(whole)}

    before = fingerprint()
    done(command("eval", f"--checkpoint={whole}", f"--workdir={tmp_path / 'eval'}"))
    assert fingerprint() == before
    without = tmp_path / "arm"
    shutil.copytree(whole / "plain", without)
    shutil.rmtree(without / "checkpoints" / "200" / "rest")
    state = abstract_state(regression.task(regression.Config(num_steps=200)), 1)
    assert checkpoint.restore_variables(without, 200, state)


RESUMED_ON = [
    pytest.param("single", "", marks=pytest.mark.slow),
    ("mesh", "data=2,fsdp=2,model=2"),
    pytest.param("mesh", "data=4", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("kind", "mesh"), RESUMED_ON)
def test_what_eight_devices_saved_any_number_restores(tiny, tmp_path, kind, mesh):
    """Identical parameters after the restore; the loss 30 steps later within 1e-4."""
    _, _, _, tasks = tiny(d_mlp=32)
    task = tasks["two_layer"]

    def thirty_steps(placement, state):
        steps = parallel.train_steps(placement, task, 1)
        state = steps(parallel.place(placement, state), 30)
        return np.divide(*parallel.local(placement, state.sums)["loss"])

    eight = parallel.choose("pmap")
    state = parallel.initial(eight, task, [0])
    with checkpoint.Saver(tmp_path) as saver:
        saver.save(parallel.at_rest(eight, parallel.place(eight, state)))
    expected = thirty_steps(eight, state)
    placement = parallel.choose(kind, mesh)
    shardings = parallel.state_shardings(placement, task, 1)
    restored = checkpoint.restore_state(tmp_path, 0, abstract_state(task, 1), shardings)
    assert jax.tree.map(lambda x: x.sharding, restored) == shardings
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(restored), jax.device_get(state))
    np.testing.assert_allclose(thirty_steps(placement, restored), expected, rtol=1e-4)


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def two_processes(*flags, devices=2):
    address = f"--coordinator=127.0.0.1:{free_port()}"
    return [
        command("train", *flags, address, "--num_processes=2", f"--process_id={i}", devices=devices) for i in (0, 1)
    ]


@pytest.mark.slow
def test_two_processes_train_as_one_and_only_the_first_writes(tmp_path):
    flags = ["--arms=plain", "--config.noise=0", "--config.num_steps=20"]  # noise is each device's own
    train(*flags, f"--workdir={tmp_path / 'one'}")
    first, second = two_processes(*flags, f"--workdir={tmp_path / 'two'}")
    done(first)
    assert "step 20/20" not in done(second)
    one, two = (losses(tmp_path / name) for name in ("one", "two"))
    assert [line[:2] for line in one] == [line[:2] for line in two]
    np.testing.assert_allclose([line[2] for line in one], [line[2] for line in two], rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("mesh", [[], ["--mesh=data=2,fsdp=2"]], ids=["pmap", "mesh"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_one_of_two_processes_ends_both_at_the_same_step(tmp_path, mesh, number):
    workdir = tmp_path / "run"
    flags = [*SLOW_RUN, *mesh]
    processes = two_processes(*flags, f"--workdir={workdir}")
    eventually(lambda: logged_step(workdir) >= 20)
    began = time.monotonic()
    processes[1].send_signal(number)
    ends = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [130, 130], ends
    assert time.monotonic() - began < 10
    steps = {re.search(r"interrupted at step (\d+)", end)[1] for end in ends}
    assert len(steps) == 1
    assert checkpoint.newest(workdir / "plain") == int(steps.pop())
    for folder in (workdir, tmp_path / "whole"):
        for process in two_processes(*flags, f"--workdir={folder}"):
            done(process)
    assert final(workdir) == final(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_when_a_peer_dies_the_other_ends_and_a_restart_goes_on(tmp_path, victim):
    flags = [*SLOW_RUN, f"--workdir={tmp_path / 'run'}"]
    processes = two_processes(*flags)
    eventually(lambda: logged_step(tmp_path / "run") >= 30)
    began = time.monotonic()
    processes[victim].kill()
    processes[1 - victim].communicate(timeout=60)
    assert processes[1 - victim].returncode != 0
    assert time.monotonic() - began < 30
    processes[victim].communicate()
    for process in [*two_processes(*flags), *two_processes(*SLOW_RUN, f"--workdir={tmp_path / 'whole'}")]:
        done(process)
    assert final(tmp_path / "run") == final(tmp_path / "whole")


@pytest.mark.slow
def test_when_one_process_fails_alone_both_end(small_disk):
    """Metrics are written by the first process only: so only it finds the disk full."""
    filler = small_disk / "filler"
    flags = ["--arms=plain", "--config.seconds=0.02", "--config.num_steps=2000", "--config.checkpoint_every=5000"]
    processes = two_processes(*flags, f"--workdir={small_disk / 'run'}")
    eventually(lambda: logged_step(small_disk / "run") >= 4)
    with contextlib.suppress(OSError), filler.open("wb") as file:
        while True:
            file.write(bytes(4096))
            file.flush()
    began = time.monotonic()
    err = processes[0].communicate(timeout=120)[1]
    processes[1].communicate(timeout=120)
    assert time.monotonic() - began < 60
    assert processes[0].returncode == 1, err
    assert "could not be written" in err
    assert processes[1].returncode != 0


@pytest.mark.slow
def test_two_processes_go_on_from_what_one_saved_and_one_from_what_two_saved(tmp_path):
    flags = [*SLOW_RUN, "--config.noise=0"]
    there = f"--workdir={tmp_path / 'run'}"
    train(*flags, there, "--stop_at=50")
    for process in two_processes(*flags, there, "--stop_at=100"):
        done(process)
    train(*flags, there, "--mesh=fsdp=4", "--stop_at=150", devices=4)
    train(*flags, there)
    train(*flags, f"--workdir={tmp_path / 'whole'}")
    one, many = (losses(tmp_path / name) for name in ("whole", "run"))
    np.testing.assert_allclose([line[2] for line in one], [line[2] for line in many], rtol=1e-4)


@pytest.mark.slow
def test_the_flagship_killed_at_any_moment_ends_with_the_same_parameters(tmp_path):
    flags = [ROOT / "train.py", "--experiment=induction_heads", "--arms=two_layer"]
    generator = random.Random(0)
    for _ in range(4):
        process = begun(*flags, f"--workdir={tmp_path / 'killed'}")
        time.sleep(generator.uniform(5, 40))
        process.kill()
        process.communicate()
    for name in ("killed", "whole"):
        done(begun(*flags, f"--workdir={tmp_path / name}"), timeout=600)
    assert final(tmp_path / "killed", "two_layer") == final(tmp_path / "whole", "two_layer")


@pytest.mark.slow
def test_the_flagship_in_two_processes_of_four_devices_one_killed(tmp_path):
    flags = [
        "--experiment=induction_heads",
        "--arms=two_layer",
        "--config.num_steps=40",
        "--config.checkpoint_every=10",
    ]

    def both(workdir):
        shared = [*flags, f"--workdir={workdir}", f"--coordinator=127.0.0.1:{free_port()}", "--num_processes=2"]
        return [begun(ROOT / "train.py", *shared, f"--process_id={i}", devices=4) for i in (0, 1)]

    processes = both(tmp_path / "killed")
    eventually(lambda: checkpoint.steps(tmp_path / "killed" / "two_layer")[-1:] >= [10], seconds=300)
    processes[1].kill()
    assert processes[0].wait(timeout=60) != 0
    for process in processes:
        process.communicate()
    for name in ("killed", "whole"):
        for process in both(tmp_path / name):
            done(process, timeout=600)
    assert final(tmp_path / "killed", "two_layer") == final(tmp_path / "whole", "two_layer")


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--coordinator=127.0.0.1:1"], "go together: give all three"),
        (["--coordinator=127.0.0.1:1", "--num_processes=2", "--process_id=2"], "must lie in 0 ... 1"),
    ],
)
def test_processes_that_cannot_be_are_refused(tmp_path, flags, says):
    assert says in train(*flags, f"--workdir={tmp_path / 'run'}", expect=2)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("which", ["train", "eval"])
def test_no_command_imports_tensorflow(which):
    code = f"import sys, {which}; from reporting import report; from training import run; print(*sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {"jax", "training.run"} <= set(answer.stdout.split())
    assert not {"tensorflow", "torch"} & set(answer.stdout.split())
