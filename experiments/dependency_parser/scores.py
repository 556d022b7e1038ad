"""How right parses are: attachment scores, by label and by length, and their intervals by bootstrap over sentences.

Heads are arrays [..., N, T] of positions (-1 at ROOT's column 0 and at padding), labels ids of the same shape; leading
axes, such as one for seeds, are kept. Punctuation counts, and relations are compared without subtypes, as the CoNLL
2018 evaluation does on gold words. Axis letters: S seeds, N sentences, T positions (ROOT is 0), G groups of words.
"""

import functools
from typing import NamedTuple

import numpy as np

LONGEST_ARC = 10  # longer arcs are counted together
SENTENCE_LENGTHS = (5, 10, 15, 20, 30, 40)  # the last length of each bin; one more bin holds the longer sentences


class Groups(NamedTuple):
    """The accuracy of groups of words: names, accuracy [..., G] as a share of 1 (NaN without words), words [G]."""

    names: tuple[str, ...]
    accuracy: np.ndarray
    counts: np.ndarray


# --- Words that are right, from which everything else follows.


def gold_heads(sentences, num_positions):
    """The position of every word's head [N, T], -1 where there is no word.

    Raises ValueError for a sentence of T words or more.
    """
    heads_NT = np.full((len(sentences), num_positions), -1, np.int32)
    for n, sentence in enumerate(sentences):
        if len(sentence.heads) >= num_positions:
            raise ValueError(
                f"sentence {n} has {len(sentence.heads)} words, its parse room for {num_positions - 1}: score a parse "
                "of these very sentences"
            )
        heads_NT[n, 1 : 1 + len(sentence.heads)] = sentence.heads
    return heads_NT


def gold_labels(sentences, num_positions, label_names):
    """The label id [N, T] of every word's arc; -1 where there is no word, and for a label that has no id."""
    id_of = {name: label for label, name in enumerate(label_names)}
    labels_NT = np.full((len(sentences), num_positions), -1, np.int32)
    for n, sentence in enumerate(sentences):
        labels_NT[n, 1 : 1 + len(sentence.labels)] = [id_of.get(name, -1) for name in sentence.labels]
    return labels_NT


def correct_heads(sentences, heads):
    """Which words have the right head: bool, of the shape [..., N, T] of `heads`; False where there is no word.

    Raises ValueError where `heads` are of another number of sentences.
    """
    heads = np.asarray(heads)
    if heads.ndim < 2 or heads.shape[-2] != len(sentences):
        raise ValueError(f"heads of shape {heads.shape} are not those of {len(sentences)} sentences: give [..., N, T]")
    gold_NT = gold_heads(sentences, heads.shape[-1])
    return (heads == gold_NT) & (gold_NT >= 0)


def correct_arcs(sentences, heads, labels, label_names):
    """Which words have the right head and the right label: bool [..., N, T]; `label_names[id]` is a label's name."""
    labels = np.asarray(labels)
    gold_NT = gold_labels(sentences, labels.shape[-1], label_names)
    return correct_heads(sentences, heads) & (labels == gold_NT) & (gold_NT >= 0)


def count_words(sentences):
    """The number of words [N] of each sentence."""
    return np.array([len(sentence.heads) for sentence in sentences], np.int64)


def share_of_words(sentences, correct):
    """The share [...] of all words that are correct; `correct` is bool [..., N, T].

    Raises ValueError where the sentences have no words.
    """
    num_words = count_words(sentences).sum()
    if num_words == 0:
        raise ValueError("there are no words to score: give at least one sentence with a tree")
    return np.asarray(correct).sum((-2, -1)) / num_words


def attachment(sentences, heads, labels, label_names):
    """(UAS, LAS), shares [...] of the words that have the right head, and the right head and label."""
    uas = share_of_words(sentences, correct_heads(sentences, heads))
    return uas, share_of_words(sentences, correct_arcs(sentences, heads, labels, label_names))


# --- Accuracy of groups of words. `correct` is bool [..., N, T], of heads or of labelled arcs.


def by_label(sentences, correct):
    """The accuracy of the words of each gold label, the commonest label first."""
    names = sorted({name for sentence in sentences for name in sentence.labels})
    group_NT = gold_labels(sentences, np.shape(correct)[-1], names)
    groups = _accuracy_by(group_NT, names, correct)
    order = np.argsort(-groups.counts, kind="stable")
    return Groups(tuple(names[g] for g in order), groups.accuracy[..., order], groups.counts[order])


