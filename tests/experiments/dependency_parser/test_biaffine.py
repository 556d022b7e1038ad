"""The biaffine parser: which arcs are possible, its scores' equations, its loss, and trees learnt by heart."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.dependency_parser.arrays import bucket_segments
from experiments.dependency_parser.biaffine import Biaffine, loss, parse_bucket
from experiments.dependency_parser.encoder import EncoderConfig

NUM_WORDS, NUM_LABELS = 12, 4
CONFIG = EncoderConfig(NUM_WORDS, 5, d_embed=4, width=3, num_layers=1)
MODULE = Biaffine(CONFIG, NUM_LABELS, d_arc=6, d_label=5)
random = np.random.default_rng(0)

# One row of two sentences, of 3 and 2 words, and padding.
WORDS_BT, TAGS_BT = random.integers(2, NUM_WORDS, (1, 9)), random.integers(2, 5, (1, 9))
SEGMENTS_BT = np.array([[0, 0, 0, 0, 1, 1, 1, -1, -1]])
HEADS_BT = np.array([[-1, 2, 0, 2, -1, 4, 5, -1, -1]])
LABELS_BT = np.array([[0, 1, 2, 3, 0, 2, 1, 0, 0]])


@pytest.fixture(scope="module")
def packed():
    """(variables with every parameter random, arc scores, label scores) of the row."""
    shapes = jax.eval_shape(MODULE.init, jax.random.key(0), WORDS_BT, TAGS_BT, SEGMENTS_BT, HEADS_BT)
    generator = np.random.default_rng(1)
    variables = jax.tree.map(lambda x: jnp.asarray(0.5 * generator.normal(size=x.shape), jnp.float32), shapes)
    return variables, *jax.jit(MODULE.apply)(variables, WORDS_BT, TAGS_BT, SEGMENTS_BT, HEADS_BT)


def test_heads_are_the_other_positions_of_a_sentence(packed):
    _, scores_BTT, _ = packed
    allowed_TT = np.zeros((9, 9), bool)
    allowed_TT[:4, :4] = allowed_TT[4:7, 4:7] = True
    np.testing.assert_array_equal(np.asarray(scores_BTT[0] > -1e8), allowed_TT & ~np.eye(9, dtype=bool))


def test_scores_are_the_equations_of_the_paper(packed):
    variables, scores_BTT, label_scores_BTL = packed
    p = jax.tree.map(np.asarray, variables["params"])
    encoder = MODULE.bind(variables).encoder
    x_TD = np.asarray(encoder(WORDS_BT, TAGS_BT, SEGMENTS_BT))[0] @ p["roles"]["kernel"] + p["roles"]["bias"]
    x_TD = np.where(x_TD > 0, x_TD, 0.01 * x_TD)
    dependent_TA, head_TA, dependent_TP, head_TP = np.split(x_TD, [6, 12, 17], axis=1)
    kernel_PLP = p["label"].reshape(5, 3, 5)
    for m, h in enumerate(HEADS_BT[0]):
        if h < 0:
            continue
        score = dependent_TA[m] @ p["arc"] @ head_TA[h] + p["arc_head"] @ head_TA[h]
        np.testing.assert_allclose(scores_BTT[0, m, h], score, rtol=1e-4, atol=1e-5)
        linear_L = np.concatenate([dependent_TP[m], head_TP[h]]) @ p["label_linear"]["kernel"]
        for label in range(3):
            score = dependent_TP[m] @ kernel_PLP[:, label] @ head_TP[h] + linear_L[label]
            score += p["label_linear"]["bias"][label]
            np.testing.assert_allclose(label_scores_BTL[0, m, label], score, rtol=1e-4, atol=1e-5)


def test_packed_sentences_score_as_alone(packed):
    variables, scores_BTT, label_scores_BTL = packed
    for begin, end in [(0, 4), (4, 7)]:
        part = np.s_[:, begin:end]
        heads = np.where(HEADS_BT[part] < 0, -1, HEADS_BT[part] - begin)
        alone_BTT, alone_BTL = MODULE.apply(
            variables, WORDS_BT[part], TAGS_BT[part], np.zeros((1, end - begin), int), heads
        )
        np.testing.assert_allclose(scores_BTT[:, begin:end, begin:end], alone_BTT, rtol=1e-5, atol=1e-5)
        is_word = heads >= 0
        np.testing.assert_allclose(label_scores_BTL[part][is_word], alone_BTL[is_word], rtol=1e-5, atol=1e-5)


def test_the_loss_is_summed_over_words_alone(packed):
    _, scores_BTT, label_scores_BTL = packed
    total, weight = loss(scores_BTT, label_scores_BTL, HEADS_BT, LABELS_BT)
    expected = 0.0
    for m, (h, label) in enumerate(zip(HEADS_BT[0], LABELS_BT[0], strict=True)):
        if h >= 0:
            expected -= jax.nn.log_softmax(scores_BTT[0, m])[h] + jax.nn.log_softmax(label_scores_BTL[0, m])[label - 1]
    assert weight == 5
    np.testing.assert_allclose(total, expected, rtol=1e-5)


def test_gradients_reach_every_parameter_and_are_finite(packed):
    variables = packed[0]

    def total(variables):
        scores = MODULE.apply(variables, WORDS_BT, TAGS_BT, SEGMENTS_BT, HEADS_BT)
        return loss(*scores, HEADS_BT, LABELS_BT)[0]

    for leaf in jax.tree.leaves(jax.jit(jax.grad(total))(variables)):
        assert np.isfinite(leaf).all()
        assert np.abs(leaf).max() > 1e-5


def test_twenty_sentences_are_learnt_by_heart_by_two_seeds_at_once():
    N, T = 20, 7
    config = EncoderConfig(30, 5, d_embed=16, width=16, num_layers=1, dropout=0.0, word_dropout=0.0)
    module = Biaffine(config, NUM_LABELS, d_arc=16, d_label=8)
    generator = np.random.default_rng(2)
    lengths_N = generator.integers(2, T, N)
    words_NT, tags_NT = generator.integers(2, 30, (N, T)), generator.integers(2, 5, (N, T))
    is_word_NT = (np.arange(T) >= 1) & (np.arange(T) <= lengths_N[:, None])
    # Chains, from the first word to the last or back, are projective trees.
    forward_NT, backward_NT = np.arange(T) - 1, np.where(np.arange(T) == lengths_N[:, None], 0, np.arange(T) + 1)
    heads_NT = np.where(is_word_NT, np.where(generator.random((N, 1)) < 0.5, forward_NT, backward_NT), -1)
    labels_NT = np.where(is_word_NT, generator.integers(1, NUM_LABELS, (N, T)), 0)
    segments_NT = bucket_segments(lengths_N, T)
    optimizer = optax.adam(0.02)

    def mean_loss(variables):
        scores = module.apply(variables, words_NT, tags_NT, segments_NT, heads_NT)
        total, weight = loss(*scores, heads_NT, labels_NT)
        return total / weight

    def fit(key):
        variables = module.init(key, words_NT, tags_NT, segments_NT, heads_NT)

        def step(_, carry):
            variables, state = carry
            updates, state = optimizer.update(jax.grad(mean_loss)(variables), state)
            return optax.apply_updates(variables, updates), state

        return jax.lax.fori_loop(0, 100, step, (variables, optimizer.init(variables)))[0]

    parse = jax.jit(lambda variables: parse_bucket(module, variables, words_NT, tags_NT, lengths_N))
    variables_S = jax.jit(jax.vmap(fit))(jax.random.split(jax.random.key(0), 2))
    for seed in range(2):
        heads, labels = parse(jax.tree.map(lambda x, s=seed: x[s], variables_S))
        np.testing.assert_array_equal(heads, heads_NT)
        np.testing.assert_array_equal(labels, labels_NT)
