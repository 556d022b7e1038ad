from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.induction_heads.hand_wired import induction_config, induction_params
from models.transformer import POSITIONS, Transformer, TransformerConfig
from probes import attention_scores as scores
from probes import sites

VOCABULARY = 14  # the last id is BOS
BOS = VOCABULARY - 1
STRIPES = ("previous_token_score", "duplicate_token_score", "induction_score")


def random_model(seed=0, sharpness=3.0, **settings):
    """A tiny model with random weights; the larger ``sharpness``, the further its heads are from uniform attention."""
    defaults = {"vocab_size": VOCABULARY, "context_length": 21, "num_layers": 2, "num_heads": 2, "d_model": 16}
    config = TransformerConfig(**{**defaults, **settings})
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        names = [key.key for key in path]
        weights = rng.normal(scale=config.d_model**-0.5, size=leaf.shape)
        weights = 1 + weights if names[-1] == "scale" else sharpness * weights if "query" in names else weights
        return jnp.array(weights, jnp.float32)

    shapes = jax.eval_shape(Transformer(config).init, jax.random.key(0), jnp.zeros((1, 2), int))
    return Transformer(config), jax.tree_util.tree_map_with_path(draw, shapes)


def hand_wired(vocab_size=30):
    config = induction_config(vocab_size, context_length=33)
    return Transformer(config), {"params": jax.jit(lambda: induction_params(config))()}


def repeats(block_length, num_copies=2, num_sequences=3, num_tokens=BOS, bos=BOS, distinct=True):
    """BOS and copies of a random block, drawn apart from the function under test."""
    rng = np.random.default_rng(1)
    blocks = [rng.choice(num_tokens, block_length, replace=not distinct) for _ in range(num_sequences)]
    tokens_BT = np.tile(blocks, (1, num_copies)).astype(np.int32)
    return tokens_BT if bos is None else np.insert(tokens_BT, 0, bos, axis=1)


@partial(jax.jit, static_argnames=("model", "site"))
def of_all_layers(model, variables, tokens_BT, site):
    keep = {f"layer_*/attention/{site}": lambda activation: activation}
    _, seen = sites.apply(sites.explicit(model), variables, tokens_BT, observe=keep)
    return jnp.stack([seen[f"layer_{layer}/attention/{site}"] for layer in range(model.config.num_layers)])


def activations(model, variables, tokens_BT, site):
    """[L, ...] of one site of all layers."""
    return np.array(of_all_layers(model, variables, tokens_BT, site))


# Random tokens.


@pytest.mark.parametrize(("num_tokens", "block_length"), [(7, 7), (50257, 128)])
def test_a_block_is_repeated_and_its_tokens_are_distinct(num_tokens, block_length):
    tokens = scores.repeated_tokens(jax.random.key(0), 5, block_length, 3, num_tokens, bos=num_tokens)
    assert tokens.shape == (5, 1 + 3 * block_length)
    assert (tokens[:, 0] == num_tokens).all()
    first, second, third = np.split(np.array(tokens[:, 1:]), 3, axis=1)
    assert (first == second).all()
    assert (first == third).all()
    assert first.min() >= 0
    assert first.max() < num_tokens
    assert all(len(set(row)) == block_length for row in first.tolist())
    assert len({tuple(row) for row in first.tolist()}) == 5


def test_with_too_few_tokens_a_block_is_drawn_with_replacement_and_bos_may_be_left_out():
    tokens = np.array(scores.repeated_tokens(jax.random.key(0), 50, 40, 1, 5, bos=None))
    assert tokens.shape == (50, 40)
    counts = np.bincount(tokens.ravel(), minlength=5)
    assert counts.size == 5
    assert np.abs(counts - 400).max() < 5 * 400**0.5


def test_every_ordered_block_is_equally_probable():
    num_sequences, possible = 24000, 4 * 3 * 2
    tokens = np.array(scores.repeated_tokens(jax.random.key(0), num_sequences, 3, 1, 4, bos=None))
    _, counts = np.unique(tokens, axis=0, return_counts=True)
    assert counts.size == possible
    assert np.abs(counts - num_sequences / possible).max() < 5 * (num_sequences / possible) ** 0.5


