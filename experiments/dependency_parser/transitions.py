"""The arc-standard transition system (Nivre 2004) as arrays: a batch of partial parses that advances inside jit.

A partial parse is a stack, a buffer and the arcs built so far. At first ROOT is alone on the stack and all words are in
the buffer. SHIFT moves the front of the buffer onto the stack; with s1 the top of the stack and s2 the item below it,
LEFT-ARC adds the arc s1 -> s2 and pops s2, RIGHT-ARC adds s2 -> s1 and pops s1. When the buffer is empty and ROOT is
alone again, every word has been pushed once and has got its head once: n words take exactly 2n transitions, whichever.

Positions: ROOT is 0, words are 1..n; -1 stands for none. A row of arrays may also hold several sentences, one after the
other, each with its ROOT before it; `start_next` goes on to the next of them. Labels: 0 is none, 1..L are relations.
Transitions: 0 is SHIFT, l is LEFT-ARC with label l, and L + l is RIGHT-ARC with label l; K = 1 + 2L of them. A parser
without labels has L = 1.

Axes: B sentences, T positions, K transitions, L labels.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

SHIFT, LEFT_ARC, RIGHT_ARC = 0, 1, 2  # columns of what `legal` returns
LEFTMOST, SECOND_LEFTMOST, RIGHTMOST, SECOND_RIGHTMOST = 0, 1, 2, 3  # columns of a State's children


class State(NamedTuple):
    """Partial parses of B sentences, or of the sentence that is being parsed in each of B rows; all arrays int32."""

    stack_BT: jax.Array  # positions, ROOT first; what stands at stack_size_B and after it is left over
    stack_size_B: jax.Array
    next_B: jax.Array  # position of the buffer's front: the buffer is next..length
    lengths_B: jax.Array  # position of the last word: the number of words, if the row holds one sentence
    heads_BT: jax.Array  # position of each word's head; -1 where it has none yet
    labels_BT: jax.Array  # label of each word's arc; 0 where it has none yet
    children_BT4: jax.Array  # two leftmost and two rightmost children of each position, the outermost first; -1: none


def start(lengths_B, T):
    """The State before the first transition, of sentences with ``lengths_B`` words in T > lengths_B positions."""
    B = lengths_B.shape[0]
    one_B = jnp.ones(B, jnp.int32)
    none_BT = jnp.full((B, T), -1, jnp.int32)
    return State(
        stack_BT=jnp.zeros((B, T), jnp.int32),
        stack_size_B=one_B,
        next_B=one_B,
        lengths_B=lengths_B.astype(jnp.int32),
        heads_BT=none_BT,
        labels_BT=jnp.zeros((B, T), jnp.int32),
        children_BT4=jnp.full((B, T, 4), -1, jnp.int32),
    )


def last_positions(segments_BT):
    """The position of the last word of each position's sentence, int32 [B, T]; -1 in padding.

    ``segments_BT`` number the sentences of a row 0, 1, 2 ..., ROOT included, and are -1 in padding.
    """
    T = segments_BT.shape[1]
    after_BT = jnp.pad(segments_BT[:, 1:], ((0, 0), (0, 1)), constant_values=-1)
    end_BT = jnp.where(segments_BT != after_BT, jnp.arange(T, dtype=jnp.int32), T)
    return jnp.where(segments_BT >= 0, jax.lax.cummin(end_BT, axis=1, reverse=True), -1)


def start_next(state, last_positions_BT):
    """The State with the row's next sentence begun wherever one is done and another follows it."""
    T = state.stack_BT.shape[1]
    root_B = state.lengths_B + 1
    last_B = take(last_positions_BT, jnp.minimum(root_B, T - 1)[:, None])[:, 0]
    begins_B = is_done(state) & (root_B < T) & (last_B >= 0)
    return state._replace(
        stack_BT=write(state.stack_BT, begins_B, jnp.zeros_like(root_B), root_B),
        next_B=jnp.where(begins_B, root_B + 1, state.next_B),
        lengths_B=jnp.where(begins_B, last_B, state.lengths_B),
    )


def is_done(state):
    """Whether the buffer is empty and only ROOT is on the stack, bool [B]."""
    return (state.stack_size_B == 1) & (state.next_B > state.lengths_B)


def legal(state):
    """Whether SHIFT, LEFT-ARC and RIGHT-ARC are legal, bool [B, 3]; none is where a sentence is done.

    ROOT lies at the bottom, and so s2 is ROOT where two items are on the stack. It takes its child with an empty buffer
    only, when all other words have their heads: every parse has one root.
    """
    empty_B = state.next_B > state.lengths_B
    words_B = state.stack_size_B - 1
    return jnp.stack([~empty_B, words_B >= 2, (words_B >= 2) | ((words_B == 1) & empty_B)], axis=1)


def legal_transitions(state, num_labels):
    """Whether each transition is legal, bool [B, K]: ``legal`` with an arc's column repeated for each label."""
    return expand_legal(legal(state), num_labels)


def expand_legal(legal_B3, num_labels):
    """Legality by kind [..., 3] as legality by transition [..., K]."""
    transition_K = jnp.arange(1 + 2 * num_labels)
    arc_BK = jnp.where(transition_K <= num_labels, legal_B3[..., LEFT_ARC, None], legal_B3[..., RIGHT_ARC, None])
    return jnp.where(transition_K == 0, legal_B3[..., SHIFT, None], arc_BK)


def take(values_BT, positions_BI):
    """The values [B, I] at each sentence's positions, those at position 0 for a position of -1."""
    return jnp.take_along_axis(values_BT, jnp.maximum(positions_BI, 0), axis=1, mode="promise_in_bounds")


