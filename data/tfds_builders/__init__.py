"""TFDS builders of data sets of which a local copy exists, one folder each; they need no network and no TensorFlow."""

import gzip
import hashlib
import importlib
import os
import re
import zlib
from difflib import get_close_matches
from pathlib import Path

SOURCE_HASH_FILE = "made_from.sha256"  # it lies beside a data set and holds the hash of the local copy that it is from


def data_dir():
    """The folder in which TFDS data sets lie: $TFDS_DATA_DIR, else ~/tensorflow_datasets."""
    return Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def names():
    """The names of the data sets that can be prepared from a local copy."""
    return sorted(path.parent.name for path in Path(__file__).parent.glob("*/*_dataset_builder.py"))


def sources(name, folder=None):
    """{split: random-access source of its examples} of a TFDS data set that lies prepared in ``folder``.

    ``name`` may have a config and a version, as name/config:version; ``folder`` is by default `data_dir`. Nothing is
    downloaded. Raises ValueError for an unknown name (with the closest known names), for a data set that has not been
    prepared (with the command that prepares it) and for a data set that cannot be read.
    """
    import tensorflow_datasets as tfds

    folder = Path(folder).expanduser() if folder else data_dir()
    base = re.split("[/:]", name)[0]
    command = f"tfds build {name} --file_format=array_record --data_dir={folder}"
    if base in names():
        command = f"python -m data.tfds_builders {base} LOCAL_COPY --data_dir={folder}"
    if not re.fullmatch(r"\w+", base) or not (folder / base).is_dir():
        known_names = {*names(), *tfds.list_builders(with_community_datasets=False)}
        if base in known_names:
            raise ValueError(f"{name} is not in {folder}; prepare it with: {command}")
        closest_names = get_close_matches(base, known_names, n=3, cutoff=0.6)
        guess = f" (is it {' or '.join(closest_names)}?)" if closest_names else ""
        # TFDS lists some of its data sets, wikipedia and c4 among them, only where TensorFlow is installed.
        hint = f"; if TFDS has it, prepare it with: {command}" if re.fullmatch(r"\w+", base) else ""
        raise ValueError(f"{name} is no data set known here{guess}{hint}")
    try:
        return tfds.data_source(name, data_dir=str(folder), download=False)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"TFDS cannot read {name} in {folder}: {reason}; prepare it with: {command}") from error


def prepare(name, local_copy, folder=None):
    """Writes a data set as ArrayRecord files under ``folder``, and returns the folder that holds them.

    ``local_copy`` is the folder with the files that the builder names; ``folder`` is by default `data_dir`. A data set
    that has been prepared from the same files is left as it is. Raises ValueError for an unknown name, a local copy
    that does not exist or lacks a file, a file that cannot be read, and a data set that was made from other files.
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
    # TFDS asks a builder for its features before it tells it where the files are; some features depend on the files.
    settings = module.Builder.find_settings(local_copy) if hasattr(module.Builder, "find_settings") else {}
    builder = module.Builder(data_dir=str(folder), file_format="array_record", **settings)
    hash_file, source_hash = Path(builder.data_dir) / SOURCE_HASH_FILE, _sha256(local_copy)
    is_new = not hash_file.parent.exists()
    if hash_file.is_file() and hash_file.read_text() != source_hash:
        raise ValueError(
            f"{hash_file.parent} was made from other files than those of {local_copy}: give another --data_dir, "
            "or remove that folder first"
        )
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(manual_dir=str(local_copy.resolve()), try_download_gcs=False)
    )
    if is_new:
        hash_file.write_text(source_hash)
    return hash_file.parent


def _sha256(folder):
    """The hash of the names and contents of a folder's files."""
    sha = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        with open(path, "rb") as file:
            sha.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return sha.hexdigest()


def find(folder, *patterns):
    """The first file of a folder that matches one of the glob patterns; raises ValueError where no file does."""
    for pattern in patterns:
        if paths := sorted(Path(folder).glob(pattern)):
            return paths[0]
    raise ValueError(f"{folder} has no file named {' or '.join(patterns)}")


def read(path):
    """The content of a text file, gzipped or not; raises ValueError for a file that is damaged or no UTF-8."""
    content = Path(path).read_bytes()
    try:
        return (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} is damaged, or not gzipped ({error}): take another copy") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path} is no UTF-8: byte 0x{error.object[error.start]:02X} at offset {error.start}, line {line}; "
            "convert it, as with iconv -f LATIN1 -t UTF-8"
        ) from error
