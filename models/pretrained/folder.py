"""Pretrained models: from a folder as Hugging Face's libraries write it to a Transformer and its parameters.

The folder holds config.json, the arrays in model.safetensors or in shards with an index, and for text tokenizer.json.
Loading runs no code from the folder. ``models.pretrained.export`` is the way back.
"""

import re
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from models.pretrained import safetensors as safetensors_files
from models.pretrained.config import read_config
from models.pretrained.tensors import BUFFERS, PREFIXES, RENAMED, UNEMBEDDINGS, tensors
from models.transformer import Transformer, TransformerConfig

SETTINGS = ("dtype", "attention", "remat", "dropout", "context_length")  # fields that leave the model what it is


class Description(NamedTuple):
    """What a folder's config.json says; ids are None where it names none."""

    family: str
    config: TransformerConfig
    first_token: int | None  # put before a text
    last_tokens: tuple[int, ...]  # any of them ends a text


def describe(folder, **settings):
    """The Description of a folder, by its config.json alone; settings are those of ``load``.

    Raises ValueError where the file is missing or says anything that this project's Transformer would not do.
    """
    path = Path(folder) / "config.json"
    if not Path(folder).is_dir():
        raise ValueError(f"{folder} is not a folder")
    if unknown := sorted(set(settings) - set(SETTINGS)):
        raise ValueError(f"{unknown[0]} is not a setting of a pretrained model; {', '.join(SETTINGS)} are")
    keys = safetensors_files.read_json(path)
    try:
        family, config = read_config(keys)
    except ValueError as error:
        raise ValueError(f"{path.parent}: {error}") from None
    if settings.get("context_length", 0) > config.context_length:
        raise ValueError(f"{folder}: context_length={settings['context_length']} exceeds its {config.context_length}")
    last = keys.get("eos_token_id")
    last = last if isinstance(last, list) else [] if last is None else [last]
    return Description(family, replace(config, **settings), keys.get("bos_token_id"), tuple(last))


def load(folder, *, place=None, parameter_dtype=None, **settings):
    """(Transformer, {"params": parameters}) of a pretrained model's folder.

    Arrays are read one at a time, so that memory stays near one copy of the parameters. place(path, array) turns each
    numpy array into what the parameters hold: by default an array on the default device; to load onto a mesh, give
    ``lambda path, array: jax.device_put(array, sharding)`` with the sharding of that path. parameter_dtype is the
    parameters' dtype, by default the model's own, float32 or wider. settings replace the config's dtype, attention,
    remat, dropout or context_length, which can only become shorter.

    Raises ValueError, before any array is read, for a model or a setting of it that is not supported, for arrays that
    are missing, left over or of a wrong shape, and for damaged or pickled files.
    """
    family, config, *_ = describe(folder, **settings)
    stored_config = describe(folder).config
    files = parameter_files(family, stored_config, folder)
    dtype = np.dtype(jnp.dtype(parameter_dtype or config.parameter_dtype))
    place = place or (lambda path, array: jnp.asarray(array))
    params = {}
    for tensor in tensors(family, stored_config):
        array = safetensors_files.read(files[tensor.name])
        for path, part in zip(tensor.paths, tensor.split(array), strict=True):
            *parents, name = path.split("/")
            node = params
            for parent in parents:
                node = node.setdefault(parent, {})
            part = part[: config.context_length] if path == "positions" else part
            node[name] = place(path, np.ascontiguousarray(part, dtype))
    return Transformer(config), {"params": params}


def parameter_files(family, config, folder):
    """{name without the family's prefix: where it is stored} of exactly the arrays that the model has.

    Raises ValueError, naming the array, where one is missing, left over, of a wrong shape or of no floating dtype, and
    where an unembedding differs from the embedding that config.json ties it to.
    """
    prefix, renamed = PREFIXES.get(family, ""), RENAMED.get(family, {})
    files, full_names = {}, {}
    for full_name, stored in safetensors_files.folder_header(folder).items():
        name = full_name.removeprefix(prefix)
        name = renamed.get(name, name)
        if name in full_names:
            raise ValueError(f"{folder} holds both {full_names[name]} and {full_name}, which are the same parameter")
        if not re.fullmatch(BUFFERS.get(family, "$^"), name):
            files[name], full_names[name] = stored, full_name
    if config.num_layers > len(files):  # before a table of that many is made
        raise ValueError(
            f"{folder} holds {len(files)} tensors, too few for the {config.num_layers} layers of config.json"
        )
    expected = {tensor.name: tensor for tensor in tensors(family, config)}
    unembedding = UNEMBEDDINGS.get(family)
    if config.tied_unembedding and unembedding in files:
        drop_tied_copy(files, unembedding, next(t.name for t in expected.values() if t.paths == ("embed",)), folder)
    if missing := sorted(set(expected) - set(files)):
        hint = " untied from the embedding" if missing == [unembedding] else ""
        raise ValueError(f"{folder} lacks {listed(missing)}, which config.json implies{hint}")
    if left_over := sorted(full_names[name] for name in set(files) - set(expected)):
        raise ValueError(f"{folder} holds {listed(left_over)}, which the model of its config.json does not have")
    for name, stored in files.items():
        shape = expected[name].stored_shape
        if stored.shape != shape:
            raise ValueError(
                f"{folder}: tensor {full_names[name]} has shape {list(stored.shape)}; config.json implies {list(shape)}"
            )
        if not jnp.issubdtype(stored.dtype, jnp.floating):
            raise ValueError(f"{folder}: tensor {full_names[name]} has dtype {stored.dtype}, which is not floating")
    return files


def drop_tied_copy(files, unembedding, embedding, folder):
    """Leaves the one array of a tied pair under the embedding's name; raises ValueError where there are two."""
    copy = files.pop(unembedding)
    if not np.array_equal(*(safetensors_files.read(stored) for stored in (copy, files.setdefault(embedding, copy)))):
        raise ValueError(f"{folder}: config.json ties {unembedding} to {embedding}, but they are different arrays")


def listed(names):
    """The first of some tensors, and how many more there are."""
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"tensor {names[0]}{more}"
