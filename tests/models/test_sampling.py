"""Sampling strategies against slow implementations of their definitions, and generation from a model of known texts.

tests/test_sample.py covers models/streaming.py.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.decoding import Decoder
from models.sampling import filter_logits, generate, sample

RANDOM = np.random.default_rng(0)
PROBABILITIES = {
    "distinct": [0.1, 0.4, 0.2, 0.05, 0.25],
    "ties": [0.25, 0.125, 0.25, 0.125, 0.125, 0.125],
    "uniform": [0.125] * 8,
    "certain": [0.0, 1.0, 0.0],
    "ruled out": [0.5, 0.0, 0.25, 0.25],
    "skewed": RANDOM.dirichlet(np.full(40, 0.3)).tolist(),
    "flat": RANDOM.dirichlet(np.full(40, 30.0)).tolist(),
}
OPTIONS = (
    [{"top_k": k} for k in (1, 2, 3, 5, 50)]
    + [{"top_p": p} for p in (0.01, 0.25, 0.5, 0.75, 0.9, 1.0)]
    + [{"min_p": p} for p in (0.0, 0.1, 0.25, 0.5, 1.0)]
    + [{"typical_p": p} for p in (0.05, 0.25, 0.5, 0.9, 1.0)]
)


@partial(jax.jit, static_argnums=1)
def filter_compiled(logits_BV, options):
    return filter_logits(logits_BV, **dict(options))


def filtered(logits_BV, **options):
    """``filter_logits`` as one compiled program; tokens of probability 0 make all logits of one shape [8, 40]."""
    rows_BV = np.atleast_2d(np.asarray(logits_BV, np.float32))
    padded_BV = np.full((8, 40), -np.inf, np.float32)
    padded_BV[:, 0] = 0.0
    padded_BV[: len(rows_BV), : rows_BV.shape[1]] = rows_BV
    filtered_BV = np.asarray(filter_compiled(padded_BV, tuple(options.items())))
    return filtered_BV[: len(rows_BV)].reshape(*np.shape(logits_BV)[:-1], 40)[..., : rows_BV.shape[1]]


def softmax(logits_BV):
    weights_BV = np.exp(logits_BV - logits_BV.max(-1, keepdims=True))
    return weights_BV / weights_BV.sum(-1, keepdims=True)


def smallest_set(p, ranks, mass):
    """Tokens in rising order of rank, lower ids first, until they have the mass."""
    kept, total = set(), 0.0
    for _, token in sorted((round(rank, 6), token) for token, rank in enumerate(ranks) if p[token] > 0):
        kept.add(token)
        total += p[token]
        if total >= mass - 1e-9:
            break
    return kept


def kept_by_definition(p, top_k=None, top_p=None, min_p=None, typical_p=None):
    possible = {token for token in range(len(p)) if p[token] > 0}
    if top_k is not None:
        last = sorted(p, reverse=True)[min(top_k, len(p)) - 1]
        return {token for token in possible if p[token] >= last}
    if top_p is not None:
        return smallest_set(p, [-x for x in p], top_p)
    if min_p is not None:
        return {token for token in possible if p[token] >= min_p * max(p) - 1e-12}
    information = [-math.log(x) if x > 0 else math.inf for x in p]
    entropy = sum(x * i for x, i in zip(p, information, strict=True) if x > 0)
    return smallest_set(p, [abs(i - entropy) for i in information], typical_p)


def logits_of(p):
    with np.errstate(divide="ignore"):
        return np.log(np.asarray(p)) + 3.0


def kept(logits_V):
    return set(np.flatnonzero(np.isfinite(logits_V)).tolist())


each_option = pytest.mark.parametrize("options", OPTIONS, ids=str)


@each_option
def test_kept_sets_are_those_of_the_definitions_and_keep_their_odds(options):
    longest = max(map(len, PROBABILITIES.values()))
    every_p = {name: p + [0.0] * (longest - len(p)) for name, p in PROBABILITIES.items()}
    together_BV = filtered(np.stack([logits_of(p) for p in every_p.values()]), **options)
    for (name, p), logits_V in zip(every_p.items(), together_BV, strict=True):
        assert kept(logits_V) == kept_by_definition(p, **options), name
        among = sorted(kept(logits_V))
        np.testing.assert_allclose(logits_V[among], logits_of(p)[among], rtol=1e-6)


def test_rows_are_filtered_by_themselves():
    rows = [PROBABILITIES["skewed"], PROBABILITIES["flat"]]
    together_BV = filtered(np.stack([logits_of(p) for p in rows]), top_p=0.7, min_p=0.2)
    for p, logits_V in zip(rows, together_BV, strict=True):
        np.testing.assert_allclose(logits_V, filtered(logits_of(p), top_p=0.7, min_p=0.2), rtol=1e-6)


def test_the_temperature_comes_before_the_filters():
    p = [0.5, 0.3, 0.15, 0.05]
    hot = np.sqrt(p) / np.sqrt(p).sum()  # temperature 2: [0.379, 0.294, 0.207, 0.12]
    assert kept(filtered(logits_of(p), top_p=0.75)) == {0, 1}
    assert kept(filtered(logits_of(p), temperature=2.0, top_p=0.75)) == {0, 1, 2}
    np.testing.assert_allclose(softmax(filtered(logits_of(p), temperature=2.0)), hot, rtol=1e-5)


def test_a_filter_sees_what_the_one_before_left_renormalised():
    p = [0.3, 0.2, 0.2, 0.15, 0.15]
    assert kept(filtered(logits_of(p), top_p=0.6)) == {0, 1, 2}
    # Of the three that top_k leaves, the first two have 0.5 / 0.7 = 0.71 of the mass.
    assert kept(filtered(logits_of(p), top_k=2, top_p=0.6)) == {0, 1}
    assert kept(filtered(logits_of(p), top_k=2, top_p=0.4)) == {0}


def test_temperature_to_zero_is_argmax_and_to_infinity_uniform():
    logits_BV = RANDOM.normal(size=(8, 30)).astype(np.float32)
    for temperature in (0, 1e-30, 1e-10, 1e-4):
        tokens_B = jax.jit(partial(sample, temperature=temperature))(jax.random.key(0), logits_BV)
        np.testing.assert_array_equal(tokens_B, logits_BV.argmax(-1))
    distances = []
    for temperature in (1.0, 10.0, 100.0, 1e4, math.inf):
        p_BV = softmax(filtered(logits_BV, temperature=temperature))
        distances.append(0.5 * np.abs(p_BV - 1 / 30).sum(-1).max())
    assert distances == sorted(distances, reverse=True)
    assert distances[0] > 0.2
    assert distances[-2] < 1e-3
    assert distances[-1] < 1e-6
    assert kept(filtered(logits_of(PROBABILITIES["ruled out"]), temperature=math.inf)) == {0, 2, 3}


def test_minus_zero_is_zero():
    for options in ({"top_k": 1}, {"top_k": 2}):
        assert kept(filtered(np.array([0.0, -0.0, -1.0]), **options)) == {0, 1}
    assert kept(filtered(np.array([-0.0, 0.0, -50.0]), top_p=0.4)) == {0}


def test_the_first_of_equals_is_the_argmax():
    assert kept(filtered(np.zeros(5), temperature=0)) == {0}


def test_tokens_are_drawn_as_often_as_the_filtered_distribution_says():
    p, draws = [0.1, 0.4, 0.2, 0.05, 0.25], 20_000
    logits_BV = np.broadcast_to(np.float32(logits_of(p)), (draws, 5))
    counts = np.bincount(jax.jit(partial(sample, top_p=0.8))(jax.random.key(1), logits_BV), minlength=5)
    expected = np.array([0.0, 0.4, 0.2, 0.0, 0.25]) / 0.85
    assert counts[0] == counts[3] == 0
    np.testing.assert_allclose(counts / draws, expected, atol=4 * math.sqrt(0.25 / draws))


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": -0.1},
        {"temperature": math.nan},
        {"top_k": 0},
        {"top_k": 2.5},
        {"top_p": 0.0},
        {"top_p": 1.01},
        {"min_p": -0.1},
        {"min_p": 1.5},
        {"typical_p": 0},
        {"typical_p": 2},
    ],
    ids=str,
)
def test_an_option_out_of_range_is_named(options):
    (name,) = options
    with pytest.raises(ValueError, match=f"^{name}=") as error:
        sample(jax.random.key(0), np.zeros((1, 4)), **options)
    assert len(str(error.value)) < 120


def adding(context_length=None):
    """A decoder of a model that is sure of the next token: the sum of all earlier tokens, modulo 10."""

    def advance(variables, cache_B, tokens_BT):
        cache_B = (cache_B + tokens_BT.sum(1)) % 10
        return jax.nn.one_hot(cache_B, 10) * variables["sharpness"], cache_B

    return Decoder(lambda size: jnp.zeros(size, jnp.int32), advance, context_length)


def test_generation_reads_the_prompt_and_then_its_own_tokens():
    variables = {"sharpness": 100.0}
    tokens_BT = generate(adding(), variables, jax.random.key(0), [[1, 2], [3, 4]], 4)
    # 1 + 2 = 3, and every later sum is twice the one before; 3 + 4 = 7 in the same way.
    np.testing.assert_array_equal(tokens_BT, [[3, 6, 2, 4], [7, 4, 8, 6]])
    np.testing.assert_array_equal(generate(adding(), variables, jax.random.key(0), [3, 4], 4), [7, 4, 8, 6])
    np.testing.assert_array_equal(generate(adding(), variables, jax.random.key(0), [5], 1), [5])


def test_generation_draws_anew_at_every_token():
    variables, decoder = {"sharpness": 0.0}, adding()
    tokens_BT = np.asarray(generate(decoder, variables, jax.random.key(0), np.zeros((100, 1)), 50))
    np.testing.assert_array_equal(generate(decoder, variables, jax.random.key(0), np.zeros((100, 1)), 50), tokens_BT)
    assert (generate(decoder, variables, jax.random.key(1), np.zeros((100, 1)), 50) != tokens_BT).any()
    shares = np.bincount(tokens_BT.ravel(), minlength=10) / 5000
    np.testing.assert_allclose(shares, 0.1, atol=0.02)
    repeats = (tokens_BT[:, 1:] == tokens_BT[:, :-1]).mean()
    np.testing.assert_allclose(repeats, 0.1, atol=0.02)


def test_generation_fills_the_context_and_refuses_more():
    variables = {"sharpness": 1.0}
    assert generate(adding(5), variables, jax.random.key(0), [1, 2, 3], 3).shape == (3,)
    with pytest.raises(ValueError, match="3 tokens and 4 more do not fit a context of 5"):
        generate(adding(5), variables, jax.random.key(0), [1, 2, 3], 4)


@pytest.mark.parametrize(("prompt", "num_tokens"), [(np.zeros((2, 0)), 1), (3, 1), ([1], 0)])
def test_generation_refuses_nothing_to_read_or_write(prompt, num_tokens):
    with pytest.raises(ValueError, match="at least"):
        generate(adding(), {"sharpness": 1.0}, jax.random.key(0), prompt, num_tokens)
