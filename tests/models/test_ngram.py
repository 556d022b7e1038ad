"""n-gram models of models/ngram.py and models/kneser_ney.py: their definitions in plain loops, and their laws.

test_arpa.py compares them with KenLM.
"""

from collections import defaultdict

import numpy as np
import pytest
from kenlm_texts import sentences, spelled, vocabulary

from models import ngram
from models.kneser_ney import FALLBACK_DISCOUNTS, discounts, kneser_ney

ORDERS = (1, 2, 3, 4, 5)

each_order = pytest.mark.parametrize("order", ORDERS)


# --- The definitions, in plain loops over tuples of words.


@pytest.fixture(scope="module")
def words():
    return vocabulary("text.txt")


@pytest.fixture(scope="module")
def counts(words):
    return ngram.count(spelled("text.txt", words), 5, len(words) - 1)


def grams(order):
    """{n-gram: count} of the training text."""
    times = defaultdict(int)
    for sentence in sentences("text.txt"):
        for start in range(len(sentence) - order + 1):
            times[sentence[start : start + order]] += 1
    return times


def relative_frequency(order, more, size):
    times = {k: grams(k) for k in range(1, order + 1)}
    del times[1]["<s>",]  # never predicted

    def p(context, token):
        followed = sum(count for gram, count in times[len(context) + 1].items() if gram[:-1] == context)
        return (times[len(context) + 1][*context, token] + more) / (followed + more * size) if followed + more else 0.0

    return p


def slow_kneser_ney(order, size):
    """Chen and Goodman (1998), with continuation counts of all but the highest order and what begins with <s>."""
    adjusted, lost = {}, {}
    for k in range(1, order + 1):
        before = defaultdict(set)
        for gram in grams(k + 1):
            before[gram[1:]].add(gram[0])
        adjusted[k] = {
            gram: count if k == order or gram[0] == "<s>" else len(before[gram])
            for gram, count in grams(k).items()
            if gram != ("<s>",)
        }
        n = [sum(count == j for count in adjusted[k].values()) for j in range(5)]
        y = n[1] / (n[1] + 2 * n[2])
        lost[k] = [0.0] + [j - (j + 1) * y * n[j + 1] / n[j] for j in (1, 2, 3)]

    def p(context, token):
        k = len(context) + 1
        shorter = p(context[1:], token) if context else 1 / size
        followers = {gram[-1]: count for gram, count in adjusted[k].items() if gram[:-1] == context}
        if not followers:
            return shorter
        total = sum(followers.values())
        left = sum(lost[k][min(count, 3)] for count in followers.values())
        count = followers.get(token, 0)
        return (count - lost[k][min(count, 3)]) / total + left / total * shorter

    return p


def scored(p, words, order):
    """p of each token of the test text but <s>, words that the training text has not being <unk>."""
    known = [tuple(word if word in words else "<unk>" for word in sentence) for sentence in sentences("test.txt")]
    return [p(s[max(0, at - order + 1) : at], s[at]) for s in known for at in range(1, len(s))]


def probabilities(model, words):
    tokens_N = spelled("test.txt", words)
    return np.exp(ngram.log_probabilities(model, tokens_N))[tokens_N != len(words) - 1]


@each_order
@pytest.mark.parametrize("more", [0, 1])
def test_relative_frequencies_are_those_of_the_definition(counts, words, order, more):
    model = (ngram.add_one if more else ngram.maximum_likelihood)(counts, order)
    expected = scored(relative_frequency(order, more, len(words) - 1), words, order)
    np.testing.assert_allclose(probabilities(model, words), expected, rtol=1e-12)


@pytest.mark.parametrize("order", [3, 5])
def test_kneser_ney_is_that_of_the_definition(counts, words, order):
    expected = scored(slow_kneser_ney(order, len(words) - 1), words, order)
    np.testing.assert_allclose(probabilities(kneser_ney(counts, order), words), expected, rtol=1e-9)


# --- Laws.


def models_of(counts, order):
    yield "add-one", ngram.add_one(counts, order)
    yield "Kneser-Ney", kneser_ney(counts, order, FALLBACK_DISCOUNTS)


@each_order
def test_probabilities_sum_to_one_after_every_context(counts, words, order):
    ids = {word: id for id, word in enumerate(words)}
    contexts = {gram for k in range(order) for gram in grams(k)}  # every one that was seen, </s> at the end included
    contexts |= {("<unk>", "the"), ("n1", "<unk>"), ("the", "n1", "the", "n1"), ("reads", "<s>", "the")}
    for name, model in models_of(counts, order):
        for context in contexts:
            p_V = ngram.distribution(model, [ids[word] for word in context])
            assert p_V.shape == (len(words) - 1,), name
            assert p_V.min() > 0, name
            np.testing.assert_allclose(p_V.sum(), 1.0, rtol=1e-12, err_msg=f"{name} after {context}")


