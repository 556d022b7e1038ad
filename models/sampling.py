"""Sampling from a language model: temperature, top-k, nucleus, min-p and typical sampling, and cached generation.

Axes: B sequences, T tokens, V vocabulary.
"""

import functools
import math

import jax
import jax.numpy as jnp

# The share of a mass that rounding may cost. Probabilities of 0.5 and 0.25 add up to 0.75 on paper, and to a little
# less after a softmax in float32: the smallest set of mass 0.75 is these two all the same.
ROUNDING = 1e-6

# Temperatures below this one count as 0, because dividing by them could overflow.
LEAST_TEMPERATURE = 1e-20


def check(*, temperature=1.0, top_k=None, top_p=None, min_p=None, typical_p=None):
    """Raises ValueError, in one sentence, for the first option of ``filter_logits`` that is out of range."""
    if not temperature >= 0:
        raise ValueError(f"temperature={temperature} must be at least 0; 0 always takes the likeliest token.")
    if top_k is not None and not (top_k >= 1 and int(top_k) == top_k):
        raise ValueError(f"top_k={top_k} must be a whole number of at least 1; leave it out to keep every token.")
    for name, mass in (("top_p", top_p), ("typical_p", typical_p)):
        if mass is not None and not 0 < mass <= 1:
            raise ValueError(f"{name}={mass} must lie in (0, 1]; 1 keeps every token.")
    if min_p is not None and not 0 <= min_p <= 1:
        raise ValueError(f"min_p={min_p} must lie in [0, 1]; 0 keeps every token.")


def filter_logits(logits_BV, *, temperature=1.0, top_k=None, top_p=None, min_p=None, typical_p=None):
    """The logits that a sampling strategy draws from: divided by the temperature, -inf for tokens that it leaves out.

    The temperature is applied first; then the filters, in the order of the arguments, each to the renormalised
    distribution that the filter before it left. Options are Python numbers; None, the default, leaves a filter out.

    Args:
      logits_BV: logits [..., V], -inf for tokens that are ruled out already.
      temperature: 0 keeps the likeliest token alone, the first of several; infinity makes all tokens equally likely.
      top_k: keeps the k likeliest tokens, and all that are as likely as the last of them (Fan et al. 2018, section 5).
      top_p: nucleus sampling keeps the smallest set of likeliest tokens with a mass of at least top_p, the token that
        crosses top_p included; of equals, lower ids come first (Holtzman et al. 2020, equations 2 and 3).
      min_p: keeps tokens at least min_p times as likely as the likeliest (Nguyen et al. 2024, section 3).
      typical_p: keeps the smallest set, of mass at least typical_p, of the tokens whose information -log p is nearest
        to the distribution's entropy; of equals, lower ids come first (Meister et al. 2023, equations 10 and 11).
    Returns:
      Logits [..., V] in float32.
    Raises:
      ValueError: an option is out of range.
    """
    check(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, typical_p=typical_p)
    logits_BV = jnp.asarray(logits_BV, jnp.float32)
    num_tokens = logits_BV.shape[-1]
    if temperature < LEAST_TEMPERATURE:
        likeliest_BV = jax.nn.one_hot(logits_BV.argmax(-1), num_tokens, dtype=bool)
        return jnp.where(likeliest_BV, logits_BV, -jnp.inf)
    ruled_out_BV = logits_BV == -jnp.inf
    logits_BV = jnp.where(ruled_out_BV, -jnp.inf, logits_BV / temperature)
    if top_k is not None and top_k < num_tokens:
        last_B1 = -_least_bound(-logits_BV, 1.0, int(top_k))
        logits_BV = jnp.where(logits_BV >= last_B1, logits_BV, -jnp.inf)
    if top_p is not None and top_p < 1:
        logits_BV = _smallest_prefix(logits_BV, -logits_BV, top_p)
    if min_p is not None and min_p > 0:
        least_B1 = logits_BV.max(-1, keepdims=True) + math.log(min_p) - ROUNDING
        logits_BV = jnp.where(logits_BV >= least_B1, logits_BV, -jnp.inf)
    if typical_p is not None and typical_p < 1:
        log_BV = jax.nn.log_softmax(logits_BV)
        entropy_B1 = -jnp.sum(jnp.where(log_BV > -jnp.inf, jnp.exp(log_BV) * log_BV, 0.0), -1, keepdims=True)
        logits_BV = _smallest_prefix(logits_BV, jnp.abs(-log_BV - entropy_B1), typical_p)
    return logits_BV


def _smallest_prefix(logits_BV, rank_BV, mass):
    """The logits of the fewest tokens, in rising order of ``rank_BV``, whose probabilities reach ``mass``."""
    p_BV, mass = jax.nn.softmax(logits_BV), mass * (1 - ROUNDING)
    last_B1 = _least_bound(rank_BV, p_BV, mass)
    before_BV, tied_BV = rank_BV < last_B1, rank_BV == last_B1
    sum_before_B1 = jnp.sum(jnp.where(before_BV, p_BV, 0.0), -1, keepdims=True)
    tied_p_BV = jnp.where(tied_BV, p_BV, 0.0)
    needed_BV = sum_before_B1 + jnp.cumsum(tied_p_BV, -1) - tied_p_BV < mass
    return jnp.where(before_BV | (tied_BV & needed_BV), logits_BV, -jnp.inf)


