"""The best parser there can be of the generated treebank: the most probable tree under the grammar that made it.

Exact dynamic programming for split head automata (Eisner 1996; Eisner and Satta 1999): the left and the right half of
a head are built apart, from the head outward, so that n words take O(n^3) steps, times what a head's automata and a
dependent's categories multiply it by. Everything is in log probabilities and numpy; sentences of similar length share
a chart, whose last axis they are.

Axes: N sentences, B sentences of a chart, T position in a sentence (0 is ROOT), n words, d width of a half (words
beside its head) or distance of an arc, Q states of a head's automata on one side (the slot filled last), U categories
a word may have. Every array of a ``Half`` is as for the right half; ``mirror`` turns left halves into such.
"""

from typing import NamedTuple

import numpy as np

from data.treebanks import Sentence
from experiments.dependency_parser.grammar import ROOT_LABEL, find_kinds
from experiments.dependency_parser.word_states import SIDES, prune, tables, word_states

CHART_CELLS = 20_000  # of B * n * n: about what fits a processor's cache after the states and categories multiply it


class Half(NamedTuple):
    """The chart of one side, and what it is filled from; the head's position is the first axis."""

    states_nQB: np.ndarray
    fillers_nUB: np.ndarray
    kinds_nB: np.ndarray
    log_next_nQQB: np.ndarray
    log_stop_nQUB: np.ndarray
    halves_ndQB: np.ndarray  # a head and d words beside it, the last dependent in slot Q, with all that is below it
    next_halves_ndQB: np.ndarray  # the same, with slot Q to be filled next
    complete_ndUB: np.ndarray  # the same, of a head that has stopped, by its category
    complete_by_end_ndUB: np.ndarray  # the same, by the word that is farthest from the head
    arcs_ndQUB: np.ndarray  # a head, with a dependent of category U at distance d in slot Q and all between the two


# --- The chart.


def start_chart(words_B):
    """The two ``Half``, left and right, of sentences given as lists of (tag, kind), before any arc is made."""
    table = tables()
    states_B = [
        [word_states(*word, fillers) for word, fillers in zip(words, prune(words), strict=True)] for words in words_B
    ]
    n, B = max(map(len, words_B)), len(words_B)
    U = max(1, *(len(word.fillers_U) for states in states_B for word in states))
    fillers_nUB = np.full((n, U, B), len(table.categories))
    kinds_nB = np.zeros((n, B), int)
    halves = []
    for side in range(len(SIDES)):
        Q = max(1, *(len(word.states_Q[side]) for states in states_B for word in states))
        states_nQB = np.full((n, Q, B), len(table.labels))
        log_next_nQQB, log_stop_nQUB = np.full((n, Q, Q, B), -np.inf), np.full((n, Q, U, B), -np.inf)
        for b, states in enumerate(states_B):
            for position, word in enumerate(states):
                q, u = len(word.states_Q[side]), len(word.fillers_U)
                fillers_nUB[position, :u, b] = word.fillers_U
                kinds_nB[position, b] = table.kinds[words_B[b][position]]
                states_nQB[position, :q, b] = word.states_Q[side]
                log_next_nQQB[position, :q, :q, b] = word.log_next_QQ[side]
                log_stop_nQUB[position, :q, :u, b] = word.log_stop_QU[side]
        inputs = (states_nQB, fillers_nUB, kinds_nB, log_next_nQQB, log_stop_nQUB)
        empty = [np.full((n, n, *shape, B), -np.inf) for shape in ((Q,), (Q,), (U,), (U,), (Q, U))]
        halves.append(Half(*inputs, *empty))
        is_start_nQB = np.array([label is None for label in table.labels] + [False])[states_nQB]
        halves[-1].halves_ndQB[:, 0][is_start_nQB] = 0
    return halves


def mirror(half):
    """The same arrays with the positions in the opposite order, as views."""
    return Half(*(array[::-1] for array in half))


def fill_chart(words_B, combine=np.maximum):
    """The two ``Half`` of sentences as lists of (tag, kind); ``combine`` is np.maximum, or np.logaddexp to sum."""
    left, right = start_chart(words_B)
    pairs = [(right, left), (mirror(left), mirror(right))]
    for half, _ in pairs:
        finish_width(half, 0, combine)
    for width in range(1, len(left.kinds_nB)):
        for half, facing in pairs:
            make_arcs(half, facing, width, combine)
            complete_arcs(half, width, combine)
        for half, _ in pairs:
            finish_width(half, width, combine)
    return left, right


def make_arcs(half, facing, distance, combine):
    """Fills the arcs over a distance: between the two words the head's half meets the facing one of its dependent."""
    heads, dependents = slice(None, -distance), slice(distance, None)
    arcs = half.arcs_ndQUB[heads, distance]
    for width in range(distance):
        meeting = facing.complete_ndUB[dependents, distance - 1 - width]
        combine(arcs, half.next_halves_ndQB[heads, width, :, None] + meeting[:, None], out=arcs)
    states, fillers = half.states_nQB[heads, :, None], half.fillers_nUB[dependents, None]
    arcs += tables().log_fill[states, half.kinds_nB[heads, None, None], fillers]


def complete_arcs(half, width, combine):
    """Fills the halves of a width: an arc, with the half of its dependent that is beyond it."""
    halves = half.halves_ndQB[:-width, width]
    for distance in range(1, width + 1):
        arcs = half.arcs_ndQUB[:-width, distance] + half.complete_by_end_ndUB[width:, width - distance, None]
        combine(halves, combine.reduce(arcs, axis=2), out=halves)


