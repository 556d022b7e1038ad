"""Sampling strategies: which tokens they keep, how near their limits they come, and how varied their texts are.

Axes: B contexts, W window (n-1 tokens), T tokens of a text, V vocabulary.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from experiments.mlp_lm.generated_text import REPEATED_NGRAM_LENGTH, distinct_ngrams, repeated_ngrams
from experiments.mlp_lm.kept_sets import wrong_sets
from models.sampling import filter_logits, generate

STRATEGIES = {
    "greedy": {"temperature": 0.0},
    "plain": {},
    "top-k 40": {"top_k": 40},
    "top-p 0.9": {"top_p": 0.9},
    "min-p 0.1": {"min_p": 0.1},
    "typical 0.9": {"typical_p": 0.9},
}
COLD, HOT = 1e-5, 1e3  # temperatures that stand for 0 and infinity
NUM_CONTEXTS = 32


def strategies_of(config):
    """The names of the config's strategies; raises ValueError for an unknown one, or none."""
    names = tuple(filter(None, config.strategies.split(",")))
    if unknown := [name for name in names if name not in STRATEGIES]:
        raise ValueError(f"strategies: {unknown[0]!r} is not one of {', '.join(STRATEGIES)}")
    if not names:
        raise ValueError(f"strategies names none: give some of {', '.join(STRATEGIES)}, with commas between")
    return names


def measure_strategies(model, decoder, variables, test_N, config):
    """What the config's strategies make of contexts from the test text.

    Returns a dict: ``kept_set_errors``, how many kept sets differ from their definitions; ``cold_distance`` and
    ``hot_distance`` of `apply_strategies`; and for the texts of each strategy, and last for as much of the test text,
    ``distinct`` [texts, 3], their distinct n-grams, and ``repeated`` [texts].
    """
    W, T, names = config.order - 1, config.sampled_tokens, strategies_of(config)
    contexts_BW = jnp.asarray(pieces(test_N, W + 1)[:, :W].astype(np.int32))
    logits_BV, kept, cold, hot = apply_strategies(model, names, variables, contexts_BW)
    logits_BV = np.asarray(logits_BV)
    texts = [
        np.asarray(generate(decoder, variables, jax.random.key(i), contexts_BW, T, **STRATEGIES[name]))
        for i, name in enumerate(names)
    ]
    texts.append(pieces(test_N, T))
    errors = [wrong_sets(logits_BV, kept_BV, STRATEGIES[name]) for name, kept_BV in zip(names, kept, strict=True)]
    return {
        "kept_set_errors": np.array(sum(errors)),
        "cold_distance": cold,
        "hot_distance": hot,
        "distinct": np.array([[distinct_ngrams(text_BT, n) for n in (1, 2, 3)] for text_BT in texts]),
        "repeated": np.array([repeated_ngrams(text_BT, REPEATED_NGRAM_LENGTH) for text_BT in texts]),
    }


def pieces(text_N, length):
    """NUM_CONTEXTS pieces [B, length] evenly spread over a text."""
    starts = np.linspace(0, len(text_N) - length, NUM_CONTEXTS).astype(int)
    return text_N[starts[:, None] + np.arange(length)]


@functools.partial(jax.jit, static_argnums=(0, 1))
def apply_strategies(model, names, variables, contexts_BW):
    """Logits [B, V], what each strategy keeps of them [B, V], and how far COLD and HOT are from their limits.

    The distances are total variation, mean over contexts: of COLD from argmax, of HOT from the uniform distribution.
    """
    logits_BV = model.apply(variables, contexts_BW)
    kept = [jnp.isfinite(filter_logits(logits_BV, **STRATEGIES[name])) for name in names]
    V = logits_BV.shape[-1]

    def distance(temperature, target_BV):
        p_BV = jax.nn.softmax(filter_logits(logits_BV, temperature=temperature))
        return 0.5 * jnp.abs(p_BV - target_BV).sum(-1).mean()

    return logits_BV, kept, distance(COLD, jax.nn.one_hot(logits_BV.argmax(-1), V)), distance(HOT, 1 / V)
