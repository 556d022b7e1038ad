"""Whether tokens that are used alike have embeddings that lie close together.

Two tokens are used alike as far as the same tokens follow them. Of distributions p and q of the next token, the
Bhattacharyya coefficient sum sqrt(p q) is 1 where they are the same and 0 where nothing follows both (Bhattacharyya
1943).

Axes: M tokens that are compared, V vocabulary, D width.
"""

import numpy as np

NUM_COMPARED_WORDS = 500  # words, the most frequent ones
SHOWN_NEIGHBOURS = 5  # nearest neighbours that are kept for the report


def measure_neighbours(embedding_VD, train_N, vocab_size):
    """How alike frequent words and their nearest neighbours by embedding are used, and how alike unrelated words.

    Returns a dict: ``neighbour_rank`` and ``random_rank``, mean `overlap_ranks` of the nearest neighbour and of another
    word drawn at random; ``compared`` [M], the words; ``neighbours`` [M, SHOWN_NEIGHBOURS], their nearest.
    """
    counts_V = np.bincount(train_N, minlength=vocab_size)
    compared_M = np.argsort(-counts_V, kind="stable")[: min(NUM_COMPARED_WORDS, np.count_nonzero(counts_V))]
    overlap_MM = next_token_overlap(train_N, compared_M, vocab_size)
    nearest_MM = neighbours(np.asarray(embedding_VD, np.float64)[compared_M])
    random_M1 = np.random.default_rng(0).integers(0, nearest_MM.shape[1], (len(nearest_MM), 1))
    return {
        "neighbour_rank": overlap_ranks(overlap_MM, nearest_MM[:, :1]).mean(),
        "random_rank": overlap_ranks(overlap_MM, np.take_along_axis(nearest_MM, random_M1, 1)).mean(),
        "compared": compared_M,
        "neighbours": compared_M[nearest_MM[:, :SHOWN_NEIGHBOURS]],
    }


def next_token_overlap(text_N, compared_M, vocab_size):
    """Bhattacharyya coefficients [M, M] of what follows each token in a text; 0 for a token that nothing follows."""
    text_N = np.asarray(text_N).astype(np.int64)
    place_V = np.full(vocab_size, -1)
    place_V[compared_M] = np.arange(len(compared_M))
    rows_N = place_V[text_N[:-1]]
    keys = (rows_N * vocab_size + text_N[1:])[rows_N >= 0]
    counts_MV = np.bincount(keys, minlength=len(compared_M) * vocab_size).reshape(len(compared_M), vocab_size)
    root_MV = np.sqrt(counts_MV / np.maximum(counts_MV.sum(1, keepdims=True), 1))
    return root_MV @ root_MV.T


def neighbours(embedding_MD):
    """The other tokens in falling order of the cosine of their embeddings, [M, M - 1]."""
    unit_MD = embedding_MD / np.linalg.norm(embedding_MD, axis=1, keepdims=True)
    cosine_MM = unit_MD @ unit_MD.T
    np.fill_diagonal(cosine_MM, -np.inf)
    return np.argsort(-cosine_MM, axis=1, kind="stable")[:, :-1]


def overlap_ranks(overlap_MM, others_MK):
    """For each token and each of its K others: the share of all other tokens that it is used less alike, [M, K].

    1/2 for an other drawn at random, nearly 1 for the one most alike; ties count half.
    """
    M = len(overlap_MM)
    chosen_MK = np.take_along_axis(overlap_MM, others_MK, 1)
    apart_MM = ~np.eye(M, dtype=bool)
    less_MK = ((overlap_MM[:, :, None] < chosen_MK[:, None]) & apart_MM[:, :, None]).sum(1)
    same_MK = ((overlap_MM[:, :, None] == chosen_MK[:, None]) & apart_MM[:, :, None]).sum(1)
    return (less_MK + same_MK / 2) / (M - 1)
