"""What heads compute, read from their weights alone: nothing here needs data.

Vectors are rows: a row of the stream times W. W_OV = W_V W_O is what a head writes for the row it attends to;
W_QK = W_Q W_K^T scores a query's row against a key's. Both are products of thin factors, and every result here goes
through C x C products of these. Left out are biases, positions (rotary ones too), MLPs and the position-dependent
scale of norms. A norm's other linear parts, the per-channel scale and a LayerNorm's centring, are folded into the
weights that read through it: ``norm`` says of which kind the norms are (``model.config.norm``; without norms it does
not matter). With grouped queries every query head has its group's key and value weights.

Axes: D model width, H heads, C head width, V vocabulary, L layers, N as stated. Results for pairs of heads are
[L1, H1, L2, H2], earlier head first, and NaN where L2 <= L1. Source, unless another is named: Elhage et al. 2021, "A
mathematical framework for transformer circuits".
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Heads(NamedTuple):
    """Weights of all heads, norms folded in: query, key and value [L, H, D, C], output [L, H, C, D]."""

    query: jax.Array
    key: jax.Array
    value: jax.Array
    output: jax.Array


def fold_norm(norm_params, kernel, norm="layernorm"):
    """The kernel [D, ...] that reads the stream as ``kernel`` does through a norm that divides by 1."""
    if norm_params is None:
        return kernel
    scaled = norm_params["scale"].reshape(-1, *(1,) * (kernel.ndim - 1)) * kernel
    return scaled - scaled.mean(axis=0) if norm == "layernorm" else scaled


def number_of_layers(params):
    """How many layers a Transformer's parameters have; raises ValueError where there is none."""
    num_layers = sum(name.startswith("layer_") for name in params)
    if not num_layers:
        raise ValueError("these parameters have no layers, hence no heads to analyse")
    return num_layers


