"""Token ids on the host: the check that they fit their vocabulary, and the type that holds them.

Axis: N tokens.
"""

import numpy as np


def check_ids(ids_N, vocab_size):
    """Raises ValueError for ids outside 0 ... vocab_size - 1: on a device they would be clamped or give NaN."""
    if len(ids_N) and not (ids_N.min() >= 0 and ids_N.max() < vocab_size):
        raise ValueError(
            f"token ids {ids_N.min()} ... {ids_N.max()} do not fit a vocabulary of {vocab_size}: "
            f"they must lie in 0 ... {vocab_size - 1}"
        )


def smallest_type(vocab_size):
    """The smallest unsigned integer type that holds 0 ... vocab_size - 1."""
    return next(t for t in (np.uint8, np.uint16, np.uint32) if vocab_size - 1 <= np.iinfo(t).max)
