"""Corpora: text by name or path, split into training, validation and test documents without leakage."""

import hashlib
import os
import sysconfig
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from data import tfds_builders

PYTHON_STDLIB = "python_stdlib"
SPLITS = ("train", "validation", "test")
# The names that other people give to files of a split.
SPLIT_STEMS = {"train": {"train", "training"}, "validation": {"valid", "validation", "val", "dev"}, "test": {"test"}}
TEXT_ENDINGS = {"", "txt", "text", "tokens", "tok", "raw", "md"}
EXCLUDED_FOLDERS = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__", "lib-dynload"}
# Some hundred tables written by one program, which differ by a few lines: split by document, they would leak.
EXCLUDED_FOLDERS |= {"encodings"}


@dataclass(frozen=True)
class Corpus:
    """Documents of three splits; ``sha256`` is the hash of the documents' text, in order, with the splits."""

    name: str
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    sha256: str

    def __getitem__(self, split):
        return getattr(self, split)


def load(
    corpus: str,
    data_dir: str | None = None,
    *,
    test_share: float = 0.0,
    max_characters: int = 0,
    test_corpus: str = "",
) -> Corpus:
    """Loads the corpus of a name or path.

    - "python_stdlib": the source files of this Python's standard library, without its tests. 90 % of the files are for
      training, 5 % for validation and 5 % for testing, by a hash of their path.
    - a file: the first 90 % of its characters are for training, the last 10 % for validation, as in nanoGPT; of the
      latter the last ``test_share`` of all characters are for testing.
    - a folder: its files in sorted order, without empty ones and those in hidden folders. Text files named train and
      valid (validation, val, dev) or test, with the same ending, are the splits; without such files, 90 % of all files
      are for training, 5 % for validation and 5 % for testing, by a hash of their path.
    - the name of a TFDS data set that has been prepared: its splits; a split that it lacks is cut from its training
      documents.

    Args:
      data_dir:       folder in which TFDS data sets lie; default $TFDS_DATA_DIR, else ~/tensorflow_datasets.
      test_share:     share of a file's characters that is for testing, in [0, 0.1); folders and data sets ignore it.
      max_characters: number of characters of training text, 0 for all. Whole documents are kept, in an order by hash;
                      the last one is cut. Validation and test text does not depend on it, so that losses compare.
      test_corpus:    a corpus (name or path) all of whose documents become the test split, in place of the corpus's.

    Raises:
      ValueError: the name is unknown, the data set has not been prepared (the message has the command that prepares
        it), a file is empty, binary or no UTF-8, the training split has no text, or a number is out of range.
    """
    if not 0 <= test_share < 0.1:
        raise ValueError(f"test_share={test_share} must be at least 0 and less than the 0.1 that is held out")
    if max_characters < 0:
        raise ValueError(f"max_characters={max_characters} must be 0 (all) or more")
    splits = _splits(corpus, data_dir, test_share)
    documents = {split: [read() for _, read in splits[split]] for split in ("validation", "test")}
    documents["train"] = _read_characters(splits["train"], max_characters)
    if test_corpus:
        test_splits = _splits(test_corpus, data_dir, 0.0)
        texts = [read() for split in SPLITS for _, read in test_splits[split]]
        documents["test"] = ["".join(texts)] if Path(test_corpus).expanduser().is_file() else texts
    documents = {split: tuple(filter(None, documents[split])) for split in SPLITS}
    if not documents["train"]:
        raise ValueError(f"corpus={corpus} has no training text")
    return Corpus(
        corpus,
        train=documents["train"],
        validation=documents["validation"],
        test=documents["test"],
        sha256=_sha256(documents),
    )


def _splits(corpus, data_dir, test_share):
    """{split: [(document's name, function that reads its text)]} of the corpus of a name or path.

    Documents are read only when they are needed. The functions below return the same.
    """
    if not corpus:
        raise ValueError("corpus is empty: give python_stdlib, a file, a folder or the name of a TFDS data set")
    path = Path(corpus).expanduser()
    if corpus == PYTHON_STDLIB:
        return _split_by_document(_stdlib_documents())
    if path.is_file():
        return _split_by_position(read_text(path), test_share)
    if path.is_dir():
        return _split_folder(path)
    if _looks_like_a_path(corpus):
        raise ValueError(f"corpus={corpus}: there is no such file or folder")
    return _split_data_set(corpus, data_dir)


def read_text(path: str | Path) -> str:
    """A file's text, with its line ends as they are.

    Raises ValueError for an empty file, for a file with NUL bytes (binary), and for a file that is no UTF-8, with the
    offset of the byte.
    """
    content = Path(path).read_bytes()
    if not content.strip():
        raise ValueError(f"{path} is empty: there is no text to learn from")
    if (offset := content.find(b"\0")) >= 0:
        raise ValueError(f"{path} is a binary file (a NUL byte at offset {offset}): take a text file")
    return _decode(content, path)


def _decode(content, source):
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{source} is no UTF-8: byte 0x{content[error.start]:02X} at offset {error.start} ({error.reason}); "
            "convert it, as with iconv -f LATIN1 -t UTF-8"
        ) from error


