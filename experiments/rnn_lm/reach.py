"""How far back a recurrent network's gradient reaches, and what clipping does to it (Pascanu et al. 2013).

For h_t = step(h_{t-1}, x_t) and a loss J_T of the last state, the gradient in an earlier state is a product of
Jacobians,

    dJ_T/dh_{T-k} = dJ_T/dh_T  dh_T/dh_{T-1} ... dh_{T-k+1}/dh_{T-k},

so its norm is at most the norm of the first factor times the largest singular values of the others (equation 6 and
section 2.1). The state of an LSTM is both of its vectors.

Axes: T steps, K = 0 ... T steps back, B sequences.
"""

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from models.losses import token_losses
from models.rnn_lm import RecurrentConfig, RecurrentLM, last_outputs
from probes.gradient_flow import log_norm


def gradient_reach(step, state, inputs_T, loss, bounds=False):
    """Log-norms [T + 1] of dJ_T/dh_{T-k} against k, of one sequence; with ``bounds`` also the logs of the bounds.

    Args:
      step: (state, input) -> state.
      state: before the first step, a pytree.
      inputs_T: a pytree with a leading axis T.
      loss: state -> number.
    """

    def forward(offsets_T):
        def advance(state, pair):
            x, offset = pair
            state = jax.tree.map(jnp.add, state, offset)
            return step(state, x), state

        return jax.lax.scan(advance, state, (inputs_T, offsets_T))

    length = len(jax.tree.leaves(inputs_T)[0])
    zeros_T = jax.tree.map(lambda x: jnp.zeros((length, *x.shape), x.dtype), state)
    last, backward, entered_T = jax.vjp(forward, zeros_T, has_aux=True)
    of_last = jax.grad(loss)(last)
    norms = jnp.append(log_norm(of_last), jax.vmap(log_norm)(backward(of_last)[0])[::-1])
    if not bounds:
        return norms

    def log_largest_singular_value(pair):
        state, x = pair
        flat, unravel = ravel_pytree(state)
        jacobian = jax.jacobian(lambda flat: ravel_pytree(step(unravel(flat), x))[0])(flat)
        return jnp.log(jnp.linalg.norm(jacobian, 2))

    logs_T = jax.lax.map(log_largest_singular_value, (entered_T, inputs_T))
    return norms, norms[0] + jnp.append(0.0, jnp.cumsum(logs_T[::-1]))


def reach_of_model(model, variables, rows_BT, bounds=False):
    """``gradient_reach`` of a RecurrentLM, mean over rows [B, T + 1] of text, the last token being the target."""

    def step(states, token):
        return model.apply(variables, token[None], states, method="read")[1]

    def of_row(row_T):
        def loss(states):
            logits_1V = model.apply(variables, last_outputs(model.config, states), method="logits")
            return token_losses(logits_1V, row_T[-1:]).sum()

        return gradient_reach(step, model.initial_states(1), row_T[:-1], loss, bounds)

    return jax.tree.map(lambda x: x.mean(0), jax.lax.map(of_row, rows_BT))


def clipping(key, vocab_size, tokens_BN, *, width, length, num_steps, learning_rates, gain, clips):
    """Plain SGD on a text by a tanh network whose gradients explode, at several rates and with several largest norms.

    Recurrent weights start ``gain`` times as large as usual; above 1 the map from state to state is chaotic, and
    Jacobian products grow (Sompolinsky et al. 1988; Pascanu et al. 2013).

    Returns:
      (losses [rates, clips, steps] in nats a token, norms of the gradient before clipping, of the same shape).
    """
    model = RecurrentLM(RecurrentConfig(vocab_size, "elman_tanh", width=width, d_embedding=width))
    params = model.init(key, tokens_BN[:1, :1])["params"]
    params["layer_0"]["recurrent"]["kernel"] *= gain
    num_windows = (tokens_BN.shape[1] - 1) // length

    def loss(params, states, tokens_BT):
        losses, states = model.apply({"params": params}, tokens_BT[:, :-1], tokens_BT[:, 1:], states, method="losses")
        return losses.mean(), states

    def trained_with(pair):
        learning_rate, clip = pair

        def step(carry, index):
            params, states = carry
            tokens_BT = jax.lax.dynamic_slice_in_dim(tokens_BN, (index % num_windows) * length, length + 1, axis=1)
            (value, states), gradients = jax.value_and_grad(loss, has_aux=True)(params, states, tokens_BT)
            norm = optax.tree.norm(gradients)
            rate = learning_rate * jnp.minimum(1.0, clip / norm)
            params = jax.tree.map(lambda p, g: p - rate * g, params, gradients)
            return (params, states), (value, norm)

        start = params, model.initial_states(len(tokens_BN))
        return jax.lax.scan(step, start, jnp.arange(num_steps))[1]

    pairs = jnp.array([(rate, clip) for rate in learning_rates for clip in clips])
    found = jax.lax.map(trained_with, (pairs[:, 0], pairs[:, 1]))
    return jax.tree.map(lambda x: x.reshape(len(learning_rates), len(clips), num_steps), found)
