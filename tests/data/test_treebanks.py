"""Treebanks: files are read right, what is wrong is named by its line, and a parse goes back into its file."""

import errno
import gzip
import itertools
import os
from pathlib import Path

import numpy as np
import pytest

from data import tfds_builders, treebanks

EWT = Path(__file__).parents[3] / "shared" / "data" / "ud_ewt"


def row(number, form, head, label, upos="X", xpos="_", feats="_", misc="_"):
    return "\t".join([str(number), form, form.lower(), upos, xpos, feats, str(head), label, f"{head}:{label}", misc])


DONT = "\n".join(
    [
        "# sent_id = 1",
        "# text = Don't go.",
        "1-2\tDon't" + "\t_" * 8,
        row(1, "Do", 3, "aux:neg", "AUX", "VB", "Mood=Imp|VerbForm=Fin"),
        row(2, "n't", 3, "advmod", "PART", "RB"),
        "2.1\tyou" + "\t_" * 6 + "\t3:nsubj\t_",
        row(3, "go", 0, "root", "VERB", "_", misc="SpaceAfter=No"),
        row(4, ".", 3, "punct", "_", "."),
    ]
)
CROSSED = "\n".join([row(1, "a", 3, "x"), row(2, "b", 4, "x"), row(3, "c", 0, "root"), row(4, "d", 3, "x:y:z")])
TEXT = f"{DONT}\n\n{CROSSED}\n\n"


def numbered(number):
    """A sentence of two words that no other number gives."""
    return f"{row(1, f'word{number}', 2, 'x')}\n{row(2, 'end', 0, 'root')}\n\n"


def test_words_are_read_and_the_rest_is_kept_in_lines():
    first, second = treebanks.parse_conllu(TEXT, "file")
    assert first.forms == ("Do", "n't", "go", ".")
    assert first.heads == (3, 3, 0, 3)
    assert first.labels == ("aux", "advmod", "root", "punct")
    assert "\n".join(first.lines) == DONT
    assert second.labels == ("x", "x", "root", "x")


@pytest.mark.parametrize(
    "text",
    [
        TEXT.replace("\n", "\r\n"),
        "\ufeff" + TEXT,
        TEXT.rstrip("\n"),
        "\n\n" + TEXT.replace("\n\n", "\n\n\n \n"),
    ],
)
def test_other_line_ends_and_blank_lines_change_nothing(text):
    assert treebanks.parse_conllu(text, "file") == treebanks.parse_conllu(TEXT, "file")


@pytest.mark.parametrize(
    ("tag_columns", "tags"),
    [
        ("upos", ("AUX", "PART", "VERB", "_|.")),
        ("xpos", ("VB", "RB", "_|VERB", ".")),
        ("upos+xpos", ("AUX|VB", "PART|RB", "VERB", "_|.")),
        ("upos+feats", ("AUX|Mood=Imp|VerbForm=Fin", "PART", "VERB", "_")),
    ],
)
def test_columns_make_tags_and_stand_in_for_each_other(tag_columns, tags):
    assert treebanks.parse_conllu(DONT, "file", tag_columns)[0].tags == tags
    with pytest.raises(ValueError, match=r"tag_columns=pos must be one of: upos, xpos, "):
        treebanks.parse_conllu(DONT, "file", "pos")


