"""The experiment of dependency parsers as its users meet it: a run on files, what it writes, answers and refuses.

Its claims, figures and measurements are also run by test_every_experiment.py.
"""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import flagsaver
from regression.commands import evaluate

import experiments
from data.treebanks import Sentence, parse_conllu, to_conllu
from experiments.dependency_parser import tagger
from experiments.dependency_parser.corpus import read_treebank
from models import summary
from training import parallel, run, workdirs
from training.config import override
from training.experiment import UserError
from training.step import key
from training.summary import summarize

ARMS = ("exact", "bounds", "parser", "biaffine")
SMALL = {
    "train_sentences": 12,
    "validation_sentences": 10,
    "test_sentences": 12,
    "d_embed": 4,
    "d_hidden": 8,
    "num_steps": 2,
    "batch_size": 8,
    "eval_every": 1,
    "checkpoint_every": 2,
}
PRESET_SIZES = {"train_sentences": 12, "validation_sentences": 10, "test_sentences": 12}  # a tagger is trained on them
EXPERIMENT = experiments.load("dependency_parser")


def make_tasks(changes, arms=("parser",)):
    config = override(EXPERIMENT.config, SMALL | changes)
    return run.make_tasks(EXPERIMENT, run.select_arms(EXPERIMENT, config, arms, {}), parallel.SINGLE)


@pytest.fixture(scope="module", autouse=True)
def quick_tagger():
    """What the tagger learns is tested elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tagger, "LEAST_STEPS", 3)
        patch.setattr(tagger, "EPOCHS", 0)
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(workdir, the test set's file) of a run of the classifier on files with all that CoNLL-U has beside words."""
    folder = tmp_path_factory.mktemp("treebank")
    treebank = read_treebank(override(EXPERIMENT.config, SMALL))
    for split in ("train", "validation", "test"):
        texts = [to_conllu(s, s.heads, [f"{label}:sub" for label in s.labels]) for s in treebank[split]]
        if split == "test":
            texts[0] = "# a comment\n1-2\tAB\t" + "_\t" * 7 + "_\n" + texts[0]
            texts[1] = texts[1].rstrip("\n") + "\n" + f"{len(treebank.test[1].forms)}.1\tnode\t" + "_\t" * 7 + "_\n\n"
        (folder / f"xx-{split}.conllu").write_text("".join(texts))
    workdir = tmp_path_factory.mktemp("run") / "run"
    config = override(EXPERIMENT.config, SMALL | {"treebank": str(folder)})
    arm_configs = run.select_arms(EXPERIMENT, config, ("parser",), {})
    tasks = run.make_tasks(EXPERIMENT, arm_configs, parallel.SINGLE)
    with workdirs.open_workdir(workdir, "dependency_parser", config, arm_configs, 2, tasks):
        run.train(EXPERIMENT, tasks, arm_configs, workdir, parallel.SINGLE, num_seeds=2)
    return workdir, folder / "xx-test.conllu"


@pytest.fixture
def ask(trained, tmp_path, capsys):
    """(file's name, content or path) -> (what eval.py prints, the parse as CoNLL-U) of eval.py --text=FILE."""
    import eval as module

    if not module.FLAGS.is_parsed():
        module.FLAGS(["eval.py"])

    def call(name, content):
        path = content if isinstance(content, Path) else tmp_path / name
        if not isinstance(content, Path):
            path.write_text(content)
        flags = {"checkpoint": str(trained[0]), "text": str(path), "workdir": str(tmp_path / "answer")}
        with flagsaver.flagsaver(experiment=None, hf_checkpoint=None, **flags):
            module.main([])
        return capsys.readouterr().out, (tmp_path / "answer" / "parse.conllu").read_text()

    return call


def read_words(text):
    """[(form, head, universal relation)] of a CoNLL-U text: lines whose id is a whole number."""
    rows = [line.split("\t") for line in text.splitlines() if line and line[0] != "#"]
    return [(row[1], int(row[6]), row[7].split(":")[0]) for row in rows if row[0].isdecimal()]


def score(gold, parse):
    """(UAS, LAS) of words that are divided alike, as the CoNLL 2018 evaluation defines them: punctuation counts."""
    pairs = list(zip(read_words(gold), read_words(parse), strict=True))
    assert [a[0] for a, _ in pairs] == [b[0] for _, b in pairs]
    right = [a[1] == b[1] for a, b in pairs]
    return np.mean(right), np.mean([is_right and a[2] == b[2] for is_right, (a, b) in zip(right, pairs, strict=True)])


def test_the_predictions_of_a_run_are_the_test_set_with_trees_that_score_what_it_reports(trained):
    workdir, test_file = trained
    predicted, gold = (workdir / "parser" / "predictions.conllu").read_text(), test_file.read_text()
    uas, las = score(gold, predicted)
    final = json.loads((workdir / "parser" / "final.json").read_text())
    assert final["test_uas"][0] == pytest.approx(uas, abs=1e-6)
    assert final["test_las"][0] == pytest.approx(las, abs=1e-6)
    assert 0 < las < uas < 1
    kept = [line for line in gold.splitlines() if not line.split("\t")[0].isdecimal()]
    assert [line for line in predicted.splitlines() if not line.split("\t")[0].isdecimal()] == kept
    assert sum(line[:1] == "#" or "-" in line[:3] or ".1\t" in line for line in kept) == 3
    assert len(parse_conllu(predicted, "predictions")) == SMALL["test_sentences"]


