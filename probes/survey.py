"""Every head of a model of any size, surveyed: what it attends to and copies, what is lost without it, what it reads.

``eval.py --hf_checkpoint`` shows all three surveys. They are budgeted for a laptop's CPU: together they take half a
minute on two cores for a model of GPT-2's small size.

Axes: B sequences, T time, L layers, H heads (of queries, where grouped).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from probes import ablation, circuits, layerwise
from probes.attention_scores import (
    copying_score,
    in_context_learning_positions,
    in_context_learning_score,
    in_context_learning_slope,
    olsson_block_length,
    prefix_matching_score,
    stripe_chance,
    stripe_scores,
    text_chance,
    text_scores_and_stream,
    uniform_prefix_matching_chance,
)
from probes.attribution import direct_logit_attribution
from probes.layerwise import next_token_losses

SHORTEST_CONTEXT = 9  # tokens: two of them four times, after BOS
LONGEST_BLOCK = 128  # tokens of r in [BOS, r, r] for the stripe scores
LEARNING_CONTEXT = 513  # tokens for the in-context-learning score: the least for which its published positions exist
TOTAL_TOKENS = 1028  # of all sequences for the stripe scores together, at least four sequences
SWEEP_OPERATIONS = 1e12  # what the ablation sweep may cost, unless one sequence costs more
BASELINE_SAMPLES = 64  # random pairs of heads for the composition baseline


class Sequences(NamedTuple):
    """Random tokens for the survey: [BOS, r, r] for scores, a longer one for losses, a shorter one for ablations."""

    two_copies: jax.Array
    four_copies: jax.Array
    one_block: jax.Array
    learning: jax.Array
    ablation: jax.Array


def check_context(context_length):
    """Raises ValueError where a context is too short for the survey."""
    if context_length < SHORTEST_CONTEXT:
        raise ValueError(f"a context of {context_length} tokens is too short: the survey needs {SHORTEST_CONTEXT}")


def random_repeats(generator, num_sequences, block_length, num_copies, vocab_size, bos):
    """[BOS, r, r, ...], int32: r of uniformly random ids but BOS, distinct where there are enough."""
    others = np.delete(np.arange(vocab_size), bos)
    replace = len(others) < block_length
    blocks = [generator.choice(others, block_length, replace=replace) for _ in range(num_sequences)]
    tokens_BT = np.insert(np.tile(blocks, (1, num_copies)), 0, bos, axis=1)
    return jnp.asarray(tokens_BT, jnp.int32)


def sequences(config, bos, num_parameters, seed=0):
    """The survey's random Sequences for a model's config; raises ValueError for a context that is too short."""
    check_context(config.context_length)
    T, V = config.context_length, config.vocab_size
    block, short = min((T - 1) // 2, LONGEST_BLOCK), olsson_block_length(T)
    long = (min(T, LEARNING_CONTEXT) - 1) // 2
    cost = (1 + 2 * short) * 2 * num_parameters * config.num_layers * config.num_heads / 2
    generator = np.random.default_rng(seed)
    four_BT = random_repeats(generator, 10, short, 4, V, bos)
    return Sequences(
        random_repeats(generator, int(np.clip(TOTAL_TOKENS // (1 + 2 * block), 4, 32)), block, 2, V, bos),
        four_BT,
        four_BT[:, 1 : 1 + short],
        random_repeats(generator, int(np.clip(TOTAL_TOKENS // (1 + 2 * long), 2, 32)), long, 2, V, bos),
        random_repeats(generator, int(np.clip(SWEEP_OPERATIONS // cost, 1, 32)), short, 2, V, bos),
    )


def attention_survey(model, variables, tokens, text_BT=None):
    """What every head attends to: scores [L, H] on random tokens, their chance levels, and the same on text.

    Args:
      tokens: of ``sequences``.
      text_BT: tokens of text, or None.
    Returns:
      {score: [L, H], "in_context_learning_score" and "..._slope" (nats), "chance": {score: number}, "text": the same
      for text, where there is any}. In-context learning: the loss at a late position minus the loss at an early one.
    """
    block = (tokens.two_copies.shape[1] - 1) // 2
    measured = {
        **stripe_scores(model, variables, tokens.two_copies, block),
        **prefix_matching_score(model, variables, tokens.four_copies),
        "copying_score": copying_score(model, variables, tokens.one_block),
        **_in_context_learning(model, variables, tokens.learning),
        "chance": {**stripe_chance(block), **uniform_prefix_matching_chance(tokens.four_copies)},
    }
    if text_BT is not None:
        scores, x_BTD = text_scores_and_stream(model, variables, text_BT)
        measured["text"] = {
            **scores,
            **_in_context_learning(model, variables, text_BT, x_BTD),
            "chance": text_chance(text_BT),
        }
    return measured


def _in_context_learning(model, variables, tokens_BT, x_BTD=None):
    """Mean loss and in-context-learning scores, in nats; ``x_BTD`` is the last stream where it is known."""
    loss_T = next_token_losses(model, variables, tokens_BT, x_BTD).mean(0)
    late, early = in_context_learning_positions(len(loss_T))
    return {
        "loss": loss_T.mean(),
        "in_context_learning_score": in_context_learning_score(loss_T, late, early),
        "in_context_learning_slope": in_context_learning_slope(loss_T),
    }


def causal_survey(model, variables, tokens_BT):
    """What every head does for the completion of [BOS, r, r]: what is lost without it, and what it writes.

    Returns:
      {"repeat_loss": the loss (nats); "ablation_loss_increase" [L, H]: how much the loss increases where a head's
      output is zero; "logit_attribution" [L, H]: what the head writes into the right token's logit, above the
      vocabulary's mean}, all at the positions of the second copy whose next token also lies in that copy.
    """
    block = (tokens_BT.shape[1] - 1) // 2
    positions = jnp.arange(block + 1, 2 * block)
    targets_BT = jnp.roll(tokens_BT, -1, axis=1)

    def loss(logits_BTV):
        right_BT = jnp.take_along_axis(logits_BTV, targets_BT[:, positions, None], axis=-1)[..., 0]
        return (jax.nn.logsumexp(logits_BTV, axis=-1) - right_BT).mean()

    streams, _ = layerwise.streams(model, variables, tokens_BT, observe={ablation.OUTPUTS: layerwise.identity})
    intact = layerwise.score_stream(model, variables, streams[-1], loss, positions=positions)
    ablated_LH = ablation.sweep(model, variables, tokens_BT, loss, "zero", positions=positions)
    weight_BT = jnp.zeros(tokens_BT.shape).at[:, positions].set(1)
    attributed = direct_logit_attribution(model, variables, tokens_BT, targets_BT, weight_BT)
    return {
        "repeat_loss": intact,
        "ablation_loss_increase": ablated_LH - intact,
        "logit_attribution": attributed["heads"],
    }


def weight_survey(params, norm, key):
    """What the weights alone say: eigenvalue scores [L, H], and composition of all pairs of heads.

    Composition is {"query", "key", "value": [L1, H1, L2, H2]} in standard deviations above random matrices of the
    heads' shapes; it is NaN unless the second layer is later than the first.
    """
    mean, deviation = jax.jit(circuits.composition_baseline, static_argnames="num_samples")(
        key, {"layer_0": params["layer_0"]}, num_samples=BASELINE_SAMPLES
    )
    composed = circuits.composition_scores(params, norm)
    return {
        "ov_copying_score": circuits.ov_copying_score(params, norm),
        "qk_matching_score": circuits.qk_matching_score(params, norm),
        "composition": {kind: (scores - mean) / deviation for kind, scores in composed.items()},
    }
