"""What n-gram models say of the held-out texts, and their interpolation with a neural model.

A text of N tokens is scored from its n-th token on, n the greatest order of all models, so that each model sees the
whole context that it can use.

Axes: N tokens of a text, M scored tokens, V vocabulary, A weights of the interpolation.
"""

from dataclasses import dataclass

import numpy as np

from models import ngram
from models.kneser_ney import FALLBACK_DISCOUNTS, kneser_ney

ORDERS = (2, 3, 4, 5)
WEIGHTS = np.linspace(0.0, 1.0, 21)  # of the neural model in the interpolation
SUM_CONTEXTS = 50  # contexts whose probabilities are added up


def greatest_order(order):
    """The greatest order n of all models: a neural model of that order, and the n-gram models."""
    return max(order, *ORDERS)


@dataclass(frozen=True)
class NGramModels:
    """What n-gram models say of the held-out texts: measurements, and log p of each scored token by Kneser-Ney."""

    measured: dict
    log_validation: dict  # {order: [M]}
    log_test: dict  # {order: [M]}


def score_ngram_models(train_N, validation_N, test_N, V, order):
    """Counts the training text, as one sentence that begins with <s>, and scores the held-out texts.

    Kneser-Ney is also estimated at ``order``, that of the neural model.
    """
    orders = sorted({*ORDERS, order})
    counts = ngram.count(np.append(V, train_N), max(orders), V)
    first = greatest_order(order) - 1

    def score(model, text_N):
        return ngram.log_probabilities(model, text_N)[first:]

    smoothed = {n: kneser_ney(counts, n, FALLBACK_DISCOUNTS) for n in orders}
    log_validation = {n: score(model, validation_N) for n, model in smoothed.items()}
    log_test = {n: score(model, test_N) for n, model in smoothed.items()}
    log_likeliest = {n: score(ngram.maximum_likelihood(counts, n), test_N) for n in ORDERS}
    log_add_one = {n: score(ngram.add_one(counts, n), test_N) for n in ORDERS}
    measured = {
        "unseen_share": np.array([np.mean(~ngram.is_counted(counts, test_N[first + 1 - n :], n)) for n in ORDERS]),
        "zero_share": np.array([np.mean(np.isneginf(log_likeliest[n])) for n in ORDERS]),
        "likelihood_perplexity": np.array([perplexity(log_likeliest[n]) for n in ORDERS]),
        "add_one_perplexity": np.array([perplexity(log_add_one[n]) for n in ORDERS]),
        "kneser_ney_perplexity": np.array([perplexity(log_test[n]) for n in ORDERS]),
        "kneser_ney_validation_perplexity": np.array(perplexity(log_validation[order])),
        "sum_error": largest_sum_error(smoothed.values(), test_N),
        "unknown_share": np.mean(test_N == 0),
    }
    return NGramModels(measured, log_validation, log_test)


def largest_sum_error(models, test_N):
    """The largest distance from 1 of the sum of a model's probabilities, after contexts spread over the test text."""
    ends = np.linspace(5, len(test_N) - 1, SUM_CONTEXTS).astype(int)
    sums = [ngram.distribution(model, test_N[end - 5 : end]).sum() for model in models for end in ends]
    return np.max(np.abs(np.array(sums) - 1))


def perplexity(log_M):
    """exp(mean negative log-probability)."""
    return np.exp(-np.mean(log_M))


def interpolate(models, log_validation_N, log_test_N, order):
    """The neural model and its interpolation with Kneser-Ney of the same order; validation chooses the weight.

    Args:
      models: NGramModels.
      log_validation_N, log_test_N: log p by the neural model of each token but the first order - 1.
    """
    skipped = greatest_order(order) - order
    validation_A = interpolation_curve(log_validation_N[skipped:], models.log_validation[order])
    test_A = interpolation_curve(log_test_N[skipped:], models.log_test[order])
    best = int(validation_A.argmin())
    return {
        "neural_perplexity": test_A[-1],
        "counted_perplexity": test_A[0],
        "mixture_perplexity": test_A[best],
        "mixture_weight": WEIGHTS[best],
        "mixture_curve": test_A,
    }


def interpolation_curve(neural_M, counted_M):
    """Perplexities [A] of w p_neural + (1 - w) p_counted by WEIGHTS, from log-probabilities."""
    return np.array([perplexity(np.log(w * np.exp(neural_M) + (1 - w) * np.exp(counted_M))) for w in WEIGHTS])
