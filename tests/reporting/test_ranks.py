"""Ranks that are shared, and Spearman's correlation."""

import numpy as np
import pytest

from reporting.ranks import mean_ranks, rank_correlation


def test_equal_numbers_share_the_mean_of_their_ranks():
    np.testing.assert_array_equal(mean_ranks([3, 1, 3, 7, 0]), [2.5, 1, 2.5, 4, 0])


def test_rank_correlation_is_pearsons_of_mean_ranks():
    x, y = [3, 1, 3, 7, 0], [1, 2, 2, 9, 2]

    def rank(values, value):
        return sum(v < value for v in values) + (sum(v == value for v in values) - 1) / 2

    ranks = [[rank(values, value) for value in values] for values in (x, y)]
    assert rank_correlation(x, y) == pytest.approx(np.corrcoef(ranks)[0, 1], abs=1e-12)
    assert rank_correlation([1, 2, 3], [1, 8, 27]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3], [3, 2, -9]) == pytest.approx(-1)
    assert np.isnan(rank_correlation([1, 2, 3], [5, 5, 5]))
