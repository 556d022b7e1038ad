"""The experiment of translation as its users meet it: a run on files, what it writes, translates and refuses.

Its claims, figures and measurements are also run by test_every_experiment.py.
"""

import gzip
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from regression.commands import ROOT

import experiments
from experiments.seq2seq_attention import language
from experiments.seq2seq_attention.corpus import read_corpus
from experiments.trained_arms import find_run
from experiments.translations import translate_text
from reporting.claims import judge_all
from training import parallel, run, workdirs
from training.config import override
from training.experiment import Trained, UserError, measure_nothing
from training.step import key

ARMS = ("additive", "none", "transformer", "random_weights")
SMALL = {
    "train_pairs": 24,
    "validation_pairs": 2,
    "test_pairs": 4,
    "shortest": 3,
    "longest": 4,
    "num_buckets": 2,
    "d_embed": 8,
    "d_hidden": 8,
    "d_attention": 4,
    "num_layers": 1,
    "num_heads": 2,
    "num_steps": 2,
    "batch_size": 8,
    "eval_every": 1,
    "checkpoint_every": 2,
}
PRESET_SIZES = {"corpus": "generated", "train_pairs": 24, "validation_pairs": 5, "test_pairs": 6}
TEXT = {"vocab_size": 200}  # of the files below
EXPERIMENT = experiments.load("seq2seq_attention")


def make_tasks(changes, arms=("additive",)):
    config = override(EXPERIMENT.config, SMALL | changes)
    return run.make_tasks(EXPERIMENT, run.select_arms(EXPERIMENT, config, arms, {}), parallel.SINGLE)


def train_arms(workdir, changes, arms, num_seeds=1, stop_at=None):
    config = override(EXPERIMENT.config, SMALL | changes)
    arm_configs = run.select_arms(EXPERIMENT, config, arms, {})
    tasks = run.make_tasks(EXPERIMENT, arm_configs, parallel.SINGLE)
    with workdirs.open_workdir(workdir, "seq2seq_attention", config, arm_configs, num_seeds, tasks):
        return run.train(EXPERIMENT, tasks, arm_configs, workdir, parallel.SINGLE, num_seeds, stop_at)


def write_files(folder):
    """Files that look like real text, one gzipped and one with Windows line ends; returns what trains on them."""
    for seed, (stem, size) in enumerate({"train": 60, "val": 5, "test": 6}.items()):
        examples = language.generate(size, seed)
        source = "".join(f"{' '.join(e.source).capitalize()}.\n" for e in examples)
        target = "".join(f"{' '.join(e.target).capitalize()} !\r\n" for e in examples)
        (folder / f"{stem}.xx.gz").write_bytes(gzip.compress(source.encode()))
        (folder / f"{stem}.yy").write_bytes(target.encode())
    return {"source": str(folder / "train.xx.gz"), "target": str(folder / "train.yy")}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_files(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory, files):
    """(workdir, results) of a run of two seeds on files."""
    workdir = tmp_path_factory.mktemp("run") / "run"
    return workdir, train_arms(workdir, TEXT | files, ("additive",), num_seeds=2)


# --- A run on files.


def test_a_run_on_files_writes_a_translation_of_every_test_line(trained, files):
    workdir, _ = trained
    folder = Path(files["target"]).parent
    references = (folder / "test.yy").read_bytes().decode().replace("\r\n", "\n")
    sources = gzip.decompress((folder / "test.xx.gz").read_bytes()).decode()
    assert (workdir / "additive" / "references.txt").read_text() == references
    assert (workdir / "additive" / "sources.txt").read_text() == sources
    assert (workdir / "additive" / "translations.txt").read_text().count("\n") == references.count("\n") == 6


