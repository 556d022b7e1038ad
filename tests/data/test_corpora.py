"""Corpora: documents do not leak between splits, the same text gives the same splits, and errors say what to do."""

import shutil
from pathlib import Path

import pytest

from data import corpora

SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "documents"
    (folder / "deep").mkdir(parents=True)
    for n in range(200):
        (folder / ("deep" if n % 2 else ".") / f"{n}.txt").write_text(f"document {n}\n" * (1 + n % 3))
    (folder / ".hidden").write_bytes(b"\0")
    return folder


@pytest.fixture(scope="module")
def stdlib():
    return corpora.load("python_stdlib")


def test_a_file_is_cut_as_nanogpt_cuts_it(tmp_path):
    text = "".join(chr(ord("a") + n % 26) for n in range(1009)) + "é\r\n"
    (tmp_path / "text").write_bytes(text.encode())
    corpus = corpora.load(str(tmp_path / "text"))
    assert corpus.train == (text[: int(len(text) * 0.9)],)
    assert corpus.validation == (text[int(len(text) * 0.9) :],)
    assert corpus.test == ()
    with_test = corpora.load(str(tmp_path / "text"), test_share=0.05)
    assert with_test.train == corpus.train
    assert with_test.validation[0] + with_test.test[0] == corpus.validation[0]
    assert len(with_test.test[0]) == int(len(text) * 0.05)


def test_tiny_shakespeare_has_nanogpts_number_of_tokens():
    path = SHARED / "tiny_shakespeare" / "input.txt"
    if not path.exists():
        pytest.skip(f"no {path}")
    corpus = corpora.load(str(path))
    assert (len(corpus.train[0]), len(corpus.validation[0])) == (1_003_854, 111_540)  # nanoGPT's prepare.py prints them


def test_documents_of_a_folder_are_in_one_split_each(folder):
    corpus = corpora.load(str(folder))
    every = [text for split in corpora.SPLITS for text in corpus[split]]
    assert len(every) == len(set(every)) == 200
    assert 160 <= len(corpus.train) < 200
    assert min(len(corpus.validation), len(corpus.test)) > 2


def test_a_new_document_moves_no_other(folder):
    before = corpora.load(str(folder))
    (folder / "0 new.txt").write_text("new")
    after = corpora.load(str(folder))
    for split in corpora.SPLITS:
        assert set(before[split]) == set(after[split]) - {"new"}
    assert before.sha256 != after.sha256


@pytest.mark.parametrize("names", [("train.txt", "valid.txt", "test.txt"), ("wiki.train.tokens", "wiki.dev.tokens")])
def test_files_named_as_splits_are_the_splits(tmp_path, names):
    for name in names:
        (tmp_path / name).write_text(f"text of {name}\n")
    corpus = corpora.load(str(tmp_path))
    assert [corpus.train, corpus.validation, corpus.test] == [(f"text of {name}\n",) for name in names] + [()] * (
        3 - len(names)
    )


def test_programs_named_as_splits_are_documents(folder):
    for name in ("train.py", "test.py", "valid.md"):
        (folder / name).write_text(f"text of {name}")
    (folder / "__init__.py").write_text("")
    (folder / "blank.txt").write_text(" \n")
    corpus = corpora.load(str(folder))
    every = [text for split in corpora.SPLITS for text in corpus[split]]
    assert len(every) == 203
    assert {"text of train.py", "text of test.py", "text of valid.md"} <= set(every)


def test_the_limit_cuts_the_training_text_alone(folder):
    whole, limited = corpora.load(str(folder)), corpora.load(str(folder), max_characters=1000)
    assert sum(map(len, limited.train)) == 1000
    assert limited.validation == whole.validation
    assert limited.test == whole.test
    whole_documents = set(limited.train) & set(whole.train)
    assert len(whole_documents) >= len(limited.train) - 1  # all but the last
    assert [text for text in whole.train if text in whole_documents] == [
        text for text in limited.train if text in whole_documents
    ]
    assert corpora.load(str(folder), max_characters=10**9) == whole


def test_documents_beyond_the_limit_are_not_read(folder):
    before, more = (corpora.load(str(folder), max_characters=limit) for limit in (60, 100))
    read = "".join((*more.train, *more.validation, *more.test))
    for path in folder.rglob("*.txt"):
        if path.read_text() not in read:
            path.write_bytes(b"\0")
    assert corpora.load(str(folder), max_characters=60) == before
    with pytest.raises(ValueError, match="binary"):
        corpora.load(str(folder))


