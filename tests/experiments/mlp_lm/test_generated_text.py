"""Distinct and repeated n-grams of texts that can be counted by hand."""

import numpy as np
import pytest

from experiments.mlp_lm.generated_text import distinct_ngrams, repeated_ngrams

LOOP = [1, 2, 1, 2, 1, 2]
CHAIN = [1, 2, 3, 4, 5, 6]


def test_distinct_ngrams_by_hand():
    assert distinct_ngrams([LOOP, CHAIN], 1) == 6 / 12
    assert distinct_ngrams([LOOP, CHAIN], 2) == 6 / 10  # 12, 21, and 23, 34, 45, 56; no pair crosses the two
    assert distinct_ngrams([CHAIN], 3) == 1
    assert distinct_ngrams([CHAIN, CHAIN], 3) == 0.5


def test_repeated_ngrams_by_hand():
    assert repeated_ngrams([LOOP], 2) == pytest.approx(3 / 5)
    assert repeated_ngrams([CHAIN, CHAIN], 2) == 0  # within a sequence only
    assert repeated_ngrams([LOOP, CHAIN], 1) == pytest.approx((4 / 6 + 0) / 2)
    assert repeated_ngrams(np.zeros((2, 9), int), 4) == pytest.approx(5 / 6)


def test_too_short_texts_are_refused():
    with pytest.raises(ValueError, match="2 tokens hold no 3-grams"):
        distinct_ngrams([[1, 2]], 3)