def test_final_json_has_the_scores_of_each_seed_and_the_signatures_they_need(trained):
    workdir, _ = trained
    final = json.loads((workdir / "additive" / "final.json").read_text())
    for name in ("accuracy", "test_accuracy", "exact_match", "aligner_agreement", "diagonal_agreement"):
        assert len(final[name]) == 2
        assert all(0 <= value <= 1 for value in final[name]), name
    for name in ("bleu", "chrf"):
        assert all(0 <= value <= 100 for value in final[name]), name
        for signature in final[f"{name}_signature"]:
            assert {"nrefs:1", "case:mixed"} <= set(signature.split("|"))
    assert "tok:13a" in final["bleu_signature"][0].split("|")
    assert max(final["largest_sum_error"]) < 1e-6
    assert max(final["padding_weight"]) == 0


def test_the_scores_are_those_of_the_file_that_is_written(trained):
    from sacrebleu.metrics import BLEU, CHRF

    workdir, results = trained
    lines = [(workdir / "additive" / f"{name}.txt").read_text().splitlines() for name in ("translations", "references")]
    for name, metric in (("bleu", BLEU()), ("chrf", CHRF())):
        score = metric.corpus_score(lines[0], [lines[1]]).score
        assert results["additive"].examined[name][0] == pytest.approx(score, abs=1e-6)


def test_on_other_text_than_multi30k_the_claims_say_why_they_are_not_decided(trained):
    _, results = trained
    verdicts = {verdict.id: verdict for verdict in judge_all(EXPERIMENT.claims, results)}
    for id in ("2a", "2b", "3", "4", "5a", "5b", "6a", "6b"):
        assert verdicts[id].reason == "what the words of this text depend on is not known"
    for id in ("9a", "9c"):
        assert verdicts[id].reason.startswith("the text is not Multi30k, English-French: --preset=multi30k")
    assert {verdicts[id].passed for id in ("2a", "9a", "9c")} == {None}


def test_the_facts_of_a_run_say_which_text_it_is(trained, files):
    record = json.loads((trained[0] / "config.json").read_text())
    facts = record["data"]["additive"]
    assert facts["pairs"] == {"train": 60, "validation": 5, "test": 6}
    assert facts["tokens"] == TEXT["vocab_size"]
    assert facts["sha256"] == read_corpus(override(EXPERIMENT.config, SMALL | TEXT | files)).facts["sha256"]


# --- Translations of lines.


def sample(*flags, stdin=""):
    """What sample.py prints, and how it ends."""
    command = [sys.executable, "sample.py", *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=300, input=stdin.encode())
    return SimpleNamespace(code=done.returncode, out=done.stdout.decode(), err=done.stderr.decode())


def test_sample_translates_the_lines_of_standard_input_as_the_run_translated_them(trained, files):
    """An empty line among them stays one."""
    workdir, _ = trained
    sources = sorted((workdir / "additive" / "sources.txt").read_text().splitlines(), key=len)
    text = f"{sources[0]}\r\n\r\n{sources[1]}\n"
    done = sample(f"--checkpoint={workdir}", "--prompt=-", "--beam_size=2", stdin=text)
    assert done.code == 0, done.err
    first, empty, second = done.out.removesuffix("\n").split("\n")
    assert empty == ""
    assert [first, second] == list(translate_text(find_run(workdir), f"{sources[0]}\n{sources[1]}", beam_size=2))


def test_sample_refuses_a_prompt_in_unknown_characters_in_one_line(trained):
    done = sample(f"--checkpoint={trained[0] / 'additive'}", "--prompt=The \u732b chased the dog.")
    assert done.code == 2
    assert done.err == "error: the training text does not hold '\u732b': leave it out or write it otherwise\n"
    assert done.out == ""


def test_a_line_longer_than_the_context_is_refused_with_its_number(trained):
    examined_run = find_run(trained[0])
    text = "The dog.\n" + "the dog " * 80
    with pytest.raises(UserError, match=r"^line 2: the line has \d+ tokens; the translator was trained on at most 64"):
        translate_text(examined_run, text)


