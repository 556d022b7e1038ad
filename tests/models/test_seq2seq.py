"""Recurrent translators: padding, reading token by token, their equations, replaced rows, dropout, what is refused."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from models.attention_loop import SCORES
from models.beam_search import search
from models.seq2seq import VALUES, Seq2SeqConfig, translator
from models.summary import layers

V, B, S, T = 11, 3, 5, 4
SMALL = Seq2SeqConfig(vocab_size=V, d_embed=5, d_hidden=6, d_attention=4)
WORDS = replace(SMALL, values="words")  # the decoder reads single words
CONFIGS = [*(replace(SMALL, score=score) for score in SCORES), *(replace(WORDS, score=score) for score in SCORES[:-1])]
RNG = np.random.default_rng(0)
SOURCE_BS, TARGET_BT = RNG.integers(0, V, (B, S)), RNG.integers(0, V, (B, T))
LENGTH_B = np.array([5, 1, 3])
IS_PADDING_BS = np.arange(S) >= LENGTH_B[:, None]

every_config = pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"{config.score} {config.values}")


def random_variables(config, seed=0):
    """Parameters ~ N(0, 1/2): no bias is 0, and rows of weights are not uniform."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(translator(config).init, jax.random.key(0))
    return jax.tree.map(lambda leaf: rng.normal(scale=0.5**0.5, size=leaf.shape).astype(np.float32), shapes)


@functools.partial(jax.jit, static_argnums=0)
def forward(config, source_BS, length_B, target_BT, replaced=None, rngs=None):
    model, variables = translator(config), random_variables(config)
    return model.forward(variables, source_BS, length_B, target_BT, rngs or {}, replaced)


@functools.cache
def outcomes(config):
    """(logits and weights of the padded batch, those of each sentence alone, logits [B, T, V] token by token)."""
    model, variables = translator(config), random_variables(config)

    @jax.jit
    def run():
        alone = [
            model.forward(variables, SOURCE_BS[b : b + 1, :length], LENGTH_B[b : b + 1], TARGET_BT[b : b + 1])
            for b, length in enumerate(LENGTH_B)
        ]
        cache, logits_TBV = model.encode(variables, SOURCE_BS, LENGTH_B, T), []
        for tokens_B in TARGET_BT.T:
            logits_BV, cache = model.advance(variables, cache, tokens_B)
            logits_TBV.append(logits_BV)
        return model.forward(variables, SOURCE_BS, LENGTH_B, TARGET_BT), alone, jnp.stack(logits_TBV, axis=1)

    return run()


@every_config
def test_a_padded_batch_gives_the_logits_and_weights_of_each_sentence_alone(config):
    (logits_BTV, weights_BHTS), alone, _ = outcomes(config)
    assert np.abs(logits_BTV).max() > 1
    for b, length in enumerate(LENGTH_B):
        np.testing.assert_allclose(logits_BTV[b], alone[b][0][0], atol=1e-5)
        np.testing.assert_allclose(weights_BHTS[b, ..., :length], alone[b][1][0], atol=1e-6)


@every_config
def test_reading_token_by_token_gives_the_logits_of_one_pass(config):
    (logits_BTV, _), _, by_token_BTV = outcomes(config)
    np.testing.assert_allclose(by_token_BTV, logits_BTV, atol=1e-5)


@every_config
def test_each_row_of_weights_sums_to_one_and_padding_has_exactly_none(config):
    weights_BHTS = np.asarray(outcomes(config)[0][1])
    assert weights_BHTS.shape == (B, 0 if config.score == "none" else 1, T, S)
    np.testing.assert_allclose(weights_BHTS.sum(-1), 1, atol=1e-6)
    assert (weights_BHTS[np.broadcast_to(IS_PADDING_BS[:, None, None], weights_BHTS.shape)] == 0).all()
    if config.score != "none":
        # The first state that reads words is 0, and so is its product with each key.
        first = int(config.values == "words" and config.score != "additive")
        assert weights_BHTS[0, :, first:].std(-1).min() > 0.01  # rows are not uniform


