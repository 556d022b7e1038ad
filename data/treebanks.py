"""Treebanks: sentences with their trees, from CoNLL-U files (universaldependencies.org/format.html), and back.

A sentence's words have positions 1 ... n; position 0 is ROOT, the head of exactly one word.
"""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from data import plain_text, tfds_builders

SPLITS = ("train", "validation", "test")
# What a file's name holds if the file belongs to a split.
SPLIT_STEMS = {"train": ("train",), "validation": ("dev", "valid"), "test": ("test",)}
ENDINGS = (".conllu", ".conllu.gz")
COLUMNS = ("ID", "FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC")
FORM, UPOS, XPOS, FEATS, HEAD, DEPREL, DEPS, MISC = 1, 3, 4, 5, 6, 7, 8, 9
MISSING = "_"
# The columns that make a tag; of two without "+", the second stands in where the first is missing.
TAG_COLUMNS = {"upos": (UPOS, XPOS), "xpos": (XPOS, UPOS), "upos+xpos": (UPOS, XPOS), "upos+feats": (UPOS, FEATS)}
RANGE, EMPTY_NODE = re.compile(r"([0-9]{1,9})-([0-9]{1,9})"), re.compile(r"([0-9]{1,9})\.[0-9]+")


class Sentence(NamedTuple):
    """The words of a sentence and its tree; multiword tokens and empty nodes are in ``lines`` alone.

    ``heads`` holds the position of each word's head, 0 for ROOT; ``labels`` the universal relations, without subtypes.
    Both are empty where the tree is not known. ``lines`` are those of the file, comments included, without line ends.
    """

    forms: tuple[str, ...]
    tags: tuple[str, ...]
    heads: tuple[int, ...]
    labels: tuple[str, ...]
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Treebank:
    """Sentences of three splits; ``sha256`` is the hash of their lines, in order, with the splits."""

    name: str
    train: tuple[Sentence, ...]
    validation: tuple[Sentence, ...]
    test: tuple[Sentence, ...]
    sha256: str

    def __getitem__(self, split):
        return getattr(self, split)


# --- Reading.


def load(treebank: str, data_dir: str | None = None, tag_columns: str = "upos") -> Treebank:
    """Loads the treebank of a path or name; files end in .conllu, or gzipped in .conllu.gz.

    - a folder: its files with "train", "dev" or "valid", and "test" in their names are the splits, as in every release
      of Universal Dependencies; several files of a split are read one after the other.
    - a file: a hash of each sentence's words decides its split, so that no sentence is in two: 80 % of the sentences
      are for training, 10 % for validation and 10 % for testing.
    - the name of a TFDS data set that has been prepared with our builder ``conllu``: its splits.

    Args:
      data_dir:    folder in which TFDS data sets lie; default $TFDS_DATA_DIR, else ~/tensorflow_datasets.
      tag_columns: what a word's tag is, one of TAG_COLUMNS, as for `parse_conllu`.

    Raises:
      ValueError: there is no such treebank, it lacks a split, or a file cannot be opened, is damaged, no UTF-8, empty,
        or no CoNLL-U with a tree for each sentence (the message has the file and the line).
    """
    if not treebank:
        raise ValueError("treebank is empty: give a folder or file of CoNLL-U, or the name of a TFDS data set")
    try:
        splits = _read_splits(treebank, data_dir, tag_columns)
    except OSError as error:
        file, reason = error.filename or treebank, error.strerror or error
        raise ValueError(f"{file} cannot be read ({reason}): give files of CoNLL-U that you may read") from error
    return Treebank(treebank, **{split: tuple(splits[split]) for split in SPLITS}, sha256=_sha256(splits))


