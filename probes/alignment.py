"""What attention says about which source words a target word comes from, and how well that agrees with an alignment.

Weights are those of one translator: row t holds how much the step that predicts target word t attends to each source
position. Links are boolean: link[t, s] says that target word t comes from source word s. Positions of padding have
weight 0 and no links; they change no result. Everything is numpy and summed in float64.

Axes: T target position, S source position, N sentence pairs; "..." stands for any axes before them, such as sentences
and attention maps.
"""

from typing import NamedTuple

import numpy as np


class ShiftComparison(NamedTuple):
    """The alignment error rates of one step's weights (shift 0) and of the next step's (shift 1), on the same rows."""

    error_rates: tuple[float, float]
    better: int  # 0 or 1; 0 where both are equal
    num_rows: int  # how many rows were scored


# --- How spread a row is.


def row_entropy(weights):
    """The entropy of every row in nats [..., T], with 0 log 0 = 0: a row of zeros has none.

    Args:
      weights: [..., T, S]; rows sum to one, or are zeros.
    """
    weights = checked_weights(weights)
    # Adding 0.0 turns the -0.0 of rows with a single weight into 0.0.
    return -np.sum(weights * np.log(np.where(weights > 0, weights, 1.0)), axis=-1) + 0.0


def effective_number(weights):
    """How many positions each row is spread over [..., T]: exp(entropy), k for equal weights on k positions."""
    return np.exp(row_entropy(weights))


def largest_weight(weights):
    """The largest weight of each row [..., T]."""
    return checked_weights(weights).max(axis=-1)


# --- From weights to links.


def links_of_weights(weights, share=0.5):
    """The links [..., T, S] that weights stand for: positions with at least ``share`` of their row's largest weight.

    Args:
      weights: [..., T, S]; a row of zeros links nothing.
      share: above 0, at most 1; 1 links the largest weight alone, and all that equal it.

    Raises:
      ValueError: the share is outside its range.
    """
    if not 0 < share <= 1:
        raise ValueError(f"the share of the largest weight that makes a link is {share}: give one above 0, at most 1")
    weights = checked_weights(weights)
    return (weights > 0) & (weights >= share * weights.max(axis=-1, keepdims=True))


def shift_rows(weights, shift):
    """The weights [..., T, S] with row t holding what step t + ``shift`` attended to; rows without such a step are 0.

    Step t has read the words before word t. With shift 1 a word's row is that of the step that has just read it, which
    is where a decoder puts the word's alignment if it attends to what it last wrote. The last row is then zeros.
    """
    weights = np.asarray(weights)
    num_steps = weights.shape[-2]
    step_T = np.arange(num_steps) + shift
    exists_T = (step_T >= 0) & (step_T < num_steps)
    return np.where(exists_T[:, None], weights[..., np.clip(step_T, 0, num_steps - 1), :], np.zeros((), weights.dtype))


def diagonal_links(source_length_N, target_length_N, S, T):
    """Links [N, T, S] of each target position to the source position at the same relative place: a negative control.

    The middle of target position t lies at (t + 1/2) / target length of its sentence, and the link is to the source
    position that this point of the source sentence falls into; on the border of two positions, to the later one.
    Sentences of equal lengths are linked word by word.

    Raises:
      ValueError: a sentence is longer than S or T.
    """
    source_length_N, target_length_N = np.asarray(source_length_N), np.asarray(target_length_N)
    for side, length_N, limit in (("source", source_length_N, S), ("target", target_length_N, T)):
        if length_N.size and length_N.max() > limit:
            raise ValueError(f"a {side} sentence of {length_N.max()} words does not fit in {limit} positions")
    t_T = np.arange(T)
    place_NT = (2 * t_T + 1) * source_length_N[:, None] // (2 * np.maximum(target_length_N, 1)[:, None])
    is_word_NT = t_T < target_length_N[:, None]
    return is_word_NT[:, :, None] & (place_NT[:, :, None] == np.arange(S)) & (source_length_N > 0)[:, None, None]


def padded_links(links, T, S):
    """One array [N, T, S] of the links of N sentence pairs, each [its target length, its source length].

    Raises:
      ValueError: a sentence is longer than S or T.
    """
    padded_NTS = np.zeros((len(links), T, S), bool)
    for number, link in enumerate(links):
        num_target, num_source = link.shape
        if num_target > T or num_source > S:
            raise ValueError(f"links {num_target} x {num_source} of pair {number} do not fit in {T} x {S} positions")
        padded_NTS[number, :num_target, :num_source] = link
    return padded_NTS


# --- How well links or weights agree with an alignment.


