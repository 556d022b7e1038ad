"""n-gram language models: maximum likelihood, add-one and interpolated modified Kneser-Ney, on the host.

Every model here has one form. With h a context and h' the same without its first token,

    p(w | h) = added(h w) + left(h) p(w | h')

where added is 0 for an n-gram that was never seen and left is 1 for a context that was never seen; at the end stands
a distribution over single tokens. Ids are 0 ... V-1; id V is <s>, which begins a sentence: it is part of contexts and
never predicted, and nothing before it counts.

An n-gram's key is the place of its first n-1 tokens in the sorted keys of that order, times V+1, plus its last token:
keys fit 64 bits whatever the order, and the n-grams that share a context lie side by side.

Axes: N tokens, V vocabulary, G n-grams of one order, C contexts of one order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

UNSEEN = -1
# Of counts 1, 2 and 3 or more, for texts too small or too regular to have discounts: those of KenLM's lmplz.
FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)


@dataclass(frozen=True)
class Counts:
    """How often each n-gram of orders 1 ... ``order`` was seen; the first entry of each tuple is of order 1."""

    order: int
    vocab_size: int
    keys: tuple[np.ndarray, ...]  # sorted, int64 [G]; of order 1 all ids, seen or not
    counts: tuple[np.ndarray, ...]  # [G]
    extensions: tuple[
        np.ndarray, ...
    ]  # [G], how many different tokens were seen before the n-gram; 0 of the last order
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


def in_sentences(tokens_N: np.ndarray, vocab_size: int, end: int) -> np.ndarray:
    """The tokens with <s>, whose id is ``vocab_size``, before each sentence; token ``end`` ends one."""
    tokens_N = np.asarray(tokens_N).astype(np.int64)
    starts = np.flatnonzero(tokens_N == end) + 1
    starts = np.append(0, starts[starts < len(tokens_N)])
    return np.insert(tokens_N, starts, vocab_size)


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

    begin = vocab_size
    keys, counts = [np.arange(vocab_size + 1)], [np.bincount(tokens_N, minlength=vocab_size + 1)]
    begins, extensions = [keys[0] == begin], []
    grams_N = tokens_N
    for _ in range(2, order + 1):
        whole_N = np.append(False, grams_N[:-1] != UNSEEN) & (tokens_N != begin)
        key_N = np.append(0, grams_N[:-1]) * (vocab_size + 1) + tokens_N
        found, firsts, places, times = np.unique(
            key_N[whole_N], return_index=True, return_inverse=True, return_counts=True
        )
        # An n-gram's last n-1 tokens, looked up where it was first seen.
        without_first = grams_N[whole_N][firsts]
        extensions.append(np.bincount(without_first, minlength=len(keys[-1])))
        begins.append(begins[-1][found // (vocab_size + 1)])
        keys.append(found)
        counts.append(times)
        grams_N = np.full(len(tokens_N), UNSEEN)
        grams_N[whole_N] = places
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
    _check_order(counts, order)
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


def kneser_ney(counts: Counts, order: int, fallback: Sequence[float] | None = None) -> NGram:
    """Interpolated modified Kneser-Ney smoothing, as KenLM's lmplz estimates it.

    N-grams of the highest order have their counts, as have shorter ones that begin with <s>; every other n-gram counts
    as often as different tokens stood before it. Counts of 1, 2 and 3 or more lose a discount each, see `discounts`;
    what a context's n-grams lose goes to the shorter context, and what single tokens lose is shared equally by all V
    tokens, <unk> and </s> among them. Where lmplz counts n-grams by their counts, it takes the raw count of the very
    last one of each lower order, which shows in texts of a few words only and is not repeated here.

    Args:
      fallback: three discounts for orders where `discounts` finds none, or None to refuse such counts.

    Source: Chen and Goodman 1998, section 4.1.6; Heafield et al. 2013, section 3. Raises ValueError where there are no
    discounts, and for an order above that of the counts.
    """
    _check_order(counts, order)
    V = counts.vocab_size
    added, left = [], []
    for k in range(order):
        adjusted = (
            counts.counts[k] if k == order - 1 else np.where(counts.begins[k], counts.counts[k], counts.extensions[k])
        )
        if k == 0:
            adjusted = adjusted[:V]
        discounts_4 = np.append(0.0, _discounts_or(fallback, adjusted, k + 1))
        kept = np.maximum(adjusted - discounts_4[np.minimum(adjusted, 3)], 0.0)
        contexts = counts.keys[k] // (V + 1) if k else np.zeros(V, np.int64)
        size = len(counts.keys[k - 1]) if k else 1
        totals = np.bincount(contexts, adjusted, size)
        some = np.maximum(totals, 1)
        added.append(kept / some[contexts])
        left.append(np.where(totals > 0, (totals - np.bincount(contexts, kept, size)) / some, 1.0))
    return NGram(V, added[0] + left[0] / V, counts.keys[1:order], tuple(added[1:]), tuple(left[1:]))


def discounts(adjusted: np.ndarray) -> np.ndarray:
    """What counts of 1, 2 and 3 or more lose [3], from how many n-grams count 1, 2, 3 and 4.

    With n_j of count j and Y = n_1 / (n_1 + 2 n_2), counts of j lose j - (j + 1) Y n_{j+1} / n_j (Chen and Goodman
    1998, equation 26). Raises ValueError where n_1, n_2 or n_3 is 0, or a discount is not in [0, j].
    """
    n = [int(np.sum(adjusted == j)) for j in range(5)]
    if 0 in n[1:4]:
        raise ValueError(f"no n-gram has a count of {n.index(0, 1)}")
    lost = np.array([j - (j + 1) * n[1] / (n[1] + 2 * n[2]) * n[j + 1] / n[j] for j in (1, 2, 3)])
    if (lost < 0).any() or (lost > [1, 2, 3]).any():
        raise ValueError(f"discounts {np.round(lost, 3).tolist()} are not between 0 and the counts that lose them")
    return lost


def _discounts_or(fallback, adjusted, order):
    try:
        return discounts(adjusted)
    except ValueError as error:
        if fallback is not None:
            return np.asarray(fallback, np.float64)
        raise ValueError(
            f"Kneser-Ney has no discounts for {order}-grams: {error}; take more text, or give fallback discounts."
        ) from error


def log_probabilities(model: NGram, tokens_N: np.ndarray) -> np.ndarray:
    """log p [N], in nats, of every token after those before it; -inf where p is 0, and 0 for <s>.

    Raises ValueError for ids outside 0 ... V.
    """
    tokens_N = np.asarray(tokens_N).astype(np.int64)
    _check_ids(tokens_N, model.vocab_size)
    predicted_N = tokens_N != model.vocab_size
    p_N = np.append(model.unigram_V, 1.0)[tokens_N]
    places = _places(model.keys, model.vocab_size, tokens_N)
    for k in range(model.order - 1):
        contexts_N, grams_N = np.append(UNSEEN, places[k][:-1]), places[k + 1]
        known_N = (contexts_N != UNSEEN) & predicted_N
        p_N[known_N] *= model.left[k][contexts_N[known_N]]
        seen_N = grams_N != UNSEEN
        p_N[seen_N] += model.added[k][grams_N[seen_N]]
    with np.errstate(divide="ignore"):
        return np.log(p_N)


def seen(counts: Counts, tokens_N: np.ndarray, order: int) -> np.ndarray:
    """Whether each n-gram of that order in a text was counted; one value for each token with a whole n-gram before it.

    A whole n-gram has ``order`` tokens, <s> at most as its first.
    """
    _check_order(counts, order)
    tokens_N = np.asarray(tokens_N).astype(np.int64)
    _check_ids(tokens_N, counts.vocab_size)
    since_begin_N = np.arange(len(tokens_N)) - np.maximum.accumulate(
        np.where(tokens_N == counts.vocab_size, np.arange(len(tokens_N)), 0)
    )
    whole_N = (since_begin_N >= order - 1) & (tokens_N != counts.vocab_size)
    grams_N = _places(counts.keys[1:order], counts.vocab_size, tokens_N)[-1]
    times = np.append(counts.counts[order - 1], 0)  # of order 1, ids that were not seen have places too
    return times[grams_N[whole_N]] > 0


def distribution(model: NGram, context: Sequence[int]) -> np.ndarray:
    """p [V] of the next token after a context; only its last order - 1 tokens, back to the last <s>, count."""
    V = model.vocab_size
    context = [int(token) for token in context]
    _check_ids(np.asarray(context, np.int64), V)
    if V in context:
        context = context[len(context) - 1 - context[::-1].index(V) :]
    p_V = model.unigram_V.copy()
    for length in range(1, min(model.order - 1, len(context)) + 1):
        place = _places(model.keys[: length - 1], V, np.array(context[-length:]))[-1][-1]
        if place == UNSEEN:
            break
        first, last = np.searchsorted(model.keys[length - 1], [place * (V + 1), (place + 1) * (V + 1)])
        p_V *= model.left[length - 1][place]
        p_V[model.keys[length - 1][first:last] % (V + 1)] += model.added[length - 1][first:last]
    return p_V


def _places(keys, V, tokens_N):
    """For orders 1 ... len(keys) + 1: places [N] of the n-gram that ends at each token, or UNSEEN."""
    places = [tokens_N]
    for found in keys:
        before_N = np.append(UNSEEN, places[-1][:-1])
        key_N = before_N * (V + 1) + tokens_N
        at_N = np.searchsorted(found, key_N).clip(max=max(len(found) - 1, 0))
        known_N = (before_N != UNSEEN) & (tokens_N != V)
        known_N &= found[at_N] == key_N if len(found) else False
        places.append(np.where(known_N, at_N, UNSEEN))
    return places


def _check_ids(tokens_N, V):
    if len(tokens_N) and not (tokens_N.min() >= 0 and tokens_N.max() <= V):
        raise ValueError(
            f"Ids must lie in 0 ... {V}, the last of which is <s>: found {tokens_N.min()} ... {tokens_N.max()}."
        )


def _check_order(counts, order):
    if not 1 <= order <= counts.order:
        raise ValueError(f"order={order} must lie between 1 and {counts.order}, the order of the counts.")


# --- ARPA files: log10 p(w | h) of every n-gram that was seen, and log10 left(h) of those that are contexts.


def write_arpa(path: str | Path, model: NGram, words: Sequence[str]) -> None:
    """Writes the model as an ARPA file; ``words`` spells ids 0 ... V, the last one being <s>.

    As KenLM does, <s> has the probability 1, which no sentence uses. Raises ValueError for a wrong number of words, and
    for one that is empty, holds white space or is there twice.
    """
    V = model.vocab_size
    if len(words) != V + 1 or len(set(words)) != V + 1 or any(word.split() != [word] for word in words):
        raise ValueError(f"An ARPA file of this model needs {V + 1} different words without white space, the last <s>.")
    lines = [f"ngram {k + 1}={size}" for k, size in enumerate([V + 1, *map(len, model.keys)])]
    lines = ["\\data\\", *lines]
    spelled, probability, grams_GT = list(words), np.append(model.unigram_V, 1.0), np.arange(V + 1)[:, None]
    for k in range(model.order):
        if k:
            contexts, last = model.keys[k - 1] // (V + 1), model.keys[k - 1] % (V + 1)
            grams_GT = np.column_stack([grams_GT[contexts], last])
            shorter = NGram(V, model.unigram_V, model.keys[: k - 1], model.added[: k - 1], model.left[: k - 1])
            # A pruned model may lack an n-gram's last n-1 tokens, and then backs off again.
            shorter_p = _last_probabilities(shorter, grams_GT[:, 1:])
            probability = model.added[k - 1] + model.left[k - 1][contexts] * shorter_p
            spelled = [f"{spelled[context]} {words[word]}" for context, word in zip(contexts, last, strict=True)]
        columns = [_log10(probability), spelled]
        if k < model.order - 1:
            columns.append(_log10(model.left[k]))
        lines += ["", f"\\{k + 1}-grams:", *map("\t".join, zip(*columns, strict=True))]
    Path(path).write_text("\n".join([*lines, "", "\\end\\", ""]), encoding="utf-8")


def _log10(p):
    return [f"{x:.7g}" for x in np.log10(np.maximum(p, 1e-99))]


def read_arpa(path: str | Path) -> tuple[NGram, tuple[str, ...]]:
    """The model of an ARPA file, and the words of ids 0 ... V: in the file's order, <s> last.

    Raises ValueError for a file that is no ARPA file, that has no <s>, or an n-gram whose first n-1 tokens it lacks.
    """
    sections = _sections(Path(path))
    order_of_words = [words[0] for _, words, _ in sections[0]]
    if "<s>" not in order_of_words:
        raise ValueError(f"{path} has no <s>.")
    words = (*(word for word in order_of_words if word != "<s>"), "<s>")
    ids, V = {word: id for id, word in enumerate(words)}, len(words) - 1
    unigram_V = np.zeros(V + 1)
    backoffs = np.ones(V + 1)
    for log_p, (word,), log_backoff in sections[0]:
        unigram_V[ids[word]], backoffs[ids[word]] = 10.0**log_p, 10.0**log_backoff
    model = NGram(V, unigram_V[:V])
    for section in sections[1:]:
        try:
            grams = np.array([[ids[word] for word in words_of] for _, words_of, _ in section]).reshape(
                -1, model.order + 1
            )
        except KeyError as error:
            raise ValueError(f"{path} has an n-gram with {error}, which is not among its words.") from error
        # Laid end to end, n-grams hold no n-gram across their borders where only each one's last place is read.
        places_GT = _places(model.keys, V, grams.ravel())[model.order - 1].reshape(grams.shape)
        contexts = places_GT[:, -2]
        if (contexts == UNSEEN).any():
            missing = " ".join(section[int(np.argmin(contexts))][1][:-1])
            raise ValueError(f"{path} has n-grams that begin with {missing!r} and not that n-gram itself.")
        key = contexts * (V + 1) + grams[:, -1]
        order = np.argsort(key)
        p = np.array([10.0**log_p for log_p, _, _ in section])
        shorter_p = _last_probabilities(model, grams[:, 1:])
        added = p - backoffs[contexts] * shorter_p
        model = NGram(
            V, model.unigram_V, (*model.keys, key[order]), (*model.added, added[order]), (*model.left, backoffs)
        )
        backoffs = np.array([10.0**log_backoff for _, _, log_backoff in section])[order]
    return model, words


def _last_probabilities(model, grams_GT):
    """p [G] of the last token of each row after the others."""
    return np.exp(log_probabilities(model, grams_GT.ravel()).reshape(grams_GT.shape)[:, -1])


def _sections(path):
    """For each order, [(log10 p, words, log10 backoff)]."""
    sections = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        fields = line.split()
        if line.startswith("\\") and line.endswith("-grams:"):
            sections.append([])
        elif line.startswith("\\") or not fields or not sections:
            continue
        else:
            order = len(sections)
            try:
                backoff = float(fields[order + 1]) if len(fields) > order + 1 else 0.0
                sections[-1].append((float(fields[0]), tuple(fields[1 : order + 1]), backoff))
                if not order + 1 <= len(fields) <= order + 2:
                    raise ValueError
            except (ValueError, IndexError):
                raise ValueError(f"{path}, line {number} is no {order}-gram of an ARPA file: {line[:60]!r}.") from None
    if not sections or not sections[0]:
        raise ValueError(f"{path} is no ARPA file: it lists no 1-grams.")
    return sections
