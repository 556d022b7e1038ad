"""Translations of a text's lines, experiments/translations.py, by the experiment in tests/regression.

It "translates" the names of its inputs, x0 x1 x2, into their trained weights, with as many decimals as the beam
is wide.
"""

from dataclasses import replace
from pathlib import Path

import pytest
from flax import errors
from regression.experiment import EXPERIMENT

from experiments import trained_arms
from experiments.translations import LINES_AT_ONCE, split_lines, translate_text
from training import parallel, run, workdirs
from training.experiment import UserError

FOLDER = str(Path(__file__).parents[1] / "regression")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(run, {arm: its first seed's weights}) of two arms and two seeds."""
    workdir = tmp_path_factory.mktemp("translations") / "run"
    arm_configs = run.select_arms(EXPERIMENT, EXPERIMENT.config, ("plain", "quiet"), {})
    tasks = run.make_tasks(EXPERIMENT, arm_configs, parallel.SINGLE)
    with workdirs.open_workdir(workdir, FOLDER, EXPERIMENT.config, arm_configs, 2, tasks):
        results = run.train(EXPERIMENT, tasks, arm_configs, workdir, parallel.SINGLE, num_seeds=2)
    weights = {arm: result.variables["params"]["w"][0].tolist() for arm, result in results.items()}
    return trained_arms.find_run(workdir), weights


def with_translator(examined_run, read, translate):
    return examined_run._replace(
        experiment=replace(examined_run.experiment, translator=lambda trained: (read, translate))
    )


def test_lines_are_translated_by_the_first_trained_arm_or_the_one_that_is_named(trained):
    examined_run, weights = trained
    w, quiet = weights["plain"], weights["quiet"]
    assert list(translate_text(examined_run, "x0 x2\nx1\n")) == [f"{w[0]:.1f} {w[2]:.1f}", f"{w[1]:.1f}"]
    assert list(translate_text(examined_run, "x0", beam_size=5)) == [f"{w[0]:.5f}"]
    assert list(translate_text(examined_run, "x0", arm="quiet", beam_size=5)) == [f"{quiet[0]:.5f}"]
    assert f"{w[0]:.5f}" != f"{quiet[0]:.5f}"
    with pytest.raises(UserError, match="has no trained arm 'loud'"):
        translate_text(examined_run, "x0", arm="loud")


def test_empty_lines_stay_empty_and_never_reach_the_model(trained):
    examined_run, _ = trained
    seen = []

    def read(line):
        seen.append(line)
        return line

    recording = with_translator(examined_run, read, lambda lines, beam_size: [line.upper() for line in lines])
    assert list(translate_text(recording, "\n a b\t\r\n \t \n\nc")) == ["", "A B", "", "", "C"]
    assert seen == ["a b", "c"]
    never = with_translator(examined_run, None, None)  # what would fail if it were called
    assert list(translate_text(never, "\n" * (LINES_AT_ONCE + 2))) == [""] * (LINES_AT_ONCE + 2)
    assert list(translate_text(never, "")) == []


def test_many_lines_are_translated_in_order_and_some_at_a_time(trained):
    examined_run, _ = trained
    batches = []

    def translate(lines, beam_size):
        batches.append(lines)
        return [f"{line}.{beam_size}" for line in lines]

    lines = [str(i) if i % 5 else "" for i in range(3 * LINES_AT_ONCE - 7)]
    translations = translate_text(with_translator(examined_run, str, translate), "\n".join(lines), beam_size=3)
    assert next(translations) == ""
    assert len(batches) == 1  # the first lines are there before the last are translated
    assert ["", *translations] == [line and f"{line}.3" for line in lines]
    assert max(map(len, batches)) <= LINES_AT_ONCE
    assert [line for batch in batches for line in batch] == [line for line in lines if line]


def test_a_line_that_cannot_be_translated_is_named_before_any_is_translated(trained):
    examined_run, _ = trained
    read = examined_run.experiment.translator(trained_arms.load_trained(examined_run))[0]
    untranslated = with_translator(examined_run, read, None)
    with pytest.raises(UserError, match=r"^line 3: 'y' is none of the inputs x0, x1, x2$"):
        translate_text(untranslated, "x0\n\ny\nz\n")
    with pytest.raises(UserError, match=r"^'y' is none of the inputs"):
        translate_text(untranslated, "y\n")  # one line needs no number
    with pytest.raises(UserError, match=r"^beam_size=10 must be at most 9$"):
        list(translate_text(examined_run, "x0\nx1", beam_size=10))


def test_a_config_that_is_not_the_checkpoints_is_refused(trained):
    def apply(lines, beam_size):
        raise errors.ScopeParamShapeError("kernel", "layer", (3, 4), (3, 5))

    with pytest.raises(UserError, match=r"config.json of .*run is not the checkpoint's: .*\(3, 4\)"):
        list(translate_text(with_translator(trained[0], str, apply), "x0"))


def test_a_translation_is_one_line_whatever_the_model_wrote(trained):
    broken = with_translator(trained[0], str, lambda lines, beam_size: ["a\nb\r\nc", "d"])
    assert list(translate_text(broken, "x\ny")) == ["a b c", "d"]


def test_lines_end_where_unix_or_windows_end_them():
    assert split_lines("\ufeffUn homme.\r\nDeux.\r\n\r\n") == ["Un homme.", "Deux.", ""]
    assert split_lines("a\n\nb") == ["a", "", "b"]
    assert split_lines("a\x0bb\u2028c\x85d") == ["a\x0bb\u2028c\x85d"]  # what else separates lines is text
    assert split_lines(" \t") == [""]
    assert split_lines("") == []
    assert split_lines("\ufeff") == []
