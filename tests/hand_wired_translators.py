"""Translators without parameters, whose attention and translations are known: controls for what is measured of any.

Axes: B sentences, N known pairs, T target time, S source time, H attention maps, V vocabulary.
"""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.seq2seq_attention.corpus import Pairs
from models.translator import Translator

SHARPNESS = 30.0  # of logits: what is not the likeliest word has a probability of e^-30


def make_pointer(position_of, vocab_size):
    """A Translator that writes the source words that it attends to: all weight is on one of them at each step.

    Args:
      position_of: (target position, source lengths [B]) -> the source position of the step, that of the end for the
        last: ``copying`` and ``reversing`` are two.
    """

    def point(source_BS, source_length_B, t):
        return jax.nn.one_hot(position_of(t, source_length_B), source_BS.shape[1])

    def write(weights_BTS, source_BS):
        return SHARPNESS * weights_BTS @ jax.nn.one_hot(source_BS, vocab_size)

    def forward(variables, source_BS, source_length_B, target_BT, rngs=None, replaced=None):
        steps = [point(source_BS, source_length_B, t) for t in range(target_BT.shape[1])]
        weights_BTS = replace_rows(jnp.stack(steps, 1), replaced)
        return write(weights_BTS, source_BS), weights_BTS[:, None]

    def encode(variables, source_BS, source_length_B, max_length):
        return source_BS, source_length_B, jnp.zeros_like(source_length_B)

    def advance(variables, cache, tokens_B):
        source_BS, source_length_B, step_B = cache
        weights_BS = point(source_BS, source_length_B, step_B)
        return write(weights_BS[:, None], source_BS)[:, 0], (source_BS, source_length_B, step_B + 1)

    return Translator(None, lambda key: {"params": {}}, forward, encode, advance)


def copying(t, length_B):
    """Word t of the source, then its end."""
    return jnp.minimum(t, length_B - 1)


def reversing(t, length_B):
    """The source's words from the last to the first, then its end."""
    return jnp.where(t < length_B - 1, length_B - 2 - t, length_B - 1)


def replace_rows(weights_BTS, replaced):
    """The weights, with the rows that take their place."""
    if replaced is None:
        return weights_BTS
    rows_BTS, is_replaced_BT = replaced
    return jnp.where(is_replaced_BT[..., None], rows_BTS, weights_BTS)


def make_oracle(weights_HNTS, links_NTS, pairs, vocab_size):
    """A Translator that knows some pairs, and predicts a word right where its row has most weight on the word's links.

    A row without links is always predicted right; where the weight is elsewhere, token 0 is predicted. All pairs'
    sources must differ. What it is asked to translate, it translates as its pair has it.

    Args:
      weights_HNTS: its attention maps; the last is that by which it predicts.
    """

    def find(source_BS, length_B):
        known_NS = jnp.where(np.arange(pairs.source.shape[1]) < pairs.source_length[:, None], pairs.source, -1)
        source_BS = jnp.where(jnp.arange(source_BS.shape[1]) < length_B[:, None], source_BS, -1)
        padding = max(known_NS.shape[1] - source_BS.shape[1], 0)
        source_BS = jnp.pad(source_BS, ((0, 0), (0, padding)), constant_values=-1)[:, : known_NS.shape[1]]
        return (source_BS[:, None] == known_NS).all(-1).argmax(1)

    def forward(variables, source_BS, source_length_B, target_BT, rngs=None, replaced=None):
        n_B, T, S = find(source_BS, source_length_B), target_BT.shape[1], source_BS.shape[1]
        maps = [replace_rows(jnp.asarray(w_NTS)[n_B, :T, :S], replaced) for w_NTS in weights_HNTS]
        links_BTS = jnp.asarray(links_NTS)[n_B, :T, :S]
        is_seen_BT = ((maps[-1] * links_BTS).sum(-1) > 0.5) | ~links_BTS.any(-1)
        target_BT = jnp.asarray(pairs.target)[n_B, :T]
        return SHARPNESS * jax.nn.one_hot(jnp.where(is_seen_BT, target_BT, 0), vocab_size), jnp.stack(maps, 1)

    def encode(variables, source_BS, source_length_B, max_length):
        return find(source_BS, source_length_B), jnp.zeros_like(source_length_B)

    def advance(variables, cache, tokens_B):
        n_B, step_B = cache
        token_B = jnp.asarray(pairs.target)[n_B, jnp.minimum(step_B, jnp.asarray(pairs.target_length)[n_B] - 1)]
        return SHARPNESS * jax.nn.one_hot(token_B, vocab_size), (n_B, step_B + 1)

    return Translator(None, lambda key: {"params": {}}, forward, encode, advance)


def join_pairs(*splits):
    """Pairs of several splits in one, padded alike."""
    S, T = (max(pairs[i].shape[1] for pairs in splits) for i in (0, 2))

    def pad(x, longest):
        return np.pad(x, ((0, 0), (0, longest - x.shape[1])))

    return Pairs(
        np.concatenate([pad(pairs.source, S) for pairs in splits]),
        np.concatenate([pairs.source_length for pairs in splits]),
        np.concatenate([pad(pairs.target, T) for pairs in splits]),
        np.concatenate([pairs.target_length for pairs in splits]),
    )
