import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.induction_heads.hand_wired import induction_config, induction_params
from models.transformer import Transformer
from probes.linear_probe import fit_and_predict, previous_token_probe


def clusters(seed, num_examples, spread=0.5):
    """Points around three corners of a square, with a feature that never varies; and which corner each belongs to."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, num_examples)
    corners = np.array([[0.0, 0.0, 0.1], [1.0, 0.0, 0.1], [0.0, 1.0, 0.1]])
    noise = spread * rng.normal(size=(num_examples, 3)) * [1, 1, 0]
    return (corners[labels] + noise).astype(np.float32), labels


def train_and_test(**settings):
    return *clusters(0, 100, **settings), *clusters(1, 1000, **settings)


def accuracy_by_gradient_descent(train_ND, train_labels_N, test_ND, test_labels_N, weight_decay):
    """The same regression by plain gradient descent, example by example in float64."""
    train_ND, test_ND = train_ND[:, :2].astype(float), test_ND[:, :2].astype(float)
    mean, deviation = train_ND.mean(0), train_ND.std(0)
    train, test = (train_ND - mean) / deviation, (test_ND - mean) / deviation
    kernel, bias = np.zeros((2, 3)), np.zeros(3)
    for _ in range(150):
        gradient, gradient_bias = weight_decay * kernel, np.zeros(3)
        for x, label in zip(train, train_labels_N, strict=True):
            probabilities = np.exp(x @ kernel + bias)
            probabilities /= probabilities.sum()
            probabilities[label] -= 1
            gradient = gradient + np.outer(x, probabilities) / len(train)
            gradient_bias = gradient_bias + probabilities / len(train)
        kernel, bias = kernel - gradient, bias - gradient_bias
    return np.mean([np.argmax(x @ kernel + bias) == label for x, label in zip(test, test_labels_N, strict=True)])


def fitted(train, labels, test, test_labels, num_steps=100):
    predicted = fit_and_predict(train, labels, test, 3, num_steps, weight_decay=0.02)
    return float((predicted == test_labels).mean())


def test_the_fit_is_that_of_gradient_descent():
    reference = accuracy_by_gradient_descent(*train_and_test(), weight_decay=0.02)
    assert 0.5 < reference < 0.9
    assert fitted(*train_and_test()) == pytest.approx(reference, abs=0.005)


def test_classes_that_lie_apart_are_told_apart_and_labels_of_something_else_are_not():
    train, labels, test, test_labels = train_and_test(spread=0.05)
    assert fitted(train, labels, test, test_labels) == 1.0
    noise = np.random.default_rng(2).normal(size=(1100, 3)).astype(np.float32)
    assert fitted(noise[:100], labels, noise[100:], test_labels) == pytest.approx(1 / 3, abs=0.06)


def test_units_and_offsets_change_nothing():
    train, labels, test, test_labels = train_and_test()
    factors, offsets = np.array([1e3, 1e-3, 7], np.float32), np.array([50, 0, -3], np.float32)
    moved = fitted(factors * train + offsets, labels, factors * test + offsets, test_labels)
    assert moved == pytest.approx(fitted(train, labels, test, test_labels), abs=0.003)


def test_a_fit_repeats_exactly_and_stays_at_its_minimum():
    assert fitted(*train_and_test()) == fitted(*train_and_test())
    assert fitted(*train_and_test(), num_steps=300) == pytest.approx(fitted(*train_and_test()), abs=0.003)


V = 16  # and BOS


def sequences(seed, num_sequences=64):
    """BOS and 32 tokens that say nothing of each other."""
    tokens_BT = np.random.default_rng(seed).integers(0, V, (num_sequences, 32), dtype=np.int32)
    return np.insert(tokens_BT, 0, V, axis=1)


def hand_wired():
    config = induction_config(V + 1, 33)
    return Transformer(config), {"params": jax.jit(lambda: induction_params(config))()}


def test_the_previous_token_is_in_the_stream_from_the_first_hand_wired_layer_on():
    model, variables = hand_wired()
    by_position = previous_token_probe(model, variables, sequences(0), sequences(1), V)
    assert by_position.shape == (3, 31)
    accuracy = by_position.mean(-1)
    assert accuracy[0] < 0.12
    np.testing.assert_array_equal(accuracy[1:], [1.0, 1.0])


def test_without_the_previous_token_head_every_depth_is_at_chance():
    model, variables = hand_wired()
    output = variables["params"]["layer_0"]["attention"]["output"]
    output["kernel"] = jnp.zeros_like(output["kernel"])
    accuracy = previous_token_probe(model, variables, sequences(0), sequences(1), V).mean(-1)
    assert accuracy[:2].max() < 0.12
    assert accuracy[2] < 0.2  # an average over earlier tokens holds a little of each


def test_the_embedding_of_a_model_with_random_weights_is_at_chance():
    model, variables = hand_wired()
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda leaf: jnp.array(rng.normal(scale=0.1, size=leaf.shape), jnp.float32), variables)
    accuracy = previous_token_probe(model, variables, sequences(0), sequences(1), V).mean(-1)
    assert accuracy[0] < 0.12


def test_accuracy_is_told_position_by_position():
    """The hand-wired head with half of its queries cut off writes at the other half only."""
    model, variables = hand_wired()
    query = variables["params"]["layer_0"]["attention"]["query"]
    first_position = V + 1  # of the positions' block in the stream
    query["kernel"] = query["kernel"].at[first_position + 17 :].multiply(0.0)
    after_one_layer = previous_token_probe(model, variables, sequences(0), sequences(1), V)[1]
    np.testing.assert_array_equal(after_one_layer[:15], 1.0)  # positions 2 ... 16
    assert after_one_layer[15:].mean() < 0.3