GOOD = row(1, "a", 2, "x"), row(2, "b", 0, "root")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["1 a a"], r"1: 1 columns, not 10 with tabs between: '1 a a'"),
        ([*GOOD, "3\tc" + "\t_" * 7], "3: 9 columns, not 10"),
        ([*GOOD, "3\t\x1b[2J" + "x" * 99], r"3: 2 columns, .*: '3\\t\\x1b\[2Jx{34}'\.\.\.$"),
        ([row(1, "a", 0, "root"), row(3, "b", 1, "x")], "2: id '3' is out of order, 2 is next"),
        ([*GOOD, *GOOD], "3: id '1' is out of order, 3 is next; a blank line ends a sentence"),
        ([row("x", "a", 0, "root")], "1: id 'x' is out of order"),
        ([row("9" * 5000, "a", 0, "root")], r"1: id '9{40}'\.\.\. is out of order"),
        ([GOOD[0], row("1-2", "ab", "_", "_"), GOOD[1]], "2: id '1-2' is out of order"),
        ([row("1-2", "ab", "_", "_"), GOOD[0], row("2-3", "b", "_", "_"), GOOD[1]], "3: id '2-3' is out of order"),
        ([row("1-3", "ab", "_", "_"), *GOOD], "3: a multiword token reaches to word 3 of 2"),
        ([row("1.1", "e", "_", "_"), *GOOD], r"1: id '1\.1' is out of order"),
        ([row(1, "a", 3, "x"), GOOD[1]], r"1: HEAD '3' is no position in this sentence: 0 \.\.\. 2"),
        ([GOOD[0], row(2, "b", -1, "root")], "2: HEAD '-1' is no position"),
        ([GOOD[0], row(2, "b", "1e9", "root")], "2: HEAD '1e9' is no position"),
        ([GOOD[0], row(2, "b", "9" * 5000, "root")], r"2: HEAD '9{40}'\.\.\. is no position"),
        (["# c", GOOD[0], row(2, "b", "_", "_")], "3: HEAD is _: a tree is needed"),
        (["# c", row(1, "a", 2, "x"), row(2, "b", 1, "x")], "2: no word of this sentence is its root"),
        ([row(1, "a", 0, "root"), row(2, "b", 0, "root")], "2: word 2 is a second root, after word 1"),
        ([GOOD[1].replace("2", "1", 1), row(2, "b", 3, "x"), row(3, "c", 2, "x")], "2: word 2 is its own ancestor"),
        ([row(1, "a", 1, "x"), GOOD[1]], "1: word 1 is its own ancestor"),
        (["# sent_id = 1"], "1: comments without a sentence"),
        ([row(1, "", 0, "root")], "1: FORM is empty"),
        ([], "1: there is no sentence"),
        (["", " ", ""], "1: there is no sentence"),
    ],
)
def test_what_is_wrong_is_named_with_its_line_in_one_line(lines, message):
    with pytest.raises(ValueError, match=rf"^a\.conllu, line {message}") as error:
        treebanks.parse_conllu("\n".join(lines), "a.conllu")
    assert len(str(error.value)) < 160
    assert str(error.value).isprintable()
    if any(map(str.strip, lines)):  # lines are counted over the whole file
        first = int(str(error.value).split("line ")[1].split(":")[0])
        with pytest.raises(ValueError, match=rf"line {first + TEXT.count(chr(10))}:"):
            treebanks.parse_conllu(TEXT + "\n".join(lines), "a.conllu")


def test_trees_may_be_absent_where_none_are_needed():
    blind = "\n\n".join([row(1, "a", "_", "_"), *[CROSSED]])
    first, second = treebanks.parse_conllu(blind, "file", with_trees=False)
    assert (first.heads, first.labels) == ((), ())
    assert second.heads == (3, 4, 0, 3)
    with pytest.raises(ValueError, match="line 2: HEAD is _"):
        treebanks.parse_conllu("\n".join([row(1, "a", 0, "root"), row(2, "b", "_", "_")]), "file", with_trees=False)


def test_sentences_of_one_word_and_of_300():
    long = "\n".join([row(1, "w", 0, "root"), *[row(n, "w", n - 1, "x") for n in range(2, 301)]])
    one, many = treebanks.parse_conllu(f"{row(1, 'w', 0, 'root')}\n\n{long}", "file")
    assert (len(one.forms), len(many.forms)) == (1, 300)
    assert treebanks.is_projective(one.heads)
    assert treebanks.is_projective(many.heads)


# --- Files, folders and data sets.


