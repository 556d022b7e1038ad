"""Whole parses: what the oracle decides, as training data, and what a scorer decides, for all sentences at once.

Axes: B sentences, T positions, J steps, K transitions, L labels.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.dependency_parser.arrays import bucket_segments
from experiments.dependency_parser.eisner import eisner
from experiments.dependency_parser.features import label_features, positions
from experiments.dependency_parser.transitions import (
    advance,
    last_dependents,
    last_positions,
    legal,
    legal_transitions,
    oracle,
    start,
    start_next,
)

ROWS_AT_ONCE = 128


class Decisions(NamedTuple):
    """What the oracle decided at each of J = 2T steps, and what a classifier sees there; all arrays but legal int32.

    A sentence of n words has 2n decisions; at the steps after them transitions are -1 and nothing is legal.
    """

    positions_BJ18: jax.Array
    labels_BJ12: jax.Array
    legal_BJ3: jax.Array
    transitions_BJ: jax.Array
    heads_BT: jax.Array  # the trees that were built: those given, if they are projective
    labels_BT: jax.Array


def follow_oracle(heads_BT, labels_BT, lengths_B, num_labels):
    """The Decisions that build the trees ``heads_BT``, ``labels_BT`` of sentences with ``lengths_B`` words."""
    return follow_oracle_in_rows(heads_BT, labels_BT, bucket_segments(lengths_B, heads_BT.shape[1]), num_labels)


@functools.partial(jax.jit, static_argnames="num_labels")
def follow_oracle_in_rows(heads_BT, labels_BT, segments_BT, num_labels):
    """The Decisions that build the trees of packed rows, sentence by sentence; all positions are those in the row.

    ``segments_BT`` number the sentences of a row 0, 1, 2 ..., ROOT included, and are -1 in the padding behind them.
    """
    last_positions_BT, last_dependents_BT = last_positions(segments_BT), last_dependents(heads_BT)

    def step(state, _):
        transition_B = oracle(state, heads_BT, labels_BT, last_dependents_BT, num_labels)
        positions_B18 = positions(state)
        seen = (positions_B18, label_features(state, positions_B18), legal(state), transition_B)
        return start_next(advance(state, transition_B, num_labels), last_positions_BT), seen

    T = heads_BT.shape[1]
    state, seen = jax.lax.scan(step, start(jnp.maximum(last_positions_BT[:, 0], 0), T), length=2 * T)
    return Decisions(*(jnp.swapaxes(x, 0, 1) for x in seen), state.heads_BT, state.labels_BT)


def follow_oracle_in_chunks(rows, num_labels):
    """The Decisions, numpy, of packed rows (``arrays.Rows``), some at a time: one program for any number of rows."""
    chunks = []
    for start_row in range(0, len(rows.heads_MT), ROWS_AT_ONCE):
        heads_BT, labels_BT, segments_BT = (
            array_MT[start_row : start_row + ROWS_AT_ONCE]
            for array_MT in (rows.heads_MT, rows.labels_MT, rows.segments_MT)
        )
        missing = ((0, ROWS_AT_ONCE - len(heads_BT)), (0, 0))
        with jax.ensure_compile_time_eval():  # where a sweep traces what makes a task, too
            made = follow_oracle_in_rows(
                np.pad(heads_BT, missing, constant_values=-1),
                np.pad(labels_BT, missing),
                np.pad(segments_BT, missing, constant_values=-1),
                num_labels,
            )
        chunks.append([np.asarray(array)[: len(heads_BT)] for array in made])
    return Decisions(*(np.concatenate(arrays) for arrays in zip(*chunks, strict=True)))


def closest_projective(heads_BT, lengths_B):
    """The projective trees [B, T] with the most arcs of the trees ``heads_BT``: projective ones are their own.

    Those arcs are all that any parser of these transitions can get right, and so with these trees the oracle's UAS is
    the ceiling; left to itself it gets stuck, and keeps fewer arcs of a tree that is not projective. Needs T x T
    numbers a sentence: meant for the sentences whose trees are not projective.
    """
    return eisner(jax.nn.one_hot(heads_BT, heads_BT.shape[1]), lengths_B)


def best_transition(logits_BK, state, num_labels):
    """The legal transition [B] with the greatest logit, the first of several; any number where a sentence is done.

    NaN and -infinity count as the lowest finite logit, so that a legal transition is taken whatever the scorer says.
    Raises ValueError for logits of another number of transitions than 1 + 2 ``num_labels``.
    """
    K = 1 + 2 * num_labels
    if logits_BK.shape[-1] != K:
        raise ValueError(
            f"a parser with {num_labels} labels has {K} transitions, but the scores are of shape {logits_BK.shape}"
        )
    lowest = jnp.finfo(logits_BK.dtype).min
    logits_BK = jnp.where(logits_BK > lowest, logits_BK, lowest)
    logits_BK = jnp.where(legal_transitions(state, num_labels), logits_BK, -jnp.inf)
    # On CPUs two plain reductions take a third of argmax's time.
    is_best_BK = logits_BK == logits_BK.max(axis=1, keepdims=True)
    return jnp.where(is_best_BK, jnp.arange(K, dtype=jnp.int32), K).min(axis=1)


def parse(score, lengths_B, T, num_labels):
    """(heads_BT, labels_BT) of the greedy parses of sentences with ``lengths_B`` < T words; see `parse_rows`."""
    return parse_rows(score, bucket_segments(lengths_B, T), num_labels)


def parse_rows(score, segments_BT, num_labels):
    """(heads_BT, labels_BT) of the greedy parses of all sentences of packed rows; heads are positions in the row.

    ``score`` maps a State to the logits [B, K] of its transitions; illegal ones are never taken. ``segments_BT`` number
    the sentences of a row 0, 1, 2 ..., each with its ROOT and at least one word, and are -1 in the padding behind them.
    In the result ROOT and padding have head -1 and label 0.

    All rows step together until the fullest is done: 2n steps for n words, whatever is decided. So the number of steps
    depends on the segments alone, and under vmap over parameters it is one loop that selects nothing.
    """
    last_positions_BT = last_positions(segments_BT)
    num_words_B = (segments_BT >= 0).sum(axis=1) - (segments_BT.max(axis=1) + 1)
    num_steps = 2 * num_words_B.max()

    def step(carry):
        i, state = carry
        state = advance(state, best_transition(score(state), state, num_labels), num_labels)
        return i + 1, start_next(state, last_positions_BT)

    first = start(jnp.maximum(last_positions_BT[:, 0], 0), segments_BT.shape[1])
    _, state = jax.lax.while_loop(lambda carry: carry[0] < num_steps, step, (jnp.int32(0), first))
    return state.heads_BT, state.labels_BT
