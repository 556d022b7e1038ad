"""The decoder's loop against a plain one, its scores against their formulas, and rows of weights that are replaced."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.attention_loop import SCORES, Memory, attend, unroll_decoder

B, T, S, F, A = 3, 3, 4, 5, 2
LENGTH_B = np.array([4, 1, 3])
IS_WORD_BS = np.arange(S) < LENGTH_B[:, None]
WIDTH_OF_QUERY = {"additive": A, "general": F, "dot": 0, "none": 0}


def random_inputs(score, seed=0):
    """(kernel, vector, memory, z) in float64."""
    normal = np.random.default_rng(seed).normal
    width = WIDTH_OF_QUERY[score]
    kernel, z_TBG, state_BF = normal(size=(F, width + 3 * F)), normal(size=(T, B, 3 * F)), normal(size=(B, F))
    if score == "none":
        return kernel, None, Memory(state_BF), z_TBG
    vector_A = normal(size=A) if score == "additive" else None
    keys_BSA, gates_BSG = normal(size=(B, S, width or F)), normal(size=(B, S, 3 * F))
    return kernel, vector_A, Memory(state_BF, None, keys_BSA, gates_BSG, IS_WORD_BS), z_TBG


def random_rows(seed=1):
    """Rows of weights [T, B, S], and which of the loop's own they replace [T, B]: some at every step."""
    rng = np.random.default_rng(seed)
    weights_TBS = rng.random((T, B, S)) * IS_WORD_BS
    is_replaced_TB = np.array([[1, 0, 0], [0, 1, 1], [1, 0, 0]], bool)
    return weights_TBS / weights_TBS.sum(-1, keepdims=True), is_replaced_TB


def plain_weights(score, query, vector, keys):
    """One sentence's weights [S], by the formulas of Bahdanau et al. 2015 and Luong et al. 2015."""
    if score == "additive":
        scores = jnp.stack([jnp.sum(vector * jnp.tanh(query + key)) for key in keys])
    else:
        scores = jnp.stack([jnp.sum(query * key) for key in keys])
    return jnp.exp(scores) / jnp.exp(scores).sum()


def plain_unroll(score, kernel, vector, memory, z_TBG, replaced=None):
    """What ``unroll_decoder`` returns, one sentence, step and gate after the other, without padding."""
    width = WIDTH_OF_QUERY[score]
    of_query, of_reset, of_update, of_candidate = jnp.split(kernel, [width, width + F, width + 2 * F], axis=1)
    states_BTF, weights_BTS = [], []
    for b, state in enumerate(memory.state):
        states_TF, weights_TS = [], []
        for t, z in enumerate(z_TBG[:, b]):
            if score != "none":
                query = state @ of_query if width else state
                weights = plain_weights(score, query, vector, memory.keys[b, : LENGTH_B[b]])
                weights = jnp.concatenate([weights, jnp.zeros(S - LENGTH_B[b])])
                if replaced is not None and replaced[1][t, b]:
                    weights = replaced[0][t, b]
                z = z + weights @ memory.gates_of_values[b]
                weights_TS.append(weights)
            z_reset, z_update, z_candidate = jnp.split(z, 3)
            reset, update = jax.nn.sigmoid(z_reset + state @ of_reset), jax.nn.sigmoid(z_update + state @ of_update)
            state = update * state + (1 - update) * jnp.tanh(z_candidate + reset * (state @ of_candidate))
            states_TF.append(state)
        states_BTF.append(jnp.stack(states_TF))
        weights_BTS.append(jnp.stack(weights_TS) if weights_TS else None)
    return jnp.stack(states_BTF, 1), None if score == "none" else jnp.stack(weights_BTS, 1)


def value_and_gradient(unroll, score, replaced, inputs):
    """((a number, states and weights), the number's gradients by kernel, vector, memory and words)."""

    def total(differentiable):
        kernel, vector_A, memory, z_TBG = differentiable
        outputs = unroll(score, kernel, vector_A, memory._replace(is_word=inputs[2].is_word), z_TBG, replaced)
        return sum(jnp.sum(jnp.sin(3 * x)) for x in jax.tree.leaves(outputs)), outputs

    kernel, vector_A, memory, z_TBG = inputs
    return jax.value_and_grad(total, has_aux=True)((kernel, vector_A, memory._replace(is_word=None), z_TBG))


def assert_close(ours, theirs, **tolerance):
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), ours, theirs)


@pytest.mark.parametrize("replaces", [False, True], ids=["own rows", "replaced rows"])
@pytest.mark.parametrize("score", SCORES)
def test_values_and_gradients_are_those_of_a_plain_loop(score, replaces):
    inputs, replaced = random_inputs(score), random_rows() if replaces else None
    with jax.enable_x64(True):
        ours = jax.jit(partial(value_and_gradient, unroll_decoder, score, replaced))(inputs)
        plain = jax.jit(partial(value_and_gradient, plain_unroll, score, replaced))(inputs)
        assert_close(ours, plain, atol=1e-12)
        assert all(jnp.abs(gradient).max() > 1e-3 for gradient in jax.tree.leaves(ours[1]))