@pytest.mark.parametrize("config", [SMALL, WORDS], ids=VALUES)
def test_what_stands_in_padding_changes_nothing(config):
    changed = forward(config, np.where(IS_PADDING_BS, 7, SOURCE_BS), LENGTH_B, TARGET_BT)
    jax.tree.map(np.testing.assert_array_equal, changed, forward(config, SOURCE_BS, LENGTH_B, TARGET_BT))


@pytest.mark.parametrize("config", [SMALL, WORDS], ids=VALUES)
def test_a_row_without_words_gives_finite_gradients_and_every_parameter_has_one(config):
    def loss(variables):
        logits_BTV, _ = translator(config).forward(variables, SOURCE_BS, np.array([5, 0, 3]), TARGET_BT)
        return (logits_BTV**2).sum()

    gradients = jax.jit(jax.grad(loss))(random_variables(config))
    largest = {
        jax.tree_util.keystr(path): np.abs(x).max() for path, x in jax.tree_util.tree_leaves_with_path(gradients)
    }
    assert all(1e-3 < size < np.inf for size in largest.values()), largest


def gru_states(cell, x_TD, h):
    """The states [T, F] of the GRU whose reset gate follows the product, from its equations."""
    states = []
    for x in x_TD:
        of_x, of_h = x @ cell["input"]["kernel"] + cell["bias"], h @ cell["recurrent"]["kernel"]
        (x_reset, x_update, x_candidate), (h_reset, h_update, h_candidate) = np.split(of_x, 3), np.split(of_h, 3)
        reset, update = 1 / (1 + np.exp(-x_reset - h_reset)), 1 / (1 + np.exp(-x_update - h_update))
        h = update * h + (1 - update) * np.tanh(x_candidate + reset * h_candidate)
        states.append(h)
    return np.stack(states)


