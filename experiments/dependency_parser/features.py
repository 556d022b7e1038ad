"""What Chen and Manning (2014, section 3.1) read of a partial parse: 18 positions, and the labels of 12 of them.

The 18 positions are s1, s2, s3 of the stack, b1, b2, b3 of the buffer, and then of s1 and of s2 each: the leftmost and
the rightmost child, the second leftmost and the second rightmost, the leftmost of the leftmost and the rightmost of the
rightmost. Words and tags are looked up at all 18, labels at the 12 children.

Axes: B sentences, T positions.
"""

import jax.numpy as jnp

from experiments.dependency_parser.transitions import (
    LEFTMOST,
    RIGHTMOST,
    SECOND_LEFTMOST,
    SECOND_RIGHTMOST,
    stack_top,
    take,
)

NUM_CORE = 6  # of the stack and the buffer
NUM_POSITIONS = 18
NUM_CHILDREN = 12
CHILD_COLUMNS = (LEFTMOST, RIGHTMOST, SECOND_LEFTMOST, SECOND_RIGHTMOST)  # in the order of the features


def core_positions(state):
    """The positions s1, s2, s3, b1, b2, b3, int [B, 6]; -1 where there is none."""
    front_B3 = state.next_B[:, None] + jnp.arange(3)
    return jnp.concatenate([stack_top(state, 3), jnp.where(front_B3 <= state.lengths_B[:, None], front_B3, -1)], axis=1)


def positions(state):
    """The 18 positions in the order above, int [B, 18]; -1 where there is none."""
    B, T = state.stack_BT.shape
    core_B6 = core_positions(state)
    tops_B2 = core_B6[:, :2]
    children_B24 = jnp.where(tops_B2[..., None] >= 0, take(state.children_BT4, tops_B2[..., None]), -1)
    outer_B22 = children_B24[:, :, jnp.array([LEFTMOST, RIGHTMOST])]
    # The same column again, of the child: the leftmost of the leftmost, the rightmost of the rightmost.
    column_B22 = jnp.maximum(outer_B22, 0) * 4 + jnp.array([LEFTMOST, RIGHTMOST])
    grandchildren_B22 = take(state.children_BT4.reshape(B, T * 4), column_B22.reshape(B, 4)).reshape(B, 2, 2)
    grandchildren_B22 = jnp.where(outer_B22 >= 0, grandchildren_B22, -1)
    family_B26 = jnp.concatenate([children_B24[:, :, jnp.array(CHILD_COLUMNS)], grandchildren_B22], axis=2)
    return jnp.concatenate([core_B6, family_B26.reshape(B, NUM_CHILDREN)], axis=1)


def label_features(state, positions_B18):
    """The labels of the arcs to the 12 children among the ``positions``, int [B, 12]; 0 where there is no child."""
    children_B12 = positions_B18[:, NUM_CORE:]
    return jnp.where(children_B12 >= 0, take(state.labels_BT, children_B12), 0)
