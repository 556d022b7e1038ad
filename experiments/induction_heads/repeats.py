"""Random blocks that repeat: each position after the first block has one right answer, at a distance that varies.

Axes: B sequences, T tokens, V vocabulary without BOS.
"""

import jax
import jax.numpy as jnp


def check(vocab_size, context_length, min_period, max_period):
    """Raises ValueError where no such sequences exist."""
    if not 1 <= min_period <= max_period:
        raise ValueError(f"the period range [{min_period}, {max_period}] is empty: min_period must be 1 to max_period")
    if max_period > vocab_size:
        raise ValueError(f"max_period={max_period} needs as many distinct tokens; vocab_size={vocab_size} has fewer")
    if max_period + 2 > context_length:
        raise ValueError(
            f"max_period={max_period} leaves nothing to predict in context_length={context_length}: "
            f"BOS and one block must be followed by at least one token"
        )


def repeats(key, batch_size, context_length, vocab_size, min_period, max_period):
    """A batch of sequences: BOS (id V), then a block of p distinct tokens again and again; p ~ U{min ... max}.

    Returns:
      {"tokens" [B, T] ids, "targets" [B, T] the token after each, "determined" [B, T] bool}. A target is determined
      where its input token stood in the sequence before: from the second token of the second block on. (The first
      token of the second block cannot be known, since nothing tells where the first block ends.)
    """
    period_key, block_key = jax.random.split(key)
    period_B1 = jax.random.randint(period_key, (batch_size, 1), min_period, max_period + 1)
    # The ranks of independent random numbers are a random permutation; a block is its beginning.
    block_BV = jnp.argsort(jax.random.bits(block_key, (batch_size, vocab_size)), axis=-1)
    index_T = jnp.arange(context_length)
    targets_BT = jnp.take_along_axis(block_BV, index_T % period_B1, axis=-1)
    bos_B1 = jnp.full((batch_size, 1), vocab_size, targets_BT.dtype)
    tokens_BT = jnp.concatenate([bos_B1, targets_BT[:, :-1]], axis=-1)
    return {"tokens": tokens_BT, "targets": targets_BT, "determined": index_T > period_B1}
