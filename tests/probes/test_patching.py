"""Path patching against one edit a path, and on the hand-wired induction head."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.induction_heads.hand_wired import induction_config, induction_params
from experiments.induction_heads.invariance import random_params
from models.transformer import Transformer, TransformerConfig
from probes.patching import activation_patch, path_patch
from probes.sites import apply

B, T, H, D, C, V = 2, 5, 2, 8, 4, 7
CLEAN_BT, CORRUPTED_BT = np.random.default_rng(0).integers(V, size=(2, B, T))


def build(**fields):
    config = dict(vocab_size=V, context_length=T, num_heads=H, d_model=D)
    model = Transformer(TransformerConfig(**config | fields))
    return model, {"params": random_params(model, np.random.default_rng(1))}


def score(logits_BTV):
    return jax.nn.log_softmax(logits_BTV)[:, 1:, 3].mean()


def turned(x_TC):
    """Rotary positions, one pair of channels at a time."""
    x_TC = x_TC.copy()
    for t, c in np.ndindex(T, C // 2):
        angle = t * 10000.0 ** (-2 * c / C)
        x, y = x_TC[t, c], x_TC[t, c + C // 2]
        x_TC[t, c] = x * np.cos(angle) - y * np.sin(angle)
        x_TC[t, c + C // 2] = x * np.sin(angle) + y * np.cos(angle)
    return x_TC


def normed(config, x_BTD, statistics_BTD, scale_D):
    """The config's norm without its bias, with the statistics of another stream."""
    if config.norm == "layernorm":
        x_BTD, square_BT1 = x_BTD - x_BTD.mean(-1, keepdims=True), statistics_BTD.var(-1, keepdims=True)
    else:
        square_BT1 = (statistics_BTD**2).mean(-1, keepdims=True)
    return x_BTD / np.sqrt(square_BT1 + 1e-6) * scale_D


GROUPED = {"norm": "rmsnorm", "mlp": "swiglu", "d_mlp": 10, "positions": "rotary", "num_key_value_heads": 1}
PARALLEL = {"norm": "layernorm", "bias": True, "d_mlp": 10, "parallel_residual": True}


@pytest.mark.parametrize(("fields", "exact"), [({}, False), (GROUPED, False), (PARALLEL, True)])
def test_every_path_equals_one_edit(fields, exact):
    model, variables = build(**fields)
    config, params = model.config, variables["params"]
    L = config.num_layers
    changes = path_patch(model, variables, CLEAN_BT, CORRUPTED_BT, score, exact=exact)
    observe = {"*/residual_in": lambda x: x, "*/head_outputs": lambda z: z}
    run = jax.jit(lambda tokens_BT: apply(model, variables, tokens_BT, observe=observe))
    (_, clean), (logits, corrupted) = (jax.tree.map(np.asarray, run(tokens)) for tokens in (CLEAN_BT, CORRUPTED_BT))
    sites = {"query": "queries", "key": "keys", "value": "values"}
    zeros = {
        f"layer_{l}/attention/{site}": np.zeros((B, T, H if kind == "query" else config.heads_of_keys, C))
        for l in range(L)
        for kind, site in sites.items()
    }

    @jax.jit
    def patched_score(added, layer, head):
        """Only the receiver sees what is added to its inputs, also where it shares them."""
        edit = {site: lambda x, site=site: x + added[site] for site in added}
        _, outputs = apply(model, variables, CORRUPTED_BT, edit=edit, observe={"*/head_outputs": lambda z: z})

        def one_head(l):
            chosen_H1 = ((jnp.arange(H) == head) & (layer == l))[:, None]
            path = f"layer_{l}/attention/head_outputs"
            return path, lambda z: jnp.where(chosen_H1, outputs[path], z)

        return score(apply(model, variables, CORRUPTED_BT, edit=dict(one_head(l) for l in range(L)))[0])

    for l1, h1, l2, h2 in np.ndindex(L, H, L, H):
        for kind, site in sites.items():
            measured = changes[kind][l1, h1, l2, h2]
            if l2 <= l1:
                assert np.isnan(measured)
                continue
            outputs, stream_BTD = f"layer_{l1}/attention/head_outputs", corrupted[f"layer_{l2}/residual_in"]
            z_BTC = (clean[outputs] - corrupted[outputs])[:, :, h1]
            read_BTD = z_BTC @ params[f"layer_{l1}"]["attention"]["output"]["kernel"][h1]
            if config.norm != "none":
                scale_D = params[f"layer_{l2}"]["attention_norm"]["scale"]
                if exact:
                    after_BTD, before_BTD = stream_BTD + read_BTD, stream_BTD
                    read_BTD = normed(config, after_BTD, after_BTD, scale_D)
                    read_BTD = read_BTD - normed(config, before_BTD, before_BTD, scale_D)
                else:
                    read_BTD = normed(config, read_BTD, stream_BTD, scale_D)
            head = h2 if kind == "query" else h2 * config.heads_of_keys // H
            added_BTC = read_BTD @ params[f"layer_{l2}"]["attention"][kind]["kernel"][:, head]
            if config.positions == "rotary" and kind != "value":
                added_BTC = np.stack([turned(x_TC) for x_TC in added_BTC])
            path = f"layer_{l2}/attention/{site}"
            added = zeros | {path: zeros[path].copy()}
            added[path][:, :, head] = added_BTC
            np.testing.assert_allclose(measured, patched_score(added, l2, h2) - score(logits), rtol=1e-2, atol=1e-5)
    assert np.nanmax(np.abs(changes["value"])) > 1e-3


