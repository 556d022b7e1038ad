"""Evaluation inside jit: how right the parses of a split are, and what its examples cost.

Axes: N sentences or examples, T positions.
"""

import jax
import jax.numpy as jnp

EVAL_POSITIONS = 4096  # decisions, or positions of rows, that are in memory at once


def score_split(parser, variables, split):
    """(UAS, LAS) of an ``arrays.Split``, each as (sum, weight): words with the right head, or head and label; words."""
    heads_NT, labels_NT = parser.parse(variables, split)
    is_right_NT = (heads_NT == split.heads_NT) & (split.heads_NT >= 0)
    # A label unseen in training has the id 0, and is never right.
    is_right_arc_NT = is_right_NT & (labels_NT == split.labels_NT) & (labels_NT > 0)
    weight = jnp.float32(split.lengths_N.sum())
    return (jnp.float32(is_right_NT.sum()), weight), (jnp.float32(is_right_arc_NT.sum()), weight)


def sum_losses(parser, variables, examples):
    """(sum, weight) of the examples' losses without dropout, some examples at a time."""
    num_examples = len(examples["words"])
    chunk = max(1, EVAL_POSITIONS // positions_of_example(examples))

    def losses_of(example):
        one = jax.tree.map(lambda x: x[None], example)
        return parser.losses(variables, one, True, {})

    total, weight = jax.lax.map(losses_of, examples, batch_size=min(chunk, num_examples))
    return total.sum(), weight.sum()


def positions_of_example(examples):
    """Decisions of an example, 1, or positions of a row."""
    return examples["segments"].shape[1] if "segments" in examples else 1
