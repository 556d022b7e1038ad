"""Adaptive and sampled softmax against their definitions."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import adaptive_softmax
from models.adaptive_softmax import AdaptiveSoftmax, choose_cutoffs, sampled_losses, zipf_log_probabilities
from models.losses import token_losses

N, D, CUTOFFS = 150, 8, (5, 14, 40)


@pytest.fixture(scope="module")
def drawn():
    """(the layer, its parameters, hidden vectors [N, D], targets [N]) with more rows of each tail than a chunk has."""
    layer = AdaptiveSoftmax(D, CUTOFFS)
    generator = np.random.default_rng(0)
    targets_N = np.repeat([3, 9, 30], [20, 65, 65])
    generator.shuffle(targets_N)
    return (
        layer,
        layer.init(jax.random.key(0)),
        jnp.asarray(generator.normal(size=(N, D)), jnp.float32),
        jnp.asarray(targets_N),
    )


def slow_log_probability(params, hidden, word):
    """log P(word) by plain loops: the head's entry, and below it the word's within its tail."""

    def product(a, b):
        return sum(float(x) * float(y) for x, y in zip(a, b, strict=True))

    def softmax(vector, rows):
        values = [math.exp(product(vector, row)) for row in rows]
        return [value / sum(values) for value in values]

    head = softmax(hidden, params["head"])
    if word < CUTOFFS[0]:
        return math.log(head[word])
    tail = next(i for i, end in enumerate(CUTOFFS[1:]) if word < end)
    narrow = [product(hidden, column) for column in np.asarray(params[f"project_{tail}"]).T]
    inside = softmax(narrow, np.asarray(params[f"tail_{tail}"]))
    return math.log(head[CUTOFFS[0] + tail]) + math.log(inside[word - CUTOFFS[tail]])


def test_losses_are_those_of_the_definition(drawn):
    layer, params, hidden, targets = drawn
    losses = np.asarray(jax.jit(layer.losses)(params, hidden, targets))
    host = jax.tree.map(np.asarray, params)
    for n in (0, 1, 2, 77, 149):
        assert losses[n] == pytest.approx(-slow_log_probability(host, np.asarray(hidden[n]), targets[n]), abs=1e-5)


def test_probabilities_of_all_words_sum_to_one_and_give_the_losses(drawn):
    layer, params, hidden, targets = drawn
    log_probabilities = layer.log_probabilities(params, hidden)
    np.testing.assert_allclose(jnp.exp(log_probabilities).sum(1), 1, rtol=1e-5)
    expected = -log_probabilities[jnp.arange(N), targets]
    np.testing.assert_allclose(layer.losses(params, hidden, targets), expected, rtol=1e-5, atol=1e-5)


def test_gradients_are_those_of_all_probabilities(drawn):
    layer, params, hidden, targets = drawn
    weights_N = np.linspace(0.5, 2.0, N).astype(np.float32)

    def through_all(params, hidden):
        return -jnp.sum(weights_N * layer.log_probabilities(params, hidden)[jnp.arange(N), targets])

    def through_targets(params, hidden):
        return jnp.sum(weights_N * layer.losses(params, hidden, targets))

    ours, slow = (jax.jit(jax.grad(f, (0, 1)))(params, hidden) for f in (through_targets, through_all))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), ours, slow)


@pytest.mark.parametrize("word", [0, 9, 39])
def test_all_targets_in_one_place(drawn, word):
    """A tail that has no rows costs no chunk, and one that has all of them takes them all."""
    layer, params, hidden, _ = drawn
    losses = layer.losses(params, hidden, np.full(N, word))
    np.testing.assert_allclose(losses, -layer.log_probabilities(params, hidden)[:, word], rtol=1e-5, atol=1e-5)


def test_rows_beyond_the_count_are_not_looked_at():
    rows, kernel = np.full((100, 3), np.nan, np.float32), np.ones((7, 3), np.float32)
    rows[:10] = 0
    losses = adaptive_softmax.losses_of_first(rows, kernel, np.zeros(100, np.int32), 10)
    np.testing.assert_allclose(losses[:10], math.log(7), rtol=1e-6)
    np.testing.assert_array_equal(losses[10:], 0)


def test_cutoffs_are_the_cheapest_of_all():
    """By all choices of up to three cutoffs of a small vocabulary, with the cost added up word by word."""
    V, width = 24, 64
    counts = np.round(1000 / np.arange(1, V + 1))

    def cost(*cutoffs):
        total = (width + 30) * (cutoffs[0] + len(cutoffs))
        for low, high, narrow in zip(cutoffs, (*cutoffs[1:], V), (16, 4, 4), strict=False):
            total += width * narrow
            total += sum(counts[low:high]) / sum(counts) * (4 / 3 * narrow + 30) * (high - low)
        return total

    choices = [c for number in (1, 2, 3) for c in itertools.combinations(range(2, V), number)]
    choices = [c for c in choices if sum(counts[: c[0]]) >= 0.5 * sum(counts)]
    *chosen, last = choose_cutoffs(counts, width, most_tails=3)
    assert last == V
    assert cost(*chosen) == pytest.approx(min(cost(*choice) for choice in choices))


@pytest.mark.parametrize("head_share", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("width", [1, 8, 200])
def test_every_vocabulary_gets_cutoffs(width, head_share):
    for V in (*range(4, 40), 1000):
        falling, even = 1 / np.arange(1, V + 1), 1 - 1e-6 * np.arange(V)
        for counts in (falling, even):
            assert AdaptiveSoftmax(width, choose_cutoffs(counts, width, head_share=head_share)).cutoffs[-1] == V


def test_what_makes_no_adaptive_softmax_is_refused():
    with pytest.raises(ValueError, match="must rise"):
        AdaptiveSoftmax(D, (5, 5, 9))
    with pytest.raises(ValueError, match="a head and a tail"):
        AdaptiveSoftmax(D, (9,))
    with pytest.raises(ValueError, match="too small"):
        choose_cutoffs(np.ones(3), D)
    with pytest.raises(ValueError, match="fall in frequency"):
        choose_cutoffs(np.random.default_rng(0).integers(1, 99, 50), D)


def test_the_proposal_is_a_distribution():
    assert jnp.exp(zipf_log_probabilities(jnp.arange(50), 50)).sum() == pytest.approx(1, abs=1e-5)


def test_the_sampled_loss_approaches_the_exact_one_with_more_samples():
    V, generator = 50, np.random.default_rng(1)
    kernel, bias = generator.normal(size=(V, D)).astype(np.float32), generator.normal(size=V).astype(np.float32)
    hidden, targets = generator.normal(size=(6, D)).astype(np.float32), generator.integers(0, V, 6)
    exact = token_losses(hidden @ kernel.T + bias, targets)
    estimate = sampled_losses(jax.random.key(0), kernel, bias, hidden, targets, 200_000)
    np.testing.assert_allclose(estimate, exact, atol=0.03)
    of_few = sampled_losses(jax.random.key(0), kernel, bias, hidden, targets, 5)
    assert jnp.abs(of_few - exact).max() > 0.1
