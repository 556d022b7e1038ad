"""Safetensors files: named arrays behind a header of JSON, read one at a time and written in one pass.

A file is 8 bytes with the header's length, the header, {name: {dtype, shape, data_offsets}}, and the arrays' bytes one
after the other. Nothing in such a file is code, and each array is found without reading the others.
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
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
MAX_HEADER = 100_000_000  # bytes; no model comes near


class Stored(NamedTuple):
    """Where an array lies: its file, dtype, shape and first byte."""

    file: Path
    dtype: np.dtype
    shape: tuple[int, ...]
    start: int


def read_json(path):
    """The JSON object in a file; raises ValueError where it is missing, damaged, no object, or names a key twice."""

    def unique(pairs):
        if len(found := dict(pairs)) < len(pairs):
            raise ValueError("a key occurs twice")
        return found

    try:
        found = json.loads(Path(path).read_bytes(), object_pairs_hook=unique)
    except (FileNotFoundError, IsADirectoryError):
        raise ValueError(f"{path} is missing") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds {type(found).__name__}, not a JSON object")
    return found


def header(path):
    """{name: Stored} of one file; raises ValueError where the file is missing, damaged or cut off."""
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} is missing")
    size = path.stat().st_size
    with path.open("rb") as file:
        first = file.read(8)
        if first == b"version ":
            raise ValueError(f"{path} is a Git LFS pointer, not weights: fetch the file itself (git lfs pull)")
        length = int.from_bytes(first, "little")
        if len(first) < 8 or length > min(size - 8, MAX_HEADER):
            raise ValueError(f"{path} is not a safetensors file, or is truncated: its header does not fit {size} bytes")
        text = file.read(length)
    try:
        pairs = json.loads(text, object_pairs_hook=list)
        entries = {name: dict(entry) for name, entry in pairs if name != "__metadata__"}
    except (ValueError, TypeError, RecursionError):
        raise ValueError(f"{path} is not a safetensors file: its header is not valid JSON") from None
    if len(entries) < sum(name != "__metadata__" for name, _ in pairs):
        raise ValueError(f"{path} is damaged: its header names a tensor twice")
    found, spans = {}, []
    for name, entry in entries.items():
        found[name], span = stored(path, name, entry, 8 + length)
        spans.append((*span, name))
    end = 8 + length
    for first, last, name in sorted(spans):
        if first != end:
            raise ValueError(f"{path} is damaged: tensor {name} does not begin where the one before it ends")
        end = last
    if end != size:
        what = "truncated" if size < end else "damaged"
        raise ValueError(f"{path} is {what}: its header describes {end} bytes and it has {size}")
    return found


def stored(path, name, entry, offset):
    """(Stored, (first byte, end)) of a header's entry; raises ValueError where the entry contradicts itself."""
    dtype, shape, offsets = (entry.get(key) for key in ("dtype", "shape", "data_offsets"))
    if not all(whole_numbers(values) for values in (shape, offsets)) or len(offsets) != 2:
        raise ValueError(f"{path} is damaged: tensor {name} has no valid shape and data_offsets")
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(f"{path}: tensor {name} has dtype {dtype}, which is not one of {', '.join(DTYPES)}")
    first, last = (offset + value for value in offsets)
    if last - first != math.prod(shape) * DTYPES[dtype].itemsize:
        raise ValueError(f"{path} is damaged: tensor {name} has {last - first} bytes for {dtype} of shape {shape}")
    return Stored(path, DTYPES[dtype], tuple(shape), first), (first, last)


def whole_numbers(values):
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


def folder_header(folder):
    """{name: Stored} of a folder with model.safetensors, or with an index and the shards that it names.

    Raises ValueError where there is neither, where a shard is missing or differs from the index, and where there are
    only pickle files, which can run code when they are read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder")
    if (folder / INDEX).is_file():
        return sharded_header(folder)
    if (folder / SINGLE).is_file():
        return header(folder / SINGLE)
    pickles = sorted(file.name for pattern in PICKLES for file in folder.glob(pattern))
    if pickles:
        raise ValueError(
            f"{folder} holds {pickles[0]}, a pickle, which can run code when it is read: convert it where you trust "
            "it, with AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(NEW_DIR) of transformers"
        )
    raise ValueError(f"{folder} holds neither {SINGLE} nor {INDEX}")


def sharded_header(folder):
    """{name: Stored} by the index of shards in a folder; raises ValueError where they disagree."""
    weight_map = read_json(folder / INDEX).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise ValueError(f"{folder / INDEX} has no weight_map from tensors to files")
    found = {}
    for shard in sorted(set(weight_map.values())):
        if Path(shard).name != shard or not shard.endswith(".safetensors"):
            raise ValueError(f"{folder / INDEX} names {shard!r}, which is not a .safetensors file of the same folder")
        if not (folder / shard).is_file():
            raise ValueError(f"{folder / shard} is missing: {INDEX} names this shard")
        tensors = header(folder / shard)
        listed = {name for name, file in weight_map.items() if file == shard}
        if different := sorted(listed ^ set(tensors)):
            where = "is not in the shard" if different[0] in listed else "is not in the index"
            raise ValueError(f"{folder / shard} and {INDEX} disagree: tensor {different[0]} {where}")
        found |= tensors
    return found


def read(tensor):
    """The array of a Stored, read from the file alone; raises ValueError where the file has become shorter."""
    count = math.prod(tensor.shape)
    array = np.fromfile(tensor.file, tensor.dtype, count, offset=tensor.start)
    if len(array) < count:
        raise ValueError(f"{tensor.file} became shorter while it was being read")
    return array.reshape(tensor.shape)


def write(path, tensors):
    """Writes a file; tensors are (name, dtype, shape, function that returns the array), called one after the other.

    The file appears under its name only when it is complete. Raises ValueError for a dtype that the format lacks, or
    an array that is not as announced.
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
