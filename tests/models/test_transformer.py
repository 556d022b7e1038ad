"""The Transformer: logits, cached reading and padding against a slow reference; repeated layers; what is refused.

Covers models/decoding.py, too, and all of models/attention.py that its own test file leaves out;
tests/probes/test_sites.py covers models/site.py.
"""

import math
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_models import compute_logits, parameter_shapes, random_params

from experiments.induction_heads.hand_wired import induction_config, induction_params
from models.decoding import greedy_by_recomputation
from models.sampling import generate
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
ONE_LAYER = replace(FULL, num_layers=1)
TWO_WAY = replace(ONE_LAYER, bias=False, tied_unembedding=True, causal=False)
LLAMA = replace(SMALL, num_heads=4, num_key_value_heads=2, d_mlp=12, mlp="swiglu", norm="rmsnorm", positions="rotary")
QWEN = replace(LLAMA, query_key_value_bias=True, tied_unembedding=True, norm_epsilon=1e-3)
NEOX = replace(FULL, mlp="gelu_exact", parallel_residual=True, positions="rotary", norm_epsilon=1e-5)
PARTLY_BIASED = replace(FULL, mlp_bias=False, attention_output_bias=False)
FAMILIES = [LLAMA, QWEN, NEOX, PARTLY_BIASED]
TOKENS_BT = np.random.default_rng(0).integers(0, V, (B, T)).astype(np.int32)


def slow_logits(config, params, tokens):
    """Logits of one sequence, written out with loops over heads, queries and keys, in float64."""
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    T, D, C = len(tokens), config.d_model, config.width_of_heads

    def norm(p_layer, name, x):
        if config.norm == "none":
            return x
        if config.norm == "rmsnorm":
            return x / np.sqrt((x**2).mean(-1, keepdims=True) + config.norm_epsilon) * p_layer[name]["scale"]
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + config.norm_epsilon)
        return x * p_layer[name]["scale"] + p_layer[name].get("bias", 0)

    def turn(x, t):
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
        attention, y, written = p_layer["attention"], norm(p_layer, "attention_norm", x), np.zeros((T, D))
        for h in range(config.num_heads):
            group = h * config.heads_of_keys // config.num_heads
            q, k, v = (
                y @ attention[n]["kernel"][:, i] + attention[n].get("bias", np.zeros((9, C)))[i]
                for n, i in (("query", h), ("key", group), ("value", group))
            )
            for t in range(T):
                scores = []
                for s in range(t + 1 if config.causal else T):
                    a, b = (turn(q[t], t), turn(k[s], s)) if config.positions == "rotary" else (q[t], k[s])
                    score = a @ b / math.sqrt(C)
                    if config.positions == "alibi":
                        score -= 2 ** (-8 * (h + 1) / config.num_heads) * abs(t - s)
                    scores.append(score)
                weights = np.exp(scores - np.max(scores))
                z = sum(w / weights.sum() * v[s] for s, w in enumerate(weights))
                written[t] += z @ attention["output"]["kernel"][h]
        before, x = x, x + written + attention["output"].get("bias", 0)
        if config.d_mlp:
            y = norm(p_layer, "mlp_norm", before if config.parallel_residual else x)
            hidden = y @ p_layer["mlp_in"]["kernel"] + p_layer["mlp_in"].get("bias", 0)
            if config.mlp == "swiglu":
                gate = y @ p_layer["mlp_gate"]["kernel"] + p_layer["mlp_gate"].get("bias", 0)
                hidden = gate / (1 + np.exp(-gate)) * hidden
            elif config.mlp == "gelu_exact":
                hidden = hidden * np.vectorize(lambda a: 0.5 * (1 + math.erf(a / math.sqrt(2))))(hidden)
            else:
                hidden = 0.5 * hidden * (1 + np.tanh(math.sqrt(2 / math.pi) * (hidden + 0.044715 * hidden**3)))
            x = x + hidden @ p_layer["mlp_project"]["kernel"] + p_layer["mlp_project"].get("bias", 0)
    x = norm(p, "final_norm", x)
    return x @ p["embed"].T if config.tied_unembedding else x @ p["unembed"]["kernel"]


def fast_logits(config, params, tokens_BT=TOKENS_BT, **options):
    return np.asarray(compute_logits(Transformer(config), {"params": params}, tokens_BT, **options))


# Every way to tell positions is combined with the parts that it can depend on: the mask, and their absence.
CONFIGS = [
    *(replace(base, positions=positions) for base in (FULL, TWO_WAY) for positions in POSITIONS),
    *(replace(SMALL, positions=positions) for positions in ("none", "learned")),
    *FAMILIES,
]


