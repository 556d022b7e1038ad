"""What a translator makes of sentence pairs: losses, its attention row by row, and its own translations.

Axes: B pairs of a batch or chunk, N pairs of a split, H attention maps, T target time, S source time, V vocabulary.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.seq2seq_attention.corpus import Pairs, chunk
from models.beam_search import search
from models.losses import token_losses

EVALUATION_BUCKETS = 2


class Sums(NamedTuple):
    """Sums over target words, the end token included: losses in nats, right predictions, and the words themselves."""

    loss: jax.Array
    correct: jax.Array
    words: jax.Array


class Reading(NamedTuple):
    """What a translator predicts and attends to at every target word of a split, having read the words before it."""

    correct: np.ndarray  # bool [N, T]
    weights: np.ndarray  # [N, H, T, S], T and S of the longest pair that fits the context; other rows are 0


def words_read(target_BT, end):
    """The target words that have been read before each: the end token first."""
    return jnp.concatenate([jnp.full_like(target_BT[:, :1], end), target_BT[:, :-1]], axis=1)


def is_word(pairs):
    """Whether each target position [B, T] holds a word or the end token."""
    return jnp.arange(pairs.target.shape[1]) < pairs.target_length[:, None]


def sum_batch(translator, end, variables, pairs, rngs=None, smoothing=0.0):
    """The Sums of a batch of pairs.

    Args:
      smoothing: share of a target's probability that is spread over all words (Szegedy et al. 2016, section 7).
    """
    logits_BTV, _ = translator.forward(
        variables, pairs.source, pairs.source_length, words_read(pairs.target, end), rngs or {}
    )
    is_word_BT = is_word(pairs)
    losses_BT = token_losses(logits_BTV, pairs.target)
    if smoothing:
        even_BT = jax.nn.logsumexp(logits_BTV, axis=-1) - logits_BTV.mean(-1)
        losses_BT = (1 - smoothing) * losses_BT + smoothing * even_BT
    correct_BT = logits_BTV.argmax(-1) == pairs.target
    return Sums(
        jnp.sum(losses_BT * is_word_BT),
        jnp.sum(correct_BT & is_word_BT).astype(jnp.float32),
        is_word_BT.sum().astype(jnp.float32),
    )


def sum_split(translator, end, variables, chunks):
    """The Sums of a split in chunks, as ``corpus.chunk`` makes them."""
    sums = [jax.lax.map(lambda pairs: sum_batch(translator, end, variables, pairs), pairs) for pairs in chunks]
    return jax.tree.map(lambda *parts: sum(part.sum() for part in parts), *sums)


def read_attention(translator, end, variables, pairs, replaced=None, context_length=math.inf):
    """The Reading of pairs.

    Args:
      replaced: (weights [N, T, S], is_replaced [N, T]) of rows that take the place of the translator's own, or None.
      context_length: the weights of longer pairs are not kept, nor replaced: one long line would need much memory.
    """
    fits_N = pairs.fit(context_length)
    S, T = pairs.source_length[fits_N].max(), pairs.target_length[fits_N].max()
    correct_NT, weights_NHTS = np.zeros(pairs.target.shape, bool), None
    for bucket in chunk(pairs, EVALUATION_BUCKETS, context_length):  # those that fit come first
        s, t = bucket.pairs.source.shape[2], bucket.pairs.target.shape[2]
        is_kept = max(s, t) <= context_length
        for c, rows in enumerate(bucket.rows):
            of_rows = np.zeros((len(rows), t, s), np.float32), np.zeros((len(rows), t), bool)
            if is_kept and replaced is not None:
                of_rows = replaced[0][rows, :t, :s], replaced[1][rows, :t]
            chunk_pairs = Pairs(*(x[c] for x in bucket.pairs))
            correct_BT, weights_BHTS = _read_chunk(translator, end, variables, chunk_pairs, of_rows)
            if weights_NHTS is None:
                weights_NHTS = np.zeros((pairs.number, weights_BHTS.shape[1], T, S), np.float32)
            is_pair = rows >= 0
            correct_NT[rows[is_pair], :t] = np.asarray(correct_BT)[is_pair]
            if is_kept and weights_NHTS.shape[1]:
                weights_NHTS[rows[is_pair], :, :t, :s] = np.asarray(weights_BHTS)[is_pair]
    return Reading(correct_NT, weights_NHTS)


@partial(jax.jit, static_argnums=(0, 1))  # compiled once for all seeds, and all rows that are replaced
def _read_chunk(translator, end, variables, pairs, replaced):
    logits_BTV, weights_BHTS = translator.forward(
        variables, pairs.source, pairs.source_length, words_read(pairs.target, end), {}, replaced
    )
    is_word_BT = is_word(pairs)
    return (logits_BTV.argmax(-1) == pairs.target) & is_word_BT, weights_BHTS * is_word_BT[:, None, :, None]


def translate_pairs(translator, end, variables, pairs, beam_size=1, context_length=math.inf):
    """The translator's own translations of the sources: token ids [N, T] with the end token at the end and behind it.

    No translation is longer than twice its bucket's longest reference and ten words more. Pairs longer than the context
    have buckets of their own.
    """
    outputs = {}
    for bucket in chunk(pairs, EVALUATION_BUCKETS, context_length):
        max_length = 10 + 2 * bucket.pairs.target.shape[2]
        for c, rows in enumerate(bucket.rows):
            tokens_BT, _, _ = search(
                translator,
                variables,
                bucket.pairs.source[c],
                bucket.pairs.source_length[c],
                end=end,
                max_length=max_length,
                beam_size=beam_size,
            )
            outputs |= {
                row: tokens_T for row, tokens_T in zip(rows.tolist(), np.asarray(tokens_BT), strict=True) if row >= 0
            }
    longest = max(len(tokens_T) for tokens_T in outputs.values())
    tokens_NT = np.full((pairs.number, longest), end, np.int32)
    for row, tokens_T in outputs.items():
        tokens_NT[row, : len(tokens_T)] = tokens_T
    return tokens_NT


def exact_matches(tokens_NT, pairs, end):
    """Which translations [N] are the reference to the last word."""
    longest = max(tokens_NT.shape[1], pairs.target.shape[1])

    def pad(x_NT, fill):
        return np.pad(x_NT, ((0, 0), (0, longest - x_NT.shape[1])), constant_values=fill)

    reference_NT = np.where(np.asarray(is_word(pairs)), pairs.target, end)
    return (pad(tokens_NT, end) == pad(reference_NT, end)).all(1)
