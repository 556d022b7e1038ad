"""What the claims measure, on results that can be computed by hand; small runs cover the other measures."""

from types import SimpleNamespace

import numpy as np
import pytest

from experiments.rnn_lm import measures


def result_of(perplexities=(), **measured):
    return SimpleNamespace(final={"perplexity": np.array(perplexities)}, num_seeds=len(perplexities), examined=measured)


def test_the_spread_needs_two_seeds():
    assert "two seeds" in measures.change_over_spread(result_of([3.0]), result_of([3.1]))
    assert measures.change_over_spread(result_of([3.0, 3.2]), result_of([3.0, 3.4])) == pytest.approx(0.1 / 0.3)
    assert measures.change_over_spread(result_of([3.0, 4.0]), result_of([3.0, 3.4])) == pytest.approx(0.3 / 0.7)


def test_gradients_that_are_not_derived_for_the_model_are_named():
    assert "without positions" in measures.hand_derived_error("now")(result_of())
    assert measures.hand_derived_error("now")(result_of(**{"hand/now": [1e-16]})) == [1e-16]
