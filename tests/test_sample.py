"""sample.py: text of a stored model, without its corpus, and translations; mistakes get one clear line.

The translator is the one in tests/regression. tests/experiments/test_translations.py has what lines may hold.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from regression.experiment import EXPERIMENT

import experiments
from data import tokenizers
from experiments import language_models
from models.sampling import generate
from models.streaming import stream
from models.transformer import Transformer, TransformerConfig, decoder
from training import parallel, run, workdirs
from training.config import override
from training.experiment import UserError

ROOT = Path(__file__).parent.parent
TEXT = "the quick brown fox jumps over the lazy dog.\n" * 40


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The workdir of a tiny run, whose corpus is gone."""
    folder = tmp_path_factory.mktemp("sample")
    (folder / "text.txt").write_text(TEXT)
    experiment = experiments.load("transformer_lm")
    small = {"context_length": 16, "d_model": 16, "num_heads": 2, "d_mlp": 16, "num_steps": 2, "eval_windows": 4}
    small |= {"batch_size": 2, "eval_every": 2, "checkpoint_every": 2, "corpus": str(folder / "text.txt")}
    base = override(experiment.config, small)
    arms = run.select_arms(experiment, base, ("two_layer",), {})
    tasks = run.make_tasks(experiment, arms, parallel.SINGLE)
    with workdirs.open_workdir(folder / "run", "transformer_lm", base, arms, 1, tasks):
        run.train(experiment, tasks, arms, folder / "run", parallel.SINGLE, 1)
    (folder / "text.txt").unlink()
    return folder / "run"


@pytest.fixture(scope="module")
def translator(tmp_path_factory):
    """(workdir, weights) of a run that translates the names of its inputs into their weights."""
    workdir = tmp_path_factory.mktemp("sample") / "translator"
    arms = run.select_arms(EXPERIMENT, EXPERIMENT.config, ("plain",), {})
    tasks = run.make_tasks(EXPERIMENT, arms, parallel.SINGLE)
    with workdirs.open_workdir(workdir, str(ROOT / "tests/regression"), EXPERIMENT.config, arms, 1, tasks):
        results = run.train(EXPERIMENT, tasks, arms, workdir, parallel.SINGLE, 1)
    return workdir, results["plain"].variables["params"]["w"][0]


def written(*flags, stdin=""):
    command = [sys.executable, "sample.py", *flags]
    stdin = stdin if isinstance(stdin, bytes) else stdin.encode()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=300, input=stdin)
    return SimpleNamespace(returncode=done.returncode, stdout=done.stdout.decode(), stderr=done.stderr.decode())


def assert_refused(done, says):
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1


def test_writes_past_the_context_and_alike_for_one_seed(trained):
    done = written(f"--checkpoint={trained}", "--prompt=-", "--max_tokens=40", "--num_samples=2", stdin="the ")
    assert done.returncode == 0, done.stderr
    first, second = (text[1:] for text in done.stdout.split("--- sample ")[1:])
    assert len(first) == len("\nthe ") + 40 + 1
    assert first.startswith("\nthe ")
    assert first != second
    tokenizer, reader, variables = language_models.load_language_model(trained / "two_layer", None)
    key = jax.random.fold_in(jax.random.key(0), 0)
    ids = list(stream(reader, variables, key, tokenizer.encode("the "), 40))
    assert first == "\nthe " + tokenizer.decode(ids) + "\n"


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--prompt=Ünknown"], "characters that the vocabulary has not"),
        pytest.param(["--temperature=-1"], "temperature=-1.0 must be at least 0", marks=pytest.mark.slow),
        pytest.param(["--top_p=0"], "top_p=0.0 must lie in (0, 1]", marks=pytest.mark.slow),
        pytest.param(["--max_tokens=0"], "max_tokens", marks=pytest.mark.slow),
        (["--beam_size=1"], "--beam_size goes with translators; runs of transformer_lm train none"),
    ],
)
def test_mistakes_get_one_line(trained, flags, says):
    assert_refused(written(f"--checkpoint={trained}", *flags), says)


def test_each_line_of_standard_input_is_translated_into_one_line(translator):
    workdir, w = translator
    source = b"\xef\xbb\xbfx0 x1\r\n\r\nx2"
    done = written(f"--checkpoint={workdir}", "--prompt=-", "--beam_size=3", "--num_samples=1", stdin=source)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{w[0]:.3f} {w[1]:.3f}\n\n{w[2]:.3f}\n"


def test_a_prompt_is_translated_greedily_by_the_arm_that_is_asked(translator):
    workdir, w = translator
    done = written(f"--checkpoint={workdir / 'plain'}", "--prompt=x1", "--arm=plain")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{w[1]:.1f}\n"


SECOND_LINE = "line 2: 'y' is none of the inputs x0, x1, x2"


