"""The bidirectional encoder on sentences alone, in buckets and packed, and the transitions scored from it."""

import dataclasses
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.dependency_parser.arrays import bucket_segments
from experiments.dependency_parser.encoder import Encoder, EncoderConfig, TransitionEncoder

CONFIG = EncoderConfig(num_words=12, num_tags=5, d_embed=4, width=3, num_layers=2)
K, H = 7, 6
LENGTHS = (3, 1, 5)  # words; a sentence takes one position more, for ROOT
T = 12
random = np.random.default_rng(0)
SENTENCES = [(random.integers(2, 12, n + 1), random.integers(2, 5, n + 1)) for n in LENGTHS]


def padded(arrays, value=0):
    """The arrays one behind the other, in a row of T."""
    row = np.concatenate(arrays)
    return np.pad(row, (0, T - len(row)), constant_values=value)


PACKED = tuple(
    padded(arrays, value)[None]
    for arrays, value in [
        ([words for words, _ in SENTENCES], 0),
        ([tags for _, tags in SENTENCES], 0),
        ([np.full(n + 1, number) for number, n in enumerate(LENGTHS)], -1),
    ]
)
BUCKET = (
    np.stack([padded([words]) for words, _ in SENTENCES]),
    np.stack([padded([tags]) for _, tags in SENTENCES]),
    np.asarray(bucket_segments(np.array(LENGTHS), T)),
)


def make(module, *inputs):
    """(the jitted module, variables with every parameter random)."""
    shapes = jax.eval_shape(module.init, jax.random.key(0), *inputs)
    generator = np.random.default_rng(1)
    variables = jax.tree.map(lambda x: jnp.asarray(0.5 * generator.normal(size=x.shape), jnp.float32), shapes)
    return jax.jit(module.apply, static_argnames=("deterministic", "method")), variables


@pytest.fixture(scope="module")
def encoder():
    return make(Encoder(CONFIG), *PACKED)


def test_segments_of_a_bucket():
    np.testing.assert_array_equal(bucket_segments(np.array([2, 0]), 4), [[0, 0, 0, -1], [0, -1, -1, -1]])


def test_a_sentence_has_the_same_encodings_alone_in_a_bucket_and_packed(encoder):
    apply, variables = encoder
    packed_TD = apply(variables, *PACKED)[0]
    bucket_BTD = apply(variables, *BUCKET)
    begin = 0
    for (words, tags), bucket_TD in zip(SENTENCES, bucket_BTD, strict=True):
        length = len(words)
        alone_TD = apply(variables, words[None], tags[None], np.zeros((1, length), int))[0]
        np.testing.assert_allclose(bucket_TD[:length], alone_TD, atol=1e-6)
        np.testing.assert_allclose(packed_TD[begin : begin + length], alone_TD, atol=1e-6)
        begin += length


def test_a_word_changes_the_encodings_of_its_whole_sentence_and_of_no_other(encoder):
    apply, variables = encoder
    words_BT, tags_BT, segments_BT = PACKED
    before_TD = apply(variables, *PACKED)[0]
    edges = np.cumsum([0, *(n + 1 for n in LENGTHS), 0])
    for begin, end in pairwise(edges[:-1]):
        for changed in (begin, end - 1):
            other_BT = words_BT.copy()
            other_BT[0, changed] = 13 - other_BT[0, changed]
            is_changed_T = np.abs(apply(variables, other_BT, tags_BT, segments_BT)[0] - before_TD).max(axis=1) > 1e-6
            np.testing.assert_array_equal(np.flatnonzero(is_changed_T), np.arange(begin, end))


def test_an_encoder_without_words_does_not_depend_on_them():
    config = dataclasses.replace(CONFIG, use_words=False)
    apply, variables = make(Encoder(config), *PACKED)
    words_BT, *others = PACKED
    np.testing.assert_array_equal(apply(variables, words_BT * 0, *others), apply(variables, words_BT, *others))
    assert "word_embed" not in variables["params"]


