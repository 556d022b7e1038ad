"""The sets of tokens that sampling strategies keep, from their definitions, one token at a time, in float64.

``models.sampling`` computes the same inside jit; here it is checked on a model's own distributions.

Axes: B rows, V vocabulary.
"""

import numpy as np


def wrong_sets(logits_BV, kept_BV, options):
    """How many rows' kept sets differ from those of the definitions, computed token by token in float64."""
    rows = zip(logits_BV, np.asarray(kept_BV), strict=True)
    return sum(set(np.flatnonzero(kept_V)) != defined_set(logits_V, **options) for logits_V, kept_V in rows)


def defined_set(logits_V, temperature=1.0, top_k=None, top_p=None, min_p=None, typical_p=None):
    """The tokens that a strategy with a single filter keeps, from its definition."""
    if temperature == 0:
        return {int(logits_V.argmax())}
    weights_V = np.exp((logits_V.astype(np.float64) - logits_V.max()) / temperature)
    p_V = weights_V / weights_V.sum()
    if top_k is not None:
        return set(np.flatnonzero(p_V >= np.sort(p_V)[-min(top_k, len(p_V))]))
    if min_p is not None:
        return set(np.flatnonzero(p_V >= min_p * p_V.max()))
    if top_p is None and typical_p is None:
        return set(range(len(p_V)))
    entropy = -np.sum(p_V * np.log(p_V))
    rank_V = -p_V if typical_p is None else np.abs(-np.log(p_V) - entropy)
    kept, mass = set(), 0.0
    for token in np.argsort(rank_V, kind="stable"):
        kept.add(token)
        mass += p_V[token]
        if mass >= (top_p if typical_p is None else typical_p):
            break
    return kept
