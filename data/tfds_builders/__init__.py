"""TFDS builders of data sets that are at hand as local copies, one folder each; no download, no TensorFlow."""

import gzip
import hashlib
import importlib
import os
import re
import zlib
from difflib import get_close_matches
from pathlib import Path

MADE_FROM = "made_from.sha256"  # beside a data set, the hash of the local copy that it was made from


def data_dir():
    """Where TFDS data sets lie: $TFDS_DATA_DIR, else ~/tensorflow_datasets."""
    return Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def names():
    """The data sets that can be prepared from a local copy."""
    return sorted(path.parent.name for path in Path(__file__).parent.glob("*/*_dataset_builder.py"))


def sources(name, folder=None):
    """{split: random-access source of its examples} of a TFDS data set that lies prepared in ``folder``.

    ``name`` may have a config and a version, as name/config:version; ``folder`` is by default `data_dir`. Asks no
    network. Raises ValueError for an unknown name (with the closest known ones), for a data set that has not been
    prepared (with the command that prepares it) and for one that cannot be read.
    """
    import tensorflow_datasets as tfds

    folder = Path(folder).expanduser() if folder else data_dir()
    base = re.split("[/:]", name)[0]
    preparing = f"tfds build {name} --file_format=array_record --data_dir={folder}"
    if base in names():
        preparing = f"python -m data.tfds_builders {base} LOCAL_COPY --data_dir={folder}"
    if not re.fullmatch(r"\w+", base) or not (folder / base).is_dir():
        known = {*names(), *tfds.list_builders(with_community_datasets=False)}
        if base in known:
            raise ValueError(f"{name} is not in {folder}; prepare it with: {preparing}")
        near = get_close_matches(base, known, n=3, cutoff=0.6)
        guess = f" (is it {' or '.join(near)}?)" if near else ""
        # TFDS lists some of its data sets, wikipedia and c4 among them, only where TensorFlow is installed.
        built = f"; if TFDS has it, prepare it with: {preparing}" if re.fullmatch(r"\w+", base) else ""
        raise ValueError(f"{name} is no data set known here{guess}{built}")
    try:
        return tfds.data_source(name, data_dir=str(folder), download=False)
    except Exception as error:
        said = " ".join(str(error).split())[:200]
        raise ValueError(f"TFDS cannot read {name} in {folder}: {said}; prepare it with: {preparing}") from error


def prepare(name, local_copy, folder=None):
    """Writes the data set of that name as ArrayRecord files under ``folder``; returns where they are.

    ``local_copy`` is the folder with the files that the builder names; ``folder`` is by default `data_dir`. What has
    been prepared before from the same files is left as it is. Raises ValueError for an unknown name, a local copy that
    does not exist or lacks a file, a file that cannot be read, and a data set that was made from other files.
    """
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    if name not in names():
        raise ValueError(f"{name} has no builder here; there are: {', '.join(names())}")
    module = importlib.import_module(f"{__name__}.{name}.{name}_dataset_builder")
    files = " ".join(module.Builder.MANUAL_DOWNLOAD_INSTRUCTIONS.split())
    local_copy = Path(local_copy).expanduser()
    if not local_copy.is_dir() or not any(local_copy.iterdir()):
        raise ValueError(f"{local_copy} is no folder with files in it; {name} is made from {files}")
    folder = Path(folder).expanduser() if folder else data_dir()
    builder = module.Builder(data_dir=str(folder), file_format="array_record")
    record, made_from = Path(builder.data_dir) / MADE_FROM, _sha256(local_copy)
    is_new = not record.parent.exists()
    if record.is_file() and record.read_text() != made_from:
        raise ValueError(
            f"{record.parent} was made from other files than those of {local_copy}: give another --data_dir, "
            "or remove that folder first"
        )
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(manual_dir=str(local_copy.resolve()), try_download_gcs=False)
    )
    if is_new:
        record.write_text(made_from)
    return record.parent


def _sha256(folder):
    """Of the names and contents of the folder's files."""
    sha = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        with open(path, "rb") as file:
            sha.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return sha.hexdigest()


def find(folder, *patterns):
    """The first file of the folder that matches one of the glob patterns; raises ValueError where there is none."""
    for pattern in patterns:
        if paths := sorted(Path(folder).glob(pattern)):
            return paths[0]
    raise ValueError(f"{folder} has no file named {' or '.join(patterns)}")


def read(path):
    """A text file's content, gzipped or not, as it stands; raises ValueError for one that is damaged or no UTF-8."""
    content = Path(path).read_bytes()
    try:
        return (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} is damaged, or not gzipped ({error}): take another copy") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no UTF-8: byte at offset {error.start}") from error
