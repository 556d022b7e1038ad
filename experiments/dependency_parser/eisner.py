"""The best projective tree of a sentence, by the algorithm of Eisner (1996), in time O(T^3), for batches inside jit.

A span of words is complete if its head, at one end, has all its dependents up to the other end, and joined if there is
an arc between its two ends. Charts hold the best score of every span and grow by its width:

    joined(s, t) = max_k right(s, s + k) + left(s + k + 1, t), plus the arc's score
    right(s, t) = max_k joined_right(s, s + k) + right(s + k, t)    (the head is s; its last dependent s + k)
    left(s, t) = max_k left(s, s + k) + joined_left(s + k, t)       (the head is t; its first dependent s + k)

Both operands of a maximum are slices, because those that end with the span are kept by their end, the widest first: row
W - 1 - width, column t; the others by their start: row width, column s. ROOT takes no part: one word becomes its only
dependent at the end.

Axes: B sentences, T positions with ROOT at 0, W = T - 1 words, K splits of a span.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

CACHED_NUMBERS = 2**21  # a chunk of sentences whose charts hold so many numbers stays near a processor's cache


class Charts(NamedTuple):
    """The best scores of spans, [W, W] by start and [2 W, 2 W] by end; -inf where there is no such span."""

    right_by_start: jax.Array
    right_by_end: jax.Array
    left_by_start: jax.Array
    left_by_end: jax.Array
    joined_right_by_start: jax.Array
    joined_left_by_end: jax.Array


def eisner(scores_BTT, lengths_B):
    """The heads [B, T] of the projective trees with the highest sums of scores, one word of each attached to ROOT.

    Args:
      scores_BTT: scores_BTT[b, m, h] is what the arc from h to m is worth; ROOT's row and the diagonal count nowhere.
      lengths_B: numbers of words, ROOT not counted, at most T - 1.
    Returns:
      int32 positions of heads; -1 at ROOT and in the padding.
    """
    B, T, _ = scores_BTT.shape
    if not B or T < 2:
        return jnp.full((B, T), -1, jnp.int32)
    # Some sentences at a time: twice as fast on CPU as all at once, and in bounded memory.
    chunk = min(B, max(1, CACHED_NUMBERS // (15 * (T - 1) ** 2)))
    return jax.lax.map(lambda sentence: _best_heads(*sentence), (scores_BTT, lengths_B), batch_size=chunk)


def _best_heads(scores_TT, length):
    """The heads [T] of one sentence."""
    W = len(scores_TT) - 1
    charts = _fill(scores_TT[1:, 1:])
    last = jnp.maximum(length, 1) - 1
    words = jnp.arange(W)
    right_to_last = charts.right_by_end[jnp.maximum(W - 1 - last + words, 0), last]
    total = scores_TT[1:, 0] + charts.left_by_start[:, 0] + right_to_last
    root = jnp.argmax(jnp.where(words <= last, total, -jnp.inf)).astype(jnp.int32)
    heads = _unfold(charts, root, last.astype(jnp.int32)) + 1
    heads = jnp.where(words < length, heads, -1)
    return jnp.concatenate([jnp.full(1, -1, jnp.int32), heads])


def _fill(scores_WW):
    """The charts of words without ROOT."""
    W = len(scores_WW)
    starts, widths = jnp.arange(W), jnp.arange(W)[:, None]
    ends = jnp.minimum(starts + widths, W - 1)
    score_right, score_left = scores_WW[ends, starts], scores_WW[starts, ends]  # of arcs between a span's ends
    nothing_by_start = jnp.full((W, W), -jnp.inf, scores_WW.dtype)
    nothing_by_end = jnp.full((2 * W, 2 * W), -jnp.inf, scores_WW.dtype)
    words_by_start, words_by_end = nothing_by_start.at[0].set(0.0), nothing_by_end.at[W - 1, :W].set(0.0)

    def best(chart_by_start, chart_by_end, first_row, width):
        by_end = jax.lax.dynamic_slice(chart_by_end, (first_row, width), (W, W))
        return jnp.where(starts + width < W, jnp.max(chart_by_start + by_end, axis=0), -jnp.inf)

    def write_by_start(chart, values_W, width):
        return jax.lax.dynamic_update_slice(chart, values_W[None], (width, 0))

    def write_by_end(chart, values_W, width):
        return jax.lax.dynamic_update_slice(chart, values_W[None], (W - 1 - width, width))

    def widen(width, charts):
        joined = best(charts.right_by_start, charts.left_by_end, W - width, width)
        joined_right_by_start = write_by_start(charts.joined_right_by_start, joined + score_right[width], width)
        joined_left_by_end = write_by_end(charts.joined_left_by_end, joined + score_left[width], width)
        right = best(joined_right_by_start, charts.right_by_end, W - 1 - width, width)
        left = best(charts.left_by_start, joined_left_by_end, W - 1 - width, width)
        return Charts(
            write_by_start(charts.right_by_start, right, width),
            write_by_end(charts.right_by_end, right, width),
            write_by_start(charts.left_by_start, left, width),
            write_by_end(charts.left_by_end, left, width),
            joined_right_by_start,
            joined_left_by_end,
        )

    words = Charts(words_by_start, words_by_end, words_by_start, words_by_end, nothing_by_start, nothing_by_end)
    return jax.lax.fori_loop(1, W, widen, words)


def _unfold(charts, root, last):
    """The heads [W] of words 0 .. last, among words, with the root's own at -1: the spans' best splits, found anew.

    A stack holds complete spans of two words or more. Taking one from it finds one word's head and leaves at most three
    smaller ones, whose widths add up to one less: so W - 1 rounds do, and the stack never holds more than W - 1 spans.
    """
    W = len(charts.right_by_start)

    def by_start(chart, start):
        return chart[:, start]

    def by_end(chart, end, width):
        """The scores of spans of widths width, width - 1, ... that end at ``end``."""
        return jax.lax.dynamic_slice(chart, (W - 1 - width, end), (W, 1))[:, 0]

    def push(stack, size, is_right, start, end):
        # A span of one word is written too, but over the top of the stack, where the next one takes its place.
        return stack.at[size].set(jnp.stack([is_right, start, end])), size + (start < end)

    def step(_, carry):
        stack, size, heads = carry
        is_empty = size == 0
        size = jnp.maximum(size - 1, 0)
        is_right, start, end = stack[size]
        width = end - start
        right_K = by_start(charts.joined_right_by_start, start) + by_end(charts.right_by_end, end, width)
        left_K = by_start(charts.left_by_start, start) + by_end(charts.joined_left_by_end, end, width)
        dependent = start + jnp.argmax(jnp.where(is_right, right_K, left_K)).astype(jnp.int32)
        head = jnp.where(is_right, start, end)
        heads = heads.at[jnp.where(is_empty, W, dependent)].set(head, mode="drop")
        low, high = jnp.minimum(head, dependent), jnp.maximum(head, dependent)
        inner_K = by_start(charts.right_by_start, low) + by_end(charts.left_by_end, high, high - low - 1)
        middle = low + jnp.argmax(inner_K).astype(jnp.int32)
        stack, new = push(stack, size, 1, low, middle)
        stack, new = push(stack, new, 0, middle + 1, high)
        outer_start, outer_end = jnp.where(is_right, dependent, start), jnp.where(is_right, end, dependent)
        stack, new = push(stack, new, is_right, outer_start, outer_end)
        return stack, jnp.where(is_empty, 0, new), heads

    stack = jnp.zeros((W + 2, 3), jnp.int32)
    stack, size = push(stack, 0, 0, jnp.int32(0), root)
    stack, size = push(stack, size, 1, root, last)
    heads = jnp.full(W, -2, jnp.int32).at[root].set(-1)
    return jax.lax.fori_loop(0, W - 1, step, (stack, size, heads))[2]