def _read_splits(treebank, data_dir, tag_columns):
    path = Path(os.path.expanduser(treebank))  # Path.expanduser raises a RuntimeError for a user that there is not
    if path.is_file():
        return _split_by_hash(_read_file(path, tag_columns), path)
    if path.is_dir():
        files = _find_files(path)
        return {split: [s for file in files[split] for s in _read_file(file, tag_columns)] for split in SPLITS}
    if treebank.startswith((".", "~", os.sep)) or treebank.endswith(ENDINGS):
        raise ValueError(f"treebank={treebank}: there is no such file or folder; give one that exists")
    return _read_data_set(treebank, data_dir, tag_columns)


def _sha256(splits):
    sha = hashlib.sha256()
    for split, sentences in splits.items():
        sha.update(f"{split} {len(sentences)}\n".encode())
        for sentence in sentences:
            sha.update("\n".join((*sentence.lines, "\n")).encode())
    return sha.hexdigest()


def _read_file(path, tag_columns):
    return parse_conllu(tfds_builders.read(path), str(path), tag_columns)


def _split_by_hash(sentences, path):
    splits = {split: [] for split in SPLITS}
    for sentence in sentences:
        words = "\t".join(sentence.forms).encode()
        number = int.from_bytes(hashlib.sha256(words).digest()[:8], "big")
        splits[{0: "validation", 1: "test"}.get(number % 10, "train")].append(sentence)
    for split, members in splits.items():
        if not members:
            raise ValueError(
                f"{path} has {len(sentences)} sentences, too few to divide: none falls to the {split} split; "
                "give a folder with files named train, dev and test"
            )
    return splits


def _find_files(folder):
    """{split: its files}; a gzipped file beside its own content is left out, and so are files of no split."""
    files = {split: [] for split in SPLITS}
    for path in sorted(path for path in folder.iterdir() if path.name.endswith(ENDINGS)):
        split = next((s for s in SPLITS if any(stem in path.name.lower() for stem in SPLIT_STEMS[s])), None)
        if split and not (path.suffix == ".gz" and path.with_suffix("").exists()):
            files[split].append(path)
    for split, paths in files.items():
        if not paths:
            names = " or ".join(f"*{stem}*{ending}" for stem in SPLIT_STEMS[split] for ending in ENDINGS)
            raise ValueError(
                f"treebank={folder} has no file for the {split} split, named {names}; "
                "a single file may be given instead, and is divided"
            )
    return files


def _read_data_set(name, data_dir, tag_columns):
    try:
        sources = tfds_builders.sources(name, data_dir)
    except ValueError as error:
        hint = "; a treebank may also be a file or folder that exists" if "no data set" in str(error) else ""
        raise ValueError(f"treebank={name}: {error}{hint}") from error
    splits = {}
    for split in SPLITS:
        if split not in sources or "conllu" not in sources[split][0]:
            raise ValueError(
                f"treebank={name} of TFDS has no {split} split with a field conllu: prepare a treebank's files with "
                "python -m data.tfds_builders conllu LOCAL_COPY, or give their folder"
            )
        texts = (sources[split][index]["conllu"] for index in range(len(sources[split])))
        text = "\n\n".join(text.decode() if isinstance(text, bytes) else text for text in texts)
        splits[split] = parse_conllu(text, f"{name}, {split}", tag_columns)
    return splits


def parse_conllu(text: str, source: str, tag_columns: str = "upos", with_trees: bool = True) -> list[Sentence]:
    r"""The sentences of a CoNLL-U text.

    A missing blank line at the end, \r\n as line ends and a byte order mark are accepted.

    Args:
      source:      the file's name, for messages.
      tag_columns: what a word's tag is: the column UPOS ("upos") or XPOS ("xpos"), or two columns with "|" between
                   ("upos+xpos", "upos+feats"). Where the first is missing, the tag is "_|" and the second, or for one
                   column the other of the two; where the second is missing, the first alone.
      with_trees:  whether each sentence must have its tree. Otherwise, a sentence none of whose words has a head has no
                   ``heads`` and no ``labels``.

    Raises:
      ValueError: the text has no sentence, or a line is wrong (the message has ``source`` and the line's number): the
        number of columns, the order of ids, a head outside the sentence, not exactly one root, or a cycle.
    """
    if tag_columns not in TAG_COLUMNS:
        raise ValueError(f"tag_columns={tag_columns} must be one of: {', '.join(TAG_COLUMNS)}")
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    sentences, start = [], 0
    for index, line in enumerate((*lines, "")):
        if not line or line.isspace():
            if index > start:
                sentences.append(_read_sentence(lines[start:index], source, start + 1, tag_columns, with_trees))
            start = index + 1
    if not sentences:
        raise ValueError(f"{source}, line 1: there is no sentence in this file: give a CoNLL-U file that is not empty")
    return sentences