def alignment_error_rate(links, sure, possible=None, is_scored=None):
    """The alignment error rate, 1 - (|A and S| + |A and P|) / (|A| + |S|), over all rows of all leading axes together.

    A are the links in question, S the sure links and P the possible ones of the reference (Och and Ney 2003, "A
    systematic comparison of various statistical alignment models", section 5). It is 0 if A has all sure links and
    otherwise only possible ones, and 1 if A has none of either.

    Args:
      links: A, bool [..., T, S].
      sure: S, bool, of the same T and S; its leading axes are broadcast against those of ``links``.
      possible: P, which always includes S; by default the sure links.
      is_scored: bool [..., T], broadcast too; other rows are left out of all counts. By default every row counts.

    Raises:
      ValueError: positions differ in number, or there is no link to count.
    """
    links = np.asarray(links, bool)
    sure = same_positions(links, sure, "sure links")
    possible = sure if possible is None else sure | same_positions(links, possible, "possible links")
    scored = scored_rows(links, is_scored)
    links, sure, possible = np.broadcast_arrays(links & scored, sure & scored, possible & scored)
    total = int(links.sum()) + int(sure.sum())
    if not total:
        raise ValueError("no row that is scored has a link on either side: there is no alignment error rate")
    return 1 - (int((links & sure).sum()) + int((links & possible).sum())) / total


def better_shift(weights, sure, possible=None, is_scored=None, share=0.5):
    """Whether weights align with the word that their step predicts (shift 0) or with the word it has just read (1).

    Both error rates are over the same rows: those whose own step and whose next step both have weights. So the last row
    of a sentence is left out of both. Where that is the row of the end token, which no one scores, all words count. A
    padded target step must be zeros, or else the last row before the padding must not be scored.

    Args:
      weights: [..., T, S].
      sure, possible, is_scored: as ``alignment_error_rate`` takes them.
      share: as ``links_of_weights`` takes it.

    Returns:
      The two error rates and the better shift.
    """
    weights = checked_weights(weights)
    shifted = [shift_rows(weights, shift) for shift in (0, 1)]
    has_both = np.logical_and(*[rows.any(axis=-1) for rows in shifted])
    is_scored = has_both if is_scored is None else has_both & np.asarray(is_scored, bool)
    error_rates = tuple(
        alignment_error_rate(links_of_weights(rows, share), sure, possible, is_scored) for rows in shifted
    )
    return ShiftComparison(error_rates, int(error_rates[1] < error_rates[0]), int(is_scored.sum()))


def agreement(weights_or_links, other_links, is_scored=None):
    """The share of target words whose most attended source position is among the other's links.

    Only rows with a link in ``other_links`` count: a statistical aligner leaves some words unaligned. Of k positions
    with the same largest weight, each counts 1/k: uniform weights, or several links, score what a choice among them at
    random would. A row of zeros counts as a miss. So attention, the diagonal and a second aligner are measured alike.

    Args:
      weights_or_links: [..., T, S].
      other_links: bool, of the same T and S; its leading axes are broadcast against those of the first.
      is_scored: bool [..., T]; by default every row with a link.

    Raises:
      ValueError: positions differ in number, or no row that is scored has a link in ``other_links``.
    """
    weights = checked_weights(weights_or_links)
    other_links = same_positions(weights, other_links, "other links")
    is_top = (weights > 0) & (weights == weights.max(axis=-1, keepdims=True))
    hits = np.sum(is_top & other_links, axis=-1) / np.maximum(is_top.sum(axis=-1), 1)
    counts = np.broadcast_to((other_links & scored_rows(weights, is_scored)).any(axis=-1), hits.shape)
    if not counts.any():
        raise ValueError("no row that is scored has a link in the other alignment: there is nothing to agree with")
    return float(hits[counts].mean())


def area_under_curve(scores_of_positives, scores_of_negatives):
    """The area under the ROC curve: how probable it is that a positive scores above a negative, ties counting half.

    It is the Mann-Whitney statistic over the number of pairs, from ranks (Hanley and McNeil 1982, "The meaning and use
    of the area under a receiver operating characteristic (ROC) curve").

    Raises:
      ValueError: a side has no scores, or a score is NaN.
    """
    positives, negatives = (np.ravel(np.asarray(x, float)) for x in (scores_of_positives, scores_of_negatives))
    if not (positives.size and negatives.size):
        raise ValueError(f"{positives.size} positives and {negatives.size} negatives: both sides need a score")
    if np.isnan(positives).any() or np.isnan(negatives).any():
        raise ValueError("a score is NaN: it has no rank")
    negatives = np.sort(negatives)
    twice_below = sum(int(np.searchsorted(negatives, positives, side).sum()) for side in ("left", "right"))
    return twice_below / (2 * positives.size * negatives.size)


# --- Checks.


def checked_weights(weights):
    """The weights in float64; raises ValueError where one is negative or not finite."""
    weights = np.asarray(weights, np.float64)
    if not (np.isfinite(weights) & (weights >= 0)).all():
        raise ValueError("attention weights are negative or not finite: give weights after the softmax")
    return weights


def same_positions(weights, links, name):
    """``links`` as bool; raises ValueError unless it has the T and S of ``weights``."""
    links = np.asarray(links, bool)
    if links.shape[-2:] != weights.shape[-2:]:
        raise ValueError(f"{name} have {links.shape[-2:]} target and source positions, expected {weights.shape[-2:]}")
    return links


def scored_rows(weights, is_scored):
    """``is_scored`` with an axis for source positions, all True where there is none."""
    if is_scored is None:
        return np.ones((weights.shape[-2], 1), bool)
    is_scored = np.asarray(is_scored, bool)
    if is_scored.shape[-1:] != weights.shape[-2:-1]:
        raise ValueError(f"is_scored has {is_scored.shape[-1:]} rows, expected {weights.shape[-2:-1]}")
    return is_scored[..., None]
