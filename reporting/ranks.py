"""Statistics of ranks.

Axis letter: N observations.
"""

import numpy as np


def mean_ranks(x_N) -> np.ndarray:
    """The ranks [N] of numbers, from 0 for the least; equal numbers share the mean of their ranks."""
    _, inverse_N, counts = np.unique(x_N, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts + 1) / 2)[inverse_N]


def rank_correlation(x_N, y_N) -> float:
    """Pearson's correlation of the ranks of two columns of numbers; NaN where one of them is constant.

    Source: Spearman (1904), "The proof and measurement of association between two things".
    """
    ranks_2N = np.stack([mean_ranks(x_N), mean_ranks(y_N)])
    if (np.ptp(ranks_2N, axis=1) == 0).any():
        return float("nan")
    return float(np.corrcoef(ranks_2N)[0, 1])
