"""Ablations against a forward pass written with loops, and on the hand-wired induction head."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.induction_heads.hand_wired import induction_config, induction_params
from experiments.induction_heads.invariance import random_params
from models.transformer import Transformer, TransformerConfig
from probes.ablation import ABLATION_KINDS, ablate_sets, ablated_logits, record_reference, sweep

B, T, L, H, D, V = 3, 5, 2, 2, 8, 7
TOKENS_BT = np.random.default_rng(0).integers(V, size=(B, T))
ALL_PARTS = {"norm": "layernorm", "bias": True, "d_mlp": 10, "positions": "rotary"}
PARALLEL = ALL_PARTS | {"parallel_residual": True}
GROUPED = {"norm": "rmsnorm", "mlp": "swiglu", "d_mlp": 10, "positions": "rotary", "num_key_value_heads": 1}
logits_of = jax.jit(ablated_logits, static_argnums=0, static_argnames="kind")


def build(seed=1, **fields):
    config = dict(vocab_size=V, context_length=T, num_layers=L, num_heads=H, d_model=D)
    model = Transformer(TransformerConfig(**config | fields))
    return model, {"params": random_params(model, np.random.default_rng(seed))}


def scores_of(logits_BTV):
    return {"mean": logits_BTV.std(), "last": logits_BTV[:, -1, 0].sum()}


def slow_logits(params, keep_LH, kind, patterns=None, outputs=None, records=None):
    """A forward pass without norms, head by head and query by query; ``patterns`` and ``outputs`` by (l, b, h).

    ``records`` is None or two dicts that are filled with the patterns and outputs of this pass.
    """
    x_BTD = params["embed"][TOKENS_BT] + params["positions"]
    for l in range(L):
        weights = params[f"layer_{l}"]["attention"]
        z = {}
        for b, h in np.ndindex(B, H):
            q, k, v = (x_BTD[b] @ weights[kind]["kernel"][:, h] for kind in ("query", "key", "value"))
            pattern = np.zeros((T, T))
            for t in range(T):
                exponentials = np.exp([q[t] @ k[s] / np.sqrt(D // H) for s in range(t + 1)])
                pattern[t, : t + 1] = exponentials / exponentials.sum()
            if kind == "pattern_preserving" and patterns:
                pattern = patterns[l, b, h]
            z[b, h] = pattern @ v
            if records is not None:
                records[0][l, b, h], records[1][l, b, h] = pattern, z[b, h]
        x_BTD = x_BTD.copy()
        for b, h in np.ndindex(B, H):
            if not keep_LH[l, h]:
                z[b, h] = {
                    "zero": lambda: np.zeros((T, D // H)),
                    "pattern_preserving": lambda: np.zeros((T, D // H)),
                    "mean": lambda l=l, h=h: np.mean([outputs[l, other, h] for other in range(B)], axis=0),
                    "resample": lambda l=l, b=b, h=h: outputs[l, (b - 1) % B, h],
                }[kind]()
            x_BTD[b] += z[b, h] @ weights["output"]["kernel"][h]
    return x_BTD @ params["unembed"]["kernel"]


@pytest.mark.parametrize("kind", ABLATION_KINDS)
def test_logits_equal_a_loop_over_heads(kind):
    model, variables = build()
    records = {}, {}
    clean = slow_logits(variables["params"], np.ones((L, H)), "zero", records=records)
    np.testing.assert_allclose(model.apply(variables, TOKENS_BT), clean, rtol=1e-4, atol=1e-4)
    for keep_LH in (np.array([[0, 1], [1, 1]]), np.array([[1, 0], [0, 1]]), np.zeros((L, H))):
        logits = logits_of(model, variables, TOKENS_BT, keep_LH, kind=kind)
        expected = slow_logits(variables["params"], keep_LH, kind, *records)
        np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
        assert np.abs(expected - clean).max() > 0.1


@pytest.mark.parametrize("kind", ABLATION_KINDS)
def test_keeping_all_heads_changes_nothing(kind):
    model, variables = build(**ALL_PARTS)
    logits = logits_of(model, variables, TOKENS_BT, jnp.ones((L, H)), kind=kind)
    np.testing.assert_allclose(logits, model.apply(variables, TOKENS_BT), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [("mean", ALL_PARTS), ("resample", GROUPED), ("pattern_preserving", PARALLEL), ("zero", GROUPED)],
)
def test_the_sweep_is_a_loop(kind, fields):
    model, variables = build(**fields)
    swept = sweep(model, variables, TOKENS_BT, scores_of, kind)
    late = sweep(model, variables, TOKENS_BT, scores_of, kind, positions=[1, T - 1])
    assert swept["mean"].shape == swept["last"].shape == (L, H)
    for l, h in np.ndindex(L, H):
        keep_LH = np.ones((L, H))
        keep_LH[l, h] = 0
        logits_BTV = logits_of(model, variables, TOKENS_BT, keep_LH, kind=kind)
        for scores, expected in ((swept, scores_of(logits_BTV)), (late, scores_of(logits_BTV[:, [1, T - 1]]))):
            for name, score in expected.items():
                np.testing.assert_allclose(scores[name][l, h], score, rtol=1e-3, atol=1e-4)


def test_sets_of_heads_over_seeds():
    model, first = build()
    _, second = build(seed=2)
    keep_NLH = np.array([[[0, 0], [1, 1]], [[1, 1], [0, 0]], [[0, 1], [1, 0]]])
    seeds = jax.tree.map(lambda *x: jnp.stack(x), first, second)
    ablate = jax.jit(jax.vmap(lambda v: ablate_sets(model, v, TOKENS_BT, scores_of, keep_NLH, "mean")))
    scores = ablate(seeds)["last"]
    assert scores.shape == (2, 3)
    for s, variables in enumerate((first, second)):
        for n, keep_LH in enumerate(keep_NLH):
            expected = scores_of(logits_of(model, variables, TOKENS_BT, keep_LH, kind="mean"))["last"]
            np.testing.assert_allclose(scores[s, n], expected, rtol=1e-4, atol=1e-4)


def test_a_fraction_mixes_the_heads_two_outputs():
    model, variables = build()
    keeps = (np.array([[1, 1], [1, share]]) for share in (0, 0.25, 1))
    none, quarter, all_ = (logits_of(model, variables, TOKENS_BT, keep, kind="zero") for keep in keeps)
    np.testing.assert_allclose(quarter, 0.75 * none + 0.25 * all_, rtol=1e-4, atol=1e-4)


def test_resampling_by_key_takes_every_other_sequence_once():
    model, variables = build()
    tokens_BT = np.random.default_rng(3).integers(V, size=(6, T))
    clean = record_reference(model, variables, np.roll(tokens_BT, -1, axis=0), "resample")
    orders = set()
    for seed in range(3):
        resampled = record_reference(model, variables, tokens_BT, "resample", jax.random.key(seed))
        for path, z in resampled.items():
            same = np.isclose(z[:, None], clean[path][None], atol=1e-5).all((2, 3, 4))
            assert (same.sum(0) == 1).all()
            assert (same.sum(1) == 1).all()
            assert not same.diagonal().any()
        orders.add(tuple(same.argmax(1)))
    assert len(orders) > 1


def test_a_reference_from_other_tokens_is_used():
    model, variables = build()
    other_BT = (TOKENS_BT + 1) % V
    reference = record_reference(model, variables, other_BT, "mean")
    keep_LH = np.zeros((L, H))
    mixed = logits_of(model, variables, TOKENS_BT, keep_LH, kind="mean", reference=reference)
    own = logits_of(model, variables, TOKENS_BT, keep_LH, kind="mean")
    assert np.abs(mixed - own).max() > 0.01
    # All heads write constants now: only the tokens' own embeddings are left to differ.
    swapped = logits_of(model, variables, other_BT, keep_LH, kind="mean")
    embedded = variables["params"]["embed"][TOKENS_BT] - variables["params"]["embed"][other_BT]
    np.testing.assert_allclose(
        mixed - swapped, embedded @ variables["params"]["unembed"]["kernel"], rtol=1e-3, atol=1e-4
    )


def test_impossible_ablations_are_refused():
    model, variables = build()
    with pytest.raises(ValueError, match="kind='nought' is not one of zero, mean"):
        ablated_logits(model, variables, TOKENS_BT, jnp.ones((L, H)), kind="nought")
    with pytest.raises(ValueError, match="at least two sequences"):
        sweep(model, variables, TOKENS_BT[:1], scores_of, "resample")
    with pytest.raises(ValueError, match=r"keep_LH has shape \(4,\)"):
        ablated_logits(model, variables, TOKENS_BT, jnp.ones(4), kind="zero")


def test_the_hand_wired_heads_are_both_needed_and_play_different_roles():
    vocab_size, period, batch_size = 9, 5, 64
    config = induction_config(vocab_size, context_length=3 * period)
    model, variables = Transformer(config), {"params": jax.jit(induction_params, static_argnums=0)(config)}
    blocks = np.stack([np.random.default_rng(seed).permutation(vocab_size - 1)[:period] for seed in range(batch_size)])
    bos_B1 = np.full((batch_size, 1), vocab_size - 1)
    tokens_BT = np.concatenate([bos_B1, np.tile(blocks, 3)], axis=1)
    inputs_BT, targets_BT = tokens_BT[:, :-1], tokens_BT[:, 1:]

    def accuracy(logits_BTV):
        return (logits_BTV.argmax(-1) == targets_BT)[:, period + 1 :].mean()

    @jax.jit
    def measure():
        swept = {kind: sweep(model, variables, inputs_BT, accuracy, kind)[:, 0] for kind in ABLATION_KINDS}
        return swept | {"intact": accuracy(model.apply(variables, inputs_BT))}

    accuracies = measure()
    assert accuracies["intact"] == 1
    for kind in ("zero", "mean", "resample"):
        assert accuracies[kind].max() < 0.5, kind
    # With its patterns frozen the induction head no longer needs the previous-token head.
    assert accuracies["pattern_preserving"][0] == 1
    assert accuracies["pattern_preserving"][1] < 0.5
