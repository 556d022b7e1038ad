"""The definitions of kept sets, on a distribution small enough to check by eye, and that a wrong set is found."""

import numpy as np

from experiments.mlp_lm.kept_sets import defined_set, wrong_sets
from models.sampling import filter_logits

LOGITS_V = np.log([0.05, 0.4, 0.25, 0.2, 0.1])


def test_sets_by_eye():
    assert defined_set(LOGITS_V) == {0, 1, 2, 3, 4}
    assert defined_set(LOGITS_V, temperature=0) == {1}
    assert defined_set(LOGITS_V, top_k=2) == {1, 2}
    assert defined_set(LOGITS_V, top_p=0.7) == {1, 2, 3}
    assert defined_set(LOGITS_V, min_p=0.45) == {1, 2, 3}
    # The entropy is 1.415 nats: .25 has 1.386 of information, .2 has 1.609, .1 has 2.3, .4 has .92.
    assert defined_set(LOGITS_V, typical_p=0.4) == {2, 3}


def test_wrong_sets_are_counted():
    logits_BV = np.stack([LOGITS_V, LOGITS_V[::-1]])
    right_BV = np.isfinite(filter_logits(logits_BV, top_p=0.7))
    assert wrong_sets(logits_BV, right_BV, {"top_p": 0.7}) == 0
    assert wrong_sets(logits_BV, right_BV, {"top_p": 0.95}) == 2
    right_BV[0, 0] = True
    assert wrong_sets(logits_BV, right_BV, {"top_p": 0.7}) == 1


def test_what_rounding_decides_is_not_wrong():
    logits_BV = np.log([[0.5, 0.4 - 1e-7, 0.06, 0.04 + 1e-7]])
    for options in ({"top_p": 0.9}, {"min_p": 0.8 - 1e-7}):
        for kept, wrong in (
            ([1, 1, 0, 0], 0),
            ([1, 1, 1, 0], "top_p" not in options),
            ([1, 0, 0, 0], "top_p" in options),
        ):
            assert wrong_sets(logits_BV, np.array([kept], bool), options) == wrong
