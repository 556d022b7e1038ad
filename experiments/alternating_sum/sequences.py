"""Integer sequences of even length: do the inputs at even steps sum to more than those at odd steps?

Axes: B sequences, T steps, the first of which is step 1.
"""

import jax
import jax.numpy as jnp


def check_sizes(context_length, max_input):
    """Raises ValueError where no such sequences exist."""
    if context_length < 2 or context_length % 2:
        raise ValueError(f"context_length={context_length} must be even and at least 2")
    if max_input < 1:
        raise ValueError(f"max_input={max_input} must be at least 1: all inputs would be zero")


def sum_difference(inputs_BT):
    """The sum at even steps minus the sum at odd steps [B]: x_T - x_{T-1} + ... - x_1 for even T."""
    return inputs_BT[:, 1::2].sum(1) - inputs_BT[:, ::2].sum(1)


def random_sequences(key, batch_size, context_length, max_input, shortest=2):
    """Integers uniform in -max_input ... max_input; lengths uniform over the even ones from ``shortest`` to T.

    Returns:
      {"inputs" [B, T] floats, "started" [B, T] bool, "targets" [B]}. A short sequence stands at the end, after zeros;
      it has started from its first step on. The target is 1 where even steps have the larger sum, 0 where odd steps
      have it, and 1/2 for a tie.
    """
    length_key, input_key = jax.random.split(key)
    length_B1 = 2 * jax.random.randint(length_key, (batch_size, 1), shortest // 2, context_length // 2 + 1)
    shape = (batch_size * context_length,)
    integers_BT = jax.random.randint(input_key, shape, -max_input, max_input + 1).reshape(batch_size, context_length)
    return last_steps(integers_BT.astype(jnp.float32), length_B1)


def last_steps(inputs_BT, length):
    """The last ``length`` steps, an even number or one for each sequence [B, 1], as `random_sequences` returns them."""
    T = inputs_BT.shape[1]
    started_BT = jnp.broadcast_to(jnp.arange(T) >= T - length, inputs_BT.shape)
    inputs_BT = jnp.where(started_BT, inputs_BT, 0.0)
    return {"inputs": inputs_BT, "started": started_BT, "targets": (jnp.sign(sum_difference(inputs_BT)) + 1) / 2}
