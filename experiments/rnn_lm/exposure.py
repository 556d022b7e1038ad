"""What becomes of a language model that reads its own samples: its loss on the true text, and how likely samples are.

Axes: R rows of text, T positions, of which the first are a prefix of true text.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from models import ngram
from models.kneser_ney import FALLBACK_DISCOUNTS, kneser_ney

PREFIX, OWN_STEPS = 32, 96  # true tokens that are read first, and steps after them
PASSAGES_A_ROW = 8
JUDGE_ORDER = 5


def measure_exposure(model, variables, held_out_BN, train_N):
    """Losses [T] on held-out passages by what is read, and how likely the model's samples are, in nats.

    Returns a dict: ``forced``, ``own`` and ``unrelated`` of `losses_by_input`; ``judged/own`` and ``judged/text``, the
    mean losses of the model's samples and of the true text under a Kneser-Ney 5-gram model of the training text.
    """
    rows_RT = passages(held_out_BN, PREFIX + OWN_STEPS, PASSAGES_A_ROW)
    losses = jax.device_get(losses_by_input(model, variables, rows_RT, PREFIX, jax.random.key(0)))
    own_RT = losses.pop("own_tokens")
    judge = make_judge(train_N, model.config.vocab_size)
    return losses | {
        "judged/own": judged_losses(judge, own_RT),
        "judged/text": judged_losses(judge, rows_RT[:, :-1]),
    }


def passages(rows_BN, length, passages_a_row):
    """Passages [R, length + 1] from evenly spaced places of every row, int32."""
    starts = np.linspace(0, rows_BN.shape[1] - length - 1, passages_a_row).astype(int)
    return np.concatenate([rows_BN[:, s : s + length + 1] for s in starts]).astype(np.int32)


@partial(jax.jit, static_argnames=("model", "prefix"))
def losses_by_input(model, variables, rows_RT, prefix, key):
    """Losses [T] of the true next token, mean over rows, by what is read after ``prefix`` true tokens.

    Returns a dict: ``forced``, the true tokens; ``own``, the model's own samples; ``unrelated``, true tokens of another
    row, which is where ``own`` ends when samples have lost the text; and ``own_tokens`` [R, T] that were read.
    """
    inputs_RT, targets_RT = rows_RT[:, :-1], rows_RT[:, 1:]
    after_T = jnp.arange(inputs_RT.shape[1]) >= prefix
    own_RT, own_tokens_RT, _ = model.apply(
        variables, inputs_RT, targets_RT, after_T.astype(jnp.float32), key, method="losses_on_own_samples"
    )
    other_RT = jnp.where(after_T, jnp.roll(inputs_RT, 1, axis=0), inputs_RT)
    forced_RT, _ = model.apply(variables, inputs_RT, targets_RT, method="losses")
    unrelated_RT, _ = model.apply(variables, other_RT, targets_RT, method="losses")
    return {
        "forced": forced_RT.mean(0),
        "own": own_RT.mean(0),
        "unrelated": unrelated_RT.mean(0),
        "own_tokens": own_tokens_RT,
    }


def make_judge(tokens_N, vocab_size):
    """A Kneser-Ney n-gram model of a text."""
    counts = ngram.count(np.append(vocab_size, tokens_N.astype(np.int64)), JUDGE_ORDER, vocab_size)
    # Few characters are as rare as the estimate of discounts needs.
    return kneser_ney(counts, JUDGE_ORDER, FALLBACK_DISCOUNTS)


def judged_losses(judge, rows_RT):
    """Mean negative log-probability [T], in nats, of the tokens at each position under an n-gram model."""
    R, T = rows_RT.shape
    sentences = np.column_stack([np.full(R, judge.vocab_size), rows_RT])  # each row after <s>
    return -ngram.log_probabilities(judge, sentences.reshape(-1)).reshape(R, T + 1)[:, 1:].mean(0)