def _read_sentence(lines, source, first_line, tag_columns, with_trees):
    rows, numbers, range_end = [], [], 0  # the cells of each word, and its line's number
    for number, line in enumerate(lines, first_line):
        if line[0] == "#":
            continue
        cells = line.split("\t")
        if len(cells) != len(COLUMNS):
            _refuse(source, number, f"{len(cells)} columns, not {len(COLUMNS)} with tabs between: {_quote(line)}")
        if cells[0] == str(len(rows) + 1):
            rows.append(cells)
            numbers.append(number)
        elif (match := RANGE.fullmatch(cells[0])) and range_end <= len(rows) == int(match[1]) - 1 < int(match[2]):
            range_end = int(match[2])
        elif not (match := EMPTY_NODE.fullmatch(cells[0])) or int(match[1]) != len(rows):
            said = f"id {_quote(cells[0])} is out of order, {len(rows) + 1} is next; a blank line ends a sentence"
            _refuse(source, number, said)
    if not rows:
        _refuse(source, first_line, f"comments without a sentence: {_quote(lines[0])}")
    if range_end > len(rows):
        _refuse(source, numbers[-1], f"a multiword token reaches to word {range_end} of {len(rows)}")
    columns = list(zip(*rows, strict=True))
    if "" in columns[FORM]:
        _refuse(source, numbers[columns[FORM].index("")], "FORM is empty; a word that is not known is written _")
    heads = labels = ()
    if with_trees or any(head != MISSING for head in columns[HEAD]):
        heads = _read_heads(columns[HEAD], source, numbers)
        labels = tuple([label.partition(":")[0] for label in columns[DEPREL]])
    pairs = zip(*(columns[column] for column in TAG_COLUMNS[tag_columns]), strict=True)
    tags = tuple([_join_tag(*pair, "+" in tag_columns) for pair in pairs])
    return Sentence(columns[FORM], tags, heads, labels, tuple(lines))


def _join_tag(first, second, has_both):
    """The tag of two cells; it says by "_|" that the first is missing, so that the second can go back to its column."""
    return first if second == MISSING or (first != MISSING and not has_both) else f"{first}|{second}"


def _divide_tag(tag, second, has_both):
    """The two cells that `_join_tag` makes a tag of; ``second`` stays as it is where the tag is the first alone."""
    if has_both or tag.startswith(f"{MISSING}|"):
        tag, _, second = tag.partition("|")
    return tag, second or MISSING


def _read_heads(cells, source, numbers):
    """The heads of a sentence as integers, if they make a tree with one root; ``numbers`` are the words' lines."""
    heads, size = [], len(cells)
    for word, cell in enumerate(cells, 1):
        if cell == MISSING:
            _refuse(source, numbers[word - 1], "HEAD is _: a tree is needed for each sentence; give annotated files")
        head = int(cell) if cell.isascii() and cell.isdecimal() and len(cell) < 10 else -1
        if not 0 <= head <= size:
            _refuse(source, numbers[word - 1], f"HEAD {_quote(cell)} is no position in this sentence: 0 ... {size}")
        heads.append(head)
    if heads.count(0) == 0:
        _refuse(source, numbers[0], "no word of this sentence is its root: exactly one must have the HEAD 0")
    if heads.count(0) > 1:
        first, second = [word for word, head in enumerate(heads, 1) if head == 0][:2]
        said = f"word {second} is a second root, after word {first}: exactly one word must have the HEAD 0"
        _refuse(source, numbers[second - 1], said)
    if word := _find_cycle(heads):
        _refuse(source, numbers[word - 1], f"word {word} is its own ancestor: heads must lead to the root")
    return tuple(heads)