def write_folder(folder, ending=".conllu", names=("train", "dev", "test")):
    folder.mkdir(exist_ok=True)
    for index, name in enumerate(names):
        content = (TEXT * (index + 1)).encode()
        (folder / f"en-ud-{name}{ending}").write_bytes(gzip.compress(content) if ending.endswith("gz") else content)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("treebank"))


def test_a_folder_has_its_splits_gzipped_or_not_and_by_tfds(folder, tmp_path):
    treebank = treebanks.load(str(folder))
    assert [len(treebank[split]) for split in treebanks.SPLITS] == [2, 4, 6]
    zipped = treebanks.load(str(write_folder(tmp_path / "zipped", ".conllu.gz", ("train", "valid", "test"))))
    tfds_builders.prepare("conllu", folder, tmp_path)
    prepared = treebanks.load("conllu", str(tmp_path))
    for other in (zipped, prepared):
        assert other.sha256 == treebank.sha256
        assert [other[split] for split in treebanks.SPLITS] == [treebank[split] for split in treebanks.SPLITS]
    write_folder(tmp_path / "zipped", ".conllu", ("train",))  # the same file twice
    (tmp_path / "zipped" / "en-ud-train-2.conllu").write_text(CROSSED)
    (tmp_path / "zipped" / "notes.txt").write_text("no treebank")
    more = treebanks.load(str(tmp_path / "zipped"))
    assert sorted(len(sentence.forms) for sentence in more.train) == [4, 4, 4]
    assert more.sha256 != treebank.sha256


def test_carriage_returns_of_a_data_set_are_no_part_of_it(folder, tmp_path):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    tfds_builders.prepare("conllu", tmp_path, tmp_path / "tfds")
    assert treebanks.load("conllu", str(tmp_path / "tfds")).sha256 == treebanks.load(str(folder)).sha256


def test_the_hash_is_that_of_the_content_and_its_splits():
    first, second = treebanks.parse_conllu(TEXT, "file")
    splits = [((first, second), (), ()), ((first,), (second,), ()), ((second, first), (), ())]
    hashes = {treebanks._sha256(dict(zip(treebanks.SPLITS, split, strict=True))) for split in splits}
    assert len(hashes) == 3


def test_a_file_is_divided_by_its_sentences(tmp_path):
    path = tmp_path / "all.conllu"
    path.write_text("".join(numbered(n % 400) for n in range(800)))
    treebank = treebanks.load(str(path))
    assert sum(len(treebank[split]) for split in treebanks.SPLITS) == 800
    assert 600 < len(treebank.train) < 680
    sets = [set(treebank[split]) for split in treebanks.SPLITS]
    assert not any(a & b for a, b in itertools.combinations(sets, 2))
    path.write_text(numbered(1))
    with pytest.raises(ValueError, match=r"has 1 sentences, too few to divide: none falls to the"):
        treebanks.load(str(path))


