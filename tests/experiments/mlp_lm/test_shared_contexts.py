"""Words that are used alike: overlaps that can be computed by hand, planted neighbours, and random ones."""

import numpy as np

from experiments.mlp_lm.shared_contexts import neighbours, next_token_overlap, overlap_ranks


def test_overlap_of_what_follows_by_hand():
    # After 0: 1, 2, 1, 2. After 3: 1. After 4: 2 and 5 in equal shares. After 5: nothing.
    text_N = [0, 1, 0, 2, 0, 1, 0, 2, 3, 1, 4, 2, 4, 5]
    overlap_MM = next_token_overlap(text_N, np.array([0, 3, 4, 5]), 6)
    half = 0.5**0.5
    np.testing.assert_allclose(
        overlap_MM, [[1, half, 0.5, 0], [half, 1, 0, 0], [0.5, 0, 1, 0], [0, 0, 0, 0]], atol=1e-12
    )


def test_neighbours_in_falling_order_of_cosine():
    embedding_MD = np.array([[1.0, 0.0], [5.0, 0.5], [0.0, 2.0], [-1.0, 0.0]])
    np.testing.assert_array_equal(neighbours(embedding_MD)[0], [1, 2, 3])
    np.testing.assert_array_equal(neighbours(embedding_MD)[2], [1, 0, 3])


def test_ranks_of_planted_and_random_neighbours():
    random = np.random.default_rng(0)
    M = 60
    embedding_MD = random.normal(size=(M // 2, 5))
    embedding_MD = np.concatenate([embedding_MD, embedding_MD + 0.01 * random.normal(size=(M // 2, 5))])
    overlap_MM = random.uniform(size=(M, M))
    twins = (np.arange(M) + M // 2) % M
    overlap_MM[np.arange(M), twins] = 2.0
    np.testing.assert_allclose(overlap_ranks(overlap_MM, neighbours(embedding_MD)[:, :1]).mean(), 1 - 0.5 / (M - 1))
    others = overlap_ranks(overlap_MM, neighbours(random.normal(size=(M, 5))))
    np.testing.assert_allclose(others.mean(), 0.5)
