"""Scores of attention heads against their definitions, on random and hand-wired weights, and the chance levels.

tests/probes/test_repeated_tokens.py has the random sequences, tests/probes/test_copying_score.py the copying score.
"""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from attention_models import CONFIGS, activations, hand_wired, recurring_tokens, repeats
from random_models import random_params

from models.transformer import Transformer, TransformerConfig
from probes import attention_scores as scores
from probes import layerwise

P = 10  # tokens of a block
STRIPES = ("previous_token_score", "duplicate_token_score", "induction_score")
LEARNED = Transformer(CONFIGS["learned"])

uniform_prefix_matching_chance = jax.jit(scores.uniform_prefix_matching_chance)


@functools.cache
def variables_of(config, seed=0, sharpness=3.0):
    return {"params": random_params(config, seed, sharpness=sharpness)}


def model_and_variables(positions):
    return Transformer(CONFIGS[positions]), variables_of(CONFIGS[positions])


# Stripes.


def slow_stripe_scores(A_LBHQK):
    """{score: [L, H]} of patterns on [BOS, r, r]: the mean over sequences and queries."""
    second = range(P + 1, 2 * P + 1)
    entries = {
        "previous_token_score": [(t, t - 1) for t in range(1, 2 * P + 1)],
        "duplicate_token_score": [(t, t - P) for t in second],
        "induction_score": [(t, t - P + 1) for t in second],
    }
    return {name: np.mean([A_LBHQK[..., q, k].mean(1) for q, k in pairs], axis=0) for name, pairs in entries.items()}


@pytest.mark.parametrize("positions", CONFIGS)
def test_stripe_scores_equal_the_definitions(positions):
    model, variables = model_and_variables(positions)
    tokens_BT = repeats(P)
    expected = slow_stripe_scores(activations(model, variables, tokens_BT)["pattern"])
    measured = scores.stripe_scores(model, variables, tokens_BT, P)
    assert set(measured) == set(STRIPES)
    for name in STRIPES:
        np.testing.assert_allclose(measured[name], expected[name], atol=1e-6)
        assert np.ptp(expected[name]) > 1e-3  # heads differ, or the comparison shows nothing


def test_a_batch_too_large_for_one_chunk_gives_the_mean_over_its_sequences(monkeypatch):
    variables, tokens_BT = variables_of(LEARNED.config), repeats(P)
    whole = scores.stripe_scores(LEARNED, variables, tokens_BT, P)
    length = tokens_BT.shape[1]
    monkeypatch.setattr(layerwise, "CHUNK_BYTES", LEARNED.config.num_heads * length**2 * 4)
    assert layerwise._sequences_at_once(LEARNED, *tokens_BT.shape) == 1
    chunked = scores.stripe_scores(LEARNED, variables, tokens_BT, P)
    for name in STRIPES:
        np.testing.assert_allclose(chunked[name], whole[name], rtol=1e-5)


def test_the_hand_wired_heads_are_found():
    model, variables = hand_wired()
    tokens_BT = repeats(16, num_tokens=29, bos=29)
    measured = scores.stripe_scores(model, variables, tokens_BT, 16)
    assert measured["previous_token_score"][0, 0] >= 0.99
    assert measured["induction_score"][1, 0] >= 0.99
    assert measured["induction_score"][0, 0] <= 0.01
    assert measured["duplicate_token_score"].max() <= 0.01
    # The induction stripe holds no rows of the first copy, as the whole diagonal does.
    A_BQK = activations(model, variables, tokens_BT)["pattern"][1, :, 0]
    whole_diagonal = A_BQK.diagonal(1 - 16, axis1=1, axis2=2)
    assert whole_diagonal.shape[1] == 16 + 2
    assert whole_diagonal.mean() < 0.95


def test_uniform_attention_and_random_weights_are_at_chance():
    tokens_BT = repeats(P)
    chance = scores.stripe_chance(P)
    assert all(isinstance(value, float) for value in chance.values())
    uniform = scores.stripe_scores(LEARNED, variables_of(LEARNED.config, sharpness=0.0), tokens_BT, P)
    untrained = scores.stripe_scores(LEARNED, variables_of(LEARNED.config, sharpness=1.0), tokens_BT, P)
    for name in STRIPES:
        np.testing.assert_allclose(uniform[name], chance[name], atol=1e-6)
        assert np.abs(untrained[name] - chance[name]).max() < 0.03
    assert scores.previous_token_chance(64) == pytest.approx(0.0594, abs=5e-5)
    assert chance["previous_token_score"] == scores.previous_token_chance(2 * P + 1)