def test_counts_below_one_are_refused():
    with pytest.raises(ValueError, match="block_length=0"):
        scores.repeated_tokens(jax.random.key(0), 3, 0, 2, 5, bos=5)
    with pytest.raises(ValueError, match="num_tokens=0"):
        scores.repeated_tokens(jax.random.key(0), 3, 4, 2, 0, bos=5)


# Stripes.


@pytest.mark.parametrize("positions", POSITIONS)
def test_stripe_scores_equal_the_definitions(positions):
    model, variables = random_model(positions=positions)
    P = 10
    tokens = repeats(P)
    A = activations(model, variables, tokens, "pattern")
    expected = {name: np.zeros((2, 2)) for name in STRIPES}
    for layer in range(2):
        for head in range(2):
            previous, duplicate, induction = [], [], []
            for b in range(3):
                for t in range(1, 2 * P + 1):
                    previous.append(A[layer, b, head, t, t - 1])
                for t in range(P + 1, 2 * P + 1):
                    duplicate.append(A[layer, b, head, t, t - P])
                    induction.append(A[layer, b, head, t, t - P + 1])
            for name, entries in zip(STRIPES, (previous, duplicate, induction), strict=True):
                expected[name][layer, head] = sum(entries) / len(entries)
    measured = scores.stripe_scores(model, variables, tokens, P)
    assert set(measured) == set(STRIPES)
    for name in STRIPES:
        np.testing.assert_allclose(measured[name], expected[name], atol=1e-6)
        assert np.ptp(expected[name]) > 1e-3  # heads differ, or the comparison shows nothing


def test_the_hand_wired_heads_are_found():
    model, variables = hand_wired()
    P = 16
    measured = scores.stripe_scores(model, variables, repeats(P, num_tokens=29, bos=29), P)
    assert measured["previous_token_score"][0, 0] >= 0.99
    assert measured["induction_score"][1, 0] >= 0.99
    assert measured["induction_score"][0, 0] <= 0.01
    assert measured["duplicate_token_score"].max() <= 0.01


def test_the_induction_stripe_holds_no_rows_of_the_first_copy():
    model, variables = hand_wired()
    P = 16
    tokens = repeats(P, num_tokens=29, bos=29)
    A = activations(model, variables, tokens, "pattern")[1, :, 0]
    whole_diagonal = A.diagonal(1 - P, axis1=1, axis2=2)
    assert whole_diagonal.shape[1] == P + 2
    assert whole_diagonal.mean() < 0.95
    assert scores.stripe_scores(model, variables, tokens, P)["induction_score"][1, 0] >= 0.99


def test_uniform_attention_and_random_weights_are_at_chance():
    P = 10
    tokens = repeats(P)
    chance = scores.stripe_chance(P)
    assert all(isinstance(value, float) for value in chance.values())
    uniform = scores.stripe_scores(*random_model(sharpness=0.0), tokens, P)
    untrained = scores.stripe_scores(*random_model(sharpness=1.0), tokens, P)
    for name in STRIPES:
        np.testing.assert_allclose(uniform[name], chance[name], atol=1e-6)
        assert np.abs(untrained[name] - chance[name]).max() < 0.03
    assert scores.previous_token_chance(64) == pytest.approx(0.0594, abs=5e-5)
    assert chance["previous_token_score"] == scores.previous_token_chance(2 * P + 1)


def test_a_whole_context_is_accepted_and_a_longer_or_misshapen_one_refused():
    model, variables = random_model(context_length=13)
    scores_LH = scores.stripe_scores(model, variables, repeats(6), 6)["induction_score"]
    assert np.isfinite(scores_LH).all()
    with pytest.raises(ValueError, match="context_length=13"):
        scores.stripe_scores(model, variables, repeats(7), 7)
    with pytest.raises(ValueError, match="blocks of 5 has 11 tokens, not 13"):
        scores.stripe_scores(model, variables, repeats(6), 5)


def test_arguments_stay_as_they_were():
    model, variables = random_model()
    tokens, variables = repeats(10), jax.tree.map(np.array, variables)
    before = jax.tree.map(np.copy, (tokens, variables))
    scores.stripe_scores(model, variables, tokens, 10)
    scores.prefix_matching_score(model, variables, tokens)
    scores.copying_score(model, variables, tokens)
    jax.tree.map(np.testing.assert_array_equal, (tokens, variables), before)


