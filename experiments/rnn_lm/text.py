"""The text that recurrent language models read: tokens of the corpus, and the rows that a batch reads side by side.

Axes: B rows, N tokens of a row, T steps of a window.
"""

import jax
import jax.numpy as jnp

from data.tokens import columns


def rows_of_split(config, tokens, split, length):
    """A split of the tokens as the batch's rows [B, N]; raises ValueError where rows are shorter than ``length``.

    A held-out split is cut off after the config's ``eval_tokens``.
    """
    tokens_N = tokens[split]
    if split != "train":
        tokens_N = tokens_N[: config.eval_tokens or None]
    B = config.batch_size
    if len(tokens_N) < B * length:
        raise ValueError(
            f"the {split} split of {config.corpus} has {len(tokens_N)} tokens, and {B} rows of {length} need "
            f"{B * length}: take a smaller --config.batch_size or --config.context_length, or more text "
            "(--config.max_characters, --config.eval_tokens)"
        )
    return columns(tokens_N, B)


def num_windows(rows_BN, T):
    """How many windows of T steps the rows hold."""
    return (rows_BN.shape[1] - 1) // T


def window(rows_BN, index, T):
    """The window [B, T + 1] at an index: the tokens that are read, and one more, the last target. Traceable."""
    return jax.lax.dynamic_slice_in_dim(rows_BN, index * T, T + 1, axis=1).astype(jnp.int32)