def test_a_whole_context_is_accepted_and_a_longer_or_misshapen_one_refused():
    variables = variables_of(LEARNED.config)
    assert repeats(P).shape[1] == LEARNED.config.context_length
    assert np.isfinite(scores.stripe_scores(LEARNED, variables, repeats(P), P)["induction_score"]).all()
    with pytest.raises(ValueError, match="context_length=21"):
        scores.stripe_scores(LEARNED, variables, repeats(P + 1), P + 1)
    with pytest.raises(ValueError, match="blocks of 5 has 11 tokens, not 21"):
        scores.stripe_scores(LEARNED, variables, repeats(P), 5)


def test_arguments_stay_as_they_were():
    tokens_BT, variables = repeats(P), jax.tree.map(np.copy, variables_of(LEARNED.config))
    before = jax.tree.map(np.copy, (tokens_BT, variables))
    scores.stripe_scores(LEARNED, variables, tokens_BT, P)
    scores.prefix_matching_score(LEARNED, variables, tokens_BT)
    scores.copying_score(LEARNED, variables, tokens_BT)
    jax.tree.map(np.testing.assert_array_equal, (tokens_BT, variables), before)


def test_seeds_are_scored_at_once():
    tokens_BT = repeats(P)
    seeds = [variables_of(LEARNED.config, seed) for seed in range(2)]

    def all_scores(variables):
        stripes = scores.stripe_scores(LEARNED, variables, tokens_BT, P)
        copying = {"copying_score": scores.copying_score(LEARNED, variables, tokens_BT)}
        return stripes | copying | scores.prefix_matching_score(LEARNED, variables, tokens_BT)

    together = jax.jit(jax.vmap(all_scores))(jax.tree.map(lambda *leaves: np.stack(leaves), *seeds))
    for i, variables in enumerate(seeds):
        for name, alone in all_scores(variables).items():
            np.testing.assert_allclose(together[name][i], alone, atol=1e-5)


def test_half_precision_is_summed_in_float32():
    tokens_BT, variables = repeats(P), variables_of(LEARNED.config)
    half = Transformer(replace(LEARNED.config, dtype="bfloat16"))
    measured, exact = (scores.stripe_scores(model, variables, tokens_BT, P) for model in (half, LEARNED))
    for name in STRIPES:
        assert measured[name].dtype == jnp.float32
        np.testing.assert_allclose(measured[name], exact[name], atol=0.01)


@pytest.mark.parametrize("name", ["stripes", "prefix matching", "copying"])
def test_neither_all_patterns_nor_logits_are_stored(name):
    L, H, B, block, V = 8, 4, 6, 31, 20000
    T = 1 + 2 * block
    model = Transformer(TransformerConfig(V, T, num_layers=L, num_heads=H, d_model=16, d_mlp=32))
    variables = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, T), jnp.int32))
    tokens = jax.ShapeDtypeStruct((B, T), jnp.int32)
    score = {
        "stripes": lambda *inputs: scores.stripe_scores(model, *inputs, block),
        "prefix matching": lambda *inputs: scores.prefix_matching_score(model, *inputs),
        "copying": lambda *inputs: scores.copying_score(model, *inputs),
    }[name]
    lowered = jax.jit(score).lower(variables, tokens)
    num_bytes = lowered.compile().memory_analysis().temp_size_in_bytes
    assert num_bytes < L * B * H * T * T * 4
    assert num_bytes < B * T * V * 4


# Prefix matching.


@pytest.mark.parametrize("positions", CONFIGS)
def test_prefix_matching_equals_the_definition(positions):
    model, variables = model_and_variables(positions)
    tokens_BT = recurring_tokens()
    A_LBHQK = activations(model, variables, tokens_BT)["pattern"]
    measured = scores.prefix_matching_score(model, variables, tokens_BT)
    entries, sums = [], []
    for b, q in np.ndindex(*tokens_BT.shape):
        matching = [k for k in range(1, q + 1) if tokens_BT[b, k - 1] == tokens_BT[b, q]]
        entries += [A_LBHQK[:, b, :, q, k] for k in matching]
        if matching:
            sums.append(sum(A_LBHQK[:, b, :, q, k] for k in matching))
    np.testing.assert_allclose(measured["prefix_matching_mean"], np.mean(entries, axis=0), atol=1e-6)
    np.testing.assert_allclose(measured["prefix_matching_sum"], np.mean(sums, axis=0), atol=1e-6)