def test_files_that_cannot_be_read_are_named(folder, tmp_path):
    def refusal(treebank, data_dir=None):
        with pytest.raises(ValueError, match=r".") as error:
            treebanks.load(str(treebank), data_dir)
        assert "\n" not in str(error.value)
        return str(error.value)

    assert "treebank is empty" in refusal("")
    assert "there is no such file or folder" in refusal(tmp_path / "nothing")
    assert "there is no such file or folder" in refusal("nothing.conllu")
    assert "there is no such file or folder; give one that exists" in refusal("~no_such_user/x")
    long = tmp_path / ("x" * 300)
    assert refusal(long) == f"{long} cannot be read (File name too long): give files of CoNLL-U that you may read"
    assert "may also be a file or folder that exists" in refusal("ud_nothing", str(tmp_path))
    assert "python -m data.tfds_builders conllu LOCAL_COPY" in refusal("conllu", str(tmp_path))
    copy = write_folder(tmp_path / "copy", names=("train", "dev"))
    assert "no file for the test split, named *test*.conllu or *test*.conllu.gz" in refusal(copy)
    test = copy / "test.conllu"
    test.mkdir()
    assert refusal(copy).startswith(f"{test} cannot be read (Is a directory): give files of CoNLL-U")
    test.rmdir()
    test.write_bytes(TEXT.encode() + "é".encode("latin-1"))
    assert refusal(copy).startswith(f"{test} is no UTF-8: byte 0xE9 at offset {len(TEXT)}, line 15")
    test.write_bytes(b"")
    assert refusal(copy) == f"{test}, line 1: there is no sentence in this file: give a CoNLL-U file that is not empty"
    test.write_text(TEXT + "x")
    assert refusal(copy).startswith(f"{test}, line 15: 1 columns")
    test.unlink()
    (copy / "test.conllu.gz").write_bytes(gzip.compress(TEXT.encode())[:-20])
    assert "test.conllu.gz is damaged, or not gzipped" in refusal(copy)
    (tmp_path / "wikitext2").mkdir()
    for split in ("train", "valid", "test"):
        (tmp_path / "wikitext2" / f"{split}.txt").write_text(" = One = \n \n Text . \n")
    tfds_builders.prepare("wikitext2", tmp_path / "wikitext2", tmp_path / "tfds")
    assert "has no train split with a field conllu" in refusal("wikitext2", str(tmp_path / "tfds"))


def test_a_file_that_may_not_be_read_is_named(folder, monkeypatch):
    def refuse(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)  # of root no file is hidden
    with pytest.raises(ValueError, match=r"en-ud-train\.conllu cannot be read \(Permission denied\): give files of"):
        treebanks.load(str(folder))


# --- Plain text, writing, trees.


def test_plain_text_becomes_sentences_that_can_be_read_again():
    sentences = treebanks.split_text("It's late. Go home!\nBye")
    assert [sentence.forms for sentence in sentences] == [("It", "'s", "late", "."), ("Go", "home", "!"), ("Bye",)]
    assert sentences[0].lines[:2] == ("# text = It's late.", "1\tIt" + "\t_" * 7 + "\tSpaceAfter=No")
    assert {sentence[1:4] for sentence in sentences} == {((), (), ())}
    text = "\n\n".join("\n".join(sentence.lines) for sentence in sentences)
    read = treebanks.parse_conllu(text, "file", with_trees=False)
    assert [sentence.lines for sentence in read] == [sentence.lines for sentence in sentences]
    with pytest.raises(ValueError, match="the text has no word"):
        treebanks.split_text(" \n")


def test_a_parse_replaces_heads_and_labels_and_keeps_the_rest():
    sentence = treebanks.parse_conllu(DONT, "file")[0]
    written = treebanks.to_conllu(sentence, np.array([2, 0, 2, 1]), ["a", "root", "b", "c"], list("WXYZ"))
    assert written.endswith("\n\n")
    before, after = DONT.split("\n"), written.rstrip("\n").split("\n")
    for old, new in zip(before, after, strict=True):
        if old[0].isdigit() and old.split("\t")[0].isdecimal():
            replaced = {
                n for n, cells in enumerate(zip(old.split("\t"), new.split("\t"), strict=True)) if len({*cells}) > 1
            }
            assert replaced <= {treebanks.UPOS, treebanks.HEAD, treebanks.DEPREL, treebanks.DEPS}
        else:
            assert new == old
    again = treebanks.parse_conllu(written, "file")[0]
    assert again[:4] == (sentence.forms, tuple("WXYZ"), (2, 0, 2, 1), ("a", "root", "b", "c"))


@pytest.mark.parametrize("tag_columns", list(treebanks.TAG_COLUMNS))
def test_what_is_written_with_gold_trees_reads_the_same(tag_columns):
    for sentence in treebanks.parse_conllu(TEXT, "file", tag_columns):
        for given in (sentence, sentence._replace(lines=())):
            text = treebanks.to_conllu(given, given.heads, given.labels, given.tags, tag_columns)
            assert treebanks.parse_conllu(text, "file", tag_columns)[0][:4] == sentence[:4]
    with pytest.raises(ValueError, match="3 heads for a sentence of 4 words"):
        treebanks.to_conllu(sentence, (0, 1, 1), sentence.labels)