@pytest.mark.parametrize("attention", ["auto", "explicit"])
@pytest.mark.parametrize("config", CONFIGS)
def test_logits_equal_a_slow_reference(config, attention):
    params = random_params(config)
    logits_BTV = fast_logits(replace(config, attention=attention), params)
    assert logits_BTV.shape == (B, T, V)
    for logits_TV, tokens_T in zip(logits_BTV, TOKENS_BT, strict=True):
        np.testing.assert_allclose(logits_TV, slow_logits(config, params, tokens_T), rtol=2e-4, atol=2e-4)


@partial(jax.jit, static_argnums=0)
def advance(model, variables, cache, tokens_BT, visible_BK=None):
    return decoder(model).advance(variables, cache, tokens_BT, visible_BK)


@pytest.mark.parametrize(
    "config",
    [
        LLAMA,
        *(replace(family, num_layers=1) for family in FAMILIES[1:]),
        *(replace(ONE_LAYER, positions=positions) for positions in POSITIONS),
    ],
)
def test_reading_in_pieces_equals_one_pass(config):
    model, params = Transformer(config), random_params(config)
    whole_BTV = np.stack([slow_logits(config, params, tokens_T) for tokens_T in TOKENS_BT])
    cache = decoder(model).start(B)
    for first, end in ((0, 3), (3, 6), (6, 7)):
        logits_BV, cache = advance(model, {"params": params}, cache, TOKENS_BT[:, first:end])
        np.testing.assert_allclose(logits_BV, whole_BTV[:, end - 1], rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("config", [LLAMA, *(replace(ONE_LAYER, positions=p) for p in ("learned", "alibi"))])
def test_padding_on_the_left_changes_nothing(config):
    model, params = Transformer(config), random_params(config)
    visible_BT = np.arange(T) >= np.array([[0], [2]])
    whole_TV, rest_TV = slow_logits(config, params, TOKENS_BT[0]), slow_logits(config, params, TOKENS_BT[1, 2:])
    padded_BTV = fast_logits(config, params, visible_BK=visible_BT)
    assert np.isfinite(padded_BTV).all()
    np.testing.assert_allclose(padded_BTV[0], whole_TV, rtol=2e-4, atol=2e-4)
    np.testing.assert_allclose(padded_BTV[1, 2:], rest_TV, rtol=2e-4, atol=2e-4)
    cache = decoder(model).start(B)
    for first, end in ((0, 3), (3, 6)):
        _, cache = advance(model, {"params": params}, cache, TOKENS_BT[:, first:end], visible_BT[:, first:end])
    logits_BV, _ = advance(model, {"params": params}, cache, TOKENS_BT[:, 6:])
    np.testing.assert_allclose(logits_BV, [whole_TV[-1], rest_TV[-1]], rtol=2e-4, atol=2e-4)


def test_greedy_generation_equals_recomputation():
    config = replace(SMALL, num_layers=1)
    model, variables = Transformer(config), {"params": random_params(config, gain=3.0)}
    prompt_T = TOKENS_BT[0, :3]
    recompute = jax.jit(lambda variables, prompt_T: greedy_by_recomputation(model, variables, prompt_T, T - 3))
    tokens_T = generate(decoder(model), variables, jax.random.key(0), prompt_T, T - 3, temperature=0.0)
    np.testing.assert_array_equal(tokens_T, recompute(variables, prompt_T))


def gradients_and_logits(model, params):
    """The gradients, layer by layer, of the sum of the squared logits, and the logits."""

    def sum_of_squares(params):
        logits_BTV = model.apply({"params": params}, TOKENS_BT)
        return (logits_BTV**2).sum(), logits_BTV

    @jax.jit
    def compute(params):
        gradients, logits_BTV = jax.grad(sum_of_squares, has_aux=True)(params)
        plain, gradients = unscanned(model, gradients)
        assert plain.config == replace(model.config, scan_layers=False)
        return gradients, logits_BTV

    return compute(params)


THREE_LAYERS = replace(LLAMA, num_layers=3)


@pytest.fixture(scope="module")
def layers_written_out():
    return gradients_and_logits(Transformer(THREE_LAYERS), random_params(THREE_LAYERS))


@pytest.mark.parametrize("remat", [False, True])
def test_one_repeated_layer_equals_layers_written_out(layers_written_out, remat):
    gradients, logits_BTV = layers_written_out
    config = replace(THREE_LAYERS, scan_layers=True, remat=remat)

    @jax.jit
    def stack(params):
        module, params = scanned(Transformer(replace(THREE_LAYERS, remat=remat)), params)
        assert module.config == config
        return params

    stacked = stack(random_params(THREE_LAYERS))
    assert jax.tree.map(np.shape, stacked) == jax.tree.map(lambda x: x.shape, parameter_shapes(config))
    repeated = Transformer(config)
    repeated_gradients, repeated_BTV = gradients_and_logits(repeated, stacked)
    np.testing.assert_allclose(repeated_BTV, logits_BTV, rtol=1e-4, atol=1e-5)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-3), repeated_gradients, gradients)
    logits_BV, _ = advance(repeated, {"params": stacked}, decoder(repeated).start(B), TOKENS_BT)
    np.testing.assert_allclose(logits_BV, logits_BTV[:, -1], rtol=1e-4, atol=1e-4)