@each_order
def test_distributions_and_scores_agree(counts, words, order):
    tokens_N = spelled("test.txt", words)[:200]
    models = [model for _, model in models_of(counts, order)] + [ngram.maximum_likelihood(counts, order)]
    for model in models:
        with np.errstate(divide="ignore"):
            expected = [
                0.0 if token == model.vocab_size else np.log(ngram.distribution(model, tokens_N[:at])[token])
                for at, token in enumerate(tokens_N)
            ]
        np.testing.assert_allclose(ngram.log_probabilities(model, tokens_N), expected, rtol=1e-9, atol=1e-12)


@each_order
def test_maximum_likelihood_is_likeliest_on_its_own_text(counts, words, order):
    tokens_N = spelled("text.txt", words)
    best = ngram.log_probabilities(ngram.maximum_likelihood(counts, order), tokens_N).sum()
    assert np.isfinite(best)
    assert all(ngram.log_probabilities(model, tokens_N).sum() < best for _, model in models_of(counts, order))


@each_order
def test_unseen_ngrams_are_those_without_likelihood(counts, words, order):
    tokens_N = spelled("test.txt", words)
    start = [sentence for sentence in sentences("test.txt") for _ in range(max(0, len(sentence) - order + 1))]
    seen = ngram.is_counted(counts, tokens_N, order)
    assert seen.sum() == sum(
        gram in grams_of_order and gram != ("<s>",)
        for grams_of_order in [grams(order)]
        for sentence in sentences("test.txt")
        for gram in (sentence[i : i + order] for i in range(len(sentence) - order + 1))
    )
    assert len(seen) == len(start) - (len(sentences("test.txt")) if order == 1 else 0)
    assert ngram.is_counted(counts, spelled("text.txt", words), order).all()
    # A piece of a text begins with no <s>.
    piece = spelled("text.txt", words)[1:7]
    assert ngram.is_counted(counts, piece, order).tolist() == [True] * (7 - order)


def test_unseen_ngrams_have_maximum_likelihood_zero(counts, words):
    tokens_N = spelled("test.txt", words)
    log_N = ngram.log_probabilities(ngram.maximum_likelihood(counts, 2), tokens_N)[tokens_N != len(words) - 1]
    np.testing.assert_array_equal(log_N > -np.inf, ngram.is_counted(counts, tokens_N, 2))


def test_large_vocabularies_and_orders_do_not_overflow():
    size = 60_000  # 60,000^5 is beyond 64 bits
    tokens_N = np.append(size, np.random.default_rng(0).integers(size - 10, size, 300))
    model = ngram.maximum_likelihood(ngram.count(tokens_N, 5, size), 5)
    assert np.isfinite(ngram.log_probabilities(model, tokens_N)).all()


def test_discounts_of_known_counts_of_counts():
    counted = np.repeat([1, 2, 3, 4, 9], [8, 4, 2, 1, 3])
    # Y = 8 / (8 + 2 * 4) = 1/2
    np.testing.assert_allclose(discounts(counted), [1 - 2 / 2 * 4 / 8, 2 - 3 / 2 * 2 / 4, 3 - 4 / 2 * 1 / 2])


def test_too_little_text_is_refused_and_a_fallback_taken():
    counts = ngram.count(np.array([3, 0, 1, 2]), 2, 3)
    with pytest.raises(ValueError, match="no discounts for 1-grams: no n-gram has a count of 2"):
        kneser_ney(counts, 2)
    with pytest.raises(ValueError, match="are not between 0 and the counts"):
        discounts(np.repeat([1, 2, 3, 4], [9, 1, 1, 9]))
    np.testing.assert_allclose(ngram.distribution(kneser_ney(counts, 2, FALLBACK_DISCOUNTS), [3]).sum(), 1.0)


def test_wrong_input_is_refused(counts):
    with pytest.raises(ValueError, match="must begin with <s>"):
        ngram.count(np.array([0, 1]), 2, 5)
    with pytest.raises(ValueError, match=r"0 \.\.\. 5.*found 5 \.\.\. 6"):
        ngram.count(np.array([5, 6]), 2, 5)
    with pytest.raises(ValueError, match="order=0"):
        ngram.count(np.array([5, 1]), 0, 5)
    with pytest.raises(ValueError, match="order=6 must lie between 1 and 5"):
        kneser_ney(counts, 6)
