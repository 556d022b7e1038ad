"""What n-gram models say of a text, and their interpolation with a neural model of which all is known."""

import numpy as np
import pytest
from kenlm_texts import spelled, vocabulary

from experiments.mlp_lm.ngram_models import ORDERS, interpolate, score_ngram_models
from models import ngram
from models.kneser_ney import FALLBACK_DISCOUNTS, kneser_ney

V = len(vocabulary("text.txt")) - 1


@pytest.fixture(scope="module")
def texts():
    """(training, validation, test text), none of which has <s>."""
    words = vocabulary("text.txt")
    train_N, test_N = (tokens_N[tokens_N != V] for tokens_N in (spelled(n, words) for n in ("text.txt", "test.txt")))
    return train_N[:-500], train_N[-500:], test_N


@pytest.fixture(scope="module")
def known(texts):
    return score_ngram_models(*texts, V, 3)


def test_ngram_measurements_are_those_of_the_models(texts, known):
    train_N, _, test_N = texts
    counts = ngram.count(np.append(V, train_N), 5, V)
    for i, order in enumerate(ORDERS):
        # Every order is measured on the same tokens: those with four before them.
        log_M = ngram.log_probabilities(kneser_ney(counts, order, FALLBACK_DISCOUNTS), test_N)[4:]
        np.testing.assert_allclose(known.measured["kneser_ney_perplexity"][i], np.exp(-log_M.mean()))
        zero_M = np.isneginf(ngram.log_probabilities(ngram.maximum_likelihood(counts, order), test_N)[4:])
        assert known.measured["zero_share"][i] == zero_M.mean()
        assert known.measured["unseen_share"][i] == zero_M.mean()  # an n-gram never seen has likelihood zero
        assert len(known.log_test[order]) == len(test_N) - 4


def test_an_interpolation_of_two_equal_models_is_either(texts, known):
    # The neural model scores two more tokens, from the third on.
    same = [np.concatenate([[-1.0, -1.0], log[3]]) for log in (known.log_validation, known.log_test)]
    measured = interpolate(known, *same, 3)
    np.testing.assert_allclose(measured["mixture_curve"], known.measured["kneser_ney_perplexity"][1])
    assert measured["neural_perplexity"] == pytest.approx(measured["counted_perplexity"])


def test_an_interpolation_of_a_good_and_a_bad_model_leaves_the_bad_one_out(texts, known):
    for log, weight in ((-0.01, 1.0), (-50.0, 0.0)):
        same = [np.full(len(of[3]) + 2, log) for of in (known.log_validation, known.log_test)]
        measured = interpolate(known, *same, 3)
        assert measured["mixture_weight"] == weight
        assert measured["mixture_perplexity"] == measured["neural_perplexity" if weight else "counted_perplexity"]