def finish_width(half, width, combine):
    """Fills what follows from the halves of a width: the slot to be filled next, and the stop."""
    heads = slice(None, len(half.kinds_nB) - width)
    halves = half.halves_ndQB[heads, width, :, None]
    half.next_halves_ndQB[heads, width] = combine.reduce(halves + half.log_next_nQQB[heads], axis=1)
    half.complete_ndUB[heads, width] = combine.reduce(halves + half.log_stop_nQUB[heads], axis=1)
    half.complete_by_end_ndUB[width:, width] = half.complete_ndUB[heads, width]


def weigh_roots(chart, b, n):
    """The log probability [n, U] of sentence b of n words with each word, of each category, as its root."""
    left, right = chart
    positions = np.arange(n)
    below = left.complete_ndUB[positions, positions, :, b] + right.complete_ndUB[positions, n - 1 - positions, :, b]
    return below + tables().log_root[left.fillers_nUB[:n, :, b]]


# --- Trees.


def trace(chart, b, n):
    """The heads [n], 0 for ROOT, and labels of the best tree of sentence b of a chart filled with np.maximum."""
    table, heads, labels = tables(), [0] * n, [ROOT_LABEL] * n
    left, right = (Half(*(array[..., b] for array in half)) for half in chart)
    last = len(right.kinds_nB) - 1
    sides = [(mirror(left), mirror(right)), (right, left)]
    root, category = best(weigh_roots(chart, b, n))
    waiting = [(0, last - root, root, category), (1, root, n - 1 - root, category)]
    while waiting:
        side, head, width, category = waiting.pop()
        half, facing = sides[side]
        state = (half.halves_ndQB[head, width] + half.log_stop_nQUB[head, :, category]).argmax()
        while width:
            beyond = half.complete_by_end_ndUB[head + width, width - 1 :: -1]
            distance, category = best(half.arcs_ndQUB[head, 1 : width + 1, state] + beyond)
            distance += 1
            dependent = head + distance
            own = dependent if side else last - dependent
            heads[own] = 1 + (head if side else last - head)
            labels[own] = table.labels[half.states_nQB[head, state]]
            meeting = facing.complete_ndUB[dependent, distance - 1 :: -1, category]
            before = half.halves_ndQB[head, :distance] + half.log_next_nQQB[head, :, state]
            inner, new_state = best(before + meeting[:, None])
            waiting.append((side, dependent, width - distance, category))
            waiting.append((1 - side, last - dependent, distance - 1 - inner, category))
            width, state = inner, new_state
    return heads, labels


def best(scores):
    """The indices of the greatest of a matrix."""
    return divmod(int(scores.argmax()), scores.shape[1])


def read_charts(sentences, combine, read):
    """[read(chart, b, n)] of the sentences, in their order, each with its chart and place there, all charts in turn.

    Raises ValueError where a word is unknown, a sentence is empty, or no tree of the grammar has its words and tags.
    """
    if not all(sentence.forms for sentence in sentences):
        raise ValueError("a sentence has no words: leave it out")
    words_N = [
        list(zip(sentence.tags, find_kinds(sentence.forms, sentence.tags)[0], strict=True)) for sentence in sentences
    ]
    order = sorted(range(len(sentences)), key=lambda index: -len(words_N[index]))
    results = [None] * len(sentences)
    while order:
        size = max(8, CHART_CELLS // len(words_N[order[0]]) ** 2)
        members, order = order[:size], order[size:]
        chart = fill_chart([words_N[index] for index in members], combine)
        for b, index in enumerate(members):
            n = len(words_N[index])
            if np.isneginf(weigh_roots(chart, b, n)).all():
                raise ValueError(f"the grammar has no tree for: {' '.join(sentences[index].forms)}")
            results[index] = read(chart, b, n)
    return results


def most_probable_trees(sentences):
    """The most probable labelled tree of each sentence, given its forms and tags.

    Returns:
      heads_NT, with -1 for ROOT itself and beyond a sentence's end, and a tuple of the labels of the words of each
      sentence. Raises ValueError where a word is unknown or the grammar has no tree for a sentence.
    """
    trees = read_charts(sentences, np.maximum, trace)
    heads_NT = np.full((len(trees), 1 + max((len(heads) for heads, _ in trees), default=0)), -1, np.int32)
    for row, (heads, _) in zip(heads_NT, trees, strict=True):
        row[1 : len(heads) + 1] = heads
    return heads_NT, [tuple(labels) for _, labels in trees]


def most_probable_tree(forms, tags):
    """The heads and labels, a tuple of each, of the most probable tree of one sentence."""
    heads_NT, labels = most_probable_trees([Sentence(tuple(forms), tuple(tags), (), ())])
    return tuple(heads_NT[0, 1:].tolist()), labels[0]


def log_probabilities(sentences, combine=np.logaddexp):
    """The log probability [N] of each sentence's forms and tags, over all trees; np.maximum gives the best tree's."""

    def read(chart, b, n):
        return combine.reduce(weigh_roots(chart, b, n), axis=None)

    log_words_N = [sum(find_kinds(sentence.forms, sentence.tags)[1]) for sentence in sentences]
    return np.array(read_charts(sentences, combine, read)) + log_words_N
