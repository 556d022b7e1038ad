"""The Transformer: causality, symmetries, position schemes against their formulas, a slow reference."""

import math
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.induction_heads.hand_wired import induction_config, induction_params
from models.attention import alibi_slopes
from models.losses import token_losses
from models.rotary import Rotary, rotate
from models.transformer import (
    POSITIONS,
    Transformer,
    TransformerConfig,
    decoder,
    scanned,
    sinusoidal_positions,
    unscanned,
)

B, T, V = 2, 7, 11
SMALL = TransformerConfig(vocab_size=V, context_length=T, num_layers=2, num_heads=2, d_model=8)
FULL = replace(SMALL, d_mlp=16, norm="layernorm", bias=True)


def made(config, seed=0):
    """(model, variables with every parameter random, tokens); biases and scales are not left at 0 and 1."""
    model = Transformer(config)
    tokens = jax.random.randint(jax.random.key(seed), (B, T), 0, V)
    variables = model.init(jax.random.key(seed + 1), tokens)
    leaves, tree = jax.tree.flatten(variables)
    keys = jax.random.split(jax.random.key(seed + 2), len(leaves))
    noise = [x + 0.3 * jax.random.normal(k, x.shape, x.dtype) for x, k in zip(leaves, keys, strict=True)]
    return model, jax.tree.unflatten(tree, noise), tokens


