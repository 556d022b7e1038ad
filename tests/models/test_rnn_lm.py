"""The recurrent language model: against plain loops, in pieces, and with its own samples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.losses import token_losses
from models.rnn_lm import CELLS, RecurrentConfig, RecurrentLM, by_layer, decoder, last_outputs

V, B, T = 11, 3, 6
TOKENS_BT = np.random.default_rng(0).integers(0, V, (B, T))


def make(**settings):
    """(model, variables) of a small model."""
    shape = {"vocab_size": V, "num_layers": 2, "width": 5, "d_embedding": 4}
    model = RecurrentLM(RecurrentConfig(**shape | settings))
    return model, model.init(jax.random.key(0), TOKENS_BT[:, :1])


@pytest.fixture(scope="module")
def lstm():
    return make(num_positions=4)


def test_mikolovs_model_by_plain_loops():
    """e = E x, h = sigmoid(W_h h' + W_e e + b1), softmax(U h + b2), one number at a time."""
    model, variables = make(cell="elman_sigmoid", num_layers=1)
    logits_BTV, _ = model.apply(variables, TOKENS_BT)
    params = jax.tree.map(lambda x: np.asarray(x, np.float64), variables["params"])
    layer, h = params["layer_0"], [0.0] * 5
    for t in range(T):
        e, before = params["embed"][TOKENS_BT[1, t]], h
        h = []
        for f in range(5):
            z = layer["bias"][f]
            z += sum(before[g] * layer["recurrent"]["kernel"][g, f] for g in range(5))
            z += sum(e[d] * layer["input"]["kernel"][d, f] for d in range(4))
            h.append(1 / (1 + np.exp(-z)))
        for v in range(V):
            expected = params["unembed_bias"][v] + sum(params["unembed"][v, f] * h[f] for f in range(5))
            assert logits_BTV[1, t, v] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_a_decoder_in_pieces_is_one_pass(cell):
    model, variables = make(cell=cell, num_positions=4)
    logits_BTV, states = model.apply(variables, TOKENS_BT)
    read = decoder(model)
    cache, position = read.start(B), 0
    for size in (1, 3, 2):
        logits_BV, cache = read.advance(variables, cache, TOKENS_BT[:, position : position + size])
        position += size
        np.testing.assert_allclose(logits_BV, logits_BTV[:, position - 1], atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), cache["states"], states)
    assert read.context_length is None


def test_carried_states_go_on_where_the_text_stopped():
    model, variables = make()
    targets_BT = np.roll(TOKENS_BT, -1, axis=1)
    whole, _ = model.apply(variables, TOKENS_BT, targets_BT, method="losses")
    first, states = model.apply(variables, TOKENS_BT[:, :4], targets_BT[:, :4], method="losses")
    second, _ = model.apply(variables, TOKENS_BT[:, 4:], targets_BT[:, 4:], states, method="losses")
    np.testing.assert_allclose(np.concatenate([first, second], axis=1), whole, atol=1e-5)
    forgotten, _ = model.apply(variables, TOKENS_BT[:, 4:], targets_BT[:, 4:], method="losses")
    assert np.abs(forgotten - second).max() > 1e-4


def test_losses_are_cross_entropies_of_the_logits(lstm):
    model, variables = lstm
    logits_BTV, _ = model.apply(variables, TOKENS_BT)
    losses_BT, _ = model.apply(variables, TOKENS_BT, TOKENS_BT, method="losses")
    np.testing.assert_allclose(losses_BT, token_losses(logits_BTV, TOKENS_BT), atol=1e-5)


def test_the_adaptive_model_gives_log_probabilities_and_their_losses():
    model, variables = make(cutoffs=(3, 6, V))
    logs_BTV, _ = model.apply(variables, TOKENS_BT)
    np.testing.assert_allclose(jnp.exp(logs_BTV).sum(-1), 1, rtol=1e-5)
    losses_BT, _ = model.apply(variables, TOKENS_BT, TOKENS_BT, method="losses")
    expected = -jnp.take_along_axis(logs_BTV, TOKENS_BT[..., None], axis=-1)[..., 0]
    np.testing.assert_allclose(losses_BT, expected, atol=1e-5)


