"""Pretrained models: from a folder as Hugging Face's libraries write it to a Transformer and its parameters.

The folder holds config.json, the arrays in model.safetensors or in shards with an index, and for text tokenizer.json.
Loading runs no code from the folder. ``models.pretrained.export`` writes such folders.
"""

import re
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from models.pretrained.config import read_config
from models.pretrained.safetensors import read_array, read_folder_header, read_json
from models.pretrained.tensors import BUFFER_PATTERNS, OLDER_NAMES, PREFIXES, UNEMBEDDINGS, family_tensors
from models.transformer import Transformer, TransformerConfig

# Fields of a TransformerConfig that can be changed without changing the model.
LOAD_SETTINGS = ("dtype", "attention", "remat", "dropout", "context_length")


class Description(NamedTuple):
    """What a folder's config.json says.

    family:      a name in ``models.pretrained.config.FAMILIES``
    config:      the model's TransformerConfig
    first_token: id of the token that begins every text; None where the file names none
    last_tokens: ids of tokens each of which ends a text
    """

    family: str
    config: TransformerConfig
    first_token: int | None
    last_tokens: tuple[int, ...]


def describe(folder, **settings):
    """The Description of a folder, by its config.json alone; settings are those of ``load``.

    Raises ValueError where the file is missing, or asks for anything that this project's Transformer does not do.
    """
    path = Path(folder) / "config.json"
    if not Path(folder).is_dir():
        raise ValueError(f"{folder} is not a folder")
    if unknown := sorted(set(settings) - set(LOAD_SETTINGS)):
        raise ValueError(f"{unknown[0]} is not a setting of a pretrained model; {', '.join(LOAD_SETTINGS)} are")
    keys = read_json(path)
    try:
        family, config = read_config(keys)
    except ValueError as error:
        raise ValueError(f"{path.parent}: {error}") from None
    if settings.get("context_length", 0) > config.context_length:
        raise ValueError(f"{folder}: context_length={settings['context_length']} exceeds its {config.context_length}")
    last_tokens = keys.get("eos_token_id")
    if not isinstance(last_tokens, list):
        last_tokens = [] if last_tokens is None else [last_tokens]
    return Description(family, replace(config, **settings), keys.get("bos_token_id"), tuple(last_tokens))


def load(folder, *, place=None, parameter_dtype=None, **settings):
    """Loads (Transformer, {"params": parameters}) from a pretrained model's folder.

    Arrays are read one at a time, so that memory stays near one copy of the parameters.

    Args:
      place: function (path, numpy array) -> what the parameters hold; by default an array on the default device. To
        load onto a mesh, give ``lambda path, array: jax.device_put(array, sharding)`` with the sharding of that path.
      parameter_dtype: dtype of the parameters; by default the model's own, float32 or wider.
      settings: values for LOAD_SETTINGS of the config; context_length can only become shorter.
    Raises:
      ValueError, before any array is read: a model or a setting of it that is not supported, an array that is missing,
        unknown or of a wrong shape, a damaged file, or pickles in place of safetensors.
    """
    family, config, *_ = describe(folder, **settings)
    stored_config = describe(folder).config
    stored_arrays = find_parameters(family, stored_config, folder)
    dtype = np.dtype(jnp.dtype(parameter_dtype or config.parameter_dtype))
    place = place or (lambda path, array: jnp.asarray(array))
    params = {}
    for tensor in family_tensors(family, stored_config):
        array = read_array(stored_arrays[tensor.name])
        for path, part in zip(tensor.paths, tensor.split(array), strict=True):
            *parents, name = path.split("/")
            node = params
            for parent in parents:
                node = node.setdefault(parent, {})
            part = part[: config.context_length] if path == "positions" else part
            node[name] = place(path, np.ascontiguousarray(part, dtype))
    return Transformer(config), {"params": params}


def find_parameters(family, config, folder):
    """{name without the family's prefix: StoredArray} of exactly the arrays that the model has.

    Raises ValueError with the array's name where an array is missing, unknown, of a wrong shape or of no floating
    dtype, and where an unembedding differs from the embedding that config.json ties it to.
    """
    prefix, older_names = PREFIXES.get(family, ""), OLDER_NAMES.get(family, {})
    stored_arrays, full_names = {}, {}
    for full_name, stored in read_folder_header(folder).items():
        name = full_name.removeprefix(prefix)
        name = older_names.get(name, name)
        if name in full_names:
            raise ValueError(f"{folder} holds both {full_names[name]} and {full_name}, which are the same parameter")
        if not re.fullmatch(BUFFER_PATTERNS.get(family, "$^"), name):
            stored_arrays[name], full_names[name] = stored, full_name
    count = len(stored_arrays)
    if config.num_layers > count:  # checked before a table for that many layers is made
        raise ValueError(f"{folder} holds {count} tensors, too few for the {config.num_layers} layers of config.json")
    expected = {tensor.name: tensor for tensor in family_tensors(family, config)}
    unembedding = UNEMBEDDINGS.get(family)
    if config.tied_unembedding and unembedding in stored_arrays:
        embedding = next(tensor.name for tensor in expected.values() if tensor.paths == ("embed",))
        drop_tied_copy(stored_arrays, unembedding, embedding, folder)
    if missing := sorted(set(expected) - set(stored_arrays)):
        hint = " untied from the embedding" if missing == [unembedding] else ""
        raise ValueError(f"{folder} lacks {first_and_count(missing)}, which config.json implies{hint}")
    if unknown := sorted(full_names[name] for name in set(stored_arrays) - set(expected)):
        raise ValueError(f"{folder} holds {first_and_count(unknown)}, which the model of its config.json does not have")
    for name, stored in stored_arrays.items():
        shape = expected[name].stored_shape
        if stored.shape != shape:
            raise ValueError(
                f"{folder}: tensor {full_names[name]} has shape {list(stored.shape)}; config.json implies {list(shape)}"
            )
        if not jnp.issubdtype(stored.dtype, jnp.floating):
            raise ValueError(f"{folder}: tensor {full_names[name]} has dtype {stored.dtype}, which is not floating")
    return stored_arrays


def drop_tied_copy(stored_arrays, unembedding, embedding, folder):
    """Keeps one array of a tied pair, under the embedding's name; raises ValueError where the two differ."""
    unembedding_copy = stored_arrays.pop(unembedding)
    embedding_copy = stored_arrays.setdefault(embedding, unembedding_copy)
    if not np.array_equal(read_array(unembedding_copy), read_array(embedding_copy)):
        raise ValueError(f"{folder}: config.json ties {unembedding} to {embedding}, but they are different arrays")


def first_and_count(names):
    """The first of several tensors, and how many more there are, as text."""
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"tensor {names[0]}{more}"
