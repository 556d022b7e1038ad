"""What becomes of a language model that reads its own samples: its loss on the true text, and how likely samples are.

Axes: R rows of text, T positions, of which the first are a prefix of true text.
"""

import jax.numpy as jnp
import numpy as np

from models import ngram


def rows_of_text(columns_BN, length, windows):
    """Rows [R, length + 1] from ``windows`` places, evenly spaced, of every column, int32."""
    starts = np.linspace(0, columns_BN.shape[1] - length - 1, windows).astype(int)
    return np.concatenate([columns_BN[:, s : s + length + 1] for s in starts]).astype(np.int32)


def losses_by_input(model, variables, rows_RT, prefix, key):
    """Losses [T] of the true next token, mean over rows, by what is read after ``prefix`` true tokens.

    Returns a dict: ``forced``, the true tokens; ``own``, the model's own samples; ``unrelated``, true tokens of another
    row, which is where ``own`` ends when samples have lost the text; and ``own_tokens`` [R, T] that were read.
    """
    inputs_RT, targets_RT = rows_RT[:, :-1], rows_RT[:, 1:]
    after_T = jnp.arange(inputs_RT.shape[1]) >= prefix
    method = {"method": "losses_on_own_samples"}
    own_RT, own_tokens_RT, _ = model.apply(variables, inputs_RT, targets_RT, after_T.astype(jnp.float32), key, **method)
    other_RT = jnp.where(after_T, jnp.roll(inputs_RT, 1, axis=0), inputs_RT)
    forced_RT, unrelated_RT = (
        model.apply(variables, read_RT, targets_RT, method="losses")[0] for read_RT in (inputs_RT, other_RT)
    )
    found = {"forced": forced_RT, "own": own_RT, "unrelated": unrelated_RT}
    return {name: losses.mean(0) for name, losses in found.items()} | {"own_tokens": own_tokens_RT}


def likelihoods(judge, rows_RT):
    """Mean negative log-probability [T], in nats, of the tokens at each position under an n-gram model."""
    R, T = rows_RT.shape
    begun = np.column_stack([np.full(R, judge.vocab_size), rows_RT])
    return -ngram.log_probabilities(judge, begun.reshape(-1)).reshape(R, T + 1)[:, 1:].mean(0)


def make_judge(tokens_N, vocab_size, order=5):
    """A Kneser-Ney n-gram model of a text."""
    counts = ngram.count(np.append(vocab_size, tokens_N.astype(np.int64)), order, vocab_size)
    return ngram.kneser_ney(counts, order, ngram.FALLBACK_DISCOUNTS)  # of characters, few are as rare as discounts need
