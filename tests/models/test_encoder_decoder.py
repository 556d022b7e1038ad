"""The Transformer encoder-decoder: padding, causality, reading token by token, attention maps, and what is refused.

Covers models/translator.py, too, which has no code of its own.
"""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from models.attention import Attention, Places
from models.beam_search import search
from models.encoder_decoder import CrossAttention, EncoderDecoderConfig, translator
from models.summary import layers
from probes import sites

V, B, S, T = 11, 3, 6, 5
SMALL = EncoderDecoderConfig(vocab_size=V, num_layers=2, num_heads=2, d_model=8, d_mlp=12, bias=True)
ROTARY = replace(SMALL, positions="rotary", norm="rmsnorm", mlp="swiglu", bias=False)
ONE_MAP = replace(SMALL, num_layers=1, num_heads=1, positions="none")
RNG = np.random.default_rng(0)
SOURCE_BS, TARGET_BT = RNG.integers(0, V, (B, S)), RNG.integers(0, V, (B, T))
LENGTH_B = np.array([6, 1, 4])
KEYS = [{"dropout": jax.random.key(i)} for i in range(2)]


def random_variables(config, seed=0):
    """Parameters ~ N(0, 2 / d_model), and 1 more for the scales of norms: no row is uniform, and no bias is 0."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        weights = rng.normal(scale=(2 / config.d_model) ** 0.5, size=leaf.shape)
        return (weights + (path[-1].key == "scale")).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, jax.eval_shape(translator(config).init, jax.random.key(0)))


@partial(jax.jit, static_argnums=0)
def run(config, source_BS, length_B, target_BT, replaced=None, rngs=None):
    variables = random_variables(config)
    return translator(config).forward(variables, source_BS, length_B, target_BT, rngs or {}, replaced)


@pytest.mark.parametrize("config", [SMALL, ROTARY], ids=["sinusoidal", "rotary"])
def test_a_padded_batch_gives_the_logits_of_each_sentence_alone(config):
    logits_BTV, weights_BMTS = run(config, SOURCE_BS, LENGTH_B, TARGET_BT)
    for b, length in enumerate(LENGTH_B):
        alone = run(config, SOURCE_BS[b : b + 1, :length], LENGTH_B[b : b + 1], TARGET_BT[b : b + 1])
        np.testing.assert_allclose(logits_BTV[b], alone[0][0], atol=1e-5)
        np.testing.assert_allclose(weights_BMTS[b, :, :, :length], alone[1][0], atol=1e-5)


def test_what_stands_in_padding_changes_nothing():
    is_padding_BS = np.arange(S) >= LENGTH_B[:, None]
    for other in (0, 7):
        changed = run(SMALL, np.where(is_padding_BS, other, SOURCE_BS), LENGTH_B, TARGET_BT)
        for x, y in zip(changed, run(SMALL, SOURCE_BS, LENGTH_B, TARGET_BT), strict=True):
            np.testing.assert_array_equal(x, y)


def test_each_row_of_weights_sums_to_one_and_padding_has_none():
    _, weights_BMTS = run(SMALL, SOURCE_BS, LENGTH_B, TARGET_BT)
    assert weights_BMTS.shape == (B, SMALL.num_layers * SMALL.num_heads, T, S)
    np.testing.assert_allclose(weights_BMTS.sum(-1), 1, atol=1e-6)
    is_padding_BMTS = np.broadcast_to((np.arange(S) >= LENGTH_B[:, None])[:, None, None], weights_BMTS.shape)
    assert (np.asarray(weights_BMTS)[is_padding_BMTS] == 0).all()
    assert np.asarray(weights_BMTS)[0].std(-1).min() > 0.01  # rows are not uniform


def test_a_sentence_without_tokens_gives_finite_logits_and_gradients():
    def loss(variables):
        logits_BTV, weights_BMTS = translator(ONE_MAP).forward(variables, SOURCE_BS, np.array([6, 0, 4]), TARGET_BT)
        return (logits_BTV**2).sum(), weights_BMTS

    gradients, weights_BMTS = jax.jit(jax.grad(loss, has_aux=True))(random_variables(ONE_MAP))
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradients))
    np.testing.assert_array_equal(weights_BMTS[1], 0)


@pytest.mark.parametrize("config", [SMALL, ROTARY], ids=["sinusoidal", "rotary"])
def test_reading_token_by_token_gives_the_logits_of_one_pass(config):
    logits_BTV, _ = run(config, SOURCE_BS, LENGTH_B, TARGET_BT)
    _, _, _, encode, advance = translator(config)
    variables = random_variables(config)
    cache = encode(variables, SOURCE_BS, LENGTH_B, T + 2)
    assert {x.shape[0] for x in jax.tree.leaves(cache)} == {B}
    advance = jax.jit(advance)
    for t in range(T):
        logits_BV, cache = advance(variables, cache, TARGET_BT[:, t])
        np.testing.assert_allclose(logits_BV, logits_BTV[:, t], atol=2e-5)
    np.testing.assert_array_equal(cache.position_B, T)


def test_a_later_target_token_changes_nothing_earlier():
    logits_BTV, weights_BMTS = run(SMALL, SOURCE_BS, LENGTH_B, TARGET_BT)
    for t in range(1, T):
        other_BT = TARGET_BT.copy()
        other_BT[:, t] = (other_BT[:, t] + 1) % V
        other_logits_BTV, other_weights_BMTS = run(SMALL, SOURCE_BS, LENGTH_B, other_BT)
        np.testing.assert_allclose(other_logits_BTV[:, :t], logits_BTV[:, :t], atol=1e-6)
        np.testing.assert_allclose(other_weights_BMTS[:, :, :t], weights_BMTS[:, :, :t], atol=1e-6)
        assert np.abs(other_logits_BTV[:, t] - logits_BTV[:, t]).max() > 0.1


def test_every_token_sees_every_source_token():
    logits_BTV, _ = run(SMALL, SOURCE_BS, np.full(B, S), TARGET_BT)
    for s in range(S):
        other_BS = SOURCE_BS.copy()
        other_BS[:, s] = (other_BS[:, s] + 1) % V
        changed_BTV = run(SMALL, other_BS, np.full(B, S), TARGET_BT)[0]
        assert np.abs(changed_BTV - logits_BTV).max(axis=(0, 2)).min() > 1e-3


def test_replacing_rows_by_themselves_changes_nothing():
    logits_BTV, weights_BMTS = run(ONE_MAP, SOURCE_BS, LENGTH_B, TARGET_BT)
    replaced = (weights_BMTS[:, 0], np.ones((B, T), bool))
    for x, y in zip(run(ONE_MAP, SOURCE_BS, LENGTH_B, TARGET_BT, replaced), (logits_BTV, weights_BMTS), strict=True):
        np.testing.assert_allclose(x, y, atol=1e-6)


def test_replacing_a_row_changes_this_token_and_what_follows():
    """In every map, and with two layers: the first layer's row changes what later tokens read in the second."""
    logits_BTV, weights_BMTS = run(SMALL, SOURCE_BS, LENGTH_B, TARGET_BT)
    row_BTS = np.zeros((B, T, S), np.float32)
    row_BTS[:, :, 0] = 1.0
    is_replaced_BT = np.zeros((B, T), bool)
    is_replaced_BT[0, 2] = True
    changed_BTV, changed_BMTS = run(SMALL, SOURCE_BS, LENGTH_B, TARGET_BT, (row_BTS, is_replaced_BT))
    np.testing.assert_array_equal(changed_BMTS[0, :, 2], np.broadcast_to(row_BTS[0, 2], changed_BMTS[0, :, 2].shape))
    difference_BT = np.abs(changed_BTV - logits_BTV).max(-1)
    assert difference_BT[0, 2:].min() > 1e-3
    assert difference_BT[0, :2].max() < 1e-6
    assert difference_BT[1:].max() < 1e-6
    np.testing.assert_allclose(changed_BMTS[1:], weights_BMTS[1:], atol=1e-6)