def test_dropout_is_on_only_where_asked_and_takes_features_from_a_whole_row():
    config = dataclasses.replace(CONFIG, width=32, num_layers=1, word_dropout=0.0, dropout=0.5)
    apply, variables = make(Encoder(config), *PACKED)
    keep = apply(variables, *BUCKET)
    noisy = apply(variables, *BUCKET, deterministic=False, rngs={"dropout": jax.random.key(0)})
    assert np.abs(noisy - keep).max() > 1e-2
    is_zero_BTD = np.asarray(noisy == 0)
    np.testing.assert_array_equal(is_zero_BTD, np.broadcast_to(is_zero_BTD[:, :1], is_zero_BTD.shape))
    assert 0.3 < is_zero_BTD[:, 0].mean() < 0.7


POSITIONS = np.array(
    [[[3, 0, -1, -1], [2, 1, 0, 3], [0, -1, -1, 1]], [[1, 0, -1, -1], [0, -1, -1, 1], [0, -1, -1, -1]]]
)


@pytest.fixture(scope="module")
def parser():
    return make(TransitionEncoder(CONFIG, K, H), *(part[:2] for part in BUCKET), POSITIONS)


def test_logits_are_a_hidden_layer_over_four_encodings_side_by_side(parser):
    apply, variables = parser
    p = jax.tree.map(np.asarray, variables["params"])
    bucket = [part[:2] for part in BUCKET]
    x_BTD = np.asarray(Encoder(CONFIG).apply({"params": p["encoder"]}, *bucket))
    logits_BJK = apply(variables, *bucket, POSITIONS)
    kernel_DPH = p["places"]["kernel"].reshape(-1, 4, H)
    nothing_PH = p["nothing"].reshape(4, H)
    for b, j in np.ndindex(2, 3):
        hidden_H = p["bias"].copy()
        for place, position in enumerate(POSITIONS[b, j]):
            hidden_H += nothing_PH[place] if position < 0 else x_BTD[b, position] @ kernel_DPH[:, place]
        expected_K = np.maximum(hidden_H, 0) @ p["transitions"]["kernel"] + p["transitions"]["bias"]
        np.testing.assert_allclose(logits_BJK[b, j], expected_K, rtol=1e-4, atol=1e-5)


def test_decisions_one_by_one_are_those_of_a_row_at_once(parser):
    apply, variables = parser
    h_BTD = apply(variables, *(part[:2] for part in BUCKET), method="encode")
    logits_BJK = apply(variables, h_BTD, POSITIONS, method="score")
    for j in range(3):
        one_BK = apply(variables, h_BTD, POSITIONS[:, j], method="score")
        np.testing.assert_allclose(one_BK, logits_BJK[:, j], rtol=1e-5, atol=1e-6)


def test_gradients_reach_every_parameter():
    module = TransitionEncoder(CONFIG, K, H, activation="tanh")
    inputs = (*(part[:2] for part in BUCKET), POSITIONS)
    _, variables = make(module, *inputs)
    gradient = jax.jit(jax.grad(lambda v: jnp.sum(jnp.sin(module.apply(v, *inputs)))))(variables)
    assert all(jnp.abs(leaf).max() > 1e-5 for leaf in jax.tree.leaves(gradient))


def test_seeds_at_once_are_seeds_one_by_one():
    module = TransitionEncoder(dataclasses.replace(CONFIG, num_layers=1), K, H)
    inputs = (*(part[:2] for part in BUCKET), POSITIONS)
    options = {"deterministic": False}

    def gradient(key):
        variables = module.init(key, *inputs)
        return jax.grad(lambda v: jnp.sum(module.apply(v, *inputs, rngs={"dropout": key}, **options) ** 2))(variables)

    keys = jax.random.split(jax.random.key(0), 2)
    together, alone = jax.jit(jax.vmap(gradient))(keys), jax.jit(gradient)
    for seed, key in enumerate(keys):
        jax.tree.map(
            lambda a, b, s=seed: np.testing.assert_allclose(a[s], b, rtol=1e-4, atol=1e-5), together, alone(key)
        )


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"num_layers": 0}, "num_layers=0 must be at least 1"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"word_dropout": -0.1}, "word_dropout=-0.1"),
        ({"use_words": False, "use_tags": False}, "set one of them to True"),
    ],
)
def test_a_wrong_config_is_refused(options, match):
    with pytest.raises(ValueError, match=match):
        dataclasses.replace(CONFIG, **options)
