"""Parallel text: lines of one language with their translations, from two files each split, or from a TFDS data set."""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from data import tfds_builders
from data.corpora import split_of

SPLITS = ("train", "validation", "test")
# What stands in the name of a split's file where the training file has "train" or "training".
SPLIT_STEMS = {"validation": "val|valid|validation|dev", "test": "test"}


@dataclass(frozen=True)
class ParallelText:
    """Pairs of (source line, target line) of three splits.

    ``sha256`` is the hash of the pairs, in order, with the splits. ``num_dropped`` counts the pairs that were
    left out because a line of them is blank; ``warnings`` are sentences on what is allowed but rarely meant;
    ``from_files`` are the held-out splits that have files of their own.
    """

    name: str
    train: tuple[tuple[str, str], ...]
    validation: tuple[tuple[str, str], ...]
    test: tuple[tuple[str, str], ...]
    sha256: str
    num_dropped: int = 0
    warnings: tuple[str, ...] = ()
    from_files: tuple[str, ...] = ()

    def __getitem__(self, split):
        return getattr(self, split)


def load(
    source: str,
    target: str,
    *,
    corpus: str = "",
    validation: tuple[str, str] = ("", ""),
    test: tuple[str, str] = ("", ""),
    data_dir: str | None = None,
) -> ParallelText:
    """Loads pairs of lines that are translations of each other.

    Line i of the source file goes with line i of the target file. Files are UTF-8, gzipped if their names end in .gz;
    white space and line ends at the ends of a line are removed, and a pair with a blank line is left out. The training
    files are ``source`` and ``target``; a held-out split is the first of these that there is:

    - the two files given for it;
    - the two files beside the training files, as `find_beside` finds them;
    - the pairs of the training files to which a hash of the source line gives it: 5 % of all. They are not trained on,
      and no source line is in two of the splits made in this way.

    With ``corpus``, the pairs are those of a TFDS data set, a split that it lacks is cut from its training pairs by the
    same hash, and ``source`` and ``target`` name features of text, by default the first two.

    Args:
      corpus:           name of a TFDS data set that has been prepared, such as our builder ``parallel_text`` makes.
      validation, test: a source and a target file for the split; ("", "") where none are given.
      data_dir:         folder in which TFDS data sets lie; default $TFDS_DATA_DIR, else ~/tensorflow_datasets.

    Raises:
      ValueError: one of two files is not given, they differ in their numbers of lines, or a file does not exist, cannot
        be read, is damaged, binary, empty or no UTF-8; several pairs of files may be meant; a split has no pair; there
        is no such data set, or it lacks the features.
    """
    held_out = {"validation": tuple(validation), "test": tuple(test)}
    for split, paths in held_out.items():
        _check_both(*paths, f"{split}_")
    _check_both(source, target)
    if not corpus and not source:
        raise ValueError("source and target are empty: give two files, or corpus, the name of a TFDS data set")
    files = {split: tuple(map(_path, paths)) for split, paths in held_out.items() if any(paths)}
    try:
        if corpus:
            source, target, lines = _read_data_set(corpus, source, target, files, data_dir)
        else:
            training = _path(source), _path(target)
            lines = {"train": read_pairs(*training)}
            files = {split: files.get(split) or find_beside(*training, split) for split in held_out}
        lines |= {split: read_pairs(*paths) for split, paths in files.items() if paths}
    except OSError as error:
        file, reason = error.filename or source, error.strerror or error
        raise ValueError(f"{file} cannot be read ({reason}): give text files that you may read") from error
    pairs = {split: [pair for pair in lines[split] if all(pair)] for split in lines}
    num_dropped = sum(len(lines[split]) - len(pairs[split]) for split in lines)
    name = corpus or f"{source}, {target}"
    splits = _cut_missing_splits(pairs, name)
    warnings = _list_warnings(splits, source, target)
    from_files = tuple(split for split, paths in files.items() if paths)
    sha256 = _sha256(splits)
    return ParallelText(
        name, **splits, sha256=sha256, num_dropped=num_dropped, warnings=warnings, from_files=from_files
    )


def _check_both(source, target, prefix=""):
    if bool(source) != bool(target):
        given, missing = ("source", "target") if source else ("target", "source")
        raise ValueError(f"{prefix}{missing} is missing beside {prefix}{given}={source or target}: give both or none")


def _path(text):
    return Path(os.path.expanduser(text))  # Path.expanduser raises a RuntimeError for a user that there is not


def _sha256(splits):
    sha = hashlib.sha256()
    for split in SPLITS:
        sha.update(f"{split} {len(splits[split])}\n".encode())
        for source, target in splits[split]:
            sha.update(f"{source}\n{target}\n".encode())
    return sha.hexdigest()


def _cut_missing_splits(pairs, name):
    """{split: pairs} of all splits; those that ``pairs`` lacks are cut from the training pairs by the source's hash."""
    missing = [split for split in SPLITS if split not in pairs]
    pieces = {split: [] for split in SPLITS}
    for pair in pairs["train"]:
        split = split_of(pair[0])
        pieces[split if split in missing else "train"].append(pair)
    splits = {split: tuple(pieces[split] if split in (*missing, "train") else pairs[split]) for split in SPLITS}
    for split, members in splits.items():
        if not members and (split in missing or pairs[split]):
            raise ValueError(
                f"{name} has {len(pairs['train'])} pairs, too few to divide: none falls to the {split} split; "
                "give files for validation and test"
            )
        if not members:
            raise ValueError(f"{name} has no pair in the {split} split: each line is blank, or its translation is")
    return splits