def test_without_positions_permuted_sources_give_permuted_weights():
    config = replace(SMALL, positions="none")
    order_S = np.array([3, 0, 5, 1, 4, 2])
    full_B = np.full(B, S)
    logits_BTV, weights_BMTS = run(config, SOURCE_BS, full_B, TARGET_BT)
    permuted_BTV, permuted_BMTS = run(config, SOURCE_BS[:, order_S], full_B, TARGET_BT)
    np.testing.assert_allclose(permuted_BTV, logits_BTV, atol=2e-5)
    np.testing.assert_allclose(permuted_BMTS, weights_BMTS[..., order_S], atol=1e-5)
    for positions in ("sinusoidal", "rotary"):
        config = replace(SMALL, positions=positions)
        pair = [run(config, x_BS, full_B, TARGET_BT)[0] for x_BS in (SOURCE_BS, SOURCE_BS[:, order_S])]
        assert np.abs(pair[0] - pair[1]).max() > 0.1


def test_cross_attention_of_a_text_to_itself_is_self_attention():
    """With neither positions nor a causal mask, and the same parameters."""
    config = replace(SMALL, positions="none").layer_config(causal=False)
    params = random_variables(SMALL)["params"]["encoder"]["layer_0"]["attention"]
    x_BSD = RNG.normal(size=(B, S, config.d_model)).astype(np.float32)
    visible_BS = np.arange(S) < LENGTH_B[:, None]

    def attend(module, x_BSD):
        return module(x_BSD, module.keys_and_values(x_BSD), visible_BS)[0]

    cross_BSD = CrossAttention(config).apply({"params": params}, x_BSD, method=attend)
    places = Places(np.arange(S)[None], visible_BK=visible_BS)
    self_BSD = Attention(config).apply({"params": params}, x_BSD, places)
    np.testing.assert_allclose(cross_BSD[visible_BS], self_BSD[visible_BS], atol=1e-5)


