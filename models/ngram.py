"""n-gram language models on the host: counts, maximum likelihood, add-one, and the probabilities that a model gives.

`models.kneser_ney` smooths the same counts, and `models.arpa` reads and writes models as files. Every model has one
form. With h a context and h' the same without its first token,

    p(w | h) = added(h w) + left(h) p(w | h')

where added is 0 for an n-gram that was never seen and left is 1 for a context that was never seen; without any context
p is a distribution over single tokens. Ids are 0 ... V-1; id V is <s>, which begins a sentence: it is part of contexts
and never predicted, and nothing before it counts.

An n-gram's key is the place of its first n-1 tokens in the sorted keys of that order, times V+1, plus its last token:
keys fit 64 bits whatever the order, and the n-grams that share a context lie side by side.

Axes: N tokens, V vocabulary, G n-grams of one order, C contexts of one order.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

UNSEEN = -1  # the place of an n-gram that has none


@dataclass(frozen=True)
class Counts:
    """How often each n-gram of orders 1 ... ``order`` was seen; the first entry of each tuple is of order 1."""

    order: int
    vocab_size: int
    keys: tuple[np.ndarray, ...]  # sorted, int64 [G]; of order 1 all ids, seen or not
    counts: tuple[np.ndarray, ...]  # [G]
    # [G], how many different tokens were seen before the n-gram; 0 of the last order
    extensions: tuple[np.ndarray, ...]
    begins: tuple[np.ndarray, ...]  # [G], whether the n-gram begins with <s>


@dataclass(frozen=True)
class NGram:
    """A model of the form above; entry k of each tuple is of order k + 2."""

    vocab_size: int
    unigram_V: np.ndarray
    keys: tuple[np.ndarray, ...] = ()  # sorted, int64 [G]
    added: tuple[np.ndarray, ...] = ()  # [G]
    left: tuple[np.ndarray, ...] = ()  # [C], of every (k+1)-gram

    @property
    def order(self):
        """The number of tokens of the longest n-grams: one more than of the longest context."""
        return len(self.keys) + 1


def count(tokens_N: np.ndarray, order: int, vocab_size: int) -> Counts:
    """Counts of the n-grams of a text, in which id ``vocab_size`` is <s>.

    Raises ValueError for an order below 1, for a text that does not begin with <s>, and for ids outside 0 ... V.
    """
    tokens_N = np.asarray(tokens_N).astype(np.int64)
    if order < 1:
        raise ValueError(f"order={order} must be at least 1.")
    if not len(tokens_N) or tokens_N[0] != vocab_size:
        raise ValueError(f"A text must begin with <s>, whose id is vocab_size={vocab_size}.")
    _check_ids(tokens_N, vocab_size)

    keys, counts = [np.arange(vocab_size + 1)], [np.bincount(tokens_N, minlength=vocab_size + 1)]
    begins, extensions = [keys[0] == vocab_size], []
    places_N = tokens_N
    for _ in range(2, order + 1):
        whole_N = np.append(False, places_N[:-1] != UNSEEN) & (tokens_N != vocab_size)
        key_N = np.append(0, places_N[:-1]) * (vocab_size + 1) + tokens_N
        keys_G, first_G, place, counts_G = np.unique(
            key_N[whole_N], return_index=True, return_inverse=True, return_counts=True
        )
        # An n-gram's last n-1 tokens, looked up where it was first seen.
        without_first_G = places_N[whole_N][first_G]
        extensions.append(np.bincount(without_first_G, minlength=len(keys[-1])))
        begins.append(begins[-1][keys_G // (vocab_size + 1)])
        keys.append(keys_G)
        counts.append(counts_G)
        places_N = np.full(len(tokens_N), UNSEEN)
        places_N[whole_N] = place
    extensions.append(np.zeros(len(keys[-1]), np.int64))
    return Counts(order, vocab_size, tuple(keys), tuple(counts), tuple(extensions), tuple(begins))


def maximum_likelihood(counts: Counts, order: int) -> NGram:
    """Relative frequencies c(h w) / c(h) of order ``order``; 0 for every n-gram that was not seen."""
    return _relative_frequencies(counts, order, 0)


def add_one(counts: Counts, order: int) -> NGram:
    """Relative frequencies with every count one higher, (c(h w) + 1) / (c(h) + V): Laplace's rule."""
    return _relative_frequencies(counts, order, 1)