def test_repeated_layers_start_each_on_their_own():
    model = Transformer(replace(SMALL, scan_layers=True))
    kernels = jax.jit(model.init)(jax.random.key(0), TOKENS_BT)["params"]["layers"]["attention"]["query"]["kernel"]
    assert (np.asarray(kernels[0]) != np.asarray(kernels[1])).all()


def test_sinusoidal_positions_of_odd_width():
    positions_TD = jax.jit(sinusoidal_positions, static_argnums=1)(np.arange(5), 7)
    assert positions_TD.shape == (5, 7)
    np.testing.assert_array_equal(positions_TD[0], [0, 0, 0, 0, 1, 1, 1])


def test_dropout_only_where_training():
    config = replace(SMALL, dropout=0.5)
    model, params = Transformer(config), random_params(config)
    without_BTV = fast_logits(SMALL, params)
    np.testing.assert_allclose(fast_logits(config, params), without_BTV, rtol=1e-5)
    train = jax.jit(lambda key: model.apply({"params": params}, TOKENS_BT, deterministic=False, rngs={"dropout": key}))
    first_BTV, second_BTV = (np.asarray(train(jax.random.key(seed))) for seed in range(2))
    assert (first_BTV != second_BTV).any()
    assert (first_BTV != without_BTV).any()


def test_half_precision_computes_in_half_and_keeps_parameters_whole():
    config = replace(FULL, dtype="bfloat16")
    assert {leaf.dtype for leaf in jax.tree.leaves(parameter_shapes(config))} == {jnp.dtype("float32")}
    params = random_params(FULL)
    logits_BTV = fast_logits(config, params)
    assert logits_BTV.dtype == np.float32
    assert 0 < np.abs(logits_BTV - fast_logits(FULL, params)).max() < 0.2


def test_head_width_may_differ_from_the_share_of_the_model_width():
    shapes = parameter_shapes(replace(SMALL, head_width=3))
    assert shapes["layer_0"]["attention"]["query"]["kernel"].shape == (8, 2, 3)


@pytest.mark.parametrize(
    ("change", "message"),
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
def test_parts_that_do_not_fit_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **change)


def test_more_tokens_than_the_context_are_refused():
    with pytest.raises(ValueError, match="8 tokens do not fit context_length=7"):
        Transformer(SMALL).apply({"params": random_params(SMALL)}, np.zeros((1, 8), int))


@pytest.mark.parametrize(("vocab_size", "length"), [(2, 9), (30, 30)])
def test_hand_wired_weights_complete_arbitrary_sequences(vocab_size, length):
    """On any tokens, BOS or not: wherever a token's earlier occurrences were all followed by one token, it is named."""
    config = induction_config(vocab_size, length)
    params = jax.jit(induction_params, static_argnums=0)(config)
    shapes = parameter_shapes(config)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), params) == jax.tree.map(lambda x: (x.shape, x.dtype), shapes)
    tokens_BT = np.random.default_rng(0).integers(0, vocab_size, (20, length))
    tokens_BT[0] = np.resize(np.random.default_rng(1).permutation(vocab_size)[: max(2, length // 3)], length)
    named_BT = fast_logits(config, params, tokens_BT).argmax(-1)
    num_judged = 0
    for tokens_T, named_T in zip(tokens_BT.tolist(), named_BT, strict=True):
        for t in range(length):
            followers = {tokens_T[k + 1] for k in range(t) if tokens_T[k] == tokens_T[t]}
            if len(followers) == 1:
                num_judged += 1
                assert named_T[t] == followers.pop()
    assert num_judged > 10
