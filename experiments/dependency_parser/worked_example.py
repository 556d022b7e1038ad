"""The oracle's transitions of one sentence as a table, and the course's example: "I parsed this sentence correctly".

The example is an exercise of Stanford's course CS 224n: ten transitions for five words.
"""

import functools
from typing import NamedTuple

import jax
import numpy as np

from experiments.dependency_parser.parsing import follow_oracle
from experiments.dependency_parser.transitions import advance, start

SENTENCE = "I parsed this sentence correctly"
FORMS = tuple(SENTENCE.split())
HEADS = (2, 0, 4, 2, 2)
TRANSITIONS = (
    *("SHIFT", "SHIFT", "LEFT-ARC", "SHIFT", "SHIFT"),
    *("LEFT-ARC", "RIGHT-ARC", "SHIFT", "RIGHT-ARC", "RIGHT-ARC"),
)
TRANSITION_NAMES = ("SHIFT", "LEFT-ARC", "RIGHT-ARC")  # by id, without labels
ARCS = ("parsed->I", "sentence->this", "parsed->sentence", "parsed->correctly", "ROOT->parsed")


class Step(NamedTuple):
    """One row of the table: a partial parse as text, and the transition that led to it."""

    stack: str  # "[ROOT, parsed, this]", the top last
    buffer: str  # "[sentence, correctly]", the front first
    new_arc: str  # "parsed->I"; empty where there is none
    transition: str  # SHIFT, LEFT-ARC or RIGHT-ARC; empty in the first row


compiled_advance = jax.jit(functools.partial(advance, num_labels=1))


def trace(forms=FORMS, heads=HEADS):
    """The Steps of the oracle on one tree, the first of them before any transition.

    ``heads`` are positions, one for each of ``forms``, 0 for ROOT. Raises ValueError where heads and forms differ in
    number or a head is no position of the sentence.
    """
    n = len(forms)
    if len(heads) != n or not all(0 <= head <= n for head in heads):
        raise ValueError(f"{n} words need {n} heads from 0 to {n}, not {list(heads)}")
    heads_BT = np.array([[-1, *heads]], np.int32)
    labels_BT = np.array([[0, *[1] * n]], np.int32)
    decisions = follow_oracle(heads_BT, labels_BT, np.array([n], np.int32), 1)
    words = ["ROOT", *forms]
    state = start(np.array([n], np.int32), len(words))
    steps = [describe(state, words, "", "")]
    for transition in np.asarray(decisions.transitions_BJ)[0, : 2 * n]:
        before = state
        state = compiled_advance(before, transition[None])
        arcs = np.flatnonzero(np.asarray(state.heads_BT[0]) != np.asarray(before.heads_BT[0]))
        new_arc = "".join(f"{words[state.heads_BT[0, word]]}->{words[word]}" for word in arcs)
        steps.append(describe(state, words, new_arc, TRANSITION_NAMES[transition]))
    return steps


def describe(state, words, new_arc, transition):
    """The Step of the only sentence of ``state``."""
    stack = [words[position] for position in np.asarray(state.stack_BT[0])[: int(state.stack_size_B[0])]]
    return Step(f"[{', '.join(stack)}]", f"[{', '.join(words[int(state.next_B[0]) :])}]", new_arc, transition)