def test_prefix_matching_finds_the_hand_wired_induction_head_and_dilutes_its_mean():
    model, variables = hand_wired()
    measured = scores.prefix_matching_score(model, variables, repeats(8, num_copies=4, num_tokens=29, bos=29))
    assert measured["prefix_matching_sum"][1, 0] >= 0.99
    assert measured["prefix_matching_sum"][0, 0] <= 0.01
    # Copies 2, 3, 4 see 1, 2, 3 earlier ones: six entries share three rows.
    assert measured["prefix_matching_mean"][1, 0] == pytest.approx(0.5, abs=0.01)


def test_on_two_copies_of_distinct_tokens_prefix_matching_is_the_induction_stripe():
    variables, tokens_BT = variables_of(LEARNED.config), repeats(P)
    prefix = scores.prefix_matching_score(LEARNED, variables, tokens_BT)
    stripe = scores.stripe_scores(LEARNED, variables, tokens_BT, P)["induction_score"]
    np.testing.assert_allclose(prefix["prefix_matching_sum"], stripe, rtol=1e-5)
    np.testing.assert_allclose(prefix["prefix_matching_mean"], stripe, rtol=1e-5)


def test_uniform_attention_prefix_matches_at_the_stated_chance():
    tokens_BT = repeats(5, num_copies=4)
    chance = uniform_prefix_matching_chance(tokens_BT)
    measured = scores.prefix_matching_score(LEARNED, variables_of(LEARNED.config, sharpness=0.0), tokens_BT)
    for name, value in chance.items():
        np.testing.assert_allclose(measured[name], value, rtol=1e-5)
    distinct = uniform_prefix_matching_chance(repeats(P))
    assert distinct["prefix_matching_sum"] == pytest.approx(scores.stripe_chance(P)["induction_score"], rel=1e-5)


def test_without_any_repetition_prefix_matching_is_undefined():
    tokens_BT = np.tile(np.arange(2 * P + 1), (3, 1))
    assert np.isnan(uniform_prefix_matching_chance(tokens_BT)["prefix_matching_sum"])


# Text.


@pytest.mark.parametrize("positions", ["learned", "rotary"])
def test_scores_on_text_equal_sums_over_all_earlier_occurrences(positions):
    model, variables = model_and_variables(positions)
    tokens_BT = recurring_tokens()
    A_LBHQK = activations(model, variables, tokens_BT)["pattern"]
    measured = scores.text_scores(model, variables, tokens_BT)
    chance = jax.jit(scores.text_chance)(tokens_BT)
    T = tokens_BT.shape[1]
    counted_keys = {
        "previous_token_score": lambda x, q: [k for k in range(T) if k == q - 1],
        "duplicate_token_score": lambda x, q: [k for k in range(q) if x[k] == x[q]],
        "induction_score": lambda x, q: [k for k in range(1, q + 1) if x[k - 1] == x[q]],
    }
    for name, keys_of in counted_keys.items():
        sums, uniform = [], []
        for b, q in np.ndindex(*tokens_BT.shape):
            keys = keys_of(tokens_BT[b], q)
            if keys:
                sums.append(sum(A_LBHQK[:, b, :, q, k] for k in keys))
                uniform.append(len(keys) / (q + 1))
        np.testing.assert_allclose(measured[name], np.mean(sums, axis=0), rtol=1e-4)
        np.testing.assert_allclose(chance[name], np.mean(uniform), rtol=1e-5)


# In-context learning, settings.


def test_the_in_context_learning_score_compares_the_published_or_the_scaled_positions():
    assert scores.in_context_learning_positions(512) == (500, 50)
    assert scores.in_context_learning_positions(1024) == (500, 50)
    assert scores.in_context_learning_positions(511) == (510, 51)
    assert scores.in_context_learning_positions(64) == (63, 6)
    loss_ST = np.stack([np.arange(64.0), -2 * np.arange(64.0)])
    np.testing.assert_array_equal(scores.in_context_learning_score(loss_ST, 63, 6), [57, -114])


def test_the_slope_of_a_logarithm_is_its_factor():
    log_index = np.log(np.arange(1, 101))
    noise = np.random.default_rng(0).normal(size=100)
    loss_ST = np.stack([4 - 0.3 * log_index, np.full(100, 2.0), noise])
    slope = np.polyfit(log_index, noise, 1)[0]
    measured_S = jax.jit(scores.in_context_learning_slope)(loss_ST)
    np.testing.assert_allclose(measured_S, [-0.3, 0, slope], atol=1e-5)
    with pytest.raises(ValueError, match="at least 2"):
        scores.in_context_learning_slope(np.ones(1))


def test_blocks_are_as_long_as_published_where_four_copies_fit():
    assert [scores.olsson_block_length(T) for T in (5, 64, 100, 101, 1024)] == [1, 15, 24, 25, 25]
    with pytest.raises(ValueError, match="too short"):
        scores.olsson_block_length(4)
