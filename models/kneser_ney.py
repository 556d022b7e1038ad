"""Interpolated modified Kneser-Ney smoothing of n-gram counts, as KenLM estimates it.

`models.ngram` says what a model is.

Axes: V vocabulary; the last index of ``discounts_4`` is a count of 0, 1, 2, or 3 and more.
"""

from collections.abc import Sequence

import numpy as np

from models.ngram import Counts, NGram, check_order

# Of counts 1, 2 and 3 or more, for texts too small or too regular to have discounts: those of KenLM's lmplz.
FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)


def kneser_ney(counts: Counts, order: int, fallback: Sequence[float] | None = None) -> NGram:
    """The model of an order by interpolated modified Kneser-Ney smoothing, as KenLM's lmplz estimates it.

    N-grams of the highest order have their counts, as have shorter ones that begin with <s>; the count of every other
    n-gram is the number of different tokens that stood before it. Counts of 1, 2 and 3 or more lose a discount each,
    see `discounts`; what a context's n-grams lose goes to the shorter context, and what single tokens lose is shared
    equally by all V tokens, <unk> and </s> among them. Where lmplz counts n-grams by their counts, it takes the raw
    count of the very last one of each lower order, which shows in texts of a few words only and is not repeated here.

    Args:
      fallback: three discounts for orders where `discounts` raises, or None to refuse such counts.

    Source: Chen and Goodman 1998, section 4.1.6; Heafield et al. 2013, section 3. Raises ValueError where there are no
    discounts, and for an order above that of the counts.
    """
    check_order(counts, order)
    V = counts.vocab_size
    added, left = [], []
    for k in range(order):
        adjusted = counts.counts[k]
        if k < order - 1:
            adjusted = np.where(counts.begins[k], counts.counts[k], counts.extensions[k])
        if k == 0:
            adjusted = adjusted[:V]  # <s> is never predicted
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
