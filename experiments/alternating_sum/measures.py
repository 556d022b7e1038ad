"""Losses and accuracies on alternating sums, and what is examined of a trained or hand-written net.

Axes: B sequences.
"""

import jax
import jax.numpy as jnp

from experiments.alternating_sum.sequences import last_steps, random_sequences

LENGTHS = (2, 4, 6, 8, 10, 14, 20, 30, 40, 60, 80, 100)
LONGEST = max(LENGTHS)
NUM_CHECKED = 10_000  # sequences of lengths 2 to LONGEST on which the outputs are checked
RESCALING = 8.0  # a power of two: exact in floating point


def loss_sum(logits_B, targets_B):
    """The sum of cross-entropies in nats, of targets that may be 1/2."""
    return jnp.sum(jax.nn.softplus(logits_B) - targets_B * logits_B)


def accuracy_sums(logits_B, targets_B):
    """Sum and weight of the accuracy over the sequences that are no ties."""
    decided_B = targets_B != 0.5
    right_B = (logits_B > 0) == (targets_B > 0.5)
    return jnp.sum(right_B & decided_B), jnp.sum(decided_B)


def accuracy_by_length(logits, params, key, batch_size, max_input):
    """The accuracy at each of LENGTHS, on the last steps of the same random sequences.

    ``logits`` maps parameters and a batch, as `random_sequences` returns it, to logits [B].
    """
    inputs_BT = random_sequences(key, batch_size, LONGEST, max_input, shortest=LONGEST)["inputs"]

    def accuracy(length):
        batch = last_steps(inputs_BT, length)
        right, decided = accuracy_sums(logits(params, batch), batch["targets"])
        return right / decided

    return jax.lax.map(accuracy, jnp.array(LENGTHS))


def output_checks(logits, params, key, max_input):
    """How right the outputs are on random sequences, on which side of 1/2 they lie, and what rescaling changes.

    ``logits`` maps parameters and a batch, as `random_sequences` returns it, to logits [B].
    """
    batch = random_sequences(key, NUM_CHECKED, LONGEST, max_input)
    targets_B = batch["targets"]

    def rescaled_outputs(scale):
        new_params = params | {"w_in": scale * params["w_in"], "w_out": params["w_out"] / scale}
        return jax.nn.sigmoid(logits(new_params, batch))

    # One compiled function for both, so that a bitwise comparison compares nothing but the weights.
    outputs_B, rescaled_B = jax.lax.map(rescaled_outputs, jnp.array([1.0, RESCALING]))
    return {
        "rounds_to_target": (jnp.sign(outputs_B - 0.5) == jnp.sign(targets_B - 0.5)).mean(),
        "least_output_above": jnp.where(targets_B == 1, outputs_B, 1.0).min(),
        "greatest_output_below": jnp.where(targets_B == 0, outputs_B, 0.0).max(),
        "largest_distance_of_ties": jnp.where(targets_B == 0.5, jnp.abs(outputs_B - 0.5), 0.0).max(),
        "share_of_ties": (targets_B == 0.5).mean(),
        "range": outputs_B.max() - outputs_B.min(),
        "smaller_side": jnp.minimum((outputs_B > 0.5).mean(), (outputs_B < 0.5).mean()),
        "change_when_rescaled": jnp.abs(rescaled_B - outputs_B).max(),
    }
