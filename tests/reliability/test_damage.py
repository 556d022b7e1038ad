"""Files of checkpoints that are cut short, flipped or gone."""

import hashlib
import random
import re
import shutil
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from regression.commands import SLOW_RUN, evaluate, train
from regression.runs import read_final

from training import checkpoint, files
from training.experiment import RunFailed, UserError
from training.step import State


@pytest.fixture(scope="module")
def saved_once(tmp_path_factory):
    """An arm's folder with checkpoints of steps 0, 10 and 20."""
    folder = tmp_path_factory.mktemp("saved")
    state = State(
        step=jnp.int32(0), seed=jnp.int32(0), params={"w": jnp.arange(3.0)}, collections={}, optimizer=(jnp.ones(3),)
    )
    with checkpoint.Saver(folder) as saver:
        for step in (0, 10, 20):
            saver.save(state._replace(step=np.int32(step)), keep=True)
    return folder


@pytest.fixture
def saved(saved_once, tmp_path):
    """A copy of it to damage."""
    return Path(shutil.copytree(saved_once, tmp_path / "saved"))


def files_of(folder):
    return sorted(path for path in Path(folder).rglob("*") if path.is_file())


def fingerprint(folder):
    """{path: (time, content's hash)} of all files in a folder."""
    return {path: (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).digest()) for path in files_of(folder)}


def largest_file(folder):
    return max(files_of(folder), key=lambda path: path.stat().st_size)


def flip_bit(path, generator):
    """Flips a random bit of a file; returns whether it has any."""
    content = bytearray(path.read_bytes())
    if not content:
        return False
    content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
    path.write_bytes(content)
    return True


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_every_flipped_bit_is_noticed_and_passed_over_with_one_warning(saved, capsys):
    newest = checkpoint.step_folder(saved, 20)
    generator = random.Random(0)
    flips = 0
    for path in files_of(newest) * 3:
        content = path.read_bytes()
        if flip_bit(path, generator):
            flips += 1
            assert files.damage(newest), path
            assert checkpoint.newest(saved) == 10
            assert capsys.readouterr().err.count("warning") == 1
        path.write_bytes(content)
        assert files.damage(newest) is None
    assert flips >= 40


BREAKAGES = {
    "a truncated file": lambda folder: cut(largest_file(folder)),
    "a deleted file": lambda folder: largest_file(folder).unlink(),
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
        checkpoint.prepare_to_resume(saved)
    assert files_of(saved) == before  # nothing is cleared away where nothing is whole


def test_resuming_sets_damaged_steps_aside_and_removes_unfinished_ones(saved):
    cut(largest_file(Path(checkpoint.step_folder(saved, 20))))
    (Path(checkpoint.step_folder(saved, 0)) / files.MANIFEST).unlink()
    assert checkpoint.prepare_to_resume(saved) == 10
    assert sorted(path.name for path in (saved / "checkpoints").iterdir()) == ["10", "20.damaged"]


def test_both_commands_notice_damage_and_training_ends_as_it_would_have(undisturbed, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(undisturbed, workdir)
    step = workdir / "plain" / "checkpoints" / "100"
    flip_bit(largest_file(step / "rest"), random.Random(1))
    before = fingerprint(workdir)
    err = evaluate(f"--checkpoint={workdir}", f"--workdir={tmp_path / 'eval'}")
    assert re.search(r"warning: passed over damaged .*step 100 .*Step 90 is whole", err)
    assert fingerprint(workdir) == before
    with pytest.raises(RunFailed, match="step 100") as error:
        checkpoint.newest(workdir / "plain", 100)
    assert len(str(error.value)) < 400
    (workdir / "plain" / "final.json").unlink()
    err = train(*SLOW_RUN, f"--workdir={workdir}")
    assert err.count("warning: passed over") == 1
    assert read_final(workdir) == read_final(undisturbed)