def slow_forward(config, params, tokens):
    """Logits of one sequence, written out with loops over heads, queries and keys, in float64."""
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    T, D, C = len(tokens), config.d_model, config.width_of_heads

    def norm(name, x):
        if config.norm == "none":
            return x
        if config.norm == "rmsnorm":
            return x / np.sqrt((x**2).mean(-1, keepdims=True) + config.norm_epsilon) * p_layer[name]["scale"]
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + config.norm_epsilon)
        return x * p_layer[name]["scale"] + p_layer[name].get("bias", 0)

    def turned(x, t):
        out = np.empty(C)
        for c in range(C // 2):
            angle = t * 10000.0 ** (-2 * c / C)
            out[c] = x[c] * math.cos(angle) - x[c + C // 2] * math.sin(angle)
            out[c + C // 2] = x[c + C // 2] * math.cos(angle) + x[c] * math.sin(angle)
        return out

    x = p["embed"][tokens]
    if config.positions == "learned":
        x = x + p["positions"][:T]
    if config.positions == "sinusoidal":
        for t in range(T):
            for d in range(D // 2):
                angle = t * 10000.0 ** (-d / (D // 2))
                x[t, d] += math.sin(angle) / math.sqrt(D)
                x[t, d + D // 2] += math.cos(angle) / math.sqrt(D)
    for layer in range(config.num_layers):
        p_layer = p[f"layer_{layer}"]
        attention, y, written = p_layer["attention"], norm("attention_norm", x), np.zeros((T, D))
        for h in range(config.num_heads):
            shared = h * config.heads_of_keys // config.num_heads
            q, k, v = (
                y @ attention[n]["kernel"][:, i] + attention[n].get("bias", np.zeros((9, C)))[i]
                for n, i in (("query", h), ("key", shared), ("value", shared))
            )
            for t in range(T):
                scores = []
                for s in range(t + 1 if config.causal else T):
                    a, b = (turned(q[t], t), turned(k[s], s)) if config.positions == "rotary" else (q[t], k[s])
                    score = a @ b / math.sqrt(C)
                    if config.positions == "alibi":
                        score -= 2 ** (-8 * (h + 1) / config.num_heads) * abs(t - s)
                    scores.append(score)
                weights = np.exp(scores - np.max(scores))
                z = sum(w / weights.sum() * v[s] for s, w in enumerate(weights))
                written[t] += z @ attention["output"]["kernel"][h]
        before, x = x, x + written + attention["output"].get("bias", 0)
        if config.d_mlp:
            y = norm("mlp_norm", before if config.parallel_residual else x)
            hidden = y @ p_layer["mlp_in"]["kernel"] + p_layer["mlp_in"].get("bias", 0)
            if config.mlp == "swiglu":
                gate = y @ p_layer["mlp_gate"]["kernel"] + p_layer["mlp_gate"].get("bias", 0)
                hidden = gate / (1 + np.exp(-gate)) * hidden
            elif config.mlp == "gelu_exact":
                hidden = hidden * np.vectorize(lambda a: 0.5 * (1 + math.erf(a / math.sqrt(2))))(hidden)
            else:
                hidden = 0.5 * hidden * (1 + np.tanh(math.sqrt(2 / math.pi) * (hidden + 0.044715 * hidden**3)))
            x = x + hidden @ p_layer["mlp_project"]["kernel"] + p_layer["mlp_project"].get("bias", 0)
    p_layer = p
    x = norm("final_norm", x)
    return x @ p["embed"].T if config.tied_unembedding else x @ p["unembed"]["kernel"]


TWO_WAY = replace(FULL, bias=False, tied_unembedding=True, causal=False)


@pytest.mark.parametrize("base", [SMALL, FULL, pytest.param(TWO_WAY, marks=pytest.mark.slow)])
@pytest.mark.parametrize("positions", POSITIONS)
def test_logits_equal_a_slow_reference(base, positions):
    config = replace(base, positions=positions)
    _, variables, tokens = made(config)
    for attention in ("auto", "explicit"):
        logits = Transformer(replace(config, attention=attention)).apply(variables, tokens)
        assert logits.shape == (B, T, V)
        for b in range(B):
            slow = slow_forward(config, variables["params"], np.asarray(tokens[b]))
            np.testing.assert_allclose(logits[b], slow, rtol=2e-4, atol=2e-4)


LLAMA = replace(SMALL, num_heads=4, num_key_value_heads=2, d_mlp=12, mlp="swiglu", norm="rmsnorm", positions="rotary")
QWEN = replace(LLAMA, query_key_value_bias=True, tied_unembedding=True, norm_epsilon=1e-3)
NEOX = replace(FULL, mlp="gelu_exact", parallel_residual=True, positions="rotary", norm_epsilon=1e-5)
FAMILIES = [LLAMA, QWEN, NEOX, replace(FULL, mlp_bias=False, attention_output_bias=False)]


@pytest.mark.parametrize("config", FAMILIES)
def test_families_equal_a_slow_reference(config):
    _, variables, tokens = made(config)
    for attention in ("auto", "explicit"):
        logits = Transformer(replace(config, attention=attention)).apply(variables, tokens)
        slow = slow_forward(config, variables["params"], np.asarray(tokens[1]))
        np.testing.assert_allclose(logits[1], slow, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize(
    "config",
    [
        LLAMA,
        *(pytest.param(family, marks=pytest.mark.slow) for family in FAMILIES[1:]),
        *(replace(FULL, positions=positions) for positions in POSITIONS),
    ],
)
def test_reading_in_pieces_equals_one_pass(config):
    model, variables, tokens = made(config)
    whole = model.apply(variables, tokens)
    reader = decoder(model)
    cache = reader.start(B)
    for first, end in ((0, 3), (3, 4), (4, 7)):
        logits_BV, cache = reader.advance(variables, cache, tokens[:, first:end])
        np.testing.assert_allclose(logits_BV, whole[:, end - 1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "config",
    [pytest.param(LLAMA, marks=pytest.mark.slow), *(replace(FULL, positions=p) for p in ("learned", "alibi"))],
)
def test_padding_on_the_left_changes_nothing(config):
    model, variables, tokens = made(config)
    alone = model.apply(variables, tokens[1:, 3:])
    visible = jnp.arange(T) >= jnp.array([[0], [3]])
    padded = model.apply(variables, tokens, visible_BK=visible)
    np.testing.assert_allclose(padded[1, 3:], alone[0], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(padded[0], model.apply(variables, tokens)[0], rtol=1e-4, atol=1e-4)
    assert jnp.isfinite(padded).all()
    reader = decoder(model)
    _, cache = reader.advance(variables, reader.start(B), tokens[:, :5], visible[:, :5])
    logits_BV, _ = reader.advance(variables, cache, tokens[:, 5:])
    np.testing.assert_allclose(logits_BV, padded[:, -1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("remat", [pytest.param(False, marks=pytest.mark.slow), True])
def test_one_repeated_layer_equals_layers_written_out(remat):
    model, variables, tokens = made(replace(LLAMA, num_layers=3))
    repeated, params = scanned(model, variables["params"])
    repeated = repeated.clone(config=replace(repeated.config, remat=remat))
    shapes = jax.eval_shape(repeated.init, jax.random.key(0), tokens)["params"]
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(lambda x: x.shape, shapes)

    def loss(model):
        return lambda params: (model.apply({"params": params}, tokens) ** 2).sum()

    value, gradients = jax.jit(jax.value_and_grad(loss(model)))(variables["params"])
    other, others = jax.jit(jax.value_and_grad(loss(repeated)))(params)
    np.testing.assert_allclose(other, value, rtol=1e-5)
    back, others = unscanned(repeated, others)
    assert back.config.num_layers == 3
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-3), others, gradients)
    read = decoder(repeated)
    logits_BV, _ = read.advance({"params": params}, read.start(B), tokens)
    np.testing.assert_allclose(logits_BV, model.apply(variables, tokens)[:, -1], rtol=1e-4, atol=1e-4)


def test_repeated_layers_start_and_drop_out_each_on_their_own():
    model = Transformer(replace(FULL, scan_layers=True, dropout=0.5))
    tokens = jnp.zeros((1, T), int)
    kernels = model.init(jax.random.key(0), tokens)["params"]["layers"]["mlp_in"]["kernel"]
    assert (kernels[0] != kernels[1]).all()


@pytest.mark.parametrize("length", [pytest.param(1, marks=pytest.mark.slow), T])
@pytest.mark.parametrize("positions", POSITIONS)
def test_gradients_do_not_depend_on_how_attention_is_computed(positions, length):
    config = replace(FULL, positions=positions)
    _, variables, tokens = made(config)
    tokens = tokens[:, :length]

    def gradient(attention):
        model = Transformer(replace(config, attention=attention))
        return jax.grad(lambda v: (model.apply(v, tokens) ** 2).sum())(variables)

    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-3), gradient("auto"), gradient("explicit"))


@pytest.mark.parametrize("attention", ["auto", "explicit"])
@pytest.mark.parametrize("positions", POSITIONS)
def test_nothing_flows_from_the_future(positions, attention):
    """With every token used once, a gradient in an embedding row is a gradient in the position that holds it."""
    model, variables, _ = made(replace(FULL, positions=positions, attention=attention))
    params = variables["params"]

    def logits_of(embed_VD):
        return model.apply({"params": params | {"embed": embed_VD}}, jnp.arange(T)[None])[0].sum(-1)

    influence_TT = jnp.abs(jax.jacobian(logits_of)(params["embed"])[:, :T]).sum(-1)
    assert (jnp.triu(influence_TT, 1) == 0).all()
    assert (jnp.tril(influence_TT) > 0).sum() == T * (T + 1) // 2


def test_without_positions_and_mask_a_permutation_of_tokens_permutes_logits():
    model, variables, tokens = made(replace(FULL, positions="none", causal=False))
    order = jax.random.permutation(jax.random.key(9), T)
    logits = model.apply(variables, tokens)
    np.testing.assert_allclose(model.apply(variables, tokens[:, order]), logits[:, order], atol=1e-5)
    with_positions = made(replace(FULL, positions="rotary", causal=False))[0]
    changed = with_positions.apply(variables, tokens[:, order]) - with_positions.apply(variables, tokens)[:, order]
    assert jnp.abs(changed).max() > 1e-3


def test_rotary_scores_depend_on_distance_only():
    x, y = jax.random.normal(jax.random.key(0), (2, 1, 1, 1, 8))
    rows = jnp.broadcast_to(jnp.concatenate([x, y], axis=0), (2, 20, 1, 8))
    q, k = rotate(rows, jnp.arange(20), Rotary())[:, :, 0]
    scores = q @ k.T
    for distance in range(-5, 6):
        along = jnp.diagonal(scores, distance)
        np.testing.assert_allclose(along, along[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(jnp.linalg.norm(q, axis=-1), jnp.linalg.norm(x), rtol=1e-5)


def test_alibi_slopes_are_those_of_the_paper():
    np.testing.assert_allclose(alibi_slopes(8), [1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 1 / 128, 1 / 256])


def test_sinusoidal_positions_of_odd_width():
    assert sinusoidal_positions(jnp.arange(5), 7).shape == (5, 7)
    np.testing.assert_array_equal(sinusoidal_positions(jnp.arange(1), 6)[0], [0, 0, 0, 1, 1, 1])


def test_dropout_only_where_training():
    model, variables, tokens = made(replace(FULL, dropout=0.5))
    np.testing.assert_array_equal(model.apply(variables, tokens), model.apply(variables, tokens))
    a, b = (model.apply(variables, tokens, deterministic=False, rngs={"dropout": jax.random.key(i)}) for i in range(2))
    assert (a != b).any()


def test_half_precision_computes_in_half_and_keeps_parameters_whole():
    model, variables, tokens = made(replace(FULL, dtype="bfloat16"))
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    logits = model.apply(variables, tokens)
    assert logits.dtype == jnp.float32
    whole = Transformer(FULL).apply(variables, tokens)
    assert 0 < jnp.abs(logits - whole).max() < 0.2


def test_head_width_may_differ_from_the_share_of_the_model_width():
    config = replace(SMALL, head_width=3)
    _, variables, _ = made(config)
    assert variables["params"]["layer_0"]["attention"]["query"]["kernel"].shape == (8, 2, 3)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"num_heads": 3}, "d_model=8 is not divisible by num_heads=3"),
        ({"positions": "relative"}, "is not one of none, learned"),
        ({"norm": "batch"}, "is not one of none, layernorm"),
        ({"dropout": 1.0}, r"must lie in \[0, 1\)"),
        ({"head_width": 3, "positions": "rotary"}, "positive even number"),
        ({"vocab_size": 0}, "vocab_size=0 must be at least 1"),
        ({"num_layers": -1}, "must not be negative"),
        ({"num_key_value_heads": 3, "num_heads": 4}, "not divisible by num_key_value_heads=3"),
        ({"num_key_value_heads": 0}, "must be at least 1"),
        ({"mlp": "tanh"}, "is not one of gelu"),
    ],
)
def test_parts_that_do_not_fit_are_refused(change, says):
    with pytest.raises(ValueError, match=says):
        replace(SMALL, **change)


def test_more_tokens_than_the_context_are_refused():
    model, variables, _ = made(SMALL)
    with pytest.raises(ValueError, match="8 tokens do not fit context_length=7"):
        model.apply(variables, jnp.zeros((1, 8), int))


def test_token_losses_are_minus_log_probabilities():
    logits = jax.random.normal(jax.random.key(0), (B, T, V)) * 30
    targets = jax.random.randint(jax.random.key(1), (B, T), 0, V)
    probabilities = jax.nn.softmax(logits.astype(jnp.float32), axis=-1)
    picked = jnp.take_along_axis(probabilities, targets[..., None], -1)[..., 0]
    keep = picked > 1e-30
    np.testing.assert_allclose(token_losses(logits, targets)[keep], -jnp.log(picked)[keep], rtol=1e-4, atol=1e-5)
    gradient = jax.grad(lambda x: token_losses(x, targets).sum())(logits)
    np.testing.assert_allclose(gradient, probabilities - jax.nn.one_hot(targets, V), atol=1e-6)
    assert jnp.isfinite(token_losses(jnp.full((1, 1, V), 1e4).at[0, 0, 0].set(-1e4), jnp.zeros((1, 1), int))).all()


@pytest.mark.parametrize(("vocab_size", "length"), [(2, 9), (30, 30)])
def test_hand_wired_weights_complete_arbitrary_sequences(vocab_size, length):
    """On any tokens, BOS or not: wherever a token's earlier occurrences were all followed by one token, it is named."""
    config = induction_config(vocab_size, length)
    model, params = Transformer(config), induction_params(config)
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 1), int))["params"]
    assert jax.tree.map(lambda x: (x.shape, x.dtype), params) == jax.tree.map(lambda x: (x.shape, x.dtype), shapes)
    tokens = np.random.default_rng(0).integers(0, vocab_size, (20, length))
    tokens[0] = np.resize(np.random.default_rng(1).permutation(vocab_size)[: max(2, length // 3)], length)
    named = np.asarray(model.apply({"params": params}, jnp.asarray(tokens)).argmax(-1))
    judged = 0
    for row, answers in zip(tokens.tolist(), named, strict=True):
        for n in range(length):
            followers = {row[k + 1] for k in range(n) if row[k] == row[n]}
            if len(followers) == 1:
                judged += 1
                assert answers[n] == followers.pop()
    assert judged > 10