# --- Runs on generated text.


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    """The workdir of a run of one arm on what is generated."""
    workdir = tmp_path_factory.mktemp("generated") / "run"
    train_arms(workdir, {}, ("permutation",))
    return workdir


def test_arms_on_generated_text_measure_their_alignment(generated):
    final = json.loads((generated / "permutation" / "final.json").read_text())
    for name in ("alignment_error_rate", "diagonal_error_rate", "accuracy_of_uniform", "accuracy_of_gold"):
        assert 0 <= final[name] <= 1, name


def test_lines_of_generated_text_are_translated_as_the_run_translated_them(generated):
    sources, translations = (
        (generated / "permutation" / f"{name}.txt").read_text().splitlines() for name in ("sources", "translations")
    )
    examined_run = find_run(generated)
    # The run's own may be cut off earlier: how long they may be goes by their references.
    for line, translation in zip(translate_text(examined_run, "\n".join(sources)), translations, strict=True):
        assert line[: len(translation)] == translation
    with pytest.raises(UserError, match="line 2: the training text does not hold 'Dog', 'barks'"):
        translate_text(examined_run, f"{sources[0]}\n{sources[0]} Dog barks")


def test_a_transformers_lines_are_translated_by_a_transformer():
    (task,) = make_tasks({}, ("transformer",)).values()
    config = override(EXPERIMENT.config, SMALL)
    trained = Trained(config, jax.jit(task.init)(key(0, "init")), task.files, "transformer", 2)
    read, translate = EXPERIMENT.translator(trained)
    lines = [" ".join(example.source) for example in language.generate(2, seed=9)]
    assert len(translate([read(line) for line in lines], 1)) == 2


def test_a_run_that_was_stopped_has_the_parameters_of_one_that_was_not(tmp_path, generated):
    """To the bit: batches, buckets and all."""
    (task,) = make_tasks({}, ("permutation",)).values()
    quick = {"evaluate": lambda variables, data: {"loss": (0.0, 1.0)}, "measure": measure_nothing}
    tasks = {"permutation": replace(task, **quick, outputs=measure_nothing)}
    configs = run.select_arms(EXPERIMENT, override(EXPERIMENT.config, SMALL), ("permutation",), {})
    assert run.train(EXPERIMENT, tasks, configs, tmp_path, parallel.SINGLE, 1, stop_at=1) is None
    results = run.train(EXPERIMENT, tasks, configs, tmp_path, parallel.SINGLE, 1)
    whole = json.loads((generated / "permutation" / "final.json").read_text())
    assert run.hash_seeds(results["permutation"]) == [whole["params_sha256"]]


def test_every_bucket_is_trained_on_and_the_loss_of_a_batch_is_the_sum_over_its_shards():
    (task,) = make_tasks({"label_smoothing": 0.1}, ("copy",)).values()
    variables, data = jax.jit(task.init)(key(0, "init")), jax.tree.map(jnp.asarray, task.data)
    batches = {}
    make_batch = jax.jit(lambda step: task.batch(0, step, data))
    for step in range(40):
        batch = make_batch(step)
        batches.setdefault(int(batch["bucket"][0]), batch)
    assert len(batches) == SMALL["num_buckets"]
    loss = jax.jit(lambda batch: task.loss(variables, batch, {}))
    for bucket, batch in batches.items():
        assert (batch["bucket"] == bucket).all()
        whole = loss(batch)
        shards = [loss(jax.tree.map(lambda x, i=i: x[i::2], batch)) for i in range(2)]
        assert whole.weight == batch["pairs"].target_length.sum() == shards[0].weight + shards[1].weight
        np.testing.assert_allclose(shards[0].sum + shards[1].sum, whole.sum, rtol=1e-5)
        (correct, words), parts = whole.metrics["accuracy"], [shard.metrics["accuracy"] for shard in shards]
        assert words == whole.weight
        assert parts[0][0] + parts[1][0] == correct