@partial(jax.jit, static_argnames="norm")
def _layer_heads(layer_params, norm):
    """The weights of one layer's heads, as ``Heads`` without the axis L."""
    kernels = {kind: layer_params["attention"][kind]["kernel"] for kind in ("query", "key", "value", "output")}
    num_heads = len(kernels["output"])

    def read(kind):
        kernel_DHC = fold_norm(layer_params.get("attention_norm"), kernels[kind], norm)
        return jnp.moveaxis(jnp.repeat(kernel_DHC, num_heads // kernel_DHC.shape[1], axis=1), 1, 0)

    return Heads(read("query"), read("key"), read("value"), kernels["output"])


def layer_heads(params, layer, norm="layernorm"):
    """The weights of one layer's heads: query, key and value [H, D, C], output [H, C, D]."""
    return _layer_heads({name: params[f"layer_{layer}"].get(name) for name in ("attention", "attention_norm")}, norm)


def head_weights(params, norm="layernorm"):
    """The weights of all heads of a Transformer's parameters; raises ValueError where there is no layer."""
    layers = [layer_heads(params, layer, norm) for layer in range(number_of_layers(params))]
    return jax.tree.map(lambda *kernels: jnp.stack(kernels), *layers)


@partial(jax.jit, static_argnames="norm")
def _embedding_to_logits(params, norm):
    """W_U W_E [D, D], the final norm folded in: a map from directions of logits back to embeddings."""
    unembed_DV = params["unembed"]["kernel"] if "unembed" in params else params["embed"].T
    return fold_norm(params.get("final_norm"), unembed_DV @ params["embed"], norm)


def map_pairs(function, first, second):
    """``function(earlier head's arrays, later head's arrays)`` for all pairs, one earlier head at a time."""
    L, H = jax.tree.leaves(first)[0].shape[:2]
    first, second = jax.tree.map(lambda x: x.reshape(L * H, *x.shape[2:]), (first, second))
    values = jax.lax.map(lambda head: jax.vmap(lambda other: function(head, other))(second), first)
    is_later = jnp.arange(L)[:, None, None, None] < jnp.arange(L)[:, None]
    return jax.tree.map(lambda x: jnp.where(is_later, x.reshape(L, H, L, H), jnp.nan), values)


def relative_norm(sender, reader):
    """||A B M N^T|| / (||A B|| ||M N^T||) in Frobenius norms, for sender (A [D, C], B [C, D]), reader (M, N [D, C])."""
    (a_DC, b_CD), (m_DC, n_DC) = sender, reader
    # ||P R S^T||^2 = tr(R^T (P^T P) R (S^T S)): Gram matrices are C x C, where the product itself is D x D.
    gram_a, gram_b, gram_m, gram_n = a_DC.T @ a_DC, b_CD @ b_CD.T, m_DC.T @ m_DC, n_DC.T @ n_DC
    inner_CC = b_CD @ m_DC
    squares = jnp.sum(gram_a @ inner_CC * (inner_CC @ gram_n)), jnp.sum(gram_a * gram_b), jnp.sum(gram_m * gram_n)
    product, sender_norm, reader_norm = (jnp.sqrt(jnp.maximum(square, 0)) for square in squares)
    whole = sender_norm * reader_norm
    return product / jnp.where(whole > 0, whole, 1)


def composition_scores(params, norm="layernorm"):
    """How much of what a head writes a later head reads: {"query", "key", "value": [L1, H1, L2, H2]} in [0, 1].

    ||W_OV1 M|| / (||W_OV1|| ||M||), Frobenius norms, with M = W_QK2, W_QK2^T and W_OV2; 0 for a head without weights.
    Compare the scores with ``composition_baseline``. Source: section "Analyzing a two-layer model".
    """
    L = number_of_layers(params)
    weights = [layer_heads(params, layer, norm) for layer in range(L)] if L < 4 else None

    def heads(layer):
        # Of a deep model only two layers' folded weights are held at once.
        return weights[layer] if weights else layer_heads(params, layer, norm)

    H = len(heads(0).output)
    scores = jnp.full((3, L, H, L, H), jnp.nan, heads(0).output.dtype)
    for first in range(L):
        sender = heads(first)
        for second in range(first + 1, L):
            scores = scores.at[:, first, :, second].set(_layer_composition(sender, heads(second)))
    return dict(zip(("query", "key", "value"), scores, strict=True))


@jax.jit
def _layer_composition(sender, reader):
    """Query, key and value composition [3, H1, H2] of all heads of two layers; norms as in ``relative_norm``."""

    def gram(kernel_HDC):
        return jnp.einsum("HDC,HDE->HCE", kernel_HDC, kernel_HDC)

    # Scores do not depend on the size of the kernels, whose fourth powers may be out of range.
    sizes = jax.tree.map(lambda kernel: jnp.abs(kernel).max((1, 2), keepdims=True), (sender, reader))
    sender, reader = jax.tree.map(lambda x, size: x / jnp.where(size > 0, size, 1), (sender, reader), sizes)
    value, written = gram(sender.value), gram(jnp.swapaxes(sender.output, 1, 2))
    sender_square_H = jnp.sum(value * written, axis=(1, 2))
    readers = (
        (reader.query, reader.key),
        (reader.key, reader.query),
        (reader.value, jnp.swapaxes(reader.output, 1, 2)),
    )
    scores = []
    for m_HDC, n_HDC in readers:
        gram_n = gram(n_HDC)
        inner = jnp.einsum("GCD,HDE->GHCE", sender.output, m_HDC)
        left, right = jnp.einsum("GBC,GHCE->GHBE", value, inner), jnp.einsum("GHBE,HEF->GHBF", inner, gram_n)
        reader_square_H = jnp.sum(gram(m_HDC) * gram_n, axis=(1, 2))
        product, whole = jnp.sum(left * right, axis=(2, 3)), sender_square_H[:, None] * reader_square_H
        scores.append(jnp.sqrt(jnp.maximum(product, 0) / jnp.where(whole > 0, whole, 1)))
    return jnp.stack(scores)


def composition_baseline(key, params, num_samples=256):
    """Mean and standard deviation, two scalars, of composition scores of Gaussian matrices of the heads' shapes.

    Query, key and value composition have the same distribution there. ``num_samples`` independent pairs of heads are
    drawn; the standard error of the mean is the standard deviation over sqrt(num_samples).
    """
    number_of_layers(params)
    C, D = params["layer_0"]["attention"]["output"]["kernel"].shape[1:]
    dtype = params["layer_0"]["attention"]["output"]["kernel"].dtype

    def sample(key):
        # Drawn flat: XLA's CPU backend compiles the same numbers drawn in three axes several times slower.
        a, b, m, n = jax.random.normal(key, (4 * D * C,), dtype).reshape(4, D, C)
        return relative_norm((a, b.T), (m, n))

    scores_N = jax.lax.map(sample, jax.random.split(key, num_samples))
    return scores_N.mean(), scores_N.std(ddof=1)


def ov_copying_score(params, norm="layernorm"):
    """Whether a head raises the logits of the tokens it attends to: [L, H] in [-1, 1], 1 for a pure copier.

    sum(eigenvalues) / sum(|eigenvalues|) of W_E W_OV W_U, real part; 0 where all vanish. The V x V matrix shares its
    non-zero eigenvalues with the C x C matrix W_O W_U W_E W_V. Source: section "Summarizing OV/QK matrices".
    """
    layers = range(number_of_layers(params))
    read_DD = _embedding_to_logits({name: params[name] for name in _ENDS if name in params}, norm)

    def score(heads):
        return _positive_share(heads.output @ read_DD @ heads.value)

    return jnp.stack([score(layer_heads(params, layer, norm)) for layer in layers])


def qk_matching_score(params, norm="layernorm"):
    """Whether a head attends to earlier copies of the token at its query: [L, H] in [-1, 1].

    sum(eigenvalues) / sum(|eigenvalues|) of W_E W_QK W_E^T, real part, through the C x C matrix W_K^T W_E^T W_E W_Q:
    queries and keys are read from the embedding alone. A duplicate-token head of the first layer scores near 1.
    Source: section "Summarizing OV/QK matrices".
    """
    layers = range(number_of_layers(params))
    gram_DD = jax.jit(lambda embed_VD: embed_VD.T @ embed_VD)(params["embed"])

    def score(heads):
        return _positive_share(jnp.swapaxes(heads.key, 1, 2) @ gram_DD @ heads.query)

    return jnp.stack([score(layer_heads(params, layer, norm)) for layer in layers])


_ENDS = ("embed", "unembed", "final_norm")


@jax.jit
def _positive_share(matrix_HCC):
    """sum(eigenvalues) / sum(|eigenvalues|) [H], real part."""
    eigenvalues_HC = jnp.linalg.eigvals(matrix_HCC)
    size_H = jnp.abs(eigenvalues_HC).sum(axis=-1)
    return eigenvalues_HC.real.sum(axis=-1) / jnp.where(size_H > 0, size_H, 1)


def k_composition_accuracy(params, tokens_N=None, norm="layernorm"):
    """How often a later head's query prefers the key at which an earlier head wrote the query's own token.

    The share of query tokens for which W_E W_QK2 (W_E W_OV1)^T is largest at the key whose written token is the same,
    among all tokens of the vocabulary or ``tokens_N``; chance is 1/N. Positions are ignored: whether the earlier head
    attends to the previous token is not asked here. A memory recall probe as in Bietti et al. 2023, "Birth of a
    transformer: a memory viewpoint".

    Returns:
      {"pairs": [L1, H1, L2, H2], "sum": [L2, H2]}. For "sum" all heads of all earlier layers write at once; it is NaN
      in the first layer.
    """
    heads = head_weights(params, norm)
    embed_ND = jnp.asarray(params["embed"])
    embed_ND = embed_ND if tokens_N is None else embed_ND[tokens_N]
    queries_LHNC = embed_ND @ heads.query

    def accuracy(queries_NC, written_ND, key_DC):
        scores_NN = queries_NC @ (written_ND @ key_DC).T
        return (scores_NN.argmax(axis=1) == jnp.arange(len(embed_ND))).mean()

    def pair(sender, reader):
        value_DC, output_CD = sender
        return accuracy(reader[0], embed_ND @ value_DC @ output_CD, reader[1])

    pairs = map_pairs(pair, (heads.value, heads.output), (queries_LHNC, heads.key))
    sums = [jnp.full(len(heads.query[0]), jnp.nan, pairs.dtype)]
    written_ND = jnp.zeros_like(embed_ND)
    for layer in range(1, len(heads.query)):
        written_ND += jnp.einsum("ND,HDC,HCE->NE", embed_ND, heads.value[layer - 1], heads.output[layer - 1])
        sums.append(jax.vmap(accuracy, (0, None, 0))(queries_LHNC[layer], written_ND, heads.key[layer]))
    return {"pairs": pairs, "sum": jnp.stack(sums)}


def qk_trace(params, norm="layernorm"):
    """How much a later head's scores favour keys at which an earlier head wrote the query's token: [L1, H1, L2, H2].

    tr(W_E W_QK2 (W_E W_OV1)^T), of the V x V matrix of (query token, key's written token), without the 1/sqrt(C) of
    attention scores. Sum it over the earlier previous-token heads. Source: Olsson et al. 2022, "In-context learning
    and induction heads", trace of QK eigenvalues.
    """
    heads = head_weights(params, norm)
    gram_DD = params["embed"].T @ params["embed"]

    def trace(sender, reader):
        (value_DC, output_CD), (query_DC, key_DC) = sender, reader
        return jnp.sum((query_DC.T @ gram_DD @ value_DC) * (output_CD @ key_DC).T)

    return map_pairs(trace, (heads.value, heads.output), (heads.query, heads.key))