def _list_warnings(splits, source, target):
    warnings = []
    if all(pair[0] == pair[1] for pair in splits["train"]):
        what = "is both the source and the target" if source == target else f"has the same lines as {target}"
        warnings.append(f"{source} {what}: the translator will learn to copy")
    training_pairs = set(splits["train"])
    for split in ("validation", "test"):
        num_shared = sum(pair in training_pairs for pair in splits[split])
        if num_shared > len(splits[split]) / 2:
            warnings.append(
                f"{num_shared} of {len(splits[split])} {split} pairs are training pairs too: they measure memory"
            )
    return tuple(warnings)


# --- Files.


def read_pairs(source: Path, target: Path) -> list[tuple[str, str]]:
    """The pairs (line i of the source file, line i of the target file), blank lines included.

    Raises ValueError for files with unequal numbers of lines, and for a file that is a folder, damaged, binary, empty
    or no UTF-8.
    """
    source_lines = read_lines(source)
    target_lines = source_lines if source == target else read_lines(target)
    if len(source_lines) != len(target_lines):
        raise ValueError(
            f"{source} has {len(source_lines)} lines and {target} has {len(target_lines)}: line i of the one must be "
            "the translation of line i of the other"
        )
    return list(zip(source_lines, target_lines, strict=True))


def read_lines(path: Path) -> list[str]:
    r"""The lines of a text file, gzipped or not, without white space at their ends; \n and \r\n end a line."""
    if path.is_dir():
        raise ValueError(f"{path} is a folder: give a text file with a sentence a line")
    text = tfds_builders.read(path)
    if (offset := text.find("\0")) >= 0:
        raise ValueError(f"{path} is a binary file (a NUL byte, character {offset}): take a text file")
    if not text.strip("\ufeff \t\r\n"):
        raise ValueError(f"{path} is empty: give a text file with a sentence a line")
    lines = text.removeprefix("\ufeff").removesuffix("\n").split("\n")  # not splitlines, which knows ten other ends
    return [line.strip() for line in lines]


def find_beside(source: Path, target: Path, split: str) -> tuple[Path, Path] | None:
    """The source and target file of a held-out split that lie beside the training files, None if there are none.

    A file's name is that of the training file with another stem in place of "train" (or "training"): val, valid,
    validation or dev for validation, test for testing. After the stem there may be more, if neither a letter nor a
    point begins it and it has no point: test_2016_flickr.en.gz lies beside train.en.gz. Either may be gzipped.

    Raises ValueError where several pairs of files fit, or a file fits that has no partner.
    """
    sources, targets = _find_stems(source, split), _find_stems(target, split)
    stems = sources.keys() & targets.keys()
    if len(stems) > 1:
        names = ", ".join(str(sources[stem]) for stem in sorted(stems))
        raise ValueError(f"several files fit the {split} split: {names}; choose by {split}_source and {split}_target")
    if not stems and (sources or targets):
        file, language = (*sources.values(), *targets.values())[0], "target" if sources else "source"
        raise ValueError(
            f"{file} seems to be of the {split} split, but its {language} file is not there: add it, or choose others "
            f"by {split}_source and {split}_target"
        )
    return next(((sources[stem], targets[stem]) for stem in stems), None)


def _find_stems(training_file, split):
    """{what stands in place of "train": file} of the files of a split beside a training file."""
    name = re.fullmatch(r"(.*?)train(?:ing)?(.*?)(?:\.gz)?", training_file.name)
    if not name:
        return {}
    stem = rf"((?:{SPLIT_STEMS[split]})(?:[^A-Za-z.][^.]*)?)"
    pattern = re.compile(re.escape(name[1]) + stem + re.escape(name[2]) + r"(?:\.gz)?")
    files = {}
    for path in sorted(training_file.parent.iterdir()):  # a file comes before its gzipped copy
        if (match := pattern.fullmatch(path.name)) and path.is_file():
            files.setdefault(match[1], path)
    return files


# --- TFDS data sets.


def _read_data_set(name, source, target, files, data_dir):
    """(source's feature, target's feature, {split: pairs}) of a TFDS data set; splits that have files are not read."""
    try:
        sources = tfds_builders.sources(name, data_dir)
    except ValueError as error:
        hint = "; two files may be given instead, as source and target" if "no data set" in str(error) else ""
        raise ValueError(f"corpus={name}: {error}{hint}") from error
    if not sources.get("train"):
        raise ValueError(f"corpus={name} of TFDS has no training split, only: {', '.join(sources)}")
    features = [feature for feature, value in sources["train"][0].items() if isinstance(value, bytes | str)]
    if len(features) < 2:
        raise ValueError(
            f"corpus={name} of TFDS has no two features of text, only: {', '.join(features) or 'none'}; prepare two "
            "languages with python -m data.tfds_builders parallel_text LOCAL_COPY"
        )
    source, target = (source, target) if source else features[:2]
    for feature in (source, target):
        if feature not in features:
            raise ValueError(f"corpus={name} of TFDS has no feature {feature}; its texts are: {', '.join(features)}")
    splits = {}
    for split in SPLITS:
        if split in sources and split not in files:
            examples = (sources[split][index] for index in range(len(sources[split])))
            splits[split] = [(_line(example[source]), _line(example[target])) for example in examples]
    return source, target, splits


def _line(text):
    text = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return text.replace("\r\n", "\n").replace("\n", " ").strip()
