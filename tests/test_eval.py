"""eval.py on a run: what it outputs and answers, in a folder of its own. test_contract.py judges claims with it.

The experiment is the one in tests/regression. tests/experiments/test_trained_arms.py has what a query may refuse.
"""

import json

import numpy as np
import pytest
from absl.testing import flagsaver
from regression.commands import evaluate, start, train
from test_contract import fingerprint

from training.experiment import UserError

OUTPUTS = ("weights.bin", "examined.json")
FLAGS = ("--num_seeds=2", "--arms=plain,quiet")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The workdir of a run with two arms and two seeds."""
    workdir = tmp_path_factory.mktemp("eval") / "run"
    train(*FLAGS, f"--workdir={workdir}")
    return workdir


def read_outputs(workdir):
    return {f"{arm}/{name}": (workdir / arm / name).read_bytes() for arm in ("plain", "quiet") for name in OUTPUTS}


def test_a_run_that_was_stopped_outputs_what_one_that_was_not_does(trained, tmp_path):
    train(*FLAGS, "--stop_at=4", f"--workdir={tmp_path}")
    assert not (tmp_path / "plain" / "weights.bin").exists()
    train(*FLAGS, f"--workdir={tmp_path}")
    assert read_outputs(tmp_path) == read_outputs(trained)
    assert len(set(read_outputs(trained).values())) == 4  # of two arms that differ


def test_outputs_are_written_beside_the_report_and_nothing_into_the_run(trained, tmp_path):
    before = fingerprint(trained)
    evaluate(f"--checkpoint={trained}", f"--workdir={tmp_path / 'all'}")
    assert read_outputs(tmp_path / "all") == read_outputs(trained)
    start_folder = trained / "quiet" / "checkpoints" / "4"
    evaluate(f"--checkpoint={start_folder}", f"--workdir={tmp_path / 'step'}")
    assert not (tmp_path / "step" / "plain").exists()
    earlier = np.frombuffer((tmp_path / "step" / "quiet" / "weights.bin").read_bytes(), "<f4")
    final = np.frombuffer((trained / "quiet" / "weights.bin").read_bytes(), "<f4")
    assert 0 < np.abs(earlier - final).max() < 1
    assert fingerprint(trained) == before


def test_a_query_prints_its_answer_and_writes_its_files_and_a_page(trained, tmp_path):
    (tmp_path / "rows.txt").write_text("1 0 0\n0 1 0\n")
    before = fingerprint(trained)
    flags = [f"--checkpoint={trained / 'quiet'}", f"--text={tmp_path / 'rows.txt'}", f"--workdir={tmp_path / 'answer'}"]
    process = start("eval.py", *flags)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    weights = np.frombuffer((trained / "quiet" / "weights.bin").read_bytes(), "<f4")
    assert out.splitlines() == [
        f"{weights[0]:.4f}",
        f"{weights[1]:.4f}",
        f"predictions.txt: {tmp_path / 'answer' / 'predictions.txt'}",
        f"report: {tmp_path / 'answer'}/report.html",
    ]
    assert (tmp_path / "answer" / "predictions.txt").read_text() == f"{weights[0]:.4f}\n{weights[1]:.4f}"
    page = (tmp_path / "answer" / "report.html").read_text()
    assert "Figure 1. Answer" in page
    assert "Figure 2. Rows" in page
    assert "<dt>arm</dt><dd>quiet</dd>" in page
    assert "<dt>step</dt><dd>8</dd>" in page
    assert 'id="claims"' not in page
    assert sorted(path.name for path in (tmp_path / "answer").iterdir()) == ["predictions.txt", "report.html"]
    assert fingerprint(trained) == before


def test_a_query_that_is_refused_ends_with_2_and_one_line(trained, tmp_path):
    flags = [f"--checkpoint={trained}", f"--text={tmp_path / 'absent'}", f"--workdir={tmp_path / 'new'}"]
    err = evaluate(*flags, expect=2)
    assert err == f"error: {tmp_path / 'absent'} cannot be read: No such file or directory\n"
    assert not (tmp_path / "new").exists()


@pytest.fixture
def command():
    """Runs eval.py's main with flags, in this process."""
    import eval as module

    if not module.FLAGS.is_parsed():
        module.FLAGS(["eval.py"])

    def call(**values):
        names = ("checkpoint", "workdir", "experiment", "hf_checkpoint", "text")
        with flagsaver.flagsaver(**dict.fromkeys(names) | values):
            module.main([])

    return call


def test_runs_of_experiments_that_answer_nothing_say_so(command, untrained, tmp_path):
    with pytest.raises(UserError, match=r"^runs of induction_heads answer no --text$"):
        command(checkpoint=str(untrained), text=str(tmp_path), workdir=str(tmp_path / "new"))
    assert not (tmp_path / "new").exists()


def test_answers_go_nowhere_into_the_run(command, trained):
    with pytest.raises(UserError, match="which is examined; choose another"):
        command(checkpoint=str(trained), text="rows.txt", workdir=str(trained / "answer"))


def test_one_thing_is_asked_at_a_time(command, trained, monkeypatch):
    import eval as module

    monkeypatch.setattr(module, "QUERIES", module.QUERIES * 2)
    with pytest.raises(UserError, match="ask one thing at a time: either --text or --text"):
        command(checkpoint=str(trained), text="rows.txt")


def test_config_json_names_the_files_that_belong_to_each_trained_arm(trained):
    record = json.loads((trained / "config.json").read_text())
    assert record["files"] == {"plain": ["inputs.json"], "quiet": ["inputs.json"]}
