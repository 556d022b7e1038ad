"""The embedding's functions against loops over its tokens."""

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.embedding_layer import embedding

TOKENS = np.array([2, 5, 5, 0], np.int32)


@pytest.fixture(scope="module")
def given():
    """A table [7, 3], one-hot vectors [4, 7] of TOKENS, and cotangents [4, 3]."""
    generator = np.random.default_rng(0)
    table, cotangents = (generator.normal(size=shape).astype(np.float32) for shape in ((7, 3), (4, 3)))
    return jnp.asarray(table), np.eye(7, dtype=np.float32)[TOKENS], cotangents


def test_lookup_and_product_are_the_rows_of_the_tokens(given):
    table, one_hot, _ = given
    expected = np.stack([np.asarray(table)[token] for token in TOKENS])
    np.testing.assert_array_equal(embedding.gather(table, TOKENS), expected)
    np.testing.assert_array_equal(embedding.product(table, one_hot), expected)


def test_both_gradients_add_each_cotangent_to_its_row(given):
    table, one_hot, cotangents = given
    expected = np.zeros((7, 3), np.float32)
    for token, cotangent in zip(TOKENS, cotangents, strict=True):
        expected[token] += cotangent
    np.testing.assert_allclose(embedding.gather_gradient(table, TOKENS, cotangents), expected, rtol=1e-6)
    np.testing.assert_allclose(embedding.product_gradient(table, one_hot, cotangents), expected, rtol=1e-6)
    assert np.count_nonzero(np.any(expected != 0, axis=1)) == 3


def test_the_sparse_update_gives_the_table_of_the_dense_one(given):
    table, _, cotangents = given
    gradient = embedding.gather_gradient(table, TOKENS, cotangents)
    dense = embedding.dense_update(table, gradient, 0.5)
    np.testing.assert_allclose(dense, np.asarray(table) - 0.5 * np.asarray(gradient), rtol=1e-6)
    np.testing.assert_allclose(embedding.sparse_update(table, TOKENS, cotangents, 0.5), dense, rtol=1e-5)