def _find_cycle(heads):
    """A word that is its own ancestor, 0 if there is none."""
    seen_from = [0] * (len(heads) + 1)  # the word from whose way up a position was first seen
    seen_from[0] = -1
    for start in range(1, len(heads) + 1):
        word = start
        while not seen_from[word]:
            seen_from[word] = start
            word = heads[word - 1]
        if seen_from[word] == start:
            return word
    return 0


def _refuse(source, number, said):
    raise ValueError(f"{source}, line {number}: {said}")


def _quote(text):
    """A text in quotes on one line, cut after 40 characters."""
    return repr(text) if len(text) <= 40 else f"{text[:40]!r}..."


# --- Plain text.


def split_text(text: str) -> list[Sentence]:
    """The sentences of a plain text, divided by the rules of data.plain_text; they have no tags and no trees.

    Their ``lines`` are such as `parse_conllu` reads. Raises ValueError for a text without a word.
    """
    sentences = []
    for sentence in plain_text.split_sentences(text):
        words = plain_text.split_words(sentence)
        lines = [f"# text = {sentence}"]
        for number, (form, has_space_after) in enumerate(words, 1):
            misc = MISSING if has_space_after else "SpaceAfter=No"
            lines.append("\t".join([str(number), form, *[MISSING] * 7, misc]))
        sentences.append(Sentence(tuple(form for form, _ in words), (), (), (), tuple(lines)))
    if not sentences:
        raise ValueError("the text has no word: give a file with text in it")
    return sentences


# --- Writing.


def to_conllu(sentence: Sentence, heads, labels, tags=None, tag_columns: str = "upos") -> str:
    """A parse of a sentence in CoNLL-U, with the blank line that ends it.

    The words' columns HEAD and DEPREL are replaced, and those of ``tag_columns`` if there are ``tags``; DEPS becomes
    "_" for words, because the graph there belongs to another tree. Comments, multiword tokens, empty nodes and every
    other column stay as they are in the sentence's ``lines``. Raises ValueError where the numbers of words differ.
    """
    for name, values in (("heads", heads), ("labels", labels), ("tags", tags)):
        if values is not None and len(values) != len(sentence.forms):
            raise ValueError(f"{len(values)} {name} for a sentence of {len(sentence.forms)} words")
    lines = sentence.lines
    if not lines:
        tags = sentence.tags or None if tags is None else tags
        lines = ["\t".join([str(n), form, *[MISSING] * 8]) for n, form in enumerate(sentence.forms, 1)]
    written, index = [], 0
    for line in lines:
        cells = line.split("\t")
        if cells[0].isdecimal():
            cells[HEAD], cells[DEPREL], cells[DEPS] = str(int(heads[index])), str(labels[index]), MISSING
            if tags is not None:
                a, b = TAG_COLUMNS[tag_columns]
                cells[a], cells[b] = _divide_tag(tags[index], cells[b], "+" in tag_columns)
            index += 1
            line = "\t".join(cells)
        written.append(line)
    return "\n".join((*written, "\n"))


# --- Trees.


def is_projective(heads) -> bool:
    """Whether no two arcs of a tree cross, the arc from ROOT included: each word's descendants stand side by side."""
    children = [[] for _ in range(len(heads) + 1)]
    for word, head in enumerate(heads, 1):
        children[head].append(word)
    order = [0]  # parents before their children
    for position in order:
        order.extend(children[position])
    first, last, size = list(range(len(heads) + 1)), list(range(len(heads) + 1)), [1] * (len(heads) + 1)
    for word in reversed(order[1:]):
        if last[word] - first[word] + 1 != size[word]:
            return False
        head = heads[word - 1]
        first[head], last[head] = min(first[head], first[word]), max(last[head], last[word])
        size[head] += size[word]
    return True
