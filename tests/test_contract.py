"""The commands as a user runs them: files, exit codes, and one clear line for every mistake."""

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from conftest import QUICK_COMPILATION

ROOT = Path(__file__).parent.parent
TINY = [
    "--experiment=induction_heads",
    "--config.num_steps=4",
    "--config.batch_size=8",
    "--config.eval_batch_size=8",
    "--config.eval_every=2",
    "--config.checkpoint_every=2",
    "--config.context_length=16",
    "--config.repeats.vocab_size=8",
    "--config.repeats.min_period=3",
]


def run(script, *flags, devices=1, expect=0):
    """stdout and stderr of a command; fails the test where its exit code is another."""
    environment = os.environ | {
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices} {QUICK_COMPILATION}",
        # The commands of this file compile the same programs again and again.
        "JAX_COMPILATION_CACHE_DIR": str(jax.config.jax_compilation_cache_dir),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    done = subprocess.run(
        [sys.executable, script, *flags], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout, done.stderr


def strict(path):
    def refuse(token):
        raise AssertionError(f"{path} holds {token}, which is not strict JSON")

    return [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]


def whole(path):
    return json.loads(path.read_text())


def fingerprint(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("contract") / "run"
    out, err = run("train.py", *TINY, "--arms=one_layer,hand_wired", f"--workdir={workdir}")
    return workdir, out, err


def test_a_run_leaves_the_files_of_the_contract(trained):
    workdir, out, _ = trained
    config = whole(workdir / "config.json")
    assert config["experiment"] == "induction_heads"
    assert config["config"]["num_steps"] == 4
    assert config["config"]["optimizer"]["learning_rate"] == 3e-3  # defaults are written too
    assert {"jax", "flax", "python"} <= set(config["versions"])
    for arm, steps in (("one_layer", 4), ("hand_wired", 0)):
        lines = strict(workdir / arm / "metrics.jsonl")
        assert {"step", "split", "loss"} <= set(next(line for line in lines if line["split"] == "eval"))
        final = whole(workdir / arm / "final.json")
        assert final["step"] == steps
        assert re.fullmatch("[0-9a-f]{64}", final["params_sha256"])
        assert all(not isinstance(value, (dict, list)) for value in final.values())
        assert (workdir / arm / "checkpoints" / str(steps)).is_dir()
        assert list((workdir / arm).glob("events*"))
    claims = whole(workdir / "claims.json")
    for claim in claims:
        assert {"id", "statement", "measured", "expected", "passed", "seeds"} <= set(claim)
        assert claim["passed"] is not None or claim["reason"]
    assert {claim["id"].rstrip("abcdefgh") for claim in claims} == {str(i) for i in range(1, 11)}
    assert (workdir / "results.npz").stat().st_size > 0
    assert "PASS" in out
    assert "report.html" in out


def test_the_report_asks_no_host_for_anything(trained):
    page = (trained[0] / "report.html").read_text()
    assert not re.search(r"""(src|href)\s*=\s*["'](?!#|data:)""", page)
    assert not re.search(r"url\((?!#|['\"]?data:)", page)
    assert "@import" not in page


def test_the_same_command_again_goes_on_from_where_it_was(trained):
    workdir, out, _ = trained
    before = whole(workdir / "one_layer" / "final.json")
    again, _ = run("train.py", *TINY, "--arms=one_layer,hand_wired", f"--workdir={workdir}")
    assert whole(workdir / "one_layer" / "final.json") == before
    assert [line for line in again.splitlines() if "PASS" in line] == [l for l in out.splitlines() if "PASS" in l]


@pytest.mark.slow
def test_stopping_and_going_on_under_pmap_gives_the_same_training(trained, tmp_path):
    flags = [*TINY, "--arms=one_layer", f"--workdir={tmp_path / 'run'}"]
    out, _ = run("train.py", *flags, "--stop_at=2", "--parallelism=pmap", devices=4)
    assert "stopped at step 2" in out
    assert not (tmp_path / "run" / "one_layer" / "final.json").exists()
    run("train.py", *flags, "--mesh=data=2", devices=4)
    there, here = (whole(folder / "one_layer" / "final.json") for folder in (trained[0], tmp_path / "run"))
    assert here["step"] == there["step"]
    assert abs(here["loss"] - there["loss"]) < 1e-4


def test_eval_reports_on_a_run_and_on_a_step_and_changes_nothing(trained, tmp_path):
    workdir, _, _ = trained
    before = fingerprint(workdir)
    out, _ = run("eval.py", f"--checkpoint={workdir}", f"--workdir={tmp_path / 'all'}")
    assert "PASS" in out
    assert whole(tmp_path / "all" / "claims.json") == whole(workdir / "claims.json")
    found = whole(tmp_path / "all" / "metrics.json")
    final = whole(workdir / "one_layer" / "final.json")
    assert found["one_layer"]["loss"] == pytest.approx(final["loss"], rel=1e-5)
    step = workdir / "one_layer" / "checkpoints" / "2"
    run("eval.py", f"--checkpoint={step}", f"--workdir={tmp_path / 'step'}")
    assert whole(tmp_path / "step" / "metrics.json")["one_layer"]["step"] == 2
    assert (tmp_path / "step" / "report.html").exists()
    assert fingerprint(workdir) == before


@pytest.mark.slow
def test_markov_data_runs_with_its_own_reference_losses(tmp_path):
    flags = ["--arms=two_layer", "--config.data=markov", f"--workdir={tmp_path / 'run'}"]
    run("train.py", *TINY, *flags)
    final = whole(tmp_path / "run" / "two_layer" / "final.json")
    assert final["true_loss"] < final["bigram_loss"] < final["unigram_loss"] < final["uniform_loss"]
    assert abs(final["uniform_loss"] - 0.6931) < 1e-3


def test_help_and_list_answer():
    out, _ = run("train.py", "--help")
    assert "--experiment" in out
    out, _ = run("train.py", *TINY[:1], "--help")
    assert "--config.optimizer.learning_rate" in out
    out, _ = run("train.py", "--list")
    assert "induction_heads:" in out
    assert "--preset=long" in out
    out, _ = run("train.py", *TINY, "--summary")
    assert "layer_1/attention/query" in out
    assert "MACs" in out


MISTAKES = {
    "no experiment": ([], "--experiment=NAME is required"),
    "unknown experiment": (["--experiment=induction_head"], "did you mean induction_heads"),
    "unknown flag": ([*TINY, "--arm=two_layer"], "did you mean arms"),
    "unknown field": ([*TINY, "--config.num_head=2"], "did you mean num_heads"),
    "wrong type": ([*TINY, "--config.num_steps=ten"], "'ten' is not a whole number"),
    "unknown preset": ([*TINY, "--preset=lang"], "did you mean long"),
    "unknown arm": ([*TINY, "--arms=two_layers"], "did you mean two_layer"),
    "a field that an arm sets": ([*TINY, "--config.num_layers=3"], "arm two_layer sets num_layers=2 itself"),
    "heads that do not divide": ([*TINY, "--arms=two_layer", "--config.d_model=30"], "d_model=30 is not divisible"),
    "impossible period": ([*TINY, "--config.repeats.max_period=99"], "max_period=99"),
    "an argument that is no flag": ([*TINY, "two_layer"], "unexpected argument 'two_layer'"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gets_one_clear_error_and_writes_nothing(mistake, tmp_path):
    flags, says = MISTAKES[mistake]
    out, err = run("train.py", f"--workdir={tmp_path / 'run'}", *flags, expect=2)
    assert says in err
    assert len(err.splitlines()) <= 2
    assert "Traceback" not in err
    assert out == ""
    assert not (tmp_path / "run").exists()


def test_a_batch_that_devices_do_not_divide_is_refused(tmp_path):
    flags = [*TINY, "--config.batch_size=6", "--parallelism=pmap", f"--workdir={tmp_path / 'run'}"]
    _, err = run("train.py", *flags, devices=4, expect=2)
    assert "batch_size=6 is not divisible by the 4 devices" in err
    assert not (tmp_path / "run").exists()


def test_a_workdir_that_cannot_be_used_is_refused(trained, tmp_path):
    workdir, _, _ = trained
    before = fingerprint(workdir)
    _, err = run("train.py", *TINY, "--config.seed=1", "--arms=one_layer", f"--workdir={workdir}", expect=2)
    assert "config.seed (0 there, 1 now)" in err
    (tmp_path / "file").write_text("")
    _, err = run("train.py", *TINY, "--arms=one_layer", f"--workdir={tmp_path / 'file' / 'run'}", expect=2)
    assert "cannot be created" in err
    assert fingerprint(workdir) == before


def test_checkpoints_that_cannot_be_used_are_refused(trained, tmp_path):
    workdir, _, _ = trained
    _, err = run("eval.py", expect=2)
    assert "give either --checkpoint=DIR" in err
    _, err = run("eval.py", f"--checkpoint={tmp_path / 'absent'}", expect=2)
    assert "is not a folder" in err
    _, err = run("eval.py", f"--checkpoint={tmp_path}", expect=2)
    assert "holds no run" in err
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "config.json").write_text((workdir / "config.json").read_text())
    _, err = run("eval.py", f"--checkpoint={tmp_path / 'empty'}", expect=2)
    assert "holds no checkpoint" in err
    other = whole(workdir / "config.json")
    other["arms"]["one_layer"]["d_model"] = 32
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text(json.dumps(other))
    (tmp_path / "other" / "one_layer").symlink_to(workdir / "one_layer")
    _, err = run("eval.py", f"--checkpoint={tmp_path / 'other'}", expect=2)
    assert "is of another model: params/" in err
    _, err = run("eval.py", f"--checkpoint={workdir}", f"--workdir={workdir / 'again'}", expect=2)
    assert "which is examined" in err


def test_divergence_ends_with_1_and_names_the_step(tmp_path):
    flags = [*TINY, "--arms=one_layer", "--config.optimizer.learning_rate=1e38", "--config.num_steps=50"]
    _, err = run("train.py", *flags, f"--workdir={tmp_path / 'run'}", expect=1)
    assert re.search(r"one_layer: diverged at step \d+: .*last good checkpoint is .*checkpoints/\d+", err)
    for path in (tmp_path / "run" / "one_layer").glob("metrics.jsonl"):
        strict(path)