def plain_logits(config, params, source_S, target_T):
    """One sentence's logits [T, V], from the equations in the module's docstring."""
    F, embed = config.d_hidden, params["embed"] * config.d_embed**0.5
    x_SE, start = embed[source_S], np.zeros(F // 2)
    forward_SD = gru_states(params["encoder_forward"], x_SE, start)
    backward_SD = gru_states(params["encoder_backward"], x_SE[::-1], start)[::-1]
    h_SF = np.concatenate([forward_SD, backward_SD], axis=1)
    d = np.tanh(np.concatenate([forward_SD[-1], backward_SD[0]]) @ params["first_state"])
    recurrent, width = params["recurrent"], {"additive": config.d_attention, "general": F}.get(config.score, 0)
    query_matrix, recurrent = recurrent[:, :width], recurrent[:, width:]
    logits = []
    for token in target_T:
        inputs, weights_of_inputs, context = embed[token], params["gates_of_word"], None
        readout = inputs @ params["readout_of_word"] + params["readout_bias"]
        if config.score != "none":
            scores_S = h_SF @ {"general": d @ query_matrix}.get(config.score, d)
            if config.score == "additive":
                keys_SA = h_SF @ params["key"] + params["key_bias"]
                scores_S = np.tanh(d @ query_matrix + keys_SA) @ params["score_vector"]
            context = np.exp(scores_S) / np.exp(scores_S).sum() @ h_SF
            inputs = np.concatenate([inputs, context])
            weights_of_inputs = np.concatenate([weights_of_inputs, params["gates_of_context"]])
            readout += context @ params["readout_of_context"]
        cell = {"input": {"kernel": weights_of_inputs}, "recurrent": {"kernel": recurrent}}
        d = gru_states(cell | {"bias": params["gates_bias"]}, inputs[None], d)[0]
        logits.append(np.tanh(readout + d @ params["readout_of_state"]) @ params["embed"].T + params["unembed_bias"])
    return np.stack(logits)


@pytest.mark.parametrize("score", SCORES)
def test_the_translator_is_its_equations(score):
    config = replace(SMALL, score=score)
    params = jax.tree.map(np.float64, random_variables(config)["params"])
    for b, length in enumerate(LENGTH_B):
        plain_TV = plain_logits(config, params, SOURCE_BS[b, :length], TARGET_BT[b])
        np.testing.assert_allclose(outcomes(config)[0][0][b], plain_TV, atol=1e-5)


@pytest.mark.parametrize("config", [SMALL, WORDS], ids=VALUES)
def test_which_keys_and_values_see_a_word(config):
    """Of two GRUs, the one sees it from its place on, the other up to its place; a word's own value alone does."""
    model, changed = translator(replace(config, score="general")), 2  # whose keys are the states themselves
    source_2S = np.stack([SOURCE_BS[0], SOURCE_BS[0]])
    source_2S[1, changed] = (source_2S[0, changed] + 1) % V
    variables = random_variables(model.model.config)
    memory = jax.jit(lambda source_2S: model.encode(variables, source_2S, np.array([S, S]), T))(source_2S)
    place_S = np.arange(S)
    from_on, up_to = place_S >= changed, place_S <= changed

    def sees(x_2SF):
        return (np.abs(x_2SF[1] - x_2SF[0]).reshape(S, 2, -1).max(-1) > 1e-4).T

    np.testing.assert_array_equal(sees(memory.keys), [from_on, up_to])
    if config.values == "states":
        np.testing.assert_array_equal(sees(memory.values), [from_on, up_to])
    else:
        np.testing.assert_array_equal(sees(memory.values), [place_S == changed] * 2)
        np.testing.assert_array_equal(memory.state, 0)  # nothing of the source but what attention picks


def test_without_attention_all_that_the_decoder_keeps_is_its_state():
    model = translator(replace(SMALL, score="none"))
    memory = model.encode(random_variables(model.model.config), SOURCE_BS, LENGTH_B, T)
    assert memory.values is memory.keys is memory.gates_of_values is None


def test_replacing_rows_by_the_models_own_changes_nothing():
    logits_BTV, weights_BHTS = forward(SMALL, SOURCE_BS, LENGTH_B, TARGET_BT)
    replaced = weights_BHTS[:, 0], np.ones((B, T), bool)
    again = forward(SMALL, SOURCE_BS, LENGTH_B, TARGET_BT, replaced)
    np.testing.assert_allclose(again[0], logits_BTV, atol=1e-6)
    np.testing.assert_array_equal(again[1], weights_BHTS)


def test_a_replaced_row_acts_on_its_sentence_from_its_token_on():
    b, t = 2, 1
    row_S, is_replaced_BT = np.array([0, 0.2, 0.8, 0, 0], np.float32), np.zeros((B, T), bool)
    is_replaced_BT[b, t] = True
    own = forward(SMALL, SOURCE_BS, LENGTH_B, TARGET_BT)
    replaced = np.broadcast_to(row_S, (B, T, S)), is_replaced_BT
    logits_BTV, weights_BHTS = forward(SMALL, SOURCE_BS, LENGTH_B, TARGET_BT, replaced)
    np.testing.assert_array_equal(weights_BHTS[b, 0, t], row_S)
    is_later_BT = (np.arange(B) == b)[:, None] & (np.arange(T) >= t)
    for before, after in ((own[0], logits_BTV), (own[1][:, 0], weights_BHTS[:, 0])):
        np.testing.assert_array_equal(np.abs(after - before).max(-1) > 1e-5, is_later_BT)


def test_without_attention_there_are_no_rows_to_replace():
    config = replace(SMALL, score="none")
    replaced = np.full((B, T, S), 1 / S, np.float32), np.ones((B, T), bool)
    other = forward(config, SOURCE_BS, LENGTH_B, TARGET_BT, replaced)
    np.testing.assert_allclose(other[0], outcomes(config)[0][0], atol=1e-6)


def test_advancing_changes_the_state_only():
    """The search then need not copy what is the same in all hypotheses of a sentence."""
    model, variables = translator(SMALL), random_variables(SMALL)
    cache = model.encode(variables, SOURCE_BS, LENGTH_B, T)
    _, advanced = model.advance(variables, cache, TARGET_BT[:, 0])
    assert [name for name in cache._fields if getattr(cache, name) is not getattr(advanced, name)] == ["state"]
    assert all(leaf.shape[0] == B for leaf in jax.tree.leaves(cache))


def test_dropout_acts_in_training_only_and_follows_its_key():
    config = replace(SMALL, dropout=0.4)
    keys = [{"dropout": jax.random.key(i)} for i in range(2)]
    inputs = SOURCE_BS, LENGTH_B, TARGET_BT
    evaluated = forward(config, *inputs)[0]
    trained = [forward(config, *inputs, None, rngs)[0] for rngs in (keys[0], keys[0], keys[1])]
    np.testing.assert_allclose(evaluated, outcomes(SMALL)[0][0], atol=1e-6)
    np.testing.assert_array_equal(trained[0], trained[1])
    assert np.abs(trained[0] - trained[2]).max() > 0.1
    assert np.abs(trained[0] - evaluated).max() > 0.1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"score": "bilinear"}, "score='bilinear' is not one of additive, dot, general, none"),
        ({"values": "letters"}, "values='letters' is not one of states, words"),
        ({"values": "words", "score": "none"}, "score=none reads the source's last states alone"),
        ({"vocab_size": 0}, "vocab_size=0 must be at least 1"),
        ({"d_embed": -1}, "d_embed=-1 must be at least 1"),
        ({"d_attention": 0}, "d_attention=0 must be at least 1"),
        ({"d_hidden": 7}, "d_hidden=7 must be even"),
        ({"dropout": 1.0}, r"dropout=1.0 must lie in \[0, 1\)"),
        ({"dropout": -0.1}, r"dropout=-0.1 must lie in \[0, 1\)"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **changes)