def test_a_batch_too_large_for_one_chunk_gives_the_mean_over_its_sequences():
    P = 128
    model, variables = random_model(context_length=257, num_layers=1, num_heads=4, vocab_size=130)
    tokens = repeats(P, num_sequences=6, num_tokens=129, bos=129)  # chunks of 3
    whole = scores.stripe_scores(model, variables, tokens, P)
    each = [scores.stripe_scores(model, variables, tokens[i : i + 1], P) for i in range(6)]
    for name in STRIPES:
        np.testing.assert_allclose(whole[name], np.mean([one[name] for one in each], axis=0), rtol=1e-5)


def test_seeds_are_scored_at_once():
    tokens = repeats(10)
    model, _ = random_model()
    seeds = [random_model(seed)[1] for seed in range(3)]

    def all_scores(variables):
        stripes = scores.stripe_scores(model, variables, tokens, 10)
        copying = {"copying_score": scores.copying_score(model, variables, tokens)}
        return stripes | copying | scores.prefix_matching_score(model, variables, tokens)

    together = jax.jit(jax.vmap(all_scores))(jax.tree.map(lambda *leaves: jnp.stack(leaves), *seeds))
    for i, variables in enumerate(seeds):
        for name, alone in all_scores(variables).items():
            np.testing.assert_allclose(together[name][i], alone, atol=1e-5)


def test_half_precision_is_summed_in_float32():
    P = 10
    tokens = repeats(P)
    model, variables = random_model()
    half = Transformer(TransformerConfig(**{**model.config.__dict__, "dtype": "bfloat16"}))
    measured, exact = (scores.stripe_scores(m, variables, tokens, P) for m in (half, model))
    for name in STRIPES:
        assert measured[name].dtype == jnp.float32
        np.testing.assert_allclose(measured[name], exact[name], atol=0.01)


@pytest.mark.parametrize("name", ["stripes", "prefix matching", "copying"])
def test_neither_all_patterns_nor_logits_are_stored(name):
    L, H, B, P, V = 8, 4, 6, 31, 20000
    T = 1 + 2 * P
    model = Transformer(TransformerConfig(V, T, num_layers=L, num_heads=H, d_model=16, d_mlp=32))
    variables = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, T), jnp.int32))
    tokens = jax.ShapeDtypeStruct((B, T), jnp.int32)
    score = {
        "stripes": lambda *inputs: scores.stripe_scores(model, *inputs, P),
        "prefix matching": lambda *inputs: scores.prefix_matching_score(model, *inputs),
        "copying": lambda *inputs: scores.copying_score(model, *inputs),
    }[name]
    lowered = jax.jit(score).lower(variables, tokens)
    stored = lowered.compile().memory_analysis().temp_size_in_bytes
    assert stored < L * B * H * T * T * 4
    assert stored < B * T * V * 4


# Prefix matching.


@pytest.mark.parametrize("positions", POSITIONS)
def test_prefix_matching_equals_the_definition(positions):
    model, variables = random_model(positions=positions)
    # With replacement, so that tokens recur within a block and next to each other.
    tokens = repeats(10, num_tokens=4, distinct=False)
    A = activations(model, variables, tokens, "pattern")
    measured = scores.prefix_matching_score(model, variables, tokens)
    for layer in range(2):
        for head in range(2):
            entries, sums = [], []
            for b in range(3):
                for q in range(tokens.shape[1]):
                    matching = [k for k in range(1, q + 1) if tokens[b, k - 1] == tokens[b, q]]
                    entries += [A[layer, b, head, q, k] for k in matching]
                    if matching:
                        sums.append(sum(A[layer, b, head, q, k] for k in matching))
            assert measured["prefix_matching_mean"][layer, head] == pytest.approx(np.mean(entries), abs=1e-6)
            assert measured["prefix_matching_sum"][layer, head] == pytest.approx(np.mean(sums), abs=1e-6)