@pytest.mark.parametrize("score", ["additive", "none"])
def test_several_models_at_once_are_each_model_alone(score):
    models = [random_inputs(score, seed) for seed in range(2)]
    run = partial(value_and_gradient, unroll_decoder, score, None)
    with jax.enable_x64(True):
        together = jax.jit(jax.vmap(run))(jax.tree.map(lambda *leaves: np.stack(leaves), *models))
        for i, inputs in enumerate(models):
            assert_close(jax.tree.map(lambda x, i=i: x[i], together), jax.jit(run)(inputs), atol=1e-12)


def test_without_a_gradient_the_values_are_the_same():
    inputs = random_inputs("additive")
    with jax.enable_x64(True):
        (_, outputs), _ = value_and_gradient(unroll_decoder, "additive", random_rows(), inputs)
        assert_close(unroll_decoder("additive", *inputs, random_rows()), outputs, atol=1e-14)


@pytest.mark.parametrize("score", ["additive", "dot", "general"])
def test_weights_are_the_softmax_of_their_score(score):
    rng = np.random.default_rng(2)
    query_BA, keys_BSA, vector_A = rng.normal(size=(B, A)), rng.normal(size=(B, S, A)), rng.normal(size=A)
    with jax.enable_x64(True):
        weights_BS = attend(score, query_BA, vector_A, keys_BSA, IS_WORD_BS)
    for b, length in enumerate(LENGTH_B):
        keys_SA = keys_BSA[b, :length]
        scores_S = np.tanh(query_BA[b] + keys_SA) @ vector_A if score == "additive" else keys_SA @ query_BA[b]
        expected_S = np.exp(scores_S) / np.exp(scores_S).sum()
        np.testing.assert_allclose(weights_BS[b, :length], expected_S, atol=1e-14)
        np.testing.assert_array_equal(weights_BS[b, length:], 0)


def test_large_scores_give_finite_weights_and_gradients():
    keys_BSA = 1e4 * np.random.default_rng(3).normal(size=(B, S, A)).astype(np.float32)

    def first_weight(query_BA):
        weights_BS = attend("dot", query_BA, None, keys_BSA, IS_WORD_BS)
        return weights_BS[:, 0].sum(), weights_BS

    gradient, weights_BS = jax.grad(first_weight, has_aux=True)(np.ones((B, A), np.float32))
    np.testing.assert_allclose(weights_BS.sum(-1), 1, atol=1e-6)
    assert np.isfinite(gradient).all()


def test_replacing_rows_by_the_loops_own_changes_nothing():
    inputs = random_inputs("general")
    with jax.enable_x64(True):
        states_TBF, weights_TBS = unroll_decoder("general", *inputs)
        replaced = weights_TBS, np.ones((T, B), bool)
        assert_close(unroll_decoder("general", *inputs, replaced), (states_TBF, weights_TBS), atol=1e-14)


def test_replaced_rows_act_in_their_sentence_from_their_step_on():
    inputs, t, b = random_inputs("dot"), 1, 0
    rows_TBS, _ = random_rows()
    is_replaced_TB = np.zeros((T, B), bool)
    is_replaced_TB[t, b] = True
    with jax.enable_x64(True):
        own = unroll_decoder("dot", *inputs)
        other = unroll_decoder("dot", *inputs, (rows_TBS, is_replaced_TB))
    np.testing.assert_array_equal(other[1][t, b], rows_TBS[t, b])
    for before, after in zip(own, other, strict=True):
        is_changed_TB = np.abs(after - before).max(-1) > 1e-6
        np.testing.assert_array_equal(is_changed_TB, (np.arange(T) >= t)[:, None] & (np.arange(B) == b))


@pytest.mark.parametrize("score", ["dot", "general"])
def test_a_hand_wired_decoder_attends_to_the_word_that_its_state_names(score):
    """Keys are one-hot, and each word read sets the state to one position: the next step attends to it."""
    named_TB = np.array([[3, 0, 1], [2, 0, 2], [0, 0, 0]])
    candidate_TBF = 50 * np.eye(F)[named_TB]
    z_TBG = np.concatenate([np.zeros((T, B, F)), np.full((T, B, F), -50), candidate_TBF], axis=-1)  # overwrites
    keys_BSF = np.broadcast_to(50 * np.eye(S, F), (B, S, F))
    kernel = np.zeros((F, 3 * F)) if score == "dot" else np.concatenate([np.eye(F), np.zeros((F, 3 * F))], axis=1)
    memory = Memory(np.zeros((B, F)), None, keys_BSF, np.zeros((B, S, 3 * F)), IS_WORD_BS)
    _, weights_TBS = unroll_decoder(score, kernel, None, memory, z_TBG)
    np.testing.assert_allclose(weights_TBS[0], IS_WORD_BS / LENGTH_B[:, None], atol=1e-6)  # the first state is zero
    np.testing.assert_array_less(0.999, np.take_along_axis(np.asarray(weights_TBS[1:]), named_TB[:-1, :, None], -1))