def test_dropout_acts_in_training_only():
    config = replace(SMALL, dropout=0.5)
    calm, again, other = (run(config, SOURCE_BS, LENGTH_B, TARGET_BT, None, rngs)[0] for rngs in (None, *KEYS))
    np.testing.assert_array_equal(calm, run(SMALL, SOURCE_BS, LENGTH_B, TARGET_BT)[0])
    assert np.abs(again - calm).max() > 0.1
    assert np.abs(again - other).max() > 0.1


def test_probes_read_and_edit_the_sites():
    variables, inputs = random_variables(SMALL), (SOURCE_BS, LENGTH_B, TARGET_BT)
    model = translator(SMALL).model

    def same(activation):
        return activation

    (_, weights_BMTS), observed = sites.apply(
        model, variables, *inputs, observe={"*/pattern": same, "encoder/memory": same, "*/residual_mid": same}
    )
    maps = [observed[f"decoder/layer_{layer}/cross_attention/pattern"] for layer in range(2)]
    np.testing.assert_array_equal(jnp.concatenate(maps, axis=1), weights_BMTS)
    assert observed["encoder/layer_1/attention/pattern"].shape == (B, 2, S, S)
    assert observed["decoder/layer_1/attention/pattern"].shape == (B, 2, T, T)
    assert observed["decoder/layer_0/residual_mid"].shape == (B, T, 8)
    assert observed["encoder/memory"].shape == (B, S, 8)
    edit = {"decoder/layer_*/cross_attention_out": jnp.zeros_like}
    (blind_BTV, _), _ = sites.apply(model, variables, *inputs, edit=edit)
    other = sites.apply(model, variables, SOURCE_BS[::-1], LENGTH_B, TARGET_BT, edit=edit)[0]
    np.testing.assert_allclose(blind_BTV, other[0], atol=1e-6)  # nothing else reads the source


def test_the_summary_lists_every_parameter():
    variables = random_variables(SMALL)
    one_row = (SOURCE_BS[:1], LENGTH_B[:1], TARGET_BT[:1])
    listed = layers(translator(SMALL).model, variables, one_row)
    assert sum(layer.parameters for layer in listed) == sum(x.size for x in jax.tree.leaves(variables))
    assert "decoder/layer_1/cross_attention/key" in {layer.path for layer in listed}


def copying_batch(key, batch_size=32):
    """(source, lengths) of sentences to copy: words 1 ... V - 1, then the end token 0."""
    key_of_length, key_of_words = jax.random.split(key)
    length_B = jax.random.randint(key_of_length, (batch_size,), 2, S + 1)
    words_BS = jax.random.randint(key_of_words, (batch_size, S), 1, V)
    return jnp.where(jnp.arange(S) < length_B[:, None] - 1, words_BS, 0), length_B


def test_it_learns_to_copy_and_the_search_writes_copies():
    copier = translator(EncoderDecoderConfig(vocab_size=V, num_layers=1, num_heads=2, d_model=32, d_mlp=64))
    optimizer = optax.adam(5e-3)

    def loss(variables, key):
        source_BS, length_B = copying_batch(key)
        read_BT = jnp.pad(source_BS, ((0, 0), (1, 0)))[:, :-1]
        logits_BTV, _ = copier.forward(variables, source_BS, length_B, read_BT)
        losses_BT = optax.softmax_cross_entropy_with_integer_labels(logits_BTV, source_BS)
        return (losses_BT * (jnp.arange(S) < length_B[:, None])).sum() / length_B.sum()

    @jax.jit
    def train(key):
        def step(state, key):
            variables, optimizer_state = state
            updates, optimizer_state = optimizer.update(jax.grad(loss)(variables, key), optimizer_state)
            return (optax.apply_updates(variables, updates), optimizer_state), None

        variables = copier.init(key)
        return jax.lax.scan(step, (variables, optimizer.init(variables)), jax.random.split(key, 300))[0][0]

    variables = train(jax.random.key(0))
    source_BS, length_B = copying_batch(jax.random.key(1), 100)
    for beam_size in (1, 3):
        result = search(copier, variables, source_BS, length_B, end=0, max_length=S, beam_size=beam_size)
        assert (result.tokens_BT == source_BS).all(axis=1).mean() > 0.95
        assert (result.lengths_B == length_B - 1).mean() > 0.95


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vocab_size": 0}, "vocab_size=0 must be at least 1"),
        ({"num_layers": 0}, "num_layers=0 must be at least 1"),
        ({"d_mlp": 0}, "d_mlp=0 must be at least 1"),
        ({"num_heads": 3}, "d_model=8 is not divisible by num_heads=3"),
        ({"positions": "learned"}, "positions='learned' is not one of none, sinusoidal, rotary"),
        ({"positions": "rotary", "num_heads": 8}, "not a positive even number"),
        ({"norm": "batch"}, "norm='batch' is not one of"),
        ({"dropout": 1.0}, "dropout=1.0 must lie in"),
    ],
)
def test_a_config_whose_parts_do_not_fit_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **changes)