def test_a_file_with_trees_is_parsed_and_scored(trained, ask, tmp_path):
    workdir, test_file = trained
    printed, parse = ask("", test_file)
    final = json.loads((workdir / "parser" / "final.json").read_text())
    assert f"UAS {final['test_uas'][0]:.4f}, LAS {final['test_las'][0]:.4f}\n" in printed
    assert parse == (workdir / "parser" / "predictions.conllu").read_text()
    page = (tmp_path / "answer" / "report.html").read_text()
    assert "Sentence 1" in page
    assert "Below hang the gold arcs" in page


def test_a_file_without_trees_is_parsed_alike(trained, ask, tmp_path):
    workdir, test_file = trained
    lines = [line.split("\t") for line in test_file.read_text().splitlines()]
    bare = "\n".join("\t".join([*row[:6], "_", "_", *row[8:]]) if len(row) == 10 else row[0] for row in lines)
    printed, parse = ask("bare.conllu", bare)
    assert "UAS" not in printed
    assert parse.split() == (workdir / "parser" / "predictions.conllu").read_text().split()
    assert "The parser&#39;s tree." in (tmp_path / "answer" / "report.html").read_text()


def test_plain_text_is_divided_tagged_and_parsed(trained, ask):
    printed, parse = ask("a.txt", "Yes\nStrange w\N{SNOWMAN}rds, \u4f60\u597d \N{GRINNING FACE}. Right?\n" + "so " * 99)
    assert printed.startswith("4 sentences of 108 words, parsed by parser\n")
    sentences = parse_conllu(parse, "parse")  # each is a tree with one root
    assert sentences[0].forms == ("Yes",)
    assert sentences[0].heads == (0,)
    assert sentences[1].forms == ("Strange", "w\N{SNOWMAN}rds", ",", "\u4f60\u597d", "\N{GRINNING FACE}", ".")
    tags = {tag for s in read_treebank(override(EXPERIMENT.config, SMALL)).train for tag in s.tags}
    assert {tag for s in sentences for tag in s.tags} <= tags


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "", "a.txt is empty: give a file of CoNLL-U, or of plain text"),
        (
            "a.conllu",
            "1\tYes\t_\tINTJ\t_\t_\t1\troot\t_\t_\n",
            "a.conllu, line 1: no word of this sentence is its root",
        ),
        ("a", Path("absent.txt"), "absent.txt cannot be read: No such file or directory"),
    ],
)
def test_a_wrong_file_is_refused(ask, name, content, message):
    with pytest.raises(UserError, match=message) as error:
        ask(name, content)
    assert len(str(error.value).splitlines()) == 1


def test_a_wrong_file_ends_the_command_with_2_and_one_line(trained, tmp_path):
    (tmp_path / "a.conllu").write_text("1\tYes\t_\tINTJ\n")
    flags = (
        f"--checkpoint={trained[0] / 'parser'}",
        f"--text={tmp_path / 'a.conllu'}",
        f"--workdir={tmp_path / 'new'}",
    )
    err = evaluate(*flags, expect=2)
    assert err.startswith(f"error: {tmp_path / 'a.conllu'}, line 1: 4 columns, not 10")
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("changes", "arm", "message"),
    [
        ({"treebank": "generatd"}, "exact", "arm exact: treebank=generatd: .*did you mean generated"),
        ({"treebank": "."}, "bounds", "has no file for the train split"),
        ({"train_sentences": 0}, "parser", "train_sentences=0 must be at least 1"),
        ({"tags": "wrong"}, "parser", "tags='wrong' is not one of gold, predicted"),
        ({"tag_columns": "wrong"}, "parser", "tag_columns=wrong must be one of"),
        ({"d_hidden": 0}, "parser", "d_hidden=0 must be at least 1"),
        ({"d_hidden": 0}, "biaffine", "d_hidden=0 must be at least 1"),
        ({"batch_size": 0}, "bilstm", "batch_size=0 must be at least 1"),
        ({"batch_size": 10**9}, "parser", "batch_size=1000000000 must be at most"),
        ({"batch_size": 10**9}, "bilstm", "batch_size=1000000000 must be at most"),
        ({"l2": -1.0}, "parser", "l2=-1.0 must not be negative"),
        ({"activation": "wrong"}, "parser", "activation='wrong' is not one of .*tanh.*cube"),
    ],
)
def test_a_wrong_config_is_refused_before_training(changes, arm, message):
    with pytest.raises(UserError, match=message) as error:
        make_tasks(changes, (arm,))
    assert len(str(error.value).splitlines()) == 1