def test_prefix_matching_finds_the_hand_wired_induction_head_and_dilutes_its_mean():
    model, variables = hand_wired()
    measured = scores.prefix_matching_score(model, variables, repeats(8, num_copies=4, num_tokens=29, bos=29))
    assert measured["prefix_matching_sum"][1, 0] >= 0.99
    assert measured["prefix_matching_sum"][0, 0] <= 0.01
    # Copies 2, 3, 4 see 1, 2, 3 earlier ones: six entries share three rows.
    assert measured["prefix_matching_mean"][1, 0] == pytest.approx(0.5, abs=0.01)


def test_on_two_copies_of_distinct_tokens_prefix_matching_is_the_induction_stripe():
    model, variables = random_model()
    tokens = repeats(10)
    prefix = scores.prefix_matching_score(model, variables, tokens)
    stripe = scores.stripe_scores(model, variables, tokens, 10)["induction_score"]
    np.testing.assert_allclose(prefix["prefix_matching_sum"], stripe, rtol=1e-5)
    np.testing.assert_allclose(prefix["prefix_matching_mean"], stripe, rtol=1e-5)


def test_uniform_attention_prefix_matches_at_the_stated_chance():
    tokens = repeats(5, num_copies=4)  # 21 tokens
    chance = scores.uniform_prefix_matching_chance(tokens)
    measured = scores.prefix_matching_score(*random_model(sharpness=0.0), tokens)
    for name, value in chance.items():
        np.testing.assert_allclose(measured[name], value, rtol=1e-5)
    distinct = scores.uniform_prefix_matching_chance(repeats(9))
    assert distinct["prefix_matching_sum"] == pytest.approx(scores.stripe_chance(9)["induction_score"], rel=1e-5)


def test_without_any_repetition_prefix_matching_is_undefined():
    assert np.isnan(scores.uniform_prefix_matching_chance(repeats(9, num_copies=1))["prefix_matching_sum"])


# Copying.


@pytest.mark.parametrize(
    "settings",
    [
        {"positions": "learned"},
        {"positions": "rotary", "tied_unembedding": True},
        {"positions": "alibi", "norm": "layernorm", "bias": True, "d_mlp": 24},
        {"positions": "sinusoidal", "norm": "layernorm", "tied_unembedding": True},
    ],
)
def test_copying_equals_the_definition(settings):
    model, variables = random_model(**settings)
    params = variables["params"]
    T = 7
    tokens = repeats(T, num_copies=1, bos=None)
    A = activations(model, variables, tokens, "pattern")
    values = activations(model, variables, tokens, "values")
    unembed = np.array(params["embed"].T if model.config.tied_unembedding else params["unembed"]["kernel"])
    measured = scores.copying_score(model, variables, tokens)
    for layer in range(2):
        W_O = np.array(params[f"layer_{layer}"]["attention"]["output"]["kernel"])
        for head in range(2):
            of_queries = []
            for b in range(3):
                for q in range(T):
                    output = sum(A[layer, b, head, q, k] * values[layer, b, k, head] for k in range(T)) @ W_O[head]
                    if "final_norm" in params:
                        output = (output - output.mean()) * np.array(params["final_norm"]["scale"])
                    logits = output @ unembed
                    raised = np.maximum(logits - logits.mean(), 0)
                    a = sum(A[layer, b, head, q, k] * raised[tokens[b, k]] for k in range(T))
                    S = sum(raised[tokens[b, k]] for k in range(T))
                    if S > 0:
                        of_queries.append(4 * a / (a + S) - 1)
            assert measured[layer, head] == pytest.approx(np.mean(of_queries), abs=1e-5)


@pytest.mark.parametrize(("sign", "expected"), [(1, 1), (-1, -1)])
def test_a_head_that_only_copies_scores_one_and_one_that_suppresses_minus_one(sign, expected):
    model, variables = hand_wired()
    output = variables["params"]["layer_0"]["attention"]["output"]
    # The previous-token head now writes what it reads where the unembedding reads.
    output["kernel"] = sign * variables["params"]["layer_1"]["attention"]["output"]["kernel"]
    tokens = repeats(25, num_copies=1, num_tokens=30, bos=None)
    assert scores.copying_score(model, variables, tokens)[0, 0] == pytest.approx(expected, abs=1e-3)


