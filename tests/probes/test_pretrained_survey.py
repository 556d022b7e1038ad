"""Pretrained models surveyed: the hand-wired model as positive control, all families, series, and what is refused.

Covers probes/survey.py and reporting/pretrained.py too.
"""

import json
import time
from pathlib import Path

import attention_models
import numpy as np
import pytest
from absl.testing import flagsaver

from models.pretrained.export import export
from models.pretrained.folder import describe
from probes import pretrained_survey, survey
from reporting import pretrained as pages
from training.experiment import UserError

FIXTURES = Path(__file__).parents[1] / "fixtures" / "hf"
VOCABULARY, CONTEXT = 13, 21  # the last id is BOS


@pytest.fixture(scope="module")
def hand_wired(tmp_path_factory):
    """The induction head that was written down by hand, as a folder of a pretrained model."""
    folder = tmp_path_factory.mktemp("hand_wired") / "step7"
    model, variables = attention_models.hand_wired(VOCABULARY, CONTEXT)
    export(folder, model.config, variables["params"], "gpt2", first_token=VOCABULARY - 1)
    return str(folder)


def strict(path):
    def refuse(token):
        raise AssertionError(f"{path} holds {token}, which is not strict JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


def write(workdir, surveyed):
    text = pages.write(workdir, surveyed, command="python eval.py", facts={}, start=time.monotonic())
    return text, strict(workdir / "metrics.json"), (workdir / "report.html").read_text()


def test_the_exported_induction_head_is_found_and_its_page_written(hand_wired, tmp_path):
    surveyed = pretrained_survey.survey_folders([hand_wired])
    text, metrics, page = write(tmp_path, surveyed)
    assert metrics["previous_token_score"][0][0] >= 0.99
    assert metrics["induction_score"][1][0] >= 0.99
    assert metrics["prefix_matching_sum"][1][0] >= 0.99
    assert max(metrics["previous_token_score"][1][0], metrics["induction_score"][0][0]) < 0.2
    assert metrics["ov_copying_score"][1][0] > 0.99
    assert metrics["repeat_loss"] < 1e-3
    assert min(metrics["ablation_loss_increase"][0][0], metrics["ablation_loss_increase"][1][0]) > 1
    assert metrics["logit_attribution"][1][0] > 15
    assert metrics["in_context_learning_score"] < -2
    assert "text" not in metrics
    assert "checkpoints" not in metrics
    composed = surveyed[0].measured["composition"]
    assert composed["key"][0, 0, 1, 0] > 5 > composed["query"][0, 0, 1, 0]
    assert "head 1.0: induction 1.00" in page
    assert "0.0 1.00" in text.splitlines()[0]
    assert strict(tmp_path / "claims.json") == []
    assert np.load(tmp_path / "results.npz")["7/induction_score"].shape == (2, 1)


@pytest.mark.parametrize(
    "family", ["qwen2", *(pytest.param(family, marks=pytest.mark.slow) for family in ("gpt2", "gpt_neox", "llama"))]
)
def test_every_family_is_surveyed_on_text_and_in_a_series(family, hand_wired, tmp_path):
    folders = [hand_wired, str(FIXTURES / family)]
    if family != "gpt2":
        folders = folders[1:]
    text = Path(__file__)
    if family == "gpt2":  # the hand-wired model has no tokenizer
        with pytest.raises(ValueError, match=r"tokenizer.json is missing"):
            pretrained_survey.survey_folders(folders, text)
        text = None
    surveyed = pretrained_survey.survey_folders(folders, text)
    _, metrics, page = write(tmp_path, surveyed)
    config = describe(folders[-1]).config
    shape = (config.num_layers, config.num_heads)
    names = ("previous_token_score", "duplicate_token_score", "induction_score")
    for scores in [metrics, *([metrics["text"]] if text else [])]:
        assert all(np.shape(scores[name]) == shape for name in names)
    assert np.isfinite(metrics["ablation_loss_increase"]).all()
    assert (len(metrics.get("checkpoints", [])) == 2) == (family == "gpt2")
    assert ("Over training" in page) == (family == "gpt2")
    assert ("on the text" in page) == (text is not None)


def test_folders_are_listed_and_those_of_a_pattern_sorted_by_number(tmp_path):
    for name in ("step1000", "step512", "step8", "notes.txt"):
        path = tmp_path / name
        path.write_text("") if name.endswith("txt") else path.mkdir()
    names = pretrained_survey.folders(f"{tmp_path}/*")
    assert [Path(name).name for name in names] == ["step8", "step512", "step1000"]
    assert pretrained_survey.steps(names) == [8, 512, 1000]
    assert pretrained_survey.folders("b,a") == ["b", "a"]
    assert pretrained_survey.steps(["b", "a"]) == pretrained_survey.steps(["x1", "y1"]) == [1, 2]
    with pytest.raises(ValueError, match="no folder matches"):
        pretrained_survey.folders(f"{tmp_path}/nothing*")
    with pytest.raises(ValueError, match="names no checkpoint"):
        pretrained_survey.folders(",")


def test_a_text_is_cut_into_windows():
    ids = np.arange(5000)
    tokens_BT = np.array(pretrained_survey.windows(ids, 1024, bos=7))
    assert tokens_BT.shape == (4, 513)
    assert (tokens_BT[:, 0] == 7).all()
    assert (np.diff(tokens_BT[:, 1:]) == 1).all()
    assert tokens_BT[0, 1] == 0
    assert tokens_BT[-1, -1] == 4999
    assert pretrained_survey.windows(ids[:20], 1024, bos=7).shape == (1, 21)
    assert pretrained_survey.windows(ids[:40], 11, bos=7).shape == (4, 11)
    with pytest.raises(ValueError, match="only 15 tokens: at least 16"):
        pretrained_survey.windows(ids[:15], 1024, bos=7)
    text = np.concatenate([np.arange(100), np.tile(np.arange(8), 4), np.arange(100)])
    assert len(set(pretrained_survey.most_repetitive(text, 32).tolist())) <= 16


def test_what_cannot_be_read_is_refused(hand_wired, tmp_path):
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        pretrained_survey.read_text(tmp_path / "absent.txt")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ValueError, match="is not UTF-8 text"):
        pretrained_survey.read_text(tmp_path / "bytes.txt")
    with pytest.raises(ValueError, match="is not a folder"):
        pretrained_survey.survey_folders([str(tmp_path / "absent")])
    with pytest.raises(ValueError, match="context of 8 tokens is too short"):
        survey.check_context(8)
    with pytest.raises(ValueError, match=r"tokenizer.json is missing"):
        pretrained_survey.survey_folders([hand_wired], Path(__file__))


