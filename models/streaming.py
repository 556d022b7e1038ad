"""Text token by token, as long as one likes: what ``sampling.generate`` writes at once and within one context.

Axes: B sequences, T tokens, V vocabulary.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from models.sampling import check, sample


def stream(decoder, variables, key, prompt_T, num_tokens, **options):
    """Yields the ``num_tokens`` ids that a model writes after a prompt, each as soon as it is drawn.

    Token i is drawn with ``jax.random.fold_in(key, i)``, as ``generate`` draws it. Where the decoder's context is full,
    its window slides: the later half of the text that it holds is read anew, and goes on from there. So a prompt longer
    than the context is read from its end.

    Args:
      options: of ``sampling.filtered``.
    Raises:
      ValueError: no prompt, or an option out of range.
    """
    check(**options)
    if len(prompt_T) == 0:
        raise ValueError("A prompt of no tokens: give at least one.")
    variables, options = jax.tree.map(jnp.asarray, variables), tuple(options.items())
    context = decoder.context_length
    text = [int(token) for token in prompt_T]
    unread, held, cache = text[-context:] if context else text, 0, decoder.start(1)
    for i in range(num_tokens):
        if context and held + len(unread) > context:
            unread, held, cache = text[-max(context // 2, 1) :], 0, decoder.start(1)
        key_of_token = jax.random.fold_in(key, i)
        token, cache = _read(decoder, variables, cache, np.array([unread], np.int32), key_of_token, options)
        held += len(unread)
        unread = [int(token)]
        text += unread
        yield unread[0]


@partial(jax.jit, static_argnums=(0, 5), donate_argnums=2)
def _read(decoder, variables, cache, tokens_BT, key, options):
    """(the next token, cache) after reading tokens; compiled once for a decoder, shape and options."""
    logits_BV, cache = decoder.advance(variables, cache, tokens_BT)
    return sample(key, logits_BV, **dict(options))[0], cache