def _relative_frequencies(counts, order, more):
    V = counts.vocab_size
    check_order(counts, order)
    totals = counts.counts[0][:V]
    if order == 1:
        return NGram(V, (totals + more) / (totals.sum() + more * V))
    added, left = [], []
    for k in range(1, order):
        # A shorter n-gram counts only where it begins a sentence, and so has no longer context.
        used = np.ones(len(counts.keys[k]), bool) if k == order - 1 else counts.begins[k]
        contexts = counts.keys[k] // (V + 1)
        times = np.where(used, counts.counts[k], 0)
        context_totals = np.bincount(contexts, times, len(counts.keys[k - 1]))
        added.append(times / np.maximum(context_totals + more * V, 1)[contexts])
        left.append(np.where(context_totals > 0, more * V / np.maximum(context_totals + more * V, 1), 1.0))
    return NGram(V, np.full(V, 1 / V if more else 0.0), counts.keys[1:order], tuple(added), tuple(left))


def log_probabilities(model: NGram, tokens_N: np.ndarray) -> np.ndarray:
    """log p [N], in nats, of every token after those before it; -inf where p is 0, and 0 for <s>.

    Raises ValueError for ids outside 0 ... V.
    """
    tokens_N = np.asarray(tokens_N).astype(np.int64)
    _check_ids(tokens_N, model.vocab_size)
    predicted_N = tokens_N != model.vocab_size
    p_N = np.append(model.unigram_V, 1.0)[tokens_N]
    places = places_in_text(model.keys, model.vocab_size, tokens_N)
    for k in range(model.order - 1):
        context_N, gram_N = np.append(UNSEEN, places[k][:-1]), places[k + 1]
        known_N = (context_N != UNSEEN) & predicted_N
        p_N[known_N] *= model.left[k][context_N[known_N]]
        seen_N = gram_N != UNSEEN
        p_N[seen_N] += model.added[k][gram_N[seen_N]]
    with np.errstate(divide="ignore"):
        return np.log(p_N)


def is_counted(counts: Counts, tokens_N: np.ndarray, order: int) -> np.ndarray:
    """Whether each n-gram of that order in a text was counted: one value for each token that ends a whole n-gram.

    A whole n-gram has ``order`` tokens, <s> at most as its first. Raises ValueError for ids outside 0 ... V.
    """
    check_order(counts, order)
    tokens_N = np.asarray(tokens_N).astype(np.int64)
    _check_ids(tokens_N, counts.vocab_size)
    position_N = np.arange(len(tokens_N))
    since_begin_N = position_N - np.maximum.accumulate(np.where(tokens_N == counts.vocab_size, position_N, 0))
    whole_N = (since_begin_N >= order - 1) & (tokens_N != counts.vocab_size)
    places_N = places_in_text(counts.keys[1:order], counts.vocab_size, tokens_N)[-1]
    # A place of UNSEEN, which is -1, reads the 0 at the end; of order 1, ids that were not seen have places too.
    return np.append(counts.counts[order - 1], 0)[places_N[whole_N]] > 0


def distribution(model: NGram, context: Sequence[int]) -> np.ndarray:
    """p [V] of the next token after a context, of which the last order - 1 tokens count, back to the last <s>.

    Raises ValueError for ids outside 0 ... V.
    """
    V = model.vocab_size
    context = [int(token) for token in context]
    _check_ids(np.asarray(context, np.int64), V)
    if V in context:
        context = context[len(context) - 1 - context[::-1].index(V) :]
    p_V = model.unigram_V.copy()
    for length in range(1, min(model.order - 1, len(context)) + 1):
        place = places_in_text(model.keys[: length - 1], V, np.array(context[-length:]))[-1][-1]
        if place == UNSEEN:
            break
        first, last = np.searchsorted(model.keys[length - 1], [place * (V + 1), (place + 1) * (V + 1)])
        p_V *= model.left[length - 1][place]
        p_V[model.keys[length - 1][first:last] % (V + 1)] += model.added[length - 1][first:last]
    return p_V


def places_in_text(keys, V, tokens_N):
    """For orders 1 ... len(keys) + 1: places [N] of the n-gram that ends at each token, or UNSEEN."""
    places = [tokens_N]
    for keys_G in keys:
        before_N = np.append(UNSEEN, places[-1][:-1])
        key_N = before_N * (V + 1) + tokens_N
        place_N = np.searchsorted(keys_G, key_N).clip(max=max(len(keys_G) - 1, 0))
        known_N = (before_N != UNSEEN) & (tokens_N != V)
        known_N &= keys_G[place_N] == key_N if len(keys_G) else False
        places.append(np.where(known_N, place_N, UNSEEN))
    return places


def _check_ids(tokens_N, V):
    if len(tokens_N) and not (tokens_N.min() >= 0 and tokens_N.max() <= V):
        raise ValueError(
            f"Ids must lie in 0 ... {V}, the last of which is <s>: found {tokens_N.min()} ... {tokens_N.max()}."
        )


def check_order(counts, order):
    """Raises ValueError for an order that the counts have not."""
    if not 1 <= order <= counts.order:
        raise ValueError(f"order={order} must lie between 1 and {counts.order}, the order of the counts.")
