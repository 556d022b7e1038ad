"""Parallel text: pairs stay together, splits lie where the rule says, and what is wrong is named with its file.

Covers the builder data/tfds_builders/parallel_text/parallel_text_dataset_builder.py too.
"""

import errno
import gzip
import itertools
import json
import os
from pathlib import Path

import pytest

from data import parallel_text, tfds_builders

MULTI30K = Path(__file__).parents[3] / "shared" / "data" / "multi30k_en_fr"
STEMS = {"train": 300, "val": 20, "test_2016": 30}


def line_pairs(stem, number):
    return [(f"The {stem} line {n}.", f"La ligne {n} de {stem}, naïve.") for n in range(number)]


def write(path, lines):
    content = "".join(f"{line}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return str(path)


def write_pairs(folder, stem, pairs, ending=""):
    folder.mkdir(exist_ok=True)
    names = [f"{stem}.{language}{ending}" for language in ("en", "fr")]
    return tuple(write(folder / name, lines) for name, lines in zip(names, zip(*pairs, strict=True), strict=True))


def write_folder(folder, ending="", stems=STEMS):
    """Files as Multi30k has them; returns the training files."""
    training, *_ = [write_pairs(folder, stem, line_pairs(stem, number), ending) for stem, number in stems.items()]
    return training


def pairs_of(text):
    return {split: text[split] for split in parallel_text.SPLITS}


EXPECTED = {
    split: tuple(line_pairs(stem, number))
    for split, (stem, number) in zip(parallel_text.SPLITS, STEMS.items(), strict=True)
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    write_folder(folder)
    return folder


@pytest.fixture(scope="module")
def prepared(folder, tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("tfds")
    tfds_builders.prepare("parallel_text", folder, data_dir)
    return str(data_dir)


def refusal(*arguments, **settings):
    with pytest.raises(ValueError, match=r".") as error:
        parallel_text.load(*map(str, arguments), **settings)
    assert str(error.value).isprintable()
    return str(error.value)


# --- What is read.


def test_a_line_goes_with_the_line_of_its_number_gzipped_or_not(folder, tmp_path):
    text = parallel_text.load(str(folder / "train.en"), str(folder / "train.fr"))
    assert pairs_of(text) == EXPECTED
    assert (text.num_dropped, text.warnings) == (0, ())
    zipped = parallel_text.load(*write_folder(tmp_path, ".gz"))
    assert (pairs_of(zipped), zipped.sha256) == (EXPECTED, text.sha256)
    swapped = parallel_text.load(str(folder / "train.fr"), str(folder / "train.en"))
    assert swapped.test == tuple((target, source) for source, target in text.test)
    assert swapped.sha256 != text.sha256


def test_line_ends_byte_order_marks_and_white_space_are_no_part_of_a_line(folder, tmp_path):
    source, target = write_folder(tmp_path)
    content = Path(source).read_bytes()
    plain = parallel_text.load(str(folder / "train.en"), str(folder / "train.fr"))
    Path(source).write_bytes(b"\xef\xbb\xbf" + content.replace(b"\n", b" \t\r\n").removesuffix(b"\r\n"))
    assert parallel_text.load(source, target).sha256 == plain.sha256


def test_only_a_line_feed_ends_a_line(tmp_path):
    path = tmp_path / "a.en"
    path.write_text("a\u2028b\x0bc\x85d\n\n \ne", newline="")
    assert parallel_text.read_lines(path) == ["a\u2028b\x0bc\x85d", "", "", "e"]


def test_pairs_with_a_blank_line_are_left_out_and_counted(tmp_path):
    pairs = line_pairs("train", 9)
    blanks = [("", "une ligne"), ("a line", " \t"), ("", "")]
    source, target = write_pairs(tmp_path, "train", [*pairs[:4], *blanks, *pairs[4:], ("", "")])
    held_out = write_pairs(tmp_path, "other", [*pairs[:2], blanks[0]])
    text = parallel_text.load(source, target, validation=held_out, test=held_out)
    assert text.train == tuple(pairs)
    assert text.validation == text.test == tuple(pairs[:2])
    assert text.num_dropped == 4 + 1 + 1


def test_the_hash_is_that_of_the_pairs_and_their_splits(tmp_path):
    a, b, c = line_pairs("train", 3)
    hashes = set()
    for number, splits in enumerate([([a, b], [c], [a]), ([b, a], [c], [a]), ([a], [b, c], [a]), ([a, b], [c], [b])]):
        files = [write_pairs(tmp_path / str(number), str(n), pairs) for n, pairs in enumerate(splits)]
        hashes.add(parallel_text.load(*files[0], validation=files[1], test=files[2]).sha256)
    assert len(hashes) == 4


# --- Where the splits are.


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [
        ("train", "val", "test"),
        ("train", "dev", "test_2016_flickr"),
        ("train", "valid", "test2016"),
        ("corpus.training", "corpus.validation", "corpus.test"),
        ("news-train", "news-dev2014", "news-test"),
    ],
)
def test_held_out_files_lie_beside_the_training_files(train, validation, test, tmp_path):
    training = write_folder(tmp_path, stems={train: 10, validation: 5})
    write_pairs(tmp_path, test, line_pairs(test, 7), ".gz")
    for name in ("test.tok.en", "testing.en", "value.en", "test.de", "my_test.en", "test.en.txt"):
        if name.removesuffix(".en") != test:
            write(tmp_path / name, ["not this"])
    text = parallel_text.load(*training)
    assert text.validation == tuple(line_pairs(validation, 5))
    assert text.test == tuple(line_pairs(test, 7))
    assert text.from_files == ("validation", "test")
    write_pairs(tmp_path, test, line_pairs(test, 6))  # the same file, not gzipped: it is preferred
    assert len(parallel_text.load(*training).test) == 6


def test_files_of_two_folders_may_have_one_name(tmp_path):
    for language, side in (("en", 0), ("fr", 1)):
        (tmp_path / language).mkdir()
        for stem, number in STEMS.items():
            write(tmp_path / language / f"{stem}.txt", [pair[side] for pair in line_pairs(stem, number)])
    text = parallel_text.load(*(str(tmp_path / language / "train.txt") for language in ("en", "fr")))
    assert pairs_of(text) == EXPECTED


def test_several_files_that_fit_are_named_with_the_fields_that_choose(tmp_path):
    training = write_folder(tmp_path)
    other = write_pairs(tmp_path, "test_2017", line_pairs("test_2017", 5))
    said = refusal(*training)
    assert f"several files fit the test split: {tmp_path}/test_2016.en, {tmp_path}/test_2017.en; choose by" in said
    assert "test_source and test_target" in said
    assert len(parallel_text.load(*training, test=other).test) == 5
    Path(other[1]).unlink()  # a file without a partner stands in no complete pair's way
    assert len(parallel_text.load(*training).test) == 30
    (tmp_path / "test_2016.en").unlink()
    assert f"{tmp_path}/test_2017.en seems to be of the test split, but its target file is not there" in refusal(
        *training
    )


def test_a_hash_of_the_source_line_cuts_the_splits_that_have_no_files(tmp_path):
    pairs = [(source, f"{target} {copy}") for copy in "ab" for source, target in line_pairs("train", 1000)]
    training = write_pairs(tmp_path, "train", pairs)
    text = parallel_text.load(*training)
    assert sorted(itertools.chain(*pairs_of(text).values())) == sorted(pairs)
    assert 60 < len(text.validation) < 140
    assert 60 < len(text.test) < 140
    sources = [{source for source, _ in text[split]} for split in parallel_text.SPLITS]
    assert not any(a & b for a, b in itertools.combinations(sources, 2))
    assert all(list(text[split]) == [pair for pair in pairs if pair in set(text[split])] for split in ("test", "train"))
    held_out = write_pairs(tmp_path, "test", line_pairs("test", 5))
    mixed = parallel_text.load(*training)
    assert mixed.test == tuple(line_pairs("test", 5))
    assert (text.from_files, mixed.from_files) == ((), ("test",))
    assert mixed.validation == text.validation
    assert sorted(mixed.train) == sorted(text.train + text.test)  # what was for testing is for training again
    whole = parallel_text.load(*training, validation=held_out)
    assert whole.train == tuple(pairs)
    renamed = [str(Path(path).rename(tmp_path / f"all{Path(path).suffix}")) for path in training]
    assert parallel_text.load(*renamed).sha256 == text.sha256  # a name without "train" has no files beside it


# --- What is warned of and refused.


def test_a_target_that_is_the_source_is_warned_of(folder, tmp_path):
    source, copy = str(folder / "train.en"), str(tmp_path / "train.en")
    (text,) = parallel_text.load(source, source).warnings
    assert text == f"{source} is both the source and the target: the translator will learn to copy"
    for stem in STEMS:
        (tmp_path / f"{stem}.en").write_bytes((folder / f"{stem}.en").read_bytes())
    (text,) = parallel_text.load(source, copy).warnings
    assert text == f"{source} has the same lines as {copy}: the translator will learn to copy"


def test_testing_on_what_was_learnt_is_warned_of(folder):
    training = str(folder / "train.en"), str(folder / "train.fr")
    (text,) = parallel_text.load(*training, test=training).warnings
    assert text == "300 of 300 test pairs are training pairs too: they measure memory"


def test_files_that_do_not_fit_are_refused_with_both_numbers(tmp_path):
    source, target = write_folder(tmp_path)
    write(Path(target), [target for _, target in line_pairs("train", 299)])
    assert f"{source} has 300 lines and {target} has 299" in refusal(source, target)
    write_folder(tmp_path)
    write(tmp_path / "val.en", ["one line"])
    assert f"{tmp_path}/val.en has 1 lines and {tmp_path}/val.fr has 20" in refusal(source, target)


def test_one_file_alone_is_refused(folder, prepared):
    source, target = str(folder / "train.en"), str(folder / "train.fr")
    assert refusal(source, "") == f"target is missing beside source={source}: give both or none"
    assert refusal("", target) == f"source is missing beside target={target}: give both or none"
    assert refusal("", "fr", corpus="parallel_text", data_dir=prepared).startswith("source is missing beside target=fr")
    assert refusal(source, target, test=("", target)).startswith("test_source is missing beside test_target=")
    assert refusal(source, target, validation=(source, "")).startswith("validation_target is missing beside")
    assert refusal("", "") == "source and target are empty: give two files, or corpus, the name of a TFDS data set"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [  # mtime=0, because the time of compression would give the cases other names in each worker
        ("a.fr", b"", "a.fr is empty: give a text file with a sentence a line"),
        ("a.fr", b"\xef\xbb\xbf\r\n \n", "a.fr is empty"),
        ("a.fr", b"one\ntwo\0\n", "a.fr is a binary file (a NUL byte, character 7): take a text file"),
        ("a.fr", "one\nél\n".encode("latin-1"), "a.fr is no UTF-8: byte 0xE9 at offset 4, line 2; convert it"),
        ("a.fr.gz", gzip.compress(b"one\ntwo\n" * 99, mtime=0)[:-9], "a.fr.gz is damaged, or not gzipped"),
        ("a.fr.gz", b"one\ntwo\n", "a.fr.gz is damaged, or not gzipped"),
        ("a.fr.gz", gzip.compress(b"", mtime=0), "a.fr.gz is empty"),
        (".", None, " is a folder: give a text file with a sentence a line"),
        (
            "nothing.fr",
            None,
            "nothing.fr cannot be read (No such file or directory): give text files that you may read",
        ),
        ("x" * 300, None, " cannot be read (File name too long)"),
    ],
)
def test_files_that_cannot_be_read_are_named(name, content, message, tmp_path):
    source = write(tmp_path / "train.en", ["one", "two"])
    if content is not None:
        (tmp_path / name).write_bytes(content)
    for arguments, settings in [((source, tmp_path / name), {}), ((tmp_path / name, source), {})]:
        assert message in refusal(*arguments, **settings)
    assert message in refusal(source, source, test=(source, str(tmp_path / name)))
    assert "~no_such_user/x cannot be read" in refusal("~no_such_user/x", source)


def test_a_file_that_may_not_be_read_is_named(folder, monkeypatch):
    def refuse(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)  # of root no file is hidden
    assert "train.en cannot be read (Permission denied)" in refusal(folder / "train.en", folder / "train.fr")


def test_a_split_without_pairs_is_named(tmp_path):
    training = write_pairs(tmp_path, "train", [("one", "un")])
    assert "has 1 pairs, too few to divide: none falls to the " in refusal(*training)
    blank = write_pairs(tmp_path, "test", [("", "un"), ("one", "")])
    assert "has no pair in the test split: each line is blank" in refusal(*training, validation=training)
    assert "has no pair in the train split" in refusal(*blank, validation=training, test=training)


# --- TFDS data sets.


def test_a_folder_and_the_data_set_prepared_from_it_are_the_same(folder, prepared, tmp_path):
    text = parallel_text.load("", "", corpus="parallel_text", data_dir=prepared)
    assert pairs_of(text) == EXPECTED
    assert text.sha256 == parallel_text.load(str(folder / "train.en"), str(folder / "train.fr")).sha256
    swapped = parallel_text.load("fr", "en", corpus="parallel_text:1.0.0", data_dir=prepared)
    assert swapped.test == tuple((target, source) for source, target in EXPECTED["test"])
    other = write_pairs(tmp_path, "other", line_pairs("other", 3))
    mixed = parallel_text.load("", "", corpus="parallel_text", data_dir=prepared, test=other)
    assert (mixed.test, mixed.from_files) == (tuple(line_pairs("other", 3)), ("test",))
    (text,) = parallel_text.load("en", "en", corpus="parallel_text", data_dir=prepared).warnings
    assert text.startswith("en is both the source and the target")


def test_splits_without_files_are_cut_from_a_data_set_as_from_the_files(tmp_path):
    pairs = line_pairs("train", 200)
    training = write_pairs(tmp_path / "copy", "train", [*pairs[:9], ("", "\ufefftext"), *pairs[9:]], ".gz")
    tfds_builders.prepare("parallel_text", tmp_path / "copy", tmp_path / "tfds")
    text = parallel_text.load("", "", corpus="parallel_text", data_dir=str(tmp_path / "tfds"))
    read = parallel_text.load(*training)
    assert (text.sha256, text.num_dropped, len(text.test)) == (read.sha256, 1, len(read.test))


def test_data_sets_that_are_no_parallel_text_are_refused(prepared, tmp_path):
    def said(*features, corpus="parallel_text", data_dir=prepared):
        return refusal(*(features or ("", "")), corpus=corpus, data_dir=data_dir)

    assert "corpus=parallel_text of TFDS has no feature de; its texts are: en, fr" in said("de", "fr")
    assert "prepare it with: python -m data.tfds_builders parallel_text LOCAL_COPY" in said(data_dir=str(tmp_path))
    assert "two files may be given instead, as source and target" in said(corpus="paralel_texts")
    (tmp_path / "input.txt").write_text("A play. " * 99)
    tfds_builders.prepare("tiny_shakespeare", tmp_path, tmp_path / "tfds")
    described = tfds_builders.prepare("tiny_shakespeare", tmp_path, tmp_path / "tfds") / "dataset_info.json"
    assert "has no two features of text, only: text; prepare two languages" in said(
        corpus="tiny_shakespeare", data_dir=str(tmp_path / "tfds")
    )
    info = json.loads(described.read_text())
    info["splits"] = [split for split in info["splits"] if split["name"] != "train"]
    described.write_text(json.dumps(info))
    assert "has no training split, only: " in said(corpus="tiny_shakespeare", data_dir=str(tmp_path / "tfds"))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["val.en"], "must have two training files, as train.en and train.fr, but has: none"),
        (["train.en"], "but has: train.en"),
        (["train.en", "train.fr", "train.de"], "but has: train.de, train.en, train.fr"),
        (["train.en", "train.tok.en", "train.fr"], "train.tok.en and train.en are both training files of en: keep one"),
    ],
)
def test_a_local_copy_must_have_two_languages(names, message, tmp_path):
    for name in names:
        write(tmp_path / name, ["a line"])
    with pytest.raises(ValueError, match=message):
        tfds_builders.prepare("parallel_text", tmp_path, tmp_path / "tfds")


def test_a_local_copy_is_checked_as_files_are(tmp_path):
    write_folder(tmp_path / "copy", ".gz")
    write(tmp_path / "copy" / "train.en", ["the unzipped copy comes first, and has one line"])
    with pytest.raises(ValueError, match=r"train\.en has 1 lines and .*train\.fr\.gz has 300"):
        tfds_builders.prepare("parallel_text", tmp_path / "copy", tmp_path / "tfds")


@pytest.mark.skipif(not MULTI30K.is_dir(), reason=f"no {MULTI30K}")
def test_multi30k_has_the_numbers_that_its_page_states():
    text = parallel_text.load(str(MULTI30K / "train.en.gz"), str(MULTI30K / "train.fr.gz"))
    assert [len(text[split]) for split in parallel_text.SPLITS] == [29000, 1014, 1000]
    words = [[sum(len(pair[side].split()) for pair in text[s]) for side in (0, 1)] for s in parallel_text.SPLITS]
    assert words == [[345020, 362021], [12167, 12698], [11877, 12352]]
    assert (text.num_dropped, text.warnings, len(set(text.train))) == (0, (), 28995)