def _looks_like_a_path(corpus):
    """Whether a corpus is meant as a path, not as the name of a TFDS data set, which may hold a slash: name/config."""
    return corpus.startswith((".", "~", os.sep)) or corpus.endswith((".txt", ".py", ".md", ".gz", ".tokens"))


def _sha256(documents):
    sha = hashlib.sha256()
    for split in SPLITS:
        for text in documents[split]:
            content = text.encode("utf-8")
            sha.update(f"{split} {len(content)}\n".encode())
            sha.update(content)
    return sha.hexdigest()


def _hash(name):
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:8], "big")


def split_of(name: str) -> str:
    """The split that a hash gives to a document of this name: 90 % are for training, 5 % validation and 5 % testing."""
    return {0: "validation", 1: "test"}.get(_hash(name) % 20, "train")


def _split_by_document(documents):
    splits = {split: [] for split in SPLITS}
    for name, read in documents:
        splits[split_of(name)].append((name, read))
    return splits


def _split_by_position(text, test_share):
    train_end = int(len(text) * 0.9)
    test_start = len(text) - int(len(text) * test_share)
    parts = {"train": text[:train_end], "validation": text[train_end:test_start], "test": text[test_start:]}
    return {split: [("", partial(str, part))] for split, part in parts.items()}


def _read_characters(documents, max_characters):
    """Reads whole documents in an order by hash up to the limit, and cuts the last; texts come in their own order."""
    if not max_characters:
        return [read() for _, read in documents]
    texts, num_missing = {}, max_characters
    for index in sorted(range(len(documents)), key=lambda i: _hash(f"order {documents[i][0]}")):
        texts[index] = documents[index][1]()[:num_missing]
        num_missing -= len(texts[index])
        if num_missing == 0:
            break
    return [texts[index] for index in sorted(texts)]


def _stdlib_documents():
    root = Path(sysconfig.get_paths()["stdlib"])
    paths = (path.relative_to(root) for path in root.rglob("*.py"))
    names = sorted(path.as_posix() for path in paths if not EXCLUDED_FOLDERS.intersection(path.parts))
    # Some files declare another encoding (PEP 263); the few characters that UTF-8 cannot decode are left out.
    return [(name, lambda path=root / name: path.read_bytes().decode("utf-8", "ignore")) for name in names]


def _split_folder(folder):
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    names = sorted(path.as_posix() for path in paths if not any(part.startswith(".") for part in path.parts))
    if not names:
        raise ValueError(f"corpus={folder} holds no files")
    documents = [(name, partial(_read_document, folder / name)) for name in names]
    splits_and_endings = {name: _split_and_ending(name) for name in names}
    endings = {split: {ending for s, ending in splits_and_endings.values() if s == split} for split in SPLITS}
    shared_endings = endings["train"] & (endings["validation"] | endings["test"]) & TEXT_ENDINGS
    if shared_endings:
        return {
            split: [
                (name, read)
                for name, read in documents
                if splits_and_endings[name][0] == split and splits_and_endings[name][1] in shared_endings
            ]
            for split in SPLITS
        }
    if all(split in ("validation", "test") for split, _ in splits_and_endings.values()):
        raise ValueError(
            f"corpus={folder} has {names[0]} but no file named train: give one of its files as the corpus, "
            "or add the training text"
        )
    return _split_by_document(documents)


def _read_document(path):
    """The text of a folder's file, "" for an empty file."""
    try:
        return read_text(path) if path.read_bytes().strip() else ""
    except ValueError as error:
        raise ValueError(f"{error}; or leave it out of the folder (files in hidden folders are not read)") from error


def _split_and_ending(file):
    """(split that a file of the folder itself is named after, or None; ending): train.txt, valid, wiki.test.tokens."""
    parts = file.split(".")
    split = next((split for split in SPLITS if "/" not in file and not SPLIT_STEMS[split].isdisjoint(parts)), None)
    return split, "" if split and parts[-1] in SPLIT_STEMS[split] else parts[-1]


def _split_data_set(name, data_dir):
    try:
        sources = tfds_builders.sources(name, data_dir)
    except ValueError as error:
        hint = f"; a corpus may also be {PYTHON_STDLIB}, or the path of a file or folder that exists"
        raise ValueError(f"corpus={name}: {error}{hint if 'no data set' in str(error) else ''}") from error
    if not sources.get("train"):
        raise ValueError(f"corpus={name} of TFDS has no training split, only: {', '.join(sources)}")
    field = _text_field(sources["train"][0], name)

    def read(split, index):
        text = sources[split][index][field]
        return _decode(text, f"{name}, {split}, document {index},") if isinstance(text, bytes) else text

    def documents(split):
        return [(f"{split} {index}", partial(read, split, index)) for index in range(len(sources[split]))]

    pieces = _split_by_document(documents("train"))
    missing = [split for split in SPLITS if split not in sources]
    splits = {split: pieces[split] if split in missing else documents(split) for split in SPLITS}
    return splits | {"train": [pair for pair in documents("train") if split_of(pair[0]) not in missing]}


def _text_field(example, name):
    fields = [field for field, value in example.items() if isinstance(value, bytes | str)]
    if "text" in fields:
        return "text"
    if len(fields) != 1:
        raise ValueError(f"corpus={name} of TFDS has no field of text; its fields are: {', '.join(example)}")
    return fields[0]
