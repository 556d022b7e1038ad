"""The survey of pretrained models: from their folders, and a text, to what ``probes.survey`` measures.

Axes: B sequences, T time, L layers, H heads. Raises ValueError for whatever a user can have got wrong.
"""

import glob
import re
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from models.pretrained.folder import describe, load
from models.pretrained.text import load_tokenizer
from probes import layerwise, survey
from probes.layerwise import identity

TEXT_TOKENS, TEXT_SEQUENCES = 512, 4  # most tokens in a window of the text after BOS, and most windows
SHORTEST_TEXT = 16  # tokens that a text must have
TEXT_CHARACTERS = 2_000_000  # that are read of a text: more would only cost time
SHOWN_TOKENS, SHOWN_BLOCK = 32, 8  # most tokens on the axes of attention patterns, and most in a random block there


class Surveyed(NamedTuple):
    """One checkpoint, surveyed: what was measured, and one sequence with the patterns of all heads on it."""

    folder: str
    step: int
    family: str
    config: Any
    num_parameters: int
    bos: int
    measured: dict
    shown: list[str] | None = None  # T tokens as text
    patterns_LHTT: np.ndarray | None = None


def folders(text):
    """The folders that a comma-separated list names, each of which may be a pattern; those of a pattern by number."""
    names = []
    for part in filter(None, text.split(",")):
        matched = sorted(glob.glob(part), key=_natural) if glob.has_magic(part) and not Path(part).is_dir() else [part]
        if not matched:
            raise ValueError(f"no folder matches {part!r}")
        names += [path for path in matched if Path(path).is_dir() or len(matched) == 1]
    if not names:
        raise ValueError("an empty list names no checkpoint")
    return names


def _natural(name):
    """A key that sorts step512 before step1000."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def steps(names):
    """The training step in each folder's name, its last number; 1, 2, ... where that does not tell them apart."""
    numbers = [re.findall(r"\d+", Path(name).name) for name in names]
    last_numbers = [int(number[-1]) if number else None for number in numbers]
    told_apart = None not in last_numbers and len(set(last_numbers)) == len(last_numbers)
    return last_numbers if told_apart else list(range(1, len(names) + 1))


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


def most_repetitive(ids, length):
    """The piece [length] of a text's ids in which most pairs of two different tokens recur."""
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
    """A Surveyed for each checkpoint, one in memory at a time; of all but the last only what heads attend to.

    Args:
      say: takes a line of text whenever a checkpoint is read.
    """
    text = None if text_file is None else read_text(text_file)
    for name in names:  # all that can be refused is refused before the first model is read
        description = describe(name)
        survey.check_context(description.config.context_length)
        if text is not None:
            windows(load_tokenizer(name, description.config.vocab_size).encode(text), TEXT_TOKENS, 0)
    surveyed = []
    for name, step in zip(names, steps(names), strict=True):
        say(f"reading {name}")
        surveyed.append(survey_folder(name, step, text, whole=name == names[-1], seed=seed))
    return surveyed


def survey_folder(name, step=1, text=None, whole=True, seed=0):
    """The Surveyed of one folder; ``whole``: with ablations, weights and patterns."""
    description = describe(name)
    config, bos = description.config, first_token(description)
    model, variables = load(name)
    num_parameters = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    tokens = survey.sequences(config, bos, num_parameters, seed)
    tokenizer = None
    if text is not None or (Path(name) / "tokenizer.json").is_file():
        tokenizer = _tokenizer(name, config.vocab_size, needed=text is not None)
    ids = None if text is None else tokenizer.encode(text)
    text_BT = None if text is None else windows(ids, config.context_length, bos)
    measured = survey.attention_survey(model, variables, tokens, text_BT)
    measured["shapes"] = {kind: list(batch_BT.shape) for kind, batch_BT in tokens._asdict().items()}
    if text_BT is not None:
        measured["shapes"]["text"] = list(text_BT.shape)
    shown, patterns_LHTT = None, None
    if whole:
        measured |= survey.causal_survey(model, variables, tokens.ablation)
        measured |= survey.weight_survey(variables["params"], config.norm, jax.random.key(seed))
        shown_T = shown_sequence(tokens, ids, config.context_length, bos)
        shown, patterns_LHTT = _spelled(shown_T, bos, tokenizer), patterns_of(model, variables, shown_T)
    return Surveyed(
        folder=name,
        step=step,
        family=description.family,
        config=config,
        num_parameters=num_parameters,
        bos=bos,
        measured=jax.device_get(measured),
        shown=shown,
        patterns_LHTT=patterns_LHTT,
    )


def shown_sequence(tokens, ids, context_length, bos):
    """Ids [T] on which patterns are shown: the most repetitive piece of a text, or a random block twice."""
    if ids is not None:
        return np.insert(most_repetitive(ids, min(SHOWN_TOKENS, context_length) - 1), 0, bos)
    block = tokens.two_copies[0, 1:][: min(SHOWN_BLOCK, tokens.one_block.shape[1])]
    return np.array([bos, *block, *block])


def patterns_of(model, variables, ids_T):
    """The patterns [L, H, T, T] of all heads on one sequence."""
    _, by_layer = layerwise.streams(model, variables, jnp.asarray(ids_T)[None], observe={"attention/pattern": identity})
    return np.stack([np.asarray(of_layer["attention/pattern"][0]) for of_layer in by_layer])


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