def by_arc_length(sentences, correct):
    """The accuracy of the words of each length of the GOLD arc, |position - head|: 1 to 10, and all longer ones.

    Words whose head is ROOT are left out: ROOT stands nowhere in the sentence.
    """
    names = (*(str(length) for length in range(1, LONGEST_ARC + 1)), f">{LONGEST_ARC}")
    length_NT = arc_lengths(sentences, np.shape(correct)[-1])
    group_NT = np.where(length_NT > 0, np.minimum(length_NT, LONGEST_ARC + 1) - 1, -1)
    return _accuracy_by(group_NT, names, correct)


def by_sentence_length(sentences, correct):
    """The accuracy of the words of sentences of 1-5, 6-10, ... words."""
    starts = (1, *(last + 1 for last in SENTENCE_LENGTHS))
    names = [f"{first}-{last}" for first, last in zip(starts, SENTENCE_LENGTHS, strict=False)]
    bins_N = np.searchsorted(SENTENCE_LENGTHS, count_words(sentences))
    has_word_NT = gold_heads(sentences, np.shape(correct)[-1]) >= 0
    return _accuracy_by(np.where(has_word_NT, bins_N[:, None], -1), (*names, f">{SENTENCE_LENGTHS[-1]}"), correct)


def mean_sentence_lengths(sentences):
    """The mean number of words of a word's sentence in each bin of `by_sentence_length` [G]; NaN for an empty bin."""
    lengths_N = count_words(sentences)
    bins_N = np.searchsorted(SENTENCE_LENGTHS, lengths_N)
    words_G = np.bincount(bins_N, lengths_N, len(SENTENCE_LENGTHS) + 1)
    with np.errstate(invalid="ignore"):
        return np.bincount(bins_N, lengths_N.astype(float) ** 2, len(words_G)) / words_G


def arc_lengths(sentences, num_positions):
    """The length |position - head| [N, T] of every gold arc; 0 where there is no word and where the head is ROOT."""
    heads_NT = gold_heads(sentences, num_positions)
    return np.where(heads_NT > 0, np.abs(np.arange(num_positions) - heads_NT), 0)


def length_slope(sentences, heads):
    """By how much [...] UAS changes with each unit of arc length: whether a head is right, regressed on its distance.

    Least squares over all words whose gold arc is 1 to 10 long, equal to the regression of the accuracy by length
    weighted by the words; -0.02 is two points less for each word farther away. NaN where all arcs have one length.
    """
    correct = correct_heads(sentences, heads)
    length_NT = arc_lengths(sentences, correct.shape[-1])
    is_counted_NT = (length_NT > 0) & (length_NT <= LONGEST_ARC)
    length_W = length_NT[is_counted_NT].astype(np.float64)
    centred_W = length_W - length_W.mean() if length_W.size else length_W
    with np.errstate(invalid="ignore"):
        return correct[..., is_counted_NT] @ centred_W / (centred_W @ centred_W)


def _accuracy_by(group_NT, names, correct):
    """`Groups` of words; a word's group is an index into `names`, -1 for none."""
    correct = np.asarray(correct)
    is_in_NT = group_NT >= 0
    flat_W = group_NT[is_in_NT]
    counts_G = np.bincount(flat_W, minlength=len(names))
    rows = correct[..., is_in_NT].reshape(-1, flat_W.size)
    right = np.stack([np.bincount(flat_W, row, len(names)) for row in rows])
    with np.errstate(invalid="ignore"):
        accuracy = (right / counts_G).reshape(*correct.shape[:-2], len(names))
    return Groups(tuple(names), accuracy, counts_G)


# --- Intervals.


def count_correct(correct):
    """The number [N] of each sentence's correct words; a mean over leading axes where `correct` [..., N, T] has any."""
    counts = np.asarray(correct).sum(-1)
    return counts.reshape(-1, counts.shape[-1]).mean(0)


