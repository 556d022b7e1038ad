"""Text that a model writes from its cache, against whole passes over the text.

Axes: T time, W windows of text, V vocabulary.
"""

import jax
import jax.numpy as jnp
import numpy as np

from models.decoding import greedy_by_recomputation
from models.sampling import generate

NUM_PROMPTS, DRAWN_TOKENS, TEMPERATURE = 3, 200, 0.8  # of the texts that the report shows
GREEDY_TOKENS = 32  # that are compared with full recomputation, or as many as the context takes


def measure_generation(model, decoder, variables, windows_WT):
    """What the cache makes of held-out text, and what the model writes after its beginnings.

    Args:
      windows_WT: held-out windows of one token more than the context.
    Returns:
      {"cache_error": the greatest difference of a logit between reading a window token by token through the cache and
      a whole pass; "greedy_agreement": the share of greedily written tokens that full recomputation writes as well;
      "prompts", "drawn": ids of a few prompts and of what was drawn after each}.
    """
    variables = jax.tree.map(jnp.asarray, variables)
    context = windows_WT.shape[1] - 1
    text_T = jnp.asarray(windows_WT[0, :-1])
    whole_TV = jax.jit(model.apply)(variables, text_T[None])[0]
    pieces_TV = read_by_token(decoder, variables, text_T)

    prompt_T = text_T[: max(context // 4, 1)]
    num_greedy = min(context - len(prompt_T), GREEDY_TOKENS)
    greedy_T = generate(decoder, variables, jax.random.key(0), prompt_T, num_greedy, temperature=0.0)
    recomputed_T = greedy_by_recomputation(model, variables, prompt_T, num_greedy)

    spread = np.unique(np.linspace(0, len(windows_WT) - 1, NUM_PROMPTS).astype(int))
    prompts_WT = windows_WT[spread, : len(prompt_T)]
    num_drawn = min(DRAWN_TOKENS, context + 1 - len(prompt_T))
    drawn_WT = generate(decoder, variables, jax.random.key(0), prompts_WT, num_drawn, temperature=TEMPERATURE)
    return {
        "cache_error": np.abs(pieces_TV - whole_TV).max(),
        "greedy_agreement": np.mean(np.asarray(greedy_T) == np.asarray(recomputed_T)),
        "prompts": prompts_WT,
        "drawn": np.asarray(drawn_WT),
    }


def read_by_token(decoder, variables, text_T):
    """Logits [T, V] after each token of a text, one token at a time through the cache."""

    def step(cache, token):
        logits_BV, cache = decoder.advance(variables, cache, token[None, None])
        return cache, logits_BV[0]

    return jax.jit(lambda text_T: jax.lax.scan(step, decoder.start(1), text_T)[1])(text_T)