@pytest.mark.parametrize("tag_columns", list(treebanks.TAG_COLUMNS))
@pytest.mark.parametrize("cells", list(itertools.product(("U", "_"), ("X", "_"), ("A=B|C=D", "_"))))
def test_a_tag_goes_back_into_the_columns_that_it_came_from(tag_columns, cells):
    line = row(1, "a", 0, "root", *cells)
    (sentence,) = treebanks.parse_conllu(line, "file", tag_columns)
    written = treebanks.to_conllu(sentence, (0,), ("root",), sentence.tags, tag_columns)
    columns = slice(treebanks.UPOS, treebanks.FEATS + 1)
    assert written.split("\t")[columns] == line.split("\t")[columns] == list(cells)


@pytest.mark.parametrize(
    ("tag_columns", "tag", "cells"),
    [
        ("upos", "V", ["V", "X", "F=G"]),
        ("upos", "_|V", ["_", "V", "F=G"]),
        ("xpos", "V|W", ["U", "V|W", "F=G"]),
        ("upos+feats", "_|A=B|C=D", ["_", "X", "A=B|C=D"]),
        ("upos+xpos", "V", ["V", "_", "F=G"]),
    ],
)
def test_predicted_tags_replace_their_columns_alone(tag_columns, tag, cells):
    (sentence,) = treebanks.parse_conllu(row(1, "a", 0, "root", "U", "X", "F=G"), "file", tag_columns)
    written = treebanks.to_conllu(sentence, (0,), ("root",), (tag,), tag_columns)
    assert written.split("\t")[treebanks.UPOS : treebanks.FEATS + 1] == cells
    assert treebanks.parse_conllu(written, "file", tag_columns)[0].tags == (tag,)


def crosses(heads):
    arcs = [sorted((word, head)) for word, head in enumerate(heads, 1)]
    return any(a < c < b < d for a, b in arcs for c, d in arcs)


def test_projective_trees_are_those_without_crossing_arcs():
    counts = [0, 0]
    for n in range(1, 6):
        for heads in itertools.product(range(n + 1), repeat=n):
            if heads.count(0) == 1 and not treebanks._find_cycle(heads):
                assert treebanks.is_projective(heads) is not crosses(heads)
                counts[crosses(heads)] += 1
    assert sum(counts) == 1 + 2 + 9 + 64 + 625  # Cayley: n^(n-1) rooted trees
    assert counts[0] == 1 + 2 + 7 + 30 + 143  # OEIS A006013: binomial(3n-2, n-1) / n


@pytest.mark.slow
def test_ewt_has_the_numbers_that_its_release_states():
    if not EWT.is_dir():
        pytest.skip(f"no {EWT}")
    treebank = treebanks.load(str(EWT))
    counts = {}
    for split in treebanks.SPLITS:
        ids = [line.split("\t")[0] for s in treebank[split] for line in s.lines if line[0] != "#"]
        num_words = sum(len(sentence.forms) for sentence in treebank[split])
        num_crossed = sum(not treebanks.is_projective(sentence.heads) for sentence in treebank[split])
        counts[split] = (len(treebank[split]), num_words, num_crossed)
        assert sum(map(str.isdecimal, ids)) == num_words
        for sentence in treebank[split]:
            text = treebanks.to_conllu(sentence, sentence.heads, sentence.labels)
            assert treebanks.parse_conllu(text, split)[0][:4] == sentence[:4]
        if split == "train":
            assert (sum("-" in i for i in ids), sum("." in i for i in ids)) == (2614, 37)
    assert counts == {"train": (12544, 204577, 288), "validation": (2001, 25147, 31), "test": (2077, 25094, 26)}