def bootstrap_interval(correct_N, total_N, draws=1000, seed=0):
    """The 95 % interval (low, high) of the share sum(correct) / sum(total), by bootstrap over sentences.

    Each draw takes N sentences with replacement; the interval's ends are the 2.5 % and 97.5 % quantiles of the draws'
    shares. It says how much another test set of as many sentences might change the score, not what another seed would.
    Source: Efron and Tibshirani (1993), "An Introduction to the Bootstrap", section 13.3. Raises ValueError where the
    two differ in length, and without words.
    """
    correct_N, total_N = np.asarray(correct_N, np.float64), np.asarray(total_N, np.float64)
    if correct_N.shape != total_N.shape or correct_N.ndim != 1 or not total_N.sum() > 0:
        raise ValueError(
            f"a bootstrap needs counts [N] of the same sentences with some words: got shapes {correct_N.shape} and "
            f"{total_N.shape} with {total_N.sum():g} words"
        )
    times_DN = _draw_sentences(len(total_N), draws, seed)
    words_D = times_DN @ total_N
    has_words_D = words_D > 0  # a draw of empty sentences alone has no share
    return _middle_95(times_DN[has_words_D] @ correct_N / words_D[has_words_D])


@functools.lru_cache(maxsize=1)
def _draw_sentences(num_sentences, draws, seed):
    """How often each draw takes each sentence: [draws, N]. Many scores of one test set share them."""
    shares_N = np.full(num_sentences, 1 / num_sentences)
    return np.random.default_rng(seed).multinomial(num_sentences, shares_N, draws).astype(np.float64)


def bootstrap_difference(correct_N, other_correct_N, total_N, draws=1000, seed=0):
    """The 95 % interval (low, high) of the first parser's score minus the other's, paired by sentence.

    Both are scored on the same drawn sentences, so that what is hard for both does not widen the interval.
    """
    return bootstrap_interval(np.subtract(correct_N, other_correct_N), total_N, draws, seed)


def bootstrap_slope(sentences, heads_NT, draws=1000, seed=0):
    """The 95 % interval (low, high) of `length_slope`, by bootstrap over sentences as in `bootstrap_interval`.

    Of heads with leading axes it is the interval of the mean slope over these. (NaN, NaN) where all arcs have one
    length.
    """
    return _bootstrap_slope(sentences, _mean_correct(sentences, heads_NT), draws, seed)


def bootstrap_slope_difference(sentences, heads_NT, other_heads_NT, draws=1000, seed=0):
    """The 95 % interval (low, high) of the first parser's `length_slope` minus the other's, paired by sentence."""
    # A slope is linear in what is right, so that the difference of slopes is the slope of the difference.
    difference_NT = _mean_correct(sentences, heads_NT) - _mean_correct(sentences, other_heads_NT)
    return _bootstrap_slope(sentences, difference_NT, draws, seed)


def _mean_correct(sentences, heads):
    """How often [N, T] each word's head is right, a mean over leading axes of `heads` [..., N, T]."""
    correct = correct_heads(sentences, heads)
    return correct.reshape(-1, *correct.shape[-2:]).mean(0)


def _bootstrap_slope(sentences, right_NT, draws, seed):
    """The interval (low, high) of the slope of `right_NT` by arc length."""
    length_NT = arc_lengths(sentences, right_NT.shape[-1])
    is_counted_NT = (length_NT > 0) & (length_NT <= LONGEST_ARC)
    x_NT, y_NT = np.where(is_counted_NT, length_NT, 0.0), np.where(is_counted_NT, right_NT, 0.0)
    # What a regression needs of each sentence: the number of words and the sums of x, y, x * x and x * y.
    sums_N5 = np.stack([a_NT.sum(1) for a_NT in (is_counted_NT, x_NT, y_NT, x_NT * x_NT, x_NT * y_NT)], axis=1)
    n_D, x_D, y_D, xx_D, xy_D = (_draw_sentences(len(sums_N5), draws, seed) @ sums_N5).T
    spread_D = n_D * xx_D - x_D**2
    has_slope_D = spread_D > 0  # a draw of arcs of one length has no slope
    if not has_slope_D.any():
        return float("nan"), float("nan")
    return _middle_95((n_D * xy_D - x_D * y_D)[has_slope_D] / spread_D[has_slope_D])


def _middle_95(values_D):
    """The 2.5 % and 97.5 % quantiles of the draws' values."""
    low, high = np.quantile(values_D, (0.025, 0.975))
    return float(low), float(high)
