"""Weight probes against dense matrices and numpy's eigenvalues, and on a hand-wired induction head."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.induction_heads.hand_wired import induction_config, induction_params
from experiments.induction_heads.invariance import random_params
from models.transformer import Transformer, TransformerConfig
from probes import circuits

L, H, D, C, V = 3, 2, 12, 4, 9
PARTS = [
    {},
    {"norm": "layernorm", "bias": True, "tied_unembedding": True},
    {"norm": "rmsnorm", "num_key_value_heads": 1},
]


def kind_of_norm(parts):
    return parts.get("norm", "none")


def build(**fields):
    config = dict(vocab_size=V, context_length=8, num_layers=L, num_heads=H, d_model=D, head_width=C)
    return random_params(Transformer(TransformerConfig(**config | fields)), np.random.default_rng(0))


def dense(params, kind="layernorm"):
    """W_OV and W_QK of every head as D x D matrices, and W_E, W_U, with norms as matrices in front."""

    def through(norm):
        if norm is None:
            return np.eye(D)
        centre = np.full((D, D), 1 / D) if kind == "layernorm" else np.zeros((D, D))
        return (np.eye(D) - centre) @ np.diag(norm["scale"])

    ov, qk = {}, {}
    for l in range(L):
        layer = params[f"layer_{l}"]
        reads = through(layer.get("attention_norm"))
        for h in range(H):
            kernels = [layer["attention"][kind]["kernel"] for kind in ("query", "key", "value")]
            query, key, value = (reads @ kernel[:, h * kernel.shape[1] // H] for kernel in kernels)
            ov[l, h] = value @ layer["attention"]["output"]["kernel"][h]
            qk[l, h] = query @ key.T
    unembed = params["unembed"]["kernel"] if "unembed" in params else params["embed"].T
    return ov, qk, params["embed"], through(params.get("final_norm")) @ unembed


def check_pairs(measured, reference):
    """``reference(earlier head, later head)`` for every pair; NaN where the second is in no later layer."""
    assert measured.shape == (L, H, L, H)
    for l1, h1, l2, h2 in np.ndindex(L, H, L, H):
        value = measured[l1, h1, l2, h2]
        if l2 <= l1:
            assert np.isnan(value)
        else:
            np.testing.assert_allclose(value, reference((l1, h1), (l2, h2)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("parts", PARTS)
def test_composition_is_the_relative_norm_of_dense_products(parts):
    params = build(**parts)
    ov, qk, _, _ = dense(params, kind_of_norm(parts))
    scores = circuits.composition_scores(params, kind_of_norm(parts))

    def relative(a, b):
        return np.linalg.norm(a @ b) / np.linalg.norm(a) / np.linalg.norm(b)

    check_pairs(scores["query"], lambda first, second: relative(ov[first], qk[second]))
    check_pairs(scores["key"], lambda first, second: relative(ov[first], qk[second].T))
    check_pairs(scores["value"], lambda first, second: relative(ov[first], ov[second]))


def test_composition_of_random_heads_lies_within_its_baseline():
    params = build(d_model=48, head_width=8)
    mean, deviation = jax.jit(circuits.composition_baseline)(jax.random.key(0), params)
    for kind, scores in jax.jit(circuits.composition_scores)(params).items():
        assert np.nanmax(np.abs((scores - mean) / deviation)) < 5, kind


def test_the_baseline_is_that_of_dense_gaussian_matrices():
    generator = np.random.default_rng(1)
    samples = []
    for _ in range(400):
        a, b, m, n = generator.standard_normal((4, D, C))
        product = np.linalg.norm(a @ b.T @ m @ n.T)
        samples.append(product / np.linalg.norm(a @ b.T) / np.linalg.norm(m @ n.T))
    baseline = jax.jit(circuits.composition_baseline, static_argnames="num_samples")
    mean, deviation = baseline(jax.random.key(0), build(), num_samples=400)
    assert abs(mean - np.mean(samples)) < 5 * np.std(samples) * (2 / 400) ** 0.5
    np.testing.assert_allclose(deviation, np.std(samples), rtol=0.25)


def test_heads_without_weights_compose_with_nothing():
    params = jax.tree.map(np.zeros_like, build())
    for scores in jax.jit(circuits.composition_scores)(params).values():
        assert np.nanmax(scores) == np.nanmin(scores) == 0
    np.testing.assert_array_equal(jax.jit(circuits.ov_copying_score)(params), np.zeros((L, H)))


@pytest.mark.parametrize("parts", PARTS)
def test_copying_score_is_that_of_the_vocabulary_matrix(parts):
    params = build(**parts)
    ov, qk, embed, unembed = dense(params, kind_of_norm(parts))
    copying = circuits.ov_copying_score(params, kind_of_norm(parts))
    matching = circuits.qk_matching_score(params, kind_of_norm(parts))
    for head in ov:
        for score, matrix in ((copying, embed @ ov[head] @ unembed), (matching, embed @ qk[head] @ embed.T)):
            eigenvalues = np.linalg.eigvals(matrix.astype(np.float64))
            np.testing.assert_allclose(score[head], eigenvalues.sum().real / np.abs(eigenvalues).sum(), atol=1e-4)


def test_copying_scores_have_the_sign_of_what_is_copied():
    params = build(vocab_size=4, tied_unembedding=True)
    attention = params["layer_0"]["attention"]
    params["embed"] = np.eye(4, D, dtype=np.float32)
    attention["value"]["kernel"][:, 0] = np.eye(D, C)
    attention["output"]["kernel"][0] = np.eye(C, D)
    attention["value"]["kernel"][:, 1] = np.eye(D, C)
    attention["output"]["kernel"][1] = -np.eye(C, D)
    np.testing.assert_allclose(circuits.ov_copying_score(params)[0], [1, -1], rtol=1e-6)


@pytest.mark.parametrize("parts", PARTS)
def test_k_composition_accuracy_and_trace_are_those_of_vocabulary_matrices(parts):
    params = build(**parts)
    ov, qk, embed, _ = dense(params, kind_of_norm(parts))
    tokens = np.array([1, 4, 5, 8])

    def matrix(written_ND, second, embed_ND):
        return embed_ND @ qk[second] @ written_ND.T

    def accuracy(first, second, rows=slice(None)):
        scores = matrix(embed[rows] @ ov[first], second, embed[rows])
        return np.mean([row.argmax() == token for token, row in enumerate(scores)])

    measured = jax.jit(circuits.k_composition_accuracy, static_argnames="norm")(params, norm=kind_of_norm(parts))
    check_pairs(measured["pairs"], accuracy)
    some = circuits.k_composition_accuracy(params, tokens, norm=kind_of_norm(parts))
    check_pairs(some["pairs"], lambda first, second: accuracy(first, second, tokens))
    traces = circuits.qk_trace(params, kind_of_norm(parts))
    check_pairs(traces, lambda first, second: np.trace(matrix(embed @ ov[first], second, embed)))

    assert np.isnan(measured["sum"][0]).all()
    for l2, h2 in [(l, h) for l in range(1, L) for h in range(H)]:
        total = sum(ov[l, h] for l in range(l2) for h in range(H))
        scores = matrix(embed @ total, (l2, h2), embed)
        expected = np.mean([row.argmax() == token for token, row in enumerate(scores)])
        np.testing.assert_allclose(measured["sum"][l2, h2], expected)


def test_a_folded_kernel_reads_what_the_layer_norm_passes_on():
    generator = np.random.default_rng(0)
    x, scale, kernel = (generator.standard_normal(shape) for shape in ((5, D), D, (D, H, C)))
    normed = (x - x.mean(-1, keepdims=True)) * scale
    folded = circuits.fold_norm({"scale": jnp.array(scale)}, jnp.array(kernel))
    np.testing.assert_allclose(jnp.tensordot(x, folded, 1), np.tensordot(normed, kernel, 1), rtol=1e-4, atol=1e-4)


def test_composition_does_not_depend_on_the_size_of_the_weights():
    params = build()
    huge = jax.tree.map(lambda x: x * np.float32(2.0**20), params)
    for kind, scores in circuits.composition_scores(params).items():
        np.testing.assert_allclose(scores, circuits.composition_scores(huge)[kind], rtol=1e-5)


def test_a_hand_wired_induction_head_is_recognised():
    vocab_size = 16

    @jax.jit
    def measure():
        params = induction_params(induction_config(vocab_size, context_length=48))
        return {
            "composition": circuits.composition_scores(params),
            "baseline": circuits.composition_baseline(jax.random.key(0), params),
            "copying": circuits.ov_copying_score(params),
            "accuracy": circuits.k_composition_accuracy(params),
            "trace": circuits.qk_trace(params),
        }

    measured = measure()
    scores = {kind: x[0, 0, 1, 0] for kind, x in measured["composition"].items()}
    mean, deviation = measured["baseline"]
    assert scores["key"] > mean + 10 * deviation
    assert scores["query"] == scores["value"] == 0
    # W_OV1 has V equal singular values, of which W_QK2^T reads all, and as many of its own for p_0.
    np.testing.assert_allclose(scores["key"], (2 * vocab_size) ** -0.5, rtol=1e-4)
    np.testing.assert_allclose(measured["copying"], [[0], [1]], atol=1e-4)
    assert measured["accuracy"]["pairs"][0, 0, 1, 0] == measured["accuracy"]["sum"][1, 0] == 1
    assert measured["trace"][0, 0, 1, 0] > 0


def test_probes_run_over_seeds_and_need_layers():
    params = build()
    seeds = jax.tree.map(lambda x: jnp.stack([x, -2 * x]), params)
    together = jax.jit(jax.vmap(circuits.ov_copying_score))(seeds)
    np.testing.assert_allclose(together[0], circuits.ov_copying_score(params), atol=1e-4)
    pairs = jax.jit(jax.vmap(circuits.composition_scores))(seeds)["key"]
    np.testing.assert_allclose(pairs[0], pairs[1], rtol=1e-4)
    with pytest.raises(ValueError, match="no layers"):
        circuits.ov_copying_score(build(num_layers=0))
