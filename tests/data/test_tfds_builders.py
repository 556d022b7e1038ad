"""Our TFDS builders: local copies are prepared and read through tfds.data_source, without TensorFlow and network.

Covers data/tfds_builders/__main__.py and the builders
data/tfds_builders/conllu/conllu_dataset_builder.py,
data/tfds_builders/tiny_shakespeare/tiny_shakespeare_dataset_builder.py and
data/tfds_builders/wikitext2/wikitext2_dataset_builder.py. tests/data/test_images.py covers those of CIFAR-10,
data/tfds_builders/cifar10_binary/cifar10_binary_dataset_builder.py and
data/tfds_builders/cifar10_jpeg/cifar10_jpeg_dataset_builder.py, and tests/data/test_parallel_text.py that of parallel
text.
"""

import gzip
import json
import runpy
import sys

import pytest

from data import corpora, tfds_builders

PLAY = "".join(f"ACTOR {n}:\nLine the {n}th, naïve.\n\n" for n in range(40))
ARTICLES = [
    " \n = First = \n \n Text with = signs = in it . \n \n = = Section = = \n \n More . \n",
    " = Second = \n \n A line \n = 1 <unk> = \n goes on . \n",
    " = Third ( film ) = \n \n Text . \n",
]
SENTENCES = [
    "# sent_id = 1\n# text = Don't go.\n1-2\tDon't\t_\n1\tDo\tdo\n2\tn't\tnot\n3\tgo\tgo\n4\t.\t.",
    "1\tYes\tyes\n1.1\tempty\t_\n2\t,\t,\n3-4\tI'm\t_\n3\tI\tI\n4\t'm\tbe",
]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder of data sets made from tiny local copies."""
    copies, folder = tmp_path_factory.mktemp("copies"), tmp_path_factory.mktemp("tfds")
    for name in ("tiny_shakespeare", "wikitext2", "conllu"):
        (copies / name).mkdir()
    (copies / "tiny_shakespeare" / "input.txt").write_bytes(PLAY.encode())
    for index, split in enumerate(("train", "valid", "test")):
        articles = ARTICLES[: index + 1]
        (copies / "wikitext2" / f"wiki.{split}.tokens").write_bytes("".join(articles).encode())
    for split in ("train", "dev", "test"):
        content = "".join(f"{sentence}\n\n" for sentence in SENTENCES).encode()
        (copies / "conllu" / f"en-ud-{split}.conllu.gz").write_bytes(gzip.compress(content))
    for name in ("tiny_shakespeare", "wikitext2", "conllu"):
        assert tfds_builders.prepare(name, copies / name, folder) == folder / name / "1.0.0"
    return folder


def examples(source):
    return [{name: value.decode() for name, value in source[n].items()} for n in range(len(source))]


def test_what_is_read_is_what_was_prepared(prepared):
    import tensorflow_datasets as tfds

    sources = tfds.data_source("tiny_shakespeare", data_dir=str(prepared), download=False)
    assert "".join(examples(sources[s])[0]["text"] for s in ("train", "validation", "test")) == PLAY
    assert len(sources["train"][0]["text"].decode()) == int(len(PLAY) * 0.9)
    assert list(prepared.glob("*/1.0.0/*.array_record*"))
    assert "tensorflow" not in sys.modules


def test_articles_keep_their_order_and_every_character(prepared):
    sources = tfds_builders.sources("wikitext2", prepared)
    assert [example["text"] for example in examples(sources["test"])] == ARTICLES
    assert [example["text"] for example in examples(sources["train"])] == ARTICLES[:1]


def test_sentences_keep_their_lines_and_have_their_text(prepared):
    sentences = examples(tfds_builders.sources("conllu", prepared)["validation"])
    assert [sentence["conllu"] for sentence in sentences] == SENTENCES
    assert [sentence["text"] for sentence in sentences] == ["Don't go.", "Yes , I'm"]


def test_a_corpus_is_read_by_name(prepared):
    corpus = corpora.load("wikitext2", str(prepared))
    assert corpus.train == tuple(ARTICLES[:1])
    assert corpus.validation == tuple(ARTICLES[:2])
    assert corpus.test == tuple(ARTICLES)
    assert corpora.load("conllu:1.0.0", str(prepared)).train == ("Don't go.", "Yes , I'm")


def test_splits_that_a_data_set_lacks_are_cut_from_its_training_documents(tmp_path):
    articles = [f" = Number {n} = \n \n Text . \n" for n in range(100)]
    for split, texts in (("train", articles), ("valid", articles[:1]), ("test", articles[:2])):
        (tmp_path / f"{split}.txt").write_text("".join(texts))
    described = tfds_builders.prepare("wikitext2", tmp_path, tmp_path / "tfds") / "dataset_info.json"
    info = json.loads(described.read_text())
    info["splits"] = [split for split in info["splits"] if split["name"] != "validation"]
    described.write_text(json.dumps(info))
    corpus = corpora.load("wikitext2", str(tmp_path / "tfds"))
    assert corpus.test == tuple(articles[:2])
    assert sorted((*corpus.train, *corpus.validation)) == sorted(articles)
    assert 1 <= len(corpus.validation) <= 15
    limited = corpora.load("wikitext2", str(tmp_path / "tfds"), max_characters=50)
    assert sum(map(len, limited.train)) == 50
    assert limited.validation == corpus.validation


def test_a_second_preparation_changes_nothing_and_refuses_other_files(tmp_path):
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "input.txt").write_text(PLAY)
    made = tfds_builders.prepare("tiny_shakespeare", tmp_path / "copy", tmp_path)
    path = next(made.glob("*train*"))
    before = path.stat()
    assert tfds_builders.prepare("tiny_shakespeare", tmp_path / "copy", tmp_path) == made
    (tmp_path / "copy" / "input.txt").write_text("another play")
    with pytest.raises(ValueError, match=r"was made from other files than those of .*copy: give another --data_dir"):
        tfds_builders.prepare("tiny_shakespeare", tmp_path / "copy", tmp_path)
    assert path.stat() == before


@pytest.mark.parametrize(
    ("content", "message"),
    [  # mtime=0, because the time of compression would give the cases other names in each worker
        (gzip.compress(b"1\tYes\tyes\n\n" * 99, mtime=0)[:-9], r"en-train.conllu.gz is damaged, or not gzipped"),
        (b"1\tYes\tyes\n", r"en-train.conllu.gz is damaged, or not gzipped"),
        (
            gzip.compress(b"1\tYes\tyes\n\n# text = So\n\n1 So so\n", mtime=0),
            r"en-train.conllu.gz, line 5 is no word .*'1 So so'",
        ),
        (gzip.compress(b"# text = Yes\nx\tYes\n", mtime=0), r"en-train.conllu.gz, line 2 is no word"),
    ],
)
def test_damaged_treebanks_are_refused_with_the_file_and_the_line(content, message, tmp_path):
    for split in ("dev", "test", "train"):
        (tmp_path / f"en-{split}.conllu.gz").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        tfds_builders.prepare("conllu", tmp_path, tmp_path / "tfds")


def test_a_damaged_data_set_is_refused_with_the_command(prepared, tmp_path):
    (tmp_path / "wikitext2" / "1.0.0").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"TFDS cannot read wikitext2 .* python -m data.tfds_builders wikitext2"):
        tfds_builders.sources("wikitext2", tmp_path)


def test_local_copies_that_lack_something_are_refused(tmp_path):
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "train.txt").write_bytes(b"\xff")
    for name, copy, message in [
        ("wikitext3", "copy", "there are: .*conllu, parallel_text, tiny_shakespeare, wikitext2"),
        ("wikitext2", "nothing", "is no folder with files in it; wikitext2 is made from wiki.train.tokens"),
        ("wikitext2", "copy", "has no file named wiki.valid.tokens or valid.txt"),
        ("conllu", "copy", r"has no file named \*train\*.conllu"),
    ]:
        with pytest.raises(ValueError, match=message):
            tfds_builders.prepare(name, tmp_path / copy, tmp_path / "tfds")
    (tmp_path / "copy" / "input.txt").write_bytes(b"abc\xff")
    with pytest.raises(ValueError, match="no UTF-8: byte 0xFF at offset 3, line 1"):
        tfds_builders.prepare("tiny_shakespeare", tmp_path / "copy", tmp_path / "tfds")


def test_the_command_answers_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["tfds_builders", "tiny_shakespeare", str(tmp_path), f"--data_dir={tmp_path}"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("data.tfds_builders", run_name="__main__")
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        f"error: {tmp_path} is no folder with files in it; tiny_shakespeare is made from input.txt of "
        "github.com/karpathy/char-rnn, data/tinyshakespeare\n"
    )
