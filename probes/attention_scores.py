"""What attention heads attend to: scores of every head, and what each is for a head that attends to all tokens alike.

Axes: B sequences, T time (Q query, K key position), L layers, H heads, C head width, D model width, V vocabulary.
Scores are arrays [L, H], averaged over sequences. A[q, k] is the attention of one head from query q to key k.

Only sums over the entries that a score needs leave a layer, and sequences are taken a few at a time: no array is as
large as the patterns of all layers, and logits are never computed. Layers run one by one, each through the same
compiled program (``probes.layerwise``). With grouped queries a head is a query head: H is their number.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from probes.layerwise import sum_over_sequences


@partial(jax.jit, static_argnames=("num_sequences", "block_length", "num_copies", "num_tokens", "bos"))
def repeated_tokens(key, num_sequences, block_length, num_copies, num_tokens, bos):
    """Sequences of a random block of tokens and its exact copies, after a BOS.

    Tokens are uniform over ids 0 ... num_tokens - 1. Those of a block are distinct where num_tokens >= block_length,
    and drawn with replacement where there are too few. Costs num_sequences * num_tokens random numbers.

    Args:
      bos: the id put at position 0, or None to leave it out.
    Returns:
      int32 ids [num_sequences, 1 + num_copies * block_length], one position less without BOS.
    Raises:
      ValueError: a count below 1.
    """
    counts = {"num_sequences": num_sequences, "block_length": block_length, "num_copies": num_copies}
    for name, value in {**counts, "num_tokens": num_tokens}.items():
        if value < 1:
            raise ValueError(f"{name}={value} must be at least 1")
    if num_tokens >= block_length:
        # The largest of independent random numbers lie at a random ordered subset of the ids.
        block = jax.lax.top_k(jax.random.bits(key, (num_sequences, num_tokens)), block_length)[1]
    else:
        block = jax.random.randint(key, (num_sequences, block_length), 0, num_tokens)
    tokens_BT = jnp.tile(block.astype(jnp.int32), (1, num_copies))
    if bos is None:
        return tokens_BT
    return jnp.concatenate([jnp.full((num_sequences, 1), bos, jnp.int32), tokens_BT], axis=1)


def stripe_scores(model, variables, tokens_BT, block_length):
    """Previous-token, duplicate-token and induction score of every head on sequences [BOS, r, r].

    With P the block length, the means of A[t, t-1] over t = 1 ... 2P, and of A[t, t-P] and A[t, t-P+1] over the second
    copy, t = P+1 ... 2P. Where the tokens of r are distinct, the last is the prefix matching of Olsson et al. 2022.

    Args:
      tokens_BT: from ``repeated_tokens(..., block_length, num_copies=2, ...)`` with a BOS: T = 1 + 2P.
    Returns:
      {"previous_token_score", "duplicate_token_score", "induction_score"}: each [L, H], in [0, 1].
    Raises:
      ValueError: T is not 1 + 2 * block_length, or exceeds the model's context.
    """
    num_sequences, length = tokens_BT.shape
    if length != 1 + 2 * block_length:
        raise ValueError(f"[BOS, r, r] with blocks of {block_length} has {1 + 2 * block_length} tokens, not {length}")
    totals, _ = sum_over_sequences(model, variables, tokens_BT, _along_stripes, ["attention/pattern"], (block_length,))
    counts = {name: len(queries) for name, (queries, _) in _stripes(block_length).items()}
    return {name: total_LH / (num_sequences * counts[name]) for name, total_LH in totals.items()}


def _stripes(block_length):
    """{score: (queries, keys) of the entries that it averages}."""
    later, second = np.arange(1, 1 + 2 * block_length), np.arange(1 + block_length, 1 + 2 * block_length)
    return {
        "previous_token_score": (later, later - 1),
        # By explicit rows: a whole diagonal at this offset would begin in the first copy.
        "duplicate_token_score": (second, second - block_length),
        "induction_score": (second, second - block_length + 1),
    }


def _along_stripes(layer_params, activations, tokens_BT, block_length):
    pattern_BHQK = activations["attention/pattern"]
    return {name: _widened(pattern_BHQK[:, :, q, k]).sum((0, -1)) for name, (q, k) in _stripes(block_length).items()}


def stripe_chance(block_length):
    """What ``stripe_scores`` gives for uniform causal attention, A[t, k] = 1 / (t + 1): three floats by name."""
    second = _mean_of_reciprocals(block_length + 2, 2 * block_length + 1)
    return {
        "previous_token_score": previous_token_chance(1 + 2 * block_length),
        "duplicate_token_score": second,
        "induction_score": second,
    }


def previous_token_chance(length):
    """The previous-token score of uniform causal attention on ``length`` tokens: the mean of 1/2 ... 1/length."""
    if length < 2:
        raise ValueError(f"length={length}: a previous token needs at least 2")
    return _mean_of_reciprocals(2, length)


def _mean_of_reciprocals(first, last):
    return math.fsum(1 / n for n in range(first, last + 1)) / (last + 1 - first)


def olsson_block_length(context_length):
    """Tokens in a block of Olsson et al.'s evaluators: their 25, or fewer where BOS and four copies do not fit."""
    if context_length < 5:
        raise ValueError(f"context_length={context_length} is too short for BOS and four copies of a token")
    return min(25, (context_length - 1) // 4)


def prefix_matching_score(model, variables, tokens_BT):
    """Attention from every token to whatever followed its earlier occurrences (Olsson et al. 2022).

    An entry (q, k) counts where x_{k-1} = x_q and 1 <= k <= q. Theirs: a block of 25 random tokens, four copies, BOS
    first, 10 sequences; see ``olsson_block_length``.

    Returns:
      {"prefix_matching_mean": the mean of A over all such entries, which several earlier copies dilute;
      "prefix_matching_sum": the sum over k, averaged over the queries that have such an entry}: each [L, H],
      in [0, 1]; nan where no token has followed an earlier occurrence.
    Raises:
      ValueError: T exceeds the model's context.
    """
    total_LH, _ = sum_over_sequences(model, variables, tokens_BT, _over_matches, ["attention/pattern"])
    return _per_match(total_LH, tokens_BT)


def _over_matches(layer_params, activations, tokens_BT):
    matches_BQK = _prefix_matches(tokens_BT)
    return _widened(jnp.where(matches_BQK[:, None], activations["attention/pattern"], 0)).sum((0, 2, 3))


def uniform_prefix_matching_chance(tokens_BT):
    """What ``prefix_matching_score`` gives on these tokens for uniform causal attention: scalars of the same names."""
    uniform_Q = 1 / jnp.arange(1, tokens_BT.shape[1] + 1)
    return _per_match((_prefix_matches(tokens_BT) * uniform_Q[:, None]).sum(), tokens_BT)


def _prefix_matches(tokens_BT):
    """Whether [B, Q, K] key k follows an earlier occurrence of query q's token."""
    follows_BQK = tokens_BT[:, :, None] == jnp.roll(tokens_BT, 1, axis=1)[:, None, :]
    t = jnp.arange(tokens_BT.shape[1])
    return follows_BQK & (t >= 1) & (t <= t[:, None])


def _per_match(total, tokens_BT):
    matches_BQK = _prefix_matches(tokens_BT)
    return {
        "prefix_matching_mean": total / matches_BQK.sum(),
        "prefix_matching_sum": total / matches_BQK.any(-1).sum(),
    }


def copying_score(model, variables, tokens_BT):
    """Whether a head's output raises the logits of the tokens it attends to [L, H], in [-1, 1] (Olsson et al. 2022).

    The output of a head at q is read through the unembedding; with l[q, v] what it adds to the logit of token v above
    its mean over the vocabulary, negative values set to zero,

        a = sum_k A[q, k] l[q, x_k],   S = sum_k l[q, x_k],   score = 4 a / (a + S) - 1,

    k over the whole sequence, averaged over sequences and queries with S > 0; nan where there are none. 1: only what
    is attended to rises. -1: only what is not. Raising all T tokens alike gives 4 / (T + 1) - 1, so -0.85 and not 0
    is chance for their sequences: 25 random tokens without BOS, 10 of them.

    A final LayerNorm's centring and scale are applied, both being linear. Its division by the stream's deviation is
    left out: it multiplies a and S alike.

    Raises:
      ValueError: T exceeds the model's context.
    """
    own_BKD = unembedding_of(model.config, variables["params"], tokens_BT)
    observed = ["attention/pattern", "attention/head_outputs"]
    (total_LH, count_LH), _ = sum_over_sequences(model, variables, tokens_BT, _copied, observed, extras=(own_BKD,))
    return total_LH / count_LH


@partial(jax.jit, static_argnames="config")
def unembedding_of(config, params, tokens):
    """What raises the logit of each token above the vocabulary's mean, as directions of the stream [..., D].

    The final norm's linear parts are folded in; its division by the stream's size is left out.
    """
    tied = config.tied_unembedding
    unembed = params["embed"] if tied else params["unembed"]["kernel"]  # [V, D] or [D, V]
    # Gathered as it lies: the transpose would be a copy of the whole unembedding.
    own = unembed[tokens] if tied else jnp.moveaxis(unembed[:, tokens], 0, -1)
    own = own - unembed.mean(0 if tied else 1)
    if "final_norm" in params:
        own = own * params["final_norm"]["scale"]
        if config.norm == "layernorm":
            own = own - own.mean(-1, keepdims=True)
    return own


def _copied(layer_params, activations, tokens_BT, own_BKD):
    """Sum and count of the copying scores of all queries for which there is one."""
    pattern_BHQK = _widened(activations["attention/pattern"])
    outputs_BQHC = _widened(activations["attention/head_outputs"])
    readers_BKHC = jnp.einsum("BKD,HCD->BKHC", own_BKD, layer_params["attention"]["output"]["kernel"])
    raised_BHQK = jax.nn.relu(jnp.einsum("BQHC,BKHC->BHQK", outputs_BQHC, readers_BKHC))
    attended_BHQ, all_BHQ = (pattern_BHQK * raised_BHQK).sum(-1), raised_BHQK.sum(-1)
    defined_BHQ = all_BHQ > 0
    score_BHQ = 4 * attended_BHQ / jnp.where(defined_BHQ, attended_BHQ + all_BHQ, 1) - 1
    return jnp.where(defined_BHQ, score_BHQ, 0).sum((0, 2)), defined_BHQ.sum((0, 2))


def text_scores(model, variables, tokens_BT):
    """The three scores of every head on text, where tokens recur at any distance and any number of times.

    The mean of A[t, t-1] over t >= 1; and over the queries that have such a key, the sum of A[t, k] over the keys k < t
    that hold the same token, and over the keys k <= t that follow an earlier occurrence of it, as in
    ``prefix_matching_score``.

    Returns:
      {"previous_token_score", "duplicate_token_score", "induction_score"}: each [L, H], in [0, 1]; nan where no token
      recurs.
    Raises:
      ValueError: T exceeds the model's context.
    """
    return text_scores_and_stream(model, variables, tokens_BT)[0]


def text_scores_and_stream(model, variables, tokens_BT):
    """``text_scores``, and the stream [B, T, D] after the last layer, from which the losses can be told."""
    totals, x_BTD = sum_over_sequences(model, variables, tokens_BT, _on_text, ["attention/pattern"])
    return _per_query(totals, tokens_BT), x_BTD


def text_chance(tokens_BT):
    """What ``text_scores`` gives on these tokens for uniform causal attention: three scalars by name."""
    T = tokens_BT.shape[1]
    uniform_QK = jnp.tril(jnp.ones((T, T))) / jnp.arange(1, T + 1)[:, None]
    return _per_query({name: (key * uniform_QK).sum() for name, key in _text_keys(tokens_BT).items()}, tokens_BT)


def _text_keys(tokens_BT):
    """{score: whether [B, Q, K] it counts key k at query q}."""
    t = jnp.arange(tokens_BT.shape[1])
    previous_QK = t[:, None] - 1 == t
    return {
        "previous_token_score": jnp.broadcast_to(previous_QK, (len(tokens_BT), *previous_QK.shape)),
        "duplicate_token_score": (tokens_BT[:, :, None] == tokens_BT[:, None, :]) & (t < t[:, None]),
        "induction_score": _prefix_matches(tokens_BT),
    }


def _on_text(layer_params, activations, tokens_BT):
    pattern_BHQK = activations["attention/pattern"]
    keys = _text_keys(tokens_BT)
    return {name: _widened(jnp.where(k_BQK[:, None], pattern_BHQK, 0)).sum((0, 2, 3)) for name, k_BQK in keys.items()}


def _per_query(totals, tokens_BT):
    return {name: totals[name] / key_BQK.any(-1).sum() for name, key_BQK in _text_keys(tokens_BT).items()}


def in_context_learning_positions(length):
    """(late, early): where ``in_context_learning_score`` compares the losses of ``length`` positions.

    500 and 50 (Olsson et al. 2022) from 512 positions on; below that the last one and the one a tenth of the way.
    """
    return (500, 50) if length >= 512 else (length - 1, length // 10)


def in_context_learning_score(loss_T, late, early):
    """The loss at position ``late`` minus the loss at ``early``, in nats [...]: below 0, context helps.

    ``loss_T`` [..., T] is averaged over sequences; see ``in_context_learning_positions`` (Olsson et al. 2022).
    """
    return loss_T[..., late] - loss_T[..., early]


def in_context_learning_slope(loss_T):
    """d loss / d log(tokens seen), in nats [...]: the least-squares slope of loss_T [..., T] on log(t + 1).

    Raises ValueError for fewer than 2 positions (Olsson et al. 2022 plot this derivative).
    """
    if loss_T.shape[-1] < 2:
        raise ValueError("a slope needs the losses of at least 2 positions")
    log_index_T = jnp.log(jnp.arange(1, loss_T.shape[-1] + 1))
    log_index_T = log_index_T - log_index_T.mean()
    return (loss_T * log_index_T).sum(-1) / (log_index_T**2).sum()


def _widened(activation):
    """In float32 or wider: sums in bfloat16 keep two digits."""
    return activation.astype(jnp.promote_types(activation.dtype, jnp.float32))