def test_random_blocks_are_distinct_and_without_bos():
    generator = np.random.default_rng(0)
    tokens_BT = np.array(survey.random_repeats(generator, 6, 9, 3, 10, bos=4))
    assert tokens_BT.shape == (6, 28)
    assert (tokens_BT[:, 0] == 4).all()
    copies = tokens_BT[:, 1:].reshape(6, 3, 9)
    assert (copies == copies[:, :1]).all()
    assert (np.sort(copies[:, 0]) == np.delete(np.arange(10), 4)).all()
    assert survey.random_repeats(generator, 2, 20, 2, 10, bos=4).shape == (2, 41)


@pytest.fixture
def command():
    """Runs eval.py's main with flags, in this process."""
    import eval as module

    flags = module.FLAGS
    if not flags.is_parsed():
        flags(["eval.py"])

    def call(**values):
        names = ("checkpoint", "workdir", "experiment", "hf_checkpoint", "text")
        with flagsaver.flagsaver(**dict.fromkeys(names) | values):
            module.main([])

    return call


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "give either --checkpoint=DIR"),
        ({"checkpoint": "a", "hf_checkpoint": "b"}, "give either --checkpoint=DIR"),
        ({"checkpoint": "a", "experiment": "b"}, "--experiment goes with --hf_checkpoint"),
        ({"hf_checkpoint": "a"}, "needs --experiment=induction_heads"),
        ({"hf_checkpoint": "a", "experiment": "optimizers"}, "needs --experiment=induction_heads"),
        ({"hf_checkpoint": "absent", "experiment": "induction_heads"}, "absent is not a folder"),
        ({"hf_checkpoint": "absent", "experiment": "induction_heads", "text": "none.txt"}, "none.txt cannot be read"),
        ({"hf_checkpoint": "tests", "experiment": "induction_heads", "workdir": "tests/x"}, "which is examined"),
    ],
)
def test_commands_that_are_wrong_are_refused(command, values, message, monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[2])
    with pytest.raises(UserError, match=message):
        command(**values)
