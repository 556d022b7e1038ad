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
# As other people name their files.
STEMS = {"train": {"train", "training"}, "validation": {"valid", "validation", "val", "dev"}, "test": {"test"}}
TEXT_ENDINGS = {"", "txt", "text", "tokens", "tok", "raw", "md"}
NOT_THE_LIBRARYS = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__", "lib-dynload"}
# Some hundred tables made by one program, alike but for a few lines: by document, they would stand in every split.
NOT_THE_LIBRARYS |= {"encodings"}


@dataclass(frozen=True)
class Corpus:
    """Documents of three splits; ``sha256`` is over their text, in order, with the splits."""

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
    """The corpus of that name or path.

    - "python_stdlib": the source files of this Python's standard library, without its tests. 90 % of the files are for
      training, 5 % for validation and 5 % for testing, by a hash of their path.
    - a file: the first 90 % of its characters are for training, the last 10 % for validation, as in nanoGPT; of these
      the last ``test_share`` of all characters are for testing.
    - a folder: its files in sorted order, empty ones and those in hidden folders left out. Text files named train and
      valid (validation, val, dev) or test, with the same ending, are the splits; else 90, 5 and 5 % of all files are,
      by a hash of their path.
    - the name of a TFDS data set that has been prepared: its splits; what it lacks is cut from its training documents.

    Args:
      data_dir:       where TFDS data sets lie; default $TFDS_DATA_DIR, else ~/tensorflow_datasets.
      max_characters: of the training text, 0 for all. Whole documents are kept, in an order by hash. Validation and
                      test stay as they are, so that losses with different limits compare.
      test_corpus:    a corpus (name or path) all of whose documents become the test split, in place of what there was.

    Raises:
      ValueError: an unknown name, a data set that has not been prepared (with the command that prepares it), a file
        that is empty, binary or no UTF-8, a split that has no text, a number out of range.
    """
    if not 0 <= test_share < 0.1:
        raise ValueError(f"test_share={test_share} must be at least 0 and less than the 0.1 that is held out")
    if max_characters < 0:
        raise ValueError(f"max_characters={max_characters} must be 0 (all) or more")
    splits = _splits(corpus, data_dir, test_share)
    documents = {split: [read() for _, read in splits[split]] for split in ("validation", "test")}
    documents["train"] = _at_most(splits["train"], max_characters)
    if test_corpus:
        other = _splits(test_corpus, data_dir, 0.0)
        texts = [read() for split in SPLITS for _, read in other[split]]
        documents["test"] = ["".join(texts)] if Path(test_corpus).expanduser().is_file() else texts
    documents = {split: tuple(filter(None, documents[split])) for split in SPLITS}
    if not documents["train"]:
        raise ValueError(f"corpus={corpus} has no training text")
    return Corpus(corpus, **documents, sha256=_sha256(documents))


def _splits(corpus, data_dir, test_share):
    """{split: [(name, read)]} of the corpus of that name or path."""
    if not corpus:
        raise ValueError("corpus is empty: give python_stdlib, a file, a folder or the name of a TFDS data set")
    path = Path(corpus).expanduser()
    if corpus == PYTHON_STDLIB:
        return _by_document(_python_stdlib())
    if path.is_file():
        return _by_position(read_text(path), test_share)
    if path.is_dir():
        return _folder(path)
    if _looks_like_a_path(corpus):
        raise ValueError(f"corpus={corpus}: there is no such file or folder")
    return _tfds(corpus, data_dir)


def read_text(path: str | Path) -> str:
    """The file's text, line ends as they are.

    Raises ValueError for an empty file, for one with NUL bytes (binary), and for one that is no UTF-8, with the offset
    of the byte.
    """
    content = Path(path).read_bytes()
    if not content.strip():
        raise ValueError(f"{path} is empty: there is no text to learn from")
    if (offset := content.find(b"\0")) >= 0:
        raise ValueError(f"{path} is a binary file (a NUL byte at offset {offset}): take a text file")
    return _decode(content, path)