def stack_top(state, depth):
    """The positions [B, depth] of the stack's uppermost items, s1 first; -1 where the stack is not so deep."""
    index_BI = state.stack_size_B[:, None] - 1 - jnp.arange(depth)
    return jnp.where(index_BI >= 0, take(state.stack_BT, index_BI), -1)


def write(values_BT, where_B, positions_B, new_B):
    """The values with a new one at one position of each sentence, where ``where_B`` says so.

    On CPUs this scatter is faster than a select over all T, at B = 256 from T = 64 on, at B = 2048 from T = 16 on.
    """
    B, T = values_BT.shape[:2]
    index_B = jnp.where(where_B, positions_B, T)  # T lies outside, and is dropped
    return values_BT.at[jnp.arange(B), index_B].set(new_B, mode="drop", unique_indices=True)


def advance(state, transition_B, num_labels):
    """The State after each sentence's transition; an illegal one, or -1, changes nothing, so that what is done stays.

    A word gets its children from the inside out on either side, and so the newest one is the outermost.
    """
    legal_B3 = legal(state)
    shift_B = (transition_B == 0) & legal_B3[:, SHIFT]
    left_B = (transition_B >= 1) & (transition_B <= num_labels) & legal_B3[:, LEFT_ARC]
    right_B = (transition_B > num_labels) & legal_B3[:, RIGHT_ARC]
    arc_B = left_B | right_B
    s1_B, s2_B = stack_top(state, 2).T
    head_B, dependent_B = jnp.where(left_B, s1_B, s2_B), jnp.where(left_B, s2_B, s1_B)
    label_B = jnp.where(left_B, transition_B, transition_B - num_labels)

    # SHIFT writes above the top, LEFT-ARC writes s1 over s2, RIGHT-ARC writes nothing.
    pushed_B = jnp.where(shift_B, state.next_B, s1_B)
    place_B = jnp.where(shift_B, state.stack_size_B, state.stack_size_B - 2)
    old_B4 = take(state.children_BT4, head_B[:, None, None])[:, 0]
    leftmost_B, second_leftmost_B, rightmost_B, second_rightmost_B = old_B4.T
    new_B4 = jnp.where(
        left_B[:, None],
        jnp.stack([dependent_B, leftmost_B, rightmost_B, second_rightmost_B], axis=1),
        jnp.stack([leftmost_B, second_leftmost_B, dependent_B, rightmost_B], axis=1),
    )
    return State(
        stack_BT=write(state.stack_BT, shift_B | left_B, place_B, pushed_B),
        stack_size_B=state.stack_size_B + shift_B - arc_B,
        next_B=state.next_B + shift_B,
        lengths_B=state.lengths_B,
        heads_BT=write(state.heads_BT, arc_B, dependent_B, head_B),
        labels_BT=write(state.labels_BT, arc_B, dependent_B, label_B),
        children_BT4=write(state.children_BT4, arc_B, head_B, new_B4),
    )


def last_dependents(heads_BT):
    """The position of each position's last dependent in trees ``heads_BT``, int [B, T]; -1 where it has none."""
    B, T = heads_BT.shape
    none_BT = jnp.full((B, T), -1, jnp.int32)
    index_BT = jnp.where(heads_BT >= 0, heads_BT, T)  # T lies outside, and is dropped
    position_BT = jnp.broadcast_to(jnp.arange(T, dtype=jnp.int32), (B, T))
    return none_BT.at[jnp.arange(B)[:, None], index_BT].max(position_BT, mode="drop")


def oracle(state, heads_BT, labels_BT, last_dependents_BT, num_labels):
    """The transition [B] that leads to the trees ``heads_BT``, ``labels_BT`` (Nivre 2008, section 4.1); -1 when done.

    LEFT-ARC if s1 is the head of s2; RIGHT-ARC if s2 is the head of s1 and nothing left in the buffer depends on s1;
    else SHIFT. Labels outside 1..L count as the nearest of them: with L = 1 every arc has the one label.

    A projective tree is built exactly. Of another tree the rule may leave words on the stack of which no two neighbours
    have an arc. Then the one of s1 and s2 that is in fewer arcs with what is left is popped, s1 where they are equal.
    """
    s1_B, s2_B = stack_top(state, 2).T
    legal_B3 = legal(state)
    shift_B = legal_B3[:, SHIFT]
    (head1_B, head2_B), (label1_B, label2_B) = (take(of_BT, stack_top(state, 2)).T for of_BT in (heads_BT, labels_BT))
    last_B = take(last_dependents_BT, s1_B[:, None])[:, 0]
    left_B = legal_B3[:, LEFT_ARC] & (head2_B == s1_B)
    right_B = legal_B3[:, RIGHT_ARC] & (head1_B == s2_B) & (last_B < state.next_B)

    # With an empty buffer, what has no head yet is what lies on the stack.
    on_stack_BT = state.heads_BT < 0

    def arcs_left(word_B, head_B):
        to_dependents_B = ((heads_BT == word_B[:, None]) & on_stack_BT).sum(axis=1)
        return to_dependents_B + take(on_stack_BT, head_B[:, None])[:, 0]

    stuck_B = ~(left_B | right_B | shift_B)
    left_B |= stuck_B & legal_B3[:, LEFT_ARC] & (arcs_left(s2_B, head2_B) < arcs_left(s1_B, head1_B))
    transition_B = jnp.where(
        left_B,
        jnp.clip(label2_B, 1, num_labels),
        jnp.where(right_B | ~shift_B, num_labels + jnp.clip(label1_B, 1, num_labels), 0),
    )
    return jnp.where(is_done(state), -1, transition_B).astype(jnp.int32)