def test_another_corpus_can_be_the_test_split(folder, tmp_path):
    (tmp_path / "other").write_text("something\nelse\n")
    corpus = corpora.load(str(folder), test_corpus=str(tmp_path / "other"))
    assert "".join(corpus.test) == "something\nelse\n"
    assert corpus.train == corpora.load(str(folder)).train
    assert corpus.sha256 != corpora.load(str(folder)).sha256
    # Documents stay apart, and a file is one.
    assert len(corpora.load(str(tmp_path / "other"), test_corpus=str(folder)).test) == 200
    assert len(corpus.test) == 1


def test_the_hash_is_that_of_the_text_and_its_splits(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    assert corpora.load(str(tmp_path / "copy")).sha256 == corpora.load(str(folder)).sha256
    splits = [
        {"train": ("ab",), "validation": (), "test": ()},
        {"train": ("a", "b"), "validation": (), "test": ()},
        {"train": ("a",), "validation": ("b",), "test": ()},
        {"train": ("a",), "validation": (), "test": ("b",)},
    ]
    assert len({corpora._sha256(documents) for documents in splits}) == 4


def test_the_standard_library_has_no_tests_and_no_document_twice(stdlib):
    assert sum(len(stdlib[split]) for split in corpora.SPLITS) > 400
    assert sum(map(len, stdlib.train)) > 8_000_000
    for split in ("validation", "test"):
        assert 0.01 < sum(map(len, stdlib[split])) / sum(map(len, stdlib.train)) < 0.1
        assert not set(stdlib[split]) & set(stdlib.train)
    every = "".join(text for split in corpora.SPLITS for text in stdlib[split])
    assert "def getaddrinfo(" in every  # socket.py
    assert "class TestCase(object)" in every or "class TestCase" in every  # unittest is of the library
    assert "import_helper" not in every  # test.support is not
    assert "pytest" not in every  # nor is anything that was installed


def test_limits_of_the_standard_library_share_their_validation_text(stdlib):
    limited = corpora.load("python_stdlib", max_characters=100_000)
    assert sum(map(len, limited.train)) == 100_000
    assert limited.validation == stdlib.validation


def refusal(corpus, **options):
    with pytest.raises(ValueError, match=r".") as error:
        corpora.load(str(corpus), **options)
    assert len(str(error.value)) < 400
    return str(error.value)


def test_files_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "text"
    path.write_bytes(b"")
    assert "is empty" in refusal(path)
    path.write_bytes(b"\n \n")
    assert "is empty" in refusal(path)
    path.write_bytes(b"PK\x03\x04\0\0")
    assert "binary file (a NUL byte at offset 4)" in refusal(path)
    path.write_bytes("naïve".encode("latin-1"))
    assert f"{path} is no UTF-8: byte 0xEF at offset 2" in refusal(path)
    (tmp_path / "more").write_text("fine")
    assert f"{path} is no UTF-8" in refusal(tmp_path)
    assert "or leave it out of the folder" in refusal(tmp_path)
    path.write_text("a")
    assert "no training text" in refusal(path)


def test_missing_paths_and_folders_without_training_text_are_refused(tmp_path):
    assert "no such file or folder" in refusal(tmp_path / "nothing.txt")
    assert "no such file or folder" in refusal("nothing.txt")
    (tmp_path / "empty").mkdir()
    assert "holds no files" in refusal(tmp_path / "empty")
    (tmp_path / "valid.txt").write_text("text")
    assert "has valid.txt but no file named train" in refusal(tmp_path)
    assert "corpus is empty" in refusal("")
    assert "test_share=0.1" in refusal(tmp_path, test_share=0.1)
    assert "max_characters=-1 must be 0" in refusal("python_stdlib", max_characters=-1)


def test_unknown_names_get_the_closest_and_missing_sets_the_command(tmp_path):
    assert "is it tiny_shakespeare" in refusal("tiny_shakespear", data_dir=tmp_path)
    assert "python_stdlib" in refusal("pythonlib", data_dir=tmp_path)
    ours = f"python -m data.tfds_builders wikitext2 LOCAL_COPY --data_dir={tmp_path}"
    assert ours in refusal("wikitext2", data_dir=tmp_path)
    assert "path of a file or folder that exists" in refusal("no/such", data_dir=tmp_path)
    assert "tfds build universal_dependencies/en_ewt" in refusal("universal_dependencies/en_ewt", data_dir=tmp_path)
    theirs = f"tfds build lm1b --file_format=array_record --data_dir={tmp_path}"
    assert theirs in refusal("lm1b", data_dir=tmp_path)


def test_the_folder_of_data_sets_comes_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert f"--data_dir={tmp_path}" in refusal("wikitext2")