def _least_bound(values_BV, weights_BV, target):
    """The least number [B, 1] such that the weights of the values up to it reach ``target``.

    Bisection over the 2^32 floats in their order finds the exact number, several times faster than sorting does.
    """
    keys_BV = _ordered(values_BV)

    def halve(_, bounds):
        low_B1, high_B1 = bounds
        middle_B1 = (low_B1 & high_B1) + ((low_B1 ^ high_B1) >> 1)  # the mean, rounded down, without overflow
        reached_B1 = jnp.sum(jnp.where(keys_BV <= middle_B1, weights_BV, 0.0), -1, keepdims=True) >= target
        return jnp.where(reached_B1, low_B1, middle_B1 + 1), jnp.where(reached_B1, middle_B1, high_B1)

    ends = jnp.iinfo(jnp.int32)
    low_B1 = jnp.full((*keys_BV.shape[:-1], 1), ends.min, jnp.int32)
    _, key_B1 = jax.lax.fori_loop(0, 32, halve, (low_B1, jnp.full_like(low_B1, ends.max)))
    # The key may lie between those of two values; the least value whose key reaches it is the bound.
    return jnp.min(jnp.where(keys_BV >= key_B1, values_BV, jnp.inf), -1, keepdims=True)


def _ordered(values):
    """Integers that have the same order as float32 numbers."""
    bits = jax.lax.bitcast_convert_type(jnp.where(values == 0, 0.0, values), jnp.int32)  # -0 is 0
    return jnp.where(bits < 0, bits ^ jnp.int32(0x7FFFFFFF), bits)


def sample(key, logits_BV, **options):
    """Draws a token [B] for each row by the ``options`` of ``filter_logits``; at temperature 0 the likeliest token."""
    filtered_BV = filter_logits(logits_BV, **options)
    if options.get("temperature", 1.0) < LEAST_TEMPERATURE:
        return filtered_BV.argmax(-1)  # the same as a draw, without the cost of random numbers
    return jax.random.categorical(key, filtered_BV)


def generate(decoder, variables, key, prompt_BT, num_tokens, *, visible_BT=None, **options):
    """Writes ``num_tokens`` tokens [B, num_tokens] after a prompt, in one compiled scan.

    Token i is drawn with ``jax.random.fold_in(key, i)``. The scan is compiled once for a decoder, shape and options.
    Decoders compare by identity: keep one and pass it again.

    Args:
      decoder: a ``models.decoding.Decoder``.
      variables: the variables of the decoder's model.
      prompt_BT: token ids [B, T], or a single prompt [T], whose result has no axis B either.
      visible_BT: False where a prompt is padded on its left, for the Transformer's decoder; None: no padding.
      options: the options of ``filter_logits``.
    Raises:
      ValueError: no prompt, no tokens to write, more tokens than the cache holds, or an option out of range.
    """
    check(**options)
    prompt_BT = jnp.asarray(prompt_BT, jnp.int32)
    if prompt_BT.ndim not in (1, 2) or 0 in prompt_BT.shape:
        raise ValueError(f"A prompt of shape {prompt_BT.shape} holds no tokens: give [B, T] or [T] of at least one.")
    if num_tokens < 1:
        raise ValueError(f"num_tokens={num_tokens} must be at least 1.")
    num_read = prompt_BT.shape[-1] + num_tokens - 1  # the last token is drawn, and never read
    if decoder.context_length is not None and num_read > decoder.context_length:
        raise ValueError(
            f"A prompt of {prompt_BT.shape[-1]} tokens and {num_tokens} more do not fit a context of "
            f"{decoder.context_length}: shorten the prompt or ask for fewer tokens."
        )
    options = tuple(options.items())
    tokens_BT = _generate(decoder, variables, key, jnp.atleast_2d(prompt_BT), num_tokens, options, visible_BT)
    return tokens_BT if prompt_BT.ndim == 2 else tokens_BT[0]


@functools.partial(jax.jit, static_argnums=(0, 4, 5))
def _generate(decoder, variables, key, prompt_BT, num_tokens, options, visible_BT):
    def step(carry, i):
        logits_BV, cache = carry
        tokens_B = sample(jax.random.fold_in(key, i), logits_BV, **dict(options))
        # The last advance is not used; leaving it out would compile the draw and the model a second time.
        return decoder.advance(variables, cache, tokens_B[:, None]), tokens_B

    padding = () if visible_BT is None else (visible_BT,)
    logits_and_cache = decoder.advance(variables, decoder.start(len(prompt_BT)), prompt_BT, *padding)
    _, tokens_TB = jax.lax.scan(step, logits_and_cache, jnp.arange(num_tokens))
    return tokens_TB.T
