"""Copy, reverse and a fixed permutation of symbols: tasks in which each target word is one source word, and known.

Axes: N examples, P position in a sentence, V symbols.
"""

import string

import numpy as np

from experiments.seq2seq_attention.language import Example

TASKS = ("copy", "reverse", "permutation")
SYMBOLS = tuple(string.ascii_lowercase + string.digits)


def permutation(longest):
    """The order [P] of the task "permutation": target word i is the source word order[i]; one for each `longest`."""
    return np.random.default_rng([16, longest]).permutation(longest)


def _order(task, length, longest):
    """The source position of each target word of a sentence."""
    if task == "copy":
        return list(range(length))
    if task == "reverse":
        return list(range(length))[::-1]
    return [position for position in permutation(longest).tolist() if position < length]


def generate(task, num_examples, shortest, longest, seed):
    """Random sentences of different symbols, with the same symbols in the task's order as their translations.

    Args:
      task: one of TASKS. "permutation" orders `longest` positions; a shorter sentence leaves out those it has not.
      num_examples: how many; n of a seed are the first n of more.
      shortest, longest: lengths are uniform from one to the other, both included.
      seed: of lengths and symbols; the permutation does not depend on it.

    Returns:
      A tuple of `Example`; every target word is of kind "one_to_one".

    Raises:
      ValueError: the task is unknown, or no sentence has such lengths.
    """
    if task not in TASKS:
        raise ValueError(f'"{task}" is not a task of sequences: choose one of {", ".join(TASKS)}.')
    if not 1 <= shortest <= longest <= len(SYMBOLS):
        raise ValueError(
            f"Lengths from {shortest} to {longest} do not fit: choose 1 <= shortest <= longest <= {len(SYMBOLS)}, "
            "since the symbols of a sentence are all different."
        )
    uniform_NV = np.random.default_rng(seed).random(
        (num_examples, 1 + len(SYMBOLS))
    )  # in rows: n are the first of more
    lengths_N = shortest + (uniform_NV[:, 0] * (longest - shortest + 1)).astype(int)
    symbols_NP = np.argsort(uniform_NV[:, 1:], axis=1)
    orders = {length: _order(task, length, longest) for length in range(shortest, longest + 1)}
    examples = []
    for length, symbols_P in zip(lengths_N.tolist(), symbols_NP.tolist(), strict=True):
        source, order = [SYMBOLS[symbol] for symbol in symbols_P[:length]], orders[length]
        target, links = (source[position] for position in order), ((position,) for position in order)
        examples.append(Example(tuple(source), tuple(target), tuple(links), ("one_to_one",) * length))
    return tuple(examples)
