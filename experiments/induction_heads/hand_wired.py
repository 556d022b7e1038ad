"""An induction head written down by hand: weights of a two-layer, attention-only Transformer, with no training.

The stream is three blocks of one-hot vectors, D = V + T + V: this token, this position, the previous token. With e_v,
p_t, m_v the unit vectors of the three blocks and c a head's own C = max(V, T) channels:

Layer 0, the previous-token head: position t asks for position t - 1 and copies its token into the third block,

    W_Q = s sqrt(C) sum_t p_t c_t^T         W_K = sum_t p_t c_{t+1}^T
    W_V = sum_v e_v c_v^T                   W_O = sum_v c_v m_v^T

Layer 1, the induction head: a token asks for the position whose previous token it is (the keys read what layer 0
wrote: K-composition) and copies the token found there,

    W_Q = s sqrt(C) sum_v e_v c_v^T         W_K = sum_v (m_v - p_0) c_v^T
    W_V = sum_v e_v c_v^T                   W_O = g sum_v c_v e_v^T

A match scores s, everything else at most 0, so that a softmax over T keys leaks at most T exp(-s). Position 0 has no
previous token and its layer-0 head can only attend to itself: the -p_0 cancels what it wrote.
"""

import jax
import numpy as np

from models.transformer import TransformerConfig

MATCH_SCORE = 30.0  # s: the leak is 1e-9 at ten thousand keys
LOGIT = 20.0  # g: the logit of the copied token, where the current token's own is 1


def induction_config(vocab_size, context_length, dtype="float32"):
    """The architecture for which ``induction_params`` writes weights; vocab_size counts every id, BOS included."""
    return TransformerConfig(
        vocab_size=vocab_size,
        context_length=context_length,
        num_layers=2,
        num_heads=1,
        d_model=stream_width(vocab_size, context_length),
        head_width=max(vocab_size, context_length),
        positions="learned",
        dtype=dtype,
    )


def stream_width(vocab_size, context_length):
    """D of the construction: the three blocks of the stream."""
    return 2 * vocab_size + context_length


def induction_params(config):
    """Parameters of ``Transformer(config)`` that complete [A][B] ... [A] -> [B] for every A, B and distance."""
    V, T, D, C = config.vocab_size, config.context_length, config.d_model, config.width_of_heads
    dtype = config.parameter_dtype
    token, position, previous = 0, V, V + T  # where each block of the stream begins
    sharp = MATCH_SCORE * C**0.5

    def reads(block, size, shift=0, scale=1.0):
        """A kernel [D, 1, C] that maps unit vector i of a block to channel i + shift, where there is one."""
        kernel, i = np.zeros((D, 1, C), dtype), np.arange(min(size, C - shift))
        kernel[block + i, 0, i + shift] = scale
        return {"kernel": kernel}

    def writes(block, scale):
        """A kernel [1, C, D] that maps channel v to unit vector v of a block of V."""
        kernel, v = np.zeros((1, C, D), dtype), np.arange(V)
        kernel[0, v, block + v] = scale
        return {"kernel": kernel}

    previous_token_head = {
        "query": reads(position, T, scale=sharp),
        "key": reads(position, T, shift=1),
        "value": reads(token, V),
        "output": writes(previous, 1.0),
    }
    matching_key = reads(previous, V)
    matching_key["kernel"][position, 0, :V] = -1.0
    induction_head = {
        "query": reads(token, V, scale=sharp),
        "key": matching_key,
        "value": reads(token, V),
        "output": writes(token, LOGIT),
    }
    params = {
        "embed": np.eye(V, D, dtype=dtype),
        "positions": np.eye(T, D, k=position, dtype=dtype),
        "layer_0": {"attention": previous_token_head},
        "layer_1": {"attention": induction_head},
        "unembed": {"kernel": np.eye(D, V, dtype=dtype)},
    }
    return jax.tree.map(jax.numpy.asarray, params)