def _decode(content, where):
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{where} is no UTF-8: byte 0x{content[error.start]:02X} at offset {error.start} ({error.reason}); "
            "convert it, as with iconv -f LATIN1 -t UTF-8"
        ) from error


def _looks_like_a_path(corpus):
    """TFDS's names may have a slash too: name/config."""
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


def _split_of(name):
    return {0: "validation", 1: "test"}.get(_hash(name) % 20, "train")


# What follows gives {split: [(name, read)]}: documents are read when they are needed.


def _by_document(documents):
    splits = {split: [] for split in SPLITS}
    for name, read in documents:
        splits[_split_of(name)].append((name, read))
    return splits


def _by_position(text, test_share):
    held_out = int(len(text) * 0.9)
    tested = len(text) - int(len(text) * test_share)
    parts = {"train": text[:held_out], "validation": text[held_out:tested], "test": text[tested:]}
    return {split: [("", partial(str, part))] for split, part in parts.items()}


def _at_most(documents, max_characters):
    """Texts of whole documents in an order by hash until the limit, the last one cut; given in their own order."""
    if not max_characters:
        return [read() for _, read in documents]
    texts, left = {}, max_characters
    for index in sorted(range(len(documents)), key=lambda i: _hash(f"order {documents[i][0]}")):
        texts[index] = documents[index][1]()[:left]
        left -= len(texts[index])
        if left == 0:
            break
    return [texts[index] for index in sorted(texts)]


def _python_stdlib():
    root = Path(sysconfig.get_paths()["stdlib"])
    paths = (path.relative_to(root) for path in root.rglob("*.py"))
    named = sorted(path.as_posix() for path in paths if not NOT_THE_LIBRARYS.intersection(path.parts))
    # A file of another encoding (PEP 263) is not worth an exception.
    return [(name, lambda path=root / name: path.read_bytes().decode("utf-8", "ignore")) for name in named]


def _folder(folder):
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    named = sorted(path.as_posix() for path in paths if not any(part.startswith(".") for part in path.parts))
    if not named:
        raise ValueError(f"corpus={folder} holds no files")
    documents = [(name, partial(_read_of_folder, folder / name)) for name in named]
    stems = {name: _stem_and_ending(name) for name in named}
    endings = {split: {ending for stem, ending in stems.values() if stem == split} for split in SPLITS}
    shared = endings["train"] & (endings["validation"] | endings["test"]) & TEXT_ENDINGS
    if shared:
        named_as = {split: {(split, ending) for ending in shared} for split in SPLITS}
        return {split: [pair for pair in documents if stems[pair[0]] in named_as[split]] for split in SPLITS}
    if all(stem in ("validation", "test") for stem, _ in stems.values()):
        raise ValueError(
            f"corpus={folder} has {named[0]} but no file named train: give one of its files as the corpus, "
            "or add the training text"
        )
    return _by_document(documents)


def _read_of_folder(path):
    """The file's text, "" for an empty one."""
    try:
        return read_text(path) if path.read_bytes().strip() else ""
    except ValueError as error:
        raise ValueError(f"{error}; or leave it out of the folder (files in hidden folders are not read)") from error


def _stem_and_ending(file):
    """(split, ending) of a file of the folder itself that is named as one: train.txt, valid, wiki.test.tokens."""
    parts = file.split(".")
    split = next((split for split in SPLITS if "/" not in file and not STEMS[split].isdisjoint(parts)), None)
    return split, "" if split and parts[-1] in STEMS[split] else parts[-1]


def _tfds(name, data_dir):
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

    cut = _by_document(documents("train"))
    missing = [split for split in SPLITS if split not in sources]
    kept = [pair for pair in documents("train") if _split_of(pair[0]) not in missing]
    return {split: cut[split] if split in missing else documents(split) for split in SPLITS} | {"train": kept}


def _text_field(example, name):
    fields = [field for field, value in example.items() if isinstance(value, bytes | str)]
    if "text" in fields:
        return "text"
    if len(fields) != 1:
        raise ValueError(f"corpus={name} of TFDS has no field of text; its fields are: {', '.join(example)}")
    return fields[0]
