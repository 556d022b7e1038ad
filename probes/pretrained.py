"""Pretrained models under the survey: from folders and a text to what was found in them.

Axes: B sequences, T time, L layers, H heads. Raises ValueError for whatever a user can have got wrong.
"""

import glob
import re
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from models.pretrained import folder as pretrained
from models.pretrained.text import load_tokenizer
from probes import layerwise, survey
from probes.layerwise import itself

TEXT_TOKENS, TEXT_SEQUENCES, SHORTEST_TEXT = 512, 4, 16
TEXT_CHARACTERS = 2_000_000  # of which windows are taken: more would only cost time
SHOWN_TOKENS, SHOWN_BLOCK = 32, 8  # on the axes of attention patterns


class Surveyed(NamedTuple):
    """One checkpoint, surveyed: what was found, and one sequence with the patterns of all heads on it."""

    folder: str
    step: int
    family: str
    config: Any
    num_parameters: int
    bos: int
    found: dict
    shown: list[str] | None = None  # T tokens as text
    patterns_LHTT: np.ndarray | None = None


def folders(text):
    """The folders that a comma-separated list names, each of which may be a pattern; those of a pattern by number."""
    found = []
    for part in filter(None, text.split(",")):
        matched = sorted(glob.glob(part), key=_natural) if glob.has_magic(part) and not Path(part).is_dir() else [part]
        if not matched:
            raise ValueError(f"no folder matches {part!r}")
        found += [path for path in matched if Path(path).is_dir() or len(matched) == 1]
    if not found:
        raise ValueError("an empty list names no checkpoint")
    return found


def _natural(name):
    """Sorts step512 before step1000."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def steps(names):
    """The training step in each folder's name, its last number; 1, 2, ... where that does not tell them apart."""
    numbers = [re.findall(r"\d+", Path(name).name) for name in names]
    found = [int(number[-1]) if number else None for number in numbers]
    return found if None not in found and len(set(found)) == len(found) else list(range(1, len(names) + 1))


def read_text(file):
    """A text file's beginning; raises ValueError where it cannot be read as UTF-8."""
    try:
        with open(file, encoding="utf-8") as opened:
            return opened.read(TEXT_CHARACTERS)
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not UTF-8 text: {error.reason} at byte {error.start}") from error


def windows(ids, context_length, bos):
    """Evenly spaced pieces [B, T] of a text's ids, each after a BOS; one piece where the text is short.

    Raises ValueError for fewer than 16 ids.
    """
    if len(ids) < SHORTEST_TEXT:
        raise ValueError(f"the text has only {len(ids)} tokens: at least {SHORTEST_TEXT} are needed")
    length = min(context_length, TEXT_TOKENS + 1, len(ids) + 1) - 1
    count = min(TEXT_SEQUENCES, len(ids) // length)
    starts = np.linspace(0, len(ids) - length, count).astype(int)
    pieces = np.stack([ids[start : start + length] for start in starts])
    return jnp.asarray(np.insert(pieces, 0, bos, axis=1), jnp.int32)


def busiest(ids, length):
    """The piece of a text's ids in which most pairs of two different tokens recur."""
    ids = np.asarray(ids)
    length = min(length, len(ids))
    pairs = [None if a == b else (a, b) for a, b in zip(ids[:-1].tolist(), ids[1:].tolist(), strict=True)]

    def recurring(start):
        inside = [pair for pair in pairs[start : start + length - 1] if pair]
        return len(inside) - len(set(inside))

    starts = range(0, min(len(ids) - length, 4096) + 1, max(length // 4, 1))
    start = max(starts, key=recurring)
    return ids[start : start + length]


def first_token(description):
    """The id that begins sequences: the model's own, else what ends its texts, else the last of the vocabulary."""
    vocab_size = description.config.vocab_size
    known = [i for i in (description.first_token, *description.last_tokens) if i is not None and 0 <= i < vocab_size]
    return known[0] if known else vocab_size - 1


def survey_folders(names, text_file=None, seed=0, say=lambda line: None):
    """A Surveyed for each checkpoint, one in memory at a time; for all but the last attention alone."""
    text = None if text_file is None else read_text(text_file)
    for name in names:  # all that can be refused is refused before the first model is read
        description = pretrained.describe(name)
        survey.check_context(description.config.context_length)
        if text is not None:
            windows(load_tokenizer(name, description.config.vocab_size).encode(text), TEXT_TOKENS, 0)
    found = []
    for name, step in zip(names, steps(names), strict=True):
        say(f"reading {name}")
        found.append(survey_folder(name, step, text, whole=name == names[-1], seed=seed))
    return found


def survey_folder(name, step=1, text=None, whole=True, seed=0):
    """The Surveyed of one folder; ``whole``: with ablations, weights and patterns."""
    description = pretrained.describe(name)
    config, bos = description.config, first_token(description)
    model, variables = pretrained.load(name)
    num_parameters = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    tokens = survey.sequences(config, bos, num_parameters, seed)
    tokenizer = None
    if text is not None or (Path(name) / "tokenizer.json").is_file():
        tokenizer = _tokenizer(name, config.vocab_size, needed=text is not None)
    ids = None if text is None else tokenizer.encode(text)
    text_BT = None if text is None else windows(ids, config.context_length, bos)
    about = (name, step, description.family, config, num_parameters, bos)
    found = survey.attention_survey(model, variables, tokens, text_BT)
    found["shapes"] = {kind: list(batch.shape) for kind, batch in tokens._asdict().items()}
    if text_BT is not None:
        found["shapes"]["text"] = list(text_BT.shape)
    if not whole:
        return Surveyed(*about, jax.device_get(found))
    found |= survey.causal_survey(model, variables, tokens.ablation)
    found |= survey.weight_survey(variables["params"], config.norm, jax.random.key(seed))
    if ids is None:
        block = tokens.two_copies[0, 1:][: min(SHOWN_BLOCK, tokens.one_block.shape[1])]
        shown = np.array([bos, *block, *block])
    else:
        shown = np.insert(busiest(ids, min(SHOWN_TOKENS, config.context_length) - 1), 0, bos)
    _, seen = layerwise.streams(model, variables, jnp.asarray(shown)[None], observe={"attention/pattern": itself})
    patterns = np.stack([np.asarray(of_layer["attention/pattern"][0]) for of_layer in seen])
    return Surveyed(*about, jax.device_get(found), _spelled(shown, bos, tokenizer), patterns)


def _tokenizer(name, vocab_size, needed):
    try:
        return load_tokenizer(name, vocab_size)
    except ValueError:
        if needed:
            raise
    return None


def _spelled(ids, bos, tokenizer):
    """Each token as text: BOS by name, ids where there is no tokenizer or it has no text for one."""
    if tokenizer is None:
        return ["BOS" if i == bos else str(i) for i in ids.tolist()]
    return ["BOS" if i == bos else tokenizer.decode([i]) or str(i) for i in ids.tolist()]