def test_copying_of_the_hand_wired_heads_is_what_their_patterns_make_it():
    T = 25
    model, variables = hand_wired()
    measured = scores.copying_score(model, variables, repeats(T, num_copies=1, num_tokens=30, bos=None))
    # The previous-token head writes where the unembedding does not read: no query has a logit that rises.
    assert np.isnan(measured[0, 0])
    # Without a match the induction head copies from positions 1 ... q evenly, and from 0 at position 0: a / S = 1 / q.
    exact = np.mean([1.0] + [4 / (1 + q) - 1 for q in range(1, T)])
    assert measured[1, 0] == pytest.approx(exact, abs=1e-4)


def test_raising_all_tokens_of_the_sequence_alike_scores_the_stated_chance():
    T, V = 9, 30
    model, variables = random_model(num_layers=1, num_heads=1, d_model=4, vocab_size=V, bias=True)
    attention = variables["params"]["layer_0"]["attention"]
    attention["value"] = {"kernel": jnp.zeros((4, 1, 4)), "bias": jnp.ones((1, 4))}
    attention["output"]["kernel"] = jnp.eye(4)[None]
    variables["params"]["unembed"]["kernel"] = jnp.zeros((4, V)).at[:, :T].set(1.0)
    tokens = repeats(T, num_copies=1, num_tokens=T, bos=None)
    assert scores.copying_score(model, variables, tokens)[0, 0] == pytest.approx(4 / (T + 1) - 1, abs=1e-5)


# In-context learning, settings.


def test_the_in_context_learning_score_compares_the_published_or_the_scaled_positions():
    assert scores.in_context_learning_positions(512) == (500, 50)
    assert scores.in_context_learning_positions(1024) == (500, 50)
    assert scores.in_context_learning_positions(511) == (510, 51)
    assert scores.in_context_learning_positions(64) == (63, 6)
    loss_ST = jnp.stack([jnp.arange(64.0), -2 * jnp.arange(64.0)])
    np.testing.assert_array_equal(scores.in_context_learning_score(loss_ST, 63, 6), [57, -114])


def test_the_slope_of_a_logarithm_is_its_factor():
    log_index = np.log(np.arange(1, 101))
    loss_ST = np.stack([4 - 0.3 * log_index, np.full(100, 2.0)])
    np.testing.assert_allclose(scores.in_context_learning_slope(loss_ST), [-0.3, 0], atol=1e-5)
    noisy = np.random.default_rng(0).normal(size=100)
    assert scores.in_context_learning_slope(noisy) == pytest.approx(np.polyfit(log_index, noisy, 1)[0], abs=1e-5)
    with pytest.raises(ValueError, match="at least 2"):
        scores.in_context_learning_slope(np.ones(1))


def test_blocks_are_as_long_as_published_where_four_copies_fit():
    assert [scores.olsson_block_length(T) for T in (5, 64, 100, 101, 1024)] == [1, 15, 24, 25, 25]
    with pytest.raises(ValueError, match="too short"):
        scores.olsson_block_length(4)


# Text.


@pytest.mark.parametrize("settings", [{}, {"num_key_value_heads": 1, "norm": "rmsnorm", "positions": "rotary"}])
def test_scores_on_text_equal_sums_over_all_earlier_occurrences(settings):
    model, variables = random_model(**settings)
    tokens_BT = np.random.default_rng(2).integers(5, size=(2, 12)).astype(np.int32)
    patterns_LBHQK = activations(model, variables, tokens_BT, "pattern")
    found = scores.text_scores(model, variables, tokens_BT)
    chance = scores.text_chance(tokens_BT)
    T = tokens_BT.shape[1]
    keys = {
        "previous_token_score": lambda x, q: [k for k in range(T) if k == q - 1],
        "duplicate_token_score": lambda x, q: [k for k in range(q) if x[k] == x[q]],
        "induction_score": lambda x, q: [k for k in range(1, q + 1) if x[k - 1] == x[q]],
    }
    for name, keys_of in keys.items():
        sums, uniform = [], []
        for b, q in np.ndindex(*tokens_BT.shape):
            counted = keys_of(tokens_BT[b], q)
            if counted:
                sums.append(sum(patterns_LBHQK[:, b, :, q, k] for k in counted))
                uniform.append(len(counted) / (q + 1))
        np.testing.assert_allclose(found[name], np.mean(sums, axis=0), rtol=1e-4)
        np.testing.assert_allclose(chance[name], np.mean(uniform), rtol=1e-5)
