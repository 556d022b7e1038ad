"""Beam search: the translation that a translator finds likeliest, greedy where the beam holds one hypothesis.

A hypothesis is the beginning of a translation. At each step every hypothesis of the beam is continued by every token,
and the K likeliest continuations are the next beam. Those whose last token is the end token leave it, so that their
places are free at the next step; the best of them is remembered. With K = 1 the search takes the likeliest token at
each step and stops at the end token.

Hypotheses of different lengths are compared by their log probability over a length penalty (Wu et al. 2016, section
7, equation 14, without its coverage term)::

    score = log p / ((5 + length) / (5 + 1))^a

where ``length`` counts the end token and a = 0 is no penalty. The search stops when in no sentence a hypothesis of the
beam can still beat the best one that has ended (Huang et al. 2017). Log probabilities only fall, so a hypothesis will
never score above its present log probability over the kindest penalty that lies ahead.

Axes: B sentences, K hypotheses of the beam, N = B K rows that the translator advances, T time, V vocabulary, C = K K
continuations of a beam that are ranked.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Translations(NamedTuple):
    """What a search wrote.

    tokens_BT: int32, T = max_length, without a start token; the end token, and that token again wherever none follows
    lengths_B: int32, number of tokens before the end token; max_length where the translation has no end
    scores_B:  log probability, the end token's included, over the length penalty
    """

    tokens_BT: Any
    lengths_B: Any
    scores_B: Any


class _Search(NamedTuple):
    """Where a search stands: its live hypotheses, which have not ended, and the best one that has.

    Tokens that are not written yet are the end token.
    """

    step: Any
    cache: Any  # leaves [N, ...]
    live_log_p_BK: Any  # -inf: the place is empty
    live_tokens_BKT: Any
    best_score_B: Any  # -inf: none has ended
    best_tokens_BT: Any
    best_length_B: Any


def search(
    translator, variables, source_BS, source_length_B, *, end, max_length, beam_size=1, length_penalty=1.0
) -> Translations:
    """The best translation of each sentence that a beam search finds; compiled once for each shape.

    A translation that ends is preferred to one that reaches ``max_length`` without an end. Of equals, a continuation
    of the hypothesis that stands earlier in the beam wins, then the lower token id, then the shorter translation.
    Sentences of a batch do not influence each other. May be called within ``jax.jit``.

    Args:
      translator: a ``models.translator.Translator``; the search is compiled anew for each.
      end: id of the end token, which is also the first token that a translator reads.
      max_length: most tokens of a translation, the end token included.
      beam_size: K; 1 is greedy.
      length_penalty: the exponent a; the larger, the more a long translation is favoured.
    Raises:
      ValueError: max_length or beam_size below 1, or more hypotheses than tokens.
    """
    if max_length < 1:
        raise ValueError(f"max_length={max_length} must be at least 1, because the end token counts")
    if beam_size < 1:
        raise ValueError(f"beam_size={beam_size} must be at least 1; 1 is greedy search")
    return _search(translator, end, max_length, beam_size, variables, source_BS, source_length_B, length_penalty)


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _search(translator, end, max_length, K, variables, source_BS, source_length_B, length_penalty):
    B = source_BS.shape[0]
    cache = translator.encode(variables, source_BS, source_length_B, max_length)
    logits = jax.eval_shape(translator.advance, variables, cache, jax.ShapeDtypeStruct((B,), jnp.int32))[0]
    vocab_size, wide = logits.shape[-1], jnp.promote_types(logits.dtype, jnp.float32)
    if vocab_size < K:
        raise ValueError(f"beam_size={K} must not exceed the {vocab_size} tokens of the vocabulary")
    # By length, from 0 to max_length.
    penalties = (((5.0 + jnp.arange(max_length + 1)) / 6.0) ** length_penalty).astype(wide)

    def can_improve(state):
        likeliest_B = state.live_log_p_BK.max(axis=1)
        # Penalties rise or fall with length all the way: the kindest is the next one or the last.
        bound_B = jnp.maximum(likeliest_B / penalties[state.step + 1], likeliest_B / penalties[-1])
        return (state.step < max_length) & (bound_B > state.best_score_B).any()

    def write_token(state):
        # At step 0 this is the end token, which begins every translation.
        read_BK = state.live_tokens_BKT[:, :, jnp.maximum(state.step - 1, 0)]
        logits_NV, cache = translator.advance(variables, state.cache, read_BK.reshape(-1))
        # The K likeliest of all continuations are among the K likeliest of each hypothesis.
        logits_NK, tokens_NK = jax.lax.top_k(logits_NV.astype(wide), K)
        log_p_NK = logits_NK - jax.nn.logsumexp(logits_NV.astype(wide), axis=-1, keepdims=True)
        log_p_BC = (state.live_log_p_BK[..., None] + log_p_NK.reshape(B, K, K)).reshape(B, K * K)
        top_BK, choice_BK = jax.lax.top_k(log_p_BC, K)
        parent_BK, token_BK = choice_BK // K, jnp.take_along_axis(tokens_NK.reshape(B, K * K), choice_BK, axis=1)
        tokens_BKT = jnp.take_along_axis(state.live_tokens_BKT, parent_BK[..., None], axis=1)
        tokens_BKT = tokens_BKT.at[:, :, state.step].set(token_BK)
        if K > 1:
            parent_N = (jnp.arange(B)[:, None] * K + parent_BK).reshape(-1)
            # What ``advance`` hands back as it was, such as keys of the source, is the same in a sentence's hypotheses.
            cache = jax.tree.map(lambda x, before: x if x is before else x[parent_N], cache, state.cache)
        # Hypotheses that end now are of one length, so the likeliest of them has the best score.
        is_end_BK = token_BK == end
        ends_BK = jnp.where(is_end_BK, top_BK, -jnp.inf)
        score_B = ends_BK.max(axis=1) / penalties[state.step + 1]
        is_better_B = score_B > state.best_score_B
        return _Search(
            state.step + 1,
            cache,
            jnp.where(is_end_BK, -jnp.inf, top_BK),
            tokens_BKT,
            jnp.where(is_better_B, score_B, state.best_score_B),
            jnp.where(is_better_B[:, None], _take_row(tokens_BKT, ends_BK.argmax(axis=1)), state.best_tokens_BT),
            jnp.where(is_better_B, state.step, state.best_length_B),
        )

    start = _Search(
        jnp.int32(0),
        jax.tree.map(lambda x: jnp.repeat(x, K, axis=0), cache),
        jnp.full((B, K), -jnp.inf, wide).at[:, 0].set(0.0),
        jnp.full((B, K, max_length), end, jnp.int32),
        jnp.full(B, -jnp.inf, wide),
        jnp.full((B, max_length), end, jnp.int32),
        jnp.zeros(B, jnp.int32),
    )
    state = jax.lax.while_loop(can_improve, write_token, start)
    has_ended_B = state.best_score_B > -jnp.inf
    tokens_BT = _take_row(state.live_tokens_BKT, state.live_log_p_BK.argmax(axis=1))
    return Translations(
        jnp.where(has_ended_B[:, None], state.best_tokens_BT, tokens_BT),
        jnp.where(has_ended_B, state.best_length_B, max_length),
        jnp.where(has_ended_B, state.best_score_B, state.live_log_p_BK.max(axis=1) / penalties[-1]),
    )


def _take_row(x_BKT, k_B):
    """Row k of each sentence's [K, T]."""
    return jnp.take_along_axis(x_BKT, k_B[:, None, None], axis=1)[:, 0]
