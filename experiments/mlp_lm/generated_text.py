"""How varied a generated text is, and how much it repeats itself.

Both numbers depend on how much text there is: compare texts of the same number of tokens.

Axes: B sequences, T tokens.
"""

import numpy as np

REPEATED_NGRAM_LENGTH = 4  # tokens of the n-grams whose repetition is measured


def distinct_ngrams(tokens_BT, n):
    """Distinct n-grams over all n-grams, none of which crosses sequences (Li et al. 2016, section 5).

    Raises ValueError for sequences shorter than n.
    """
    grams_BTn = _ngrams(tokens_BT, n)
    return len(np.unique(grams_BTn.reshape(-1, n), axis=0)) / (grams_BTn.shape[0] * grams_BTn.shape[1])


def repeated_ngrams(tokens_BT, n):
    """The share of a sequence's n-grams that stood in it before, averaged over sequences (after Welleck et al. 2020).

    Raises ValueError for sequences shorter than n.
    """
    grams_BTn = _ngrams(tokens_BT, n)
    return float(np.mean([1 - len(np.unique(grams_Tn, axis=0)) / len(grams_Tn) for grams_Tn in grams_BTn]))


def _ngrams(tokens_BT, n):
    tokens_BT = np.asarray(tokens_BT)
    if tokens_BT.shape[1] < n:
        raise ValueError(f"sequences of {tokens_BT.shape[1]} tokens hold no {n}-grams")
    return np.lib.stride_tricks.sliding_window_view(tokens_BT, n, axis=1)