def test_a_tied_unembedding_is_the_embedding():
    model, variables = make(tied_unembedding=True, d_embedding=5)
    assert "unembed" not in variables["params"]
    h_TBF, _ = model.apply(variables, TOKENS_BT, method="outputs")
    logits_BTV, _ = model.apply(variables, TOKENS_BT)
    np.testing.assert_allclose(logits_BTV, jnp.swapaxes(h_TBF @ variables["params"]["embed"].T, 0, 1), atol=1e-5)


def test_positions_change_what_is_read_and_come_again(lstm):
    model, variables = lstm
    x_TBD = model.apply(variables, np.full((9, 1), 2), 0, method="embed_tokens")
    np.testing.assert_array_equal(x_TBD[:4], x_TBD[4:8])
    assert jnp.abs(x_TBD[0] - x_TBD[1]).max() > 1e-3


@pytest.mark.parametrize("shape", [(100, 100), (101, 101)])
def test_dropout_keeps_the_mean_and_drops_its_share(shape):
    model, variables = make(dropout=0.25)
    x = jnp.ones(shape)
    dropped = model.apply(variables, x, False, method="drop", rngs={"dropout": jax.random.key(0)})
    kept = np.asarray(dropped != 0).reshape(-1)[:10_000]
    assert kept.mean() == pytest.approx(0.75, abs=0.02)
    assert abs(np.corrcoef(kept[::2], kept[1::2])[0, 1]) < 0.05  # two numbers share a draw
    assert float(dropped.mean()) == pytest.approx(1, abs=0.03)
    np.testing.assert_array_equal(model.apply(variables, x, True, method="drop"), x)


def feed_own_samples(model, variables, share_T):
    share_T = jnp.asarray(share_T, jnp.float32)
    return model.apply(variables, TOKENS_BT, TOKENS_BT, share_T, jax.random.key(0), method="losses_on_own_samples")


def test_without_own_samples_it_is_teacher_forcing(lstm):
    model, variables = lstm
    losses_BT, read_BT, states = feed_own_samples(model, variables, np.zeros(T))
    forced_BT, expected = model.apply(variables, TOKENS_BT, TOKENS_BT, method="losses")
    np.testing.assert_allclose(losses_BT, forced_BT, atol=1e-5)
    np.testing.assert_array_equal(read_BT, TOKENS_BT)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), states, expected)


def test_own_samples_are_read_where_asked_and_what_is_read_decides(lstm):
    """A confident model's samples are its likeliest tokens, which a plain loop repeats."""
    model, variables = lstm
    confident = {"params": variables["params"] | {"unembed": 1e6 * variables["params"]["unembed"]}}
    share_T = np.array([1, 0, 1, 1, 0, 1])  # the first token is never a sample
    losses_BT, read_BT, _ = feed_own_samples(model, confident, share_T)
    read, states, own = decoder(model), decoder(model).start(B), None
    for t in range(T):
        expected = own if t and share_T[t] else TOKENS_BT[:, t]
        np.testing.assert_array_equal(read_BT[:, t], expected)
        logits_BV, states = read.advance(confident, states, expected[:, None])
        own = np.asarray(logits_BV.argmax(-1))
        np.testing.assert_allclose(losses_BT[:, t], token_losses(logits_BV, TOKENS_BT[:, t]), rtol=1e-3, atol=1e-2)
    assert (np.asarray(read_BT) != TOKENS_BT).any()


def test_the_last_outputs_are_in_the_states(lstm):
    model, variables = lstm
    h_TBF, states = model.apply(variables, TOKENS_BT, method="outputs")
    np.testing.assert_array_equal(last_outputs(model.config, states), h_TBF[-1])
    assert list(by_layer(states)) == ["layer_0", "layer_1"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cell": "rnn"}, "not one of elman_sigmoid"),
        ({"width": 0}, "width=0 must be at least 1"),
        ({"dropout": 1.0}, "dropout"),
        ({"tied_unembedding": True}, "tied"),
        ({"cutoffs": (3, 9)}, "vocab_size=11"),
        ({"cutoffs": (3, V), "tied_unembedding": True, "d_embedding": 5}, "cannot be tied"),
    ],
)
def test_parts_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        RecurrentConfig(**{"vocab_size": V, "width": 5, "d_embedding": 4} | settings)