TRAINED = Sentence(("a", "b", "."), ("DET", "VERB", "PUNCT"), (2, 0, 2), ("det", "root", "punct"))
CROSSED = Sentence(("b", "a", "a", "b"), ("VERB", "DET", "DET", "VERB"), (0, 4, 1, 1), ("root", "det", "det", "det"))
UNSEEN = Sentence(("a", "b"), ("DET", "VERB"), (2, 0), ("odd", "root"))  # its relation


def write_treebank(folder, validation):
    for split, sentences in (("train", [TRAINED] * 2), ("dev", validation), ("test", [TRAINED])):
        texts = [to_conllu(s, s.heads, s.labels) for s in sentences]
        (folder / f"xx-{split}.conllu").write_text("".join(texts))
    return {"treebank": str(folder)}


def test_validation_sentences_that_cannot_be_learnt_have_no_loss_and_are_scored_all_the_same(tmp_path):
    changes = write_treebank(tmp_path, [CROSSED, TRAINED, UNSEEN])
    tasks = make_tasks(changes, ("parser", "bilstm", "biaffine"))
    assert [len(tasks["parser"].data[split]["words"]) for split in ("train", "validation")] == [12, 6]  # 2n decisions
    assert (tasks["bilstm"].data["validation"]["transitions"] >= 0).sum() == 6
    heads_MT = tasks["biaffine"].data["validation"]["heads"]
    assert heads_MT[heads_MT >= 0].tolist() == list(TRAINED.heads)
    for task in tasks.values():
        assert task.data["validation_split"].lengths_N.tolist() == [4, 3, 2]
    # Without labels there is no relation that training lacks.
    (unlabelled,) = make_tasks(changes | {"labelled": False}).values()
    assert len(unlabelled.data["validation"]["words"]) == 6 + 4


@pytest.mark.parametrize("validation", [[CROSSED], [UNSEEN, CROSSED]])
def test_a_treebank_without_a_validation_sentence_that_could_be_learnt_is_refused(tmp_path, validation):
    changes = write_treebank(tmp_path, validation)
    with pytest.raises(
        UserError, match=r"no validation sentence of treebank=.* is projective and has the relations of"
    ):
        make_tasks(changes)


def test_arms_that_learn_from_the_same_examples_share_them():
    tasks = make_tasks({}, ("parser", "words_only", "sgd", "bilstm", "biaffine"))
    for split in ("train", "validation"):
        examples = [tasks[arm].data[split] for arm in tasks]
        assert examples[0] is examples[1] is examples[2]
        assert len({id(one) for one in examples}) == 3  # decisions, decisions of rows, trees of rows


def measured_names(task):
    """The names of what a task's evaluation measures, from shapes alone."""
    variables = jax.eval_shape(task.init, key(0, "init"))
    return set(jax.eval_shape(task.evaluate, variables, task.data))


def test_a_parser_without_labels_has_no_las():
    overrides, arms, _ = EXPERIMENT.presets["course"]
    names = {"loss", "train_loss", "uas", "test_uas"}
    (course,) = make_tasks(overrides, arms).values()
    assert measured_names(course) == names
    assert course.facts["labels"] == 2  # no label, and the one of all arcs
    (labelled,) = make_tasks({}).values()
    assert measured_names(labelled) == names | {"las", "test_las"}


def test_with_predicted_tags_their_accuracy_is_measured():
    (task,) = make_tasks({"tags": "predicted"}).values()
    assert "tag_accuracy" in measured_names(task)
    assert task.files["tagger.msgpack"]() == task.files["tagger.msgpack"]()


def test_the_loss_of_a_batch_is_the_sum_over_its_shards_and_its_penalty_the_square_of_the_weights():
    (plain,) = make_tasks({"dropout": 0.0}).values()
    (penalised,) = make_tasks({"dropout": 0.0, "l2": 0.5}).values()
    variables = plain.init(key(0, "init"))
    batch = plain.batch(0, jnp.int32(0), jax.tree.map(jnp.asarray, plain.data))

    def sums(task):
        rngs = {"dropout": key(0, "dropout")}
        return jax.jit(lambda batch: jnp.stack(task.loss(variables, batch, rngs)[:2]))

    whole = sums(penalised)(batch)
    halves = jax.vmap(sums(penalised))(jax.tree.map(lambda x: x.reshape(2, -1, *x.shape[1:]), batch))
    np.testing.assert_allclose(halves.sum(0), whole, rtol=1e-5)
    squares = sum(float((x**2).sum()) for x in jax.tree.leaves(variables["params"]))
    penalty = whole[0] - sums(plain)(batch)[0]
    assert penalty == pytest.approx(SMALL["batch_size"] * 0.25 * squares, rel=1e-3)


def test_the_summary_lists_the_layers_of_every_parser():
    tasks = make_tasks({}, ("exact", "parser", "bilstm", "biaffine"))
    text = summarize(tasks, lambda *model: summary.text(summary.layers(*model)))
    assert "exact: a measurement" in text
    for layer in ("hidden_0", "transitions", "encoder/layer_0_backward", "label_linear"):
        assert f"  {layer} " in text