@pytest.mark.parametrize(
    ("flags", "stdin", "says"),
    [
        ([], "", "error: there is nothing to translate: give --prompt=TEXT, or --prompt=- for lines of standard input"),
        (["--prompt=-"], "x0\ny\n", SECOND_LINE),
        (["--prompt=-"], b"x0\n\xff\n", "the prompt is no UTF-8: byte 0xFF at 3"),
        (
            ["--prompt=x0", "--temperature=1"],
            "",
            "--temperature goes with language models; runs of regression translate",
        ),
        pytest.param(["--prompt=x0", "--beam_size=0"], "", "beam_size", marks=pytest.mark.slow),
        *[
            pytest.param(["--prompt=x0", f"--{name}=2"], "", f"--{name} goes with", marks=pytest.mark.slow)
            for name in ("top_k", "top_p", "min_p", "typical_p", "max_tokens", "seed", "num_samples")
        ],
    ],
)
def test_what_cannot_be_translated_is_refused_in_one_line(translator, flags, stdin, says):
    assert_refused(written(f"--checkpoint={translator[0]}", *flags, stdin=stdin), says)


def test_what_is_no_language_model_of_its_own_is_refused(trained, tmp_path):
    with pytest.raises(UserError, match="is of arm two_layer; --arm=deep is another"):
        language_models.load_language_model(trained / "two_layer", "deep")
    with pytest.raises(UserError, match="no trained arm 'three_layer'"):
        language_models.load_language_model(trained, "three_layer")
    copy = shutil.copytree(trained, tmp_path / "copy")
    stored = json.loads((copy / "two_layer/tokenizer.json").read_text())
    stored["characters"] = stored["characters"][:-1]
    (copy / "two_layer/tokenizer.json").write_text(json.dumps(stored))
    with pytest.raises(UserError, match="was trained with"):
        language_models.load_language_model(copy, None)
    (copy / "two_layer/tokenizer.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read as a tokenizer"):
        language_models.load_language_model(copy, None)
    record = json.loads((copy / "config.json").read_text())
    (copy / "two_layer/tokenizer.json").write_bytes((trained / "two_layer/tokenizer.json").read_bytes())
    wider = json.dumps(record).replace('"d_mlp": 16', '"d_mlp": 24')
    (copy / "config.json").write_text(wider)
    with pytest.raises(UserError, match=r"is not the checkpoint's: .*mlp_in.*\(16, 24\).*\(16, 16\)\.$"):
        language_models.load_language_model(copy, None)
    (copy / "config.json").write_text(json.dumps(record | {"experiment": "alternating_sum"}))
    with pytest.raises(UserError, match="trains no language model"):
        language_models.load_language_model(copy, None)


def test_a_stream_is_what_generate_writes_until_the_context_is_full():
    model = Transformer(TransformerConfig(vocab_size=11, context_length=12, num_heads=2, d_model=8))
    variables = model.init(jax.random.key(0), np.zeros((1, 1), int))
    reader, prompt, key = decoder(model), np.array([3, 1, 4]), jax.random.key(5)
    at_once = generate(reader, variables, key, prompt, 9, temperature=2.0)
    streamed = list(stream(reader, variables, key, prompt, 30, temperature=2.0))
    assert streamed[:9] == np.asarray(at_once).tolist()
    assert len(streamed) == 30


def test_a_full_window_slides_to_its_later_half():
    model = Transformer(TransformerConfig(vocab_size=11, context_length=4, num_heads=2, d_model=8, positions="rotary"))
    variables = model.init(jax.random.key(0), np.zeros((1, 1), int))
    text = [3, 1, 4, 1]
    for token in stream(decoder(model), variables, jax.random.key(0), text[:4], 1, temperature=0.0):
        assert token == int(model.apply(variables, np.array([text]))[0, -1].argmax())
    greedy = list(stream(decoder(model), variables, jax.random.key(0), [*text, 5, 9, 2], 1, temperature=0.0))
    assert greedy == [int(model.apply(variables, np.array([[1, 5, 9, 2]]))[0, -1].argmax())]
    text = [3, 1, 4, 1]
    written = list(stream(decoder(model), variables, jax.random.key(0), text, 2, temperature=0.0))
    assert written[1] == int(model.apply(variables, np.array([[1, written[0]]]))[0, -1].argmax())


def test_short_prompts_begin_after_line_ends():
    lines = tokenizers.train("char", ["\ta line\n"])  # its line end has id 1
    assert language_models.fill_window([2, 3], lines, 4) == [1, 1, 2, 3]
    assert language_models.fill_window([2, 3], lines, 1) == [2, 3]
    assert language_models.fill_window([2, 3], tokenizers.train("char", ["no lines"]), 4) == [2, 3]
