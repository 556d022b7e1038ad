"""The sets of tokens that sampling strategies keep, from their definitions, one token at a time, in float64.

``models.sampling`` computes the same inside jit; here it is checked on a model's own distributions.

Axes: B rows, V vocabulary.
"""

import numpy as np

ROUNDING = 1e-5  # of probabilities, as a share, and of information, in nats, in float32


def wrong_sets(logits_BV, kept_BV, options):
    """How many rows' kept sets differ from those of the definitions, but for tokens that rounding lets in or out."""
    wrong = 0
    for logits_V, kept_V in zip(logits_BV, np.asarray(kept_BV), strict=True):
        least, most = (defined_set(logits_V, slack=slack, **options) for slack in (-ROUNDING, ROUNDING))
        wrong += not least <= set(np.flatnonzero(kept_V)) <= most
    return wrong


def defined_set(logits_V, temperature=1.0, top_k=None, top_p=None, min_p=None, typical_p=None, slack=0.0):
    """The tokens that a strategy with a single filter keeps, from its definition.

    A positive ``slack`` moves the filter's limit up by that share, and lets in the tokens that rank that little after
    the last one; a negative one moves it down, and leaves out the last one where others rank as near.
    """
    if temperature == 0:
        return {int(logits_V.argmax())}
    weights_V = np.exp((logits_V.astype(np.float64) - logits_V.max()) / temperature)
    p_V = weights_V / weights_V.sum()
    if top_k is not None:
        return set(np.flatnonzero(p_V >= np.sort(p_V)[-min(top_k, len(p_V))]))
    if min_p is not None:
        return set(np.flatnonzero(p_V >= min_p * (1 - slack) * p_V.max()))
    if top_p is None and typical_p is None:
        return set(range(len(p_V)))
    information_V = -np.log(p_V)
    rank_V = information_V if typical_p is None else np.abs(information_V - np.sum(p_V * information_V))
    limit = (top_p if typical_p is None else typical_p) * (1 + slack)
    kept, mass = set(), 0.0
    for token in np.argsort(rank_V, kind="stable"):
        kept.add(int(token))
        mass += p_V[token]
        if mass >= limit:
            break
    near = set(np.flatnonzero(np.abs(rank_V - rank_V[token]) <= abs(slack)).tolist())
    if slack > 0:
        return kept | near
    return kept if slack == 0 or len(near) == 1 else kept - near