def test_some_pairs_and_some_positions():
    model, variables = build(num_layers=3)

    def late(logits_BTV):
        return score(logits_BTV[:, -3:])

    whole = path_patch(model, variables, CLEAN_BT, CORRUPTED_BT, late)["key"]
    some = path_patch(
        model,
        variables,
        CLEAN_BT,
        CORRUPTED_BT,
        score,
        senders=[(0, 1), (1, 0)],
        receivers=[(2, 1)],
        kinds=("key",),
        positions=range(T - 3, T),
    )["key"]
    asked = np.zeros(some.shape, bool)
    asked[0, 1, 2, 1] = asked[1, 0, 2, 1] = True
    np.testing.assert_array_equal(np.isnan(some), ~asked)
    np.testing.assert_allclose(some[asked], whole[asked], rtol=1e-3, atol=1e-6)


def test_a_run_patched_with_itself_and_a_model_of_one_layer():
    model, variables = build()
    for change in jax.jit(lambda v: path_patch(model, v, CLEAN_BT, CLEAN_BT, score))(variables).values():
        np.testing.assert_allclose(change[0, :, 1], 0, atol=1e-6)
    model, variables = build(num_layers=1)
    for change in path_patch(model, variables, CLEAN_BT, CORRUPTED_BT, score).values():
        assert change.shape == (1, H, 1, H)
        assert np.isnan(change).all()


def test_the_hand_wired_circuit_is_one_key_path():
    vocab_size, period, batch_size = 9, 5, 4
    config = induction_config(vocab_size, context_length=2 * period)
    model, variables = Transformer(config), {"params": jax.jit(induction_params, static_argnums=0)(config)}
    blocks = np.stack([np.random.default_rng(seed).permutation(vocab_size - 1)[:period] for seed in range(batch_size)])
    clean_BT = np.concatenate([np.full((batch_size, 1), vocab_size - 1), np.tile(blocks, 2)], axis=1)[:, :-1]
    # The token before the earlier occurrence's successor is lost: BOS in place of the first A of [A][B] ... [A].
    corrupted_BT = clean_BT.copy()
    corrupted_BT[:, 2] = vocab_size - 1
    query, b = 2 + period, np.arange(batch_size)

    def log_probability(logits_BTV):
        return jax.nn.log_softmax(logits_BTV)[b, query, clean_BT[:, 3]].mean()

    @jax.jit
    def measure():
        changes = path_patch(model, variables, clean_BT, corrupted_BT, log_probability)
        whole = [log_probability(model.apply(variables, tokens)) for tokens in (clean_BT, corrupted_BT)]
        return {kind: change[0, 0, 1, 0] for kind, change in changes.items()}, whole[0] - whole[1]

    changes, whole = measure()
    assert whole > 1
    np.testing.assert_allclose(changes["key"], whole, rtol=1e-3)
    assert changes["query"] == changes["value"] == 0


def test_activation_patch_moves_what_the_mask_picks():
    model, variables = build(norm="layernorm", d_mlp=10)
    own, other = (model.apply(variables, tokens) for tokens in (CLEAN_BT, CORRUPTED_BT))

    @jax.jit
    def patched(mask, site="embedding"):
        return activation_patch(model, variables, CLEAN_BT, CORRUPTED_BT, site, mask)

    np.testing.assert_allclose(patched(True), other, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(patched(False), own, rtol=1e-4, atol=1e-4)
    late_T1 = np.arange(T)[:, None] >= 3
    some = patched(late_T1)
    np.testing.assert_allclose(some[:, :3], own[:, :3], rtol=1e-4, atol=1e-4)
    tokens_BT = np.where(late_T1[:, 0], CORRUPTED_BT, CLEAN_BT)
    np.testing.assert_allclose(some, model.apply(variables, tokens_BT), rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="no site"):
        activation_patch(model, variables, CLEAN_BT, CORRUPTED_BT, "layer_9/residual_in")


def test_activation_patch_of_heads_takes_the_other_runs_outputs():
    model, variables = build()
    first_H1, site = jnp.array([[True], [False]]), "layer_1/attention/head_outputs"
    logits = activation_patch(model, variables, CLEAN_BT, CORRUPTED_BT, site, first_H1)
    outputs = [apply(model, variables, t, observe={site: np.asarray})[1][site] for t in (CLEAN_BT, CORRUPTED_BT)]
    kernel_CD = variables["params"]["layer_1"]["attention"]["output"]["kernel"][0]
    moved = (outputs[1] - outputs[0])[:, :, 0] @ kernel_CD @ variables["params"]["unembed"]["kernel"]
    np.testing.assert_allclose(logits - model.apply(variables, CLEAN_BT), moved, rtol=1e-3, atol=1e-4)
