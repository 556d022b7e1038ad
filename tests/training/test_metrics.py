"""metrics.jsonl: strict JSON that is read back as it was written, whatever a kill left at its end."""

import json

import numpy as np
import pytest

from training import metrics


def strict(text):
    def refuse(token):
        raise AssertionError(f"{token} is not strict JSON")

    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


@pytest.mark.parametrize("seeds", [[5], [5, 6, 7]])
def test_arrays_survive_the_file_bit_for_bit(tmp_path, seeds):
    rng = np.random.default_rng(0)
    loss = rng.normal(size=(3, len(seeds))).astype(np.float32)
    scores = rng.normal(size=(3, len(seeds), 2, 4)).astype(np.float32)
    with metrics.Writer(tmp_path, seeds) as writer:
        for i, step in enumerate((0, 10, 20)):
            writer.write(step, "eval", {"loss": loss[i]})
            writer.write(step, "probe", {"score": scores[i]})
    history = metrics.read(tmp_path, len(seeds))
    assert history["eval"].steps.tolist() == [0, 10, 20]
    np.testing.assert_array_equal(history["eval"]["loss"].astype(np.float32), loss)
    np.testing.assert_array_equal(history["probe"]["score"].astype(np.float32), scores)
    lines = strict((tmp_path / "metrics.jsonl").read_text())
    assert all(("seed" in line) == (len(seeds) > 1) for line in lines)


def test_values_that_are_not_finite_are_null(tmp_path):
    with metrics.Writer(tmp_path, [0]) as writer:
        writer.write(0, "eval", {"loss": np.array([np.nan]), "other": np.array([np.inf])})
    (line,) = strict((tmp_path / "metrics.jsonl").read_text())
    assert line == {"step": 0, "split": "eval", "loss": None, "other": None}
    assert np.isnan(metrics.read(tmp_path, 1)["eval"]["loss"]).all()


def test_lines_after_the_checkpoint_are_dropped_when_a_run_goes_on(tmp_path):
    with metrics.Writer(tmp_path, [0]) as writer:
        for step in (0, 10, 20):
            writer.write(step, "eval", {"loss": np.array([float(step)])})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 30, "split": "ev')  # cut short by a kill
    with metrics.Writer(tmp_path, [0], 10) as writer:
        writer.write(20, "eval", {"loss": np.array([99.0])})
    assert metrics.read(tmp_path, 1)["eval"]["loss"][:, 0].tolist() == [0.0, 10.0, 99.0]
