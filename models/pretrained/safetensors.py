"""Safetensors files: named arrays behind a header of JSON, read one at a time and written in one pass.

A file is 8 bytes with the header's length, the header, {name: {dtype, shape, data_offsets}}, and the arrays' bytes one
after the other. Nothing in such a file is code, and each array can be read without the others.
"""

import json
import math
import os
from pathlib import Path
from typing import NamedTuple

import ml_dtypes
import numpy as np

DTYPES = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(bool),
}
SINGLE_FILE, INDEX_FILE = "model.safetensors", "model.safetensors.index.json"
PICKLE_PATTERNS = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
MAX_HEADER_BYTES = 100_000_000  # no model's header comes near this


class StoredArray(NamedTuple):
    """Where an array lies in a file: the file, and the array's dtype, shape and first byte."""

    file: Path
    dtype: np.dtype
    shape: tuple[int, ...]
    start: int


def read_json(path):
    """The JSON object in a file; raises ValueError where it is missing, damaged, no object, or names a key twice."""

    def to_dict(pairs):
        if len(keys := dict(pairs)) < len(pairs):
            raise ValueError("a key occurs twice")
        return keys

    try:
        value = json.loads(Path(path).read_bytes(), object_pairs_hook=to_dict)
    except (FileNotFoundError, IsADirectoryError):
        raise ValueError(f"{path} is missing") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path} holds {type(value).__name__}, not a JSON object")
    return value


def read_header(path):
    """{name: StoredArray} of one file; raises ValueError where the file is missing, damaged or cut off."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} is missing")
    size = path.stat().st_size
    with path.open("rb") as file:
        first = file.read(8)
        if first == b"version ":
            raise ValueError(f"{path} is a Git LFS pointer, not weights: fetch the file itself (git lfs pull)")
        length = int.from_bytes(first, "little")
        if len(first) < 8 or length > min(size - 8, MAX_HEADER_BYTES):
            raise ValueError(f"{path} is not a safetensors file, or is truncated: its header does not fit {size} bytes")
        text = file.read(length)
    try:
        pairs = json.loads(text, object_pairs_hook=list)
        entries = {name: dict(entry) for name, entry in pairs if name != "__metadata__"}
    except (ValueError, TypeError, RecursionError):
        raise ValueError(f"{path} is not a safetensors file: its header is not valid JSON") from None
    if len(entries) < sum(name != "__metadata__" for name, _ in pairs):
        raise ValueError(f"{path} is damaged: its header names a tensor twice")
    arrays, spans = {}, []
    for name, entry in entries.items():
        arrays[name], span = parse_entry(path, name, entry, 8 + length)
        spans.append((*span, name))
    end = 8 + length
    for first, last, name in sorted(spans):
        if first != end:
            raise ValueError(f"{path} is damaged: tensor {name} does not begin where the one before it ends")
        end = last
    if end != size:
        state = "truncated" if size < end else "damaged"
        raise ValueError(f"{path} is {state}: its header describes {end} bytes and it has {size}")
    return arrays


def parse_entry(path, name, entry, offset):
    """(StoredArray, (first byte, end)) of a header's entry; raises ValueError where the entry contradicts itself."""
    dtype, shape, offsets = (entry.get(key) for key in ("dtype", "shape", "data_offsets"))
    if not all(are_whole_numbers(values) for values in (shape, offsets)) or len(offsets) != 2:
        raise ValueError(f"{path} is damaged: tensor {name} has no valid shape and data_offsets")
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(f"{path}: tensor {name} has dtype {dtype}, which is not one of {', '.join(DTYPES)}")
    first, last = (offset + value for value in offsets)
    if last - first != math.prod(shape) * DTYPES[dtype].itemsize:
        raise ValueError(f"{path} is damaged: tensor {name} has {last - first} bytes for {dtype} of shape {shape}")
    return StoredArray(path, DTYPES[dtype], tuple(shape), first), (first, last)


def are_whole_numbers(values):
    """Whether a JSON value is a list of whole numbers, none of them negative."""
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


def read_folder_header(folder):
    """{name: StoredArray} of a folder with model.safetensors, or with an index and the shards that it names.

    Raises ValueError where there is neither, where a shard is missing or differs from the index, and where there are
    only pickle files, which can run code when they are read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder")
    if (folder / INDEX_FILE).is_file():
        return read_sharded_header(folder)
    if (folder / SINGLE_FILE).is_file():
        return read_header(folder / SINGLE_FILE)
    pickles = sorted(file.name for pattern in PICKLE_PATTERNS for file in folder.glob(pattern))
    if pickles:
        raise ValueError(
            f"{folder} holds {pickles[0]}, a pickle, which can run code when it is read: convert it where you trust "
            "it, with AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(NEW_DIR) of transformers"
        )
    raise ValueError(f"{folder} holds neither {SINGLE_FILE} nor {INDEX_FILE}")


def read_sharded_header(folder):
    """{name: StoredArray} of a folder's shards; raises ValueError where they disagree with the folder's index."""
    index = folder / INDEX_FILE
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise ValueError(f"{index} has no weight_map from tensors to files")
    arrays = {}
    for shard in sorted(set(weight_map.values())):
        if Path(shard).name != shard or not shard.endswith(".safetensors"):
            raise ValueError(f"{index} names {shard!r}, which is not a .safetensors file of the same folder")
        if not (folder / shard).is_file():
            raise ValueError(f"{folder / shard} is missing: {INDEX_FILE} names this shard")
        arrays_of_shard = read_header(folder / shard)
        names_by_index = {name for name, file in weight_map.items() if file == shard}
        if different := sorted(names_by_index ^ set(arrays_of_shard)):
            place = "is not in the shard" if different[0] in names_by_index else "is not in the index"
            raise ValueError(f"{folder / shard} and {INDEX_FILE} disagree: tensor {different[0]} {place}")
        arrays |= arrays_of_shard
    return arrays


def read_array(stored):
    """Reads one StoredArray and nothing else of its file; raises ValueError where the file has become shorter."""
    count = math.prod(stored.shape)
    array = np.fromfile(stored.file, stored.dtype, count, offset=stored.start)
    if len(array) < count:
        raise ValueError(f"{stored.file} became shorter while it was being read")
    return array.reshape(stored.shape)


def write_arrays(path, tensors):
    """Writes a file of ``tensors``, rows (name, dtype, shape, function that returns the array).

    The functions are called one after the other, so that one array is in memory at a time. The file appears under its
    name only when it is complete. Raises ValueError for a dtype that the format lacks, and for an array whose dtype or
    shape is not that of its row.
    """
    codes = {dtype: code for code, dtype in DTYPES.items()}
    entries, end = {"__metadata__": {"format": "pt"}}, 0
    for name, dtype, shape, _ in tensors:
        if (dtype := np.dtype(dtype)) not in codes:
            raise ValueError(f"tensor {name} has dtype {dtype}, which safetensors files cannot hold")
        start, end = end, end + math.prod(shape) * dtype.itemsize
        entries[name] = {"dtype": codes[dtype], "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, dtype, shape, make in tensors:
            array = np.asarray(make(), order="C")
            if array.dtype != np.dtype(dtype) or array.shape != tuple(shape):
                raise ValueError(f"tensor {name} is {array.dtype}{array.shape}, announced as {dtype}{tuple(shape)}")
            file.write(array.reshape(-1).view(np.uint8).data)
    os.replace(partial, path)