def test_seeds_that_take_turns_run_the_program_of_one_bucket_alone():
    (task,) = make_tasks({}).values()
    shapes = jax.eval_shape(task.init, key(0, "init"))
    stacked = jax.tree.map(lambda x: jnp.zeros((2, *x.shape), x.dtype), shapes)
    data = jax.tree.map(jnp.asarray, task.data)

    def loss(seed_variables_step):
        seed, variables, step = seed_variables_step
        return task.loss(variables, task.batch(seed, step, data), {}).sum

    seeds = jnp.arange(2), stacked, jnp.zeros(2, jnp.int32)
    assert "cond[" in str(jax.make_jaxpr(lambda each: jax.lax.map(loss, each))(seeds))  # as on a CPU
    # Side by side, as on an accelerator, each seed has a step of its own: all run, and one result is selected.
    assert "cond[" not in str(jax.make_jaxpr(jax.vmap(loss))(seeds))


# --- What is refused before training.


def test_files_of_unequal_length_end_the_command_with_2_and_one_line(tmp_path, files):
    (tmp_path / "train.yy").write_text("un\ndeux\n")
    flags = (f"--config.source={files['source']}", f"--config.target={tmp_path / 'train.yy'}")
    process = subprocess.run(
        [sys.executable, "train.py", "--experiment=seq2seq_attention", f"--workdir={tmp_path / 'run'}", *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 2
    assert f"{files['source']} has 60 lines and {tmp_path / 'train.yy'} has 2: line i" in process.stderr
    assert len(process.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("changes", "arm", "message"),
    [
        ({"source": "absent.en"}, "additive", "arm additive: target is missing beside source=absent.en: give both"),
        ({"target": "absent.fr"}, "additive", "source is missing beside target=absent.fr"),
        ({"source": "absent.en", "target": "absent.fr"}, "additive", r"absent.en cannot be read \(No such file"),
        ({"corpus": "absent_data_set"}, "additive", "corpus=absent_data_set: .*two files may be given instead"),
        ({"train_pairs": 0}, "additive", "train_pairs=0 must be at least 1"),
        ({"num_buckets": 0}, "additive", "num_buckets=0 must be at least 1"),
        ({"context_length": 2}, "additive", "context_length=2 is shorter than every training sentence"),
        ({"d_hidden": 7}, "additive", "d_hidden=7 must be even"),
        ({"dropout": 1.0}, "additive", r"dropout=1.0 must lie in \[0, 1\)"),
        ({"num_heads": 3}, "transformer", "num_heads=3"),
        ({"num_layers": 0}, "transformer", "num_layers=0 must be at least 1"),
        ({"label_smoothing": 1.5}, "additive", "label_smoothing=1.5 must"),
        ({"beam_size": 0}, "additive", "beam_size=0 must"),
        ({"longest": 99}, "copy", "Lengths from 3 to 99 do not fit"),
    ],
)
def test_a_wrong_config_is_refused_before_training(changes, arm, message):
    with pytest.raises(UserError, match=message) as error:
        make_tasks(changes, (arm,))
    assert len(str(error.value).splitlines()) == 1


def test_a_vocabulary_larger_than_the_text_supports_is_refused(files):
    with pytest.raises(UserError, match="vocab_size=4000 is more than the training text supports: take at most"):
        make_tasks(files)


def test_a_target_that_is_the_source_is_warned_of(files, capsys):
    make_tasks(TEXT | {"source": files["target"], "target": files["target"]})
    assert f"warning: {files['target']} is both the source and the target" in capsys.readouterr().err


def test_the_preset_trains_on_files_and_its_values_fit_them(files):
    overrides, arms, _ = EXPERIMENT.presets["multi30k"]
    config = override(EXPERIMENT.config, overrides | files | TEXT)
    tasks = run.make_tasks(EXPERIMENT, run.select_arms(EXPERIMENT, config, arms, {}), parallel.SINGLE)
    assert {task.facts["pairs"]["test"] for task in tasks.values()} == {6}
