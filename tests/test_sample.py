"""sample.py: text of a stored model, without its corpus; mistakes get one clear line."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

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


def written(*flags, stdin=""):
    command = [sys.executable, "sample.py", *flags]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, input=stdin)


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
    ],
)
def test_mistakes_get_one_line(trained, flags, says):
    done = written(f"--checkpoint={trained}", *flags)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1


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
