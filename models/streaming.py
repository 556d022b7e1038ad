"""Text of any length, token by token, where ``sampling.generate`` writes all tokens at once and within one context.

Axes: B sequences, T tokens, V vocabulary.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from models.sampling import check, sample


def stream(decoder, variables, key, prompt_T, num_tokens, **options):
    """Yields the ``num_tokens`` ids that a model writes after a prompt, each as soon as it is drawn.

    Token i is drawn with ``jax.random.fold_in(key, i)``, as in ``sampling.generate``. Where the decoder's context is
    full, its window slides: the last half context of the text is read anew, and the text goes on from there. Of a
    prompt that is longer than the context, only the end is read.

    Args:
      options: the options of ``sampling.filter_logits``.
    Raises:
      ValueError: no prompt, or an option out of range.
    """
    check(**options)
    if len(prompt_T) == 0:
        raise ValueError("A prompt of no tokens: give at least one.")
    variables, options = jax.tree.map(jnp.asarray, variables), tuple(options.items())
    context = decoder.context_length
    text = [int(token) for token in prompt_T]
    # The tokens to read next, and how many the cache holds.
    next_tokens, num_cached, cache = text[-context:] if context else text, 0, decoder.start(1)
    for i in range(num_tokens):
        if context and num_cached + len(next_tokens) > context:
            next_tokens, num_cached, cache = text[-max(context // 2, 1) :], 0, decoder.start(1)
        key_of_token = jax.random.fold_in(key, i)
        token, cache = _read(decoder, variables, cache, np.array([next_tokens], np.int32), key_of_token, options)
        num_cached += len(next_tokens)
        next_tokens = [int(token)]
        text += next_tokens
        yield next_tokens[0]


@partial(jax.jit, static_argnums=(0, 5), donate_argnums=2)
def _read(decoder, variables, cache, tokens_BT, key, options):
    """Reads tokens and draws one: (the token drawn, cache). Compiled once for a decoder, shape and options."""
    logits_BV, cache = decoder.advance(variables, cache, tokens_BT)
    return sample(key, logits_BV, **dict(options))[0], cache