def test_the_summary_lists_every_parameter():
    variables = random_variables(SMALL)
    listed = layers(translator(SMALL).model, variables, (SOURCE_BS[:1], LENGTH_B[:1], TARGET_BT[:1]))
    assert sum(layer.parameters for layer in listed) == sum(x.size for x in jax.tree.leaves(variables))


def test_it_learns_to_reverse_and_the_search_writes_reversals():
    end, num_words = 0, 4
    model = translator(Seq2SeqConfig(vocab_size=6, d_embed=16, d_hidden=32, d_attention=16))
    length_B = jnp.full(32, num_words + 1)

    def reversals(key):
        words_BS = jax.random.randint(key, (32, num_words), 1, 6)
        return jnp.pad(words_BS, ((0, 0), (0, 1))), jnp.pad(words_BS[:, ::-1], ((0, 0), (0, 1)))

    def loss(variables, key):
        source_BS, target_BT = reversals(key)
        read_BT = jnp.pad(target_BT, ((0, 0), (1, 0)), constant_values=end)[:, :-1]
        logits_BTV, _ = model.forward(variables, source_BS, length_B, read_BT)
        return optax.softmax_cross_entropy_with_integer_labels(logits_BTV, target_BT).mean()

    optimizer = optax.adam(1e-2)

    @jax.jit
    def train(key):
        def step(state, key):
            updates, optimizer_state = optimizer.update(jax.grad(loss)(state[0], key), state[1])
            return (optax.apply_updates(state[0], updates), optimizer_state), None

        variables = model.init(key)
        return jax.lax.scan(step, (variables, optimizer.init(variables)), jax.random.split(key, 250))[0][0]

    source_BS, target_BT = reversals(jax.random.key(1))
    variables = train(jax.random.key(0))
    translations = search(model, variables, source_BS, length_B, end=end, max_length=num_words + 1, beam_size=2)
    assert (translations.tokens_BT == target_BT).all(axis=1).mean() > 0.9
