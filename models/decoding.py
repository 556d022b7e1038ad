"""How a language model is read token by token: a cache, and the function that advances it.

Axes: B sequences, T tokens, V vocabulary.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Decoder(NamedTuple):
    """Reads a text in pieces of any length: the logits are those of one pass over the whole text.

    start:          batch size B -> cache, a pytree of arrays
    advance:        (variables, cache, tokens_BT) -> (logits_BV of the next token, cache); T is 1 when sampling, and
                    any length for a prompt
    context_length: the most tokens that a cache holds; None: no limit (a recurrent model, a sliding window)
    window:         number of tokens that every prediction reads; fill up a shorter prompt from the left with line ends
    """

    start: Callable
    advance: Callable
    context_length: int | None
    window: int = 1


def greedy_by_recomputation(model, variables, prompt_T, num_tokens):
    """The likeliest next tokens [num_tokens], each by a pass over the whole text before it: the slow reference.

    ``model`` is a causal module, tokens [B, T] -> logits [B, T, V]: it reads nothing that stands after a token.
    """
    length = len(prompt_T)
    text_T = jnp.zeros(length + num_tokens, jnp.int32).at[:length].set(prompt_T)

    def write(i, text_T):
        logits_TV = model.apply(variables, text_T[None])[0]
        return text_T.at[i].set(logits_TV[i - 1].argmax(-1))

    return jax.lax.fori_loop(length, length + num_tokens, write, text_T)[length:]
