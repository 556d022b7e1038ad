"""How far back a recurrent network's gradient reaches (Pascanu et al. 2013).

For h_t = step(h_{t-1}, x_t) and a loss J_T of the last state, the gradient in an earlier state is a product of
Jacobians,

    dJ_T/dh_{T-k} = dJ_T/dh_T  dh_T/dh_{T-1} ... dh_{T-k+1}/dh_{T-k},

so its norm is at most the norm of the first factor times the largest singular values of the others (equation 6 and
section 2.1). The state of an LSTM is both of its vectors.

Axes: T steps, K = 0 ... T steps back, B sequences.
"""

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from models.losses import token_losses
from models.rnn_lm import RecurrentConfig, RecurrentLM, last_outputs
from probes.gradient_flow import log_norm

# The networks that are looked at before training: settings of `RecurrentConfig` by name.
UNTRAINED_CELLS = {
    "Elman, sigmoid": {"cell": "elman_sigmoid"},
    "Elman, tanh": {"cell": "elman_tanh"},
    "GRU": {"cell": "gru"},
    "LSTM, forget bias 0": {"cell": "lstm", "forget_bias": 0.0},
    "LSTM, forget bias 1": {"cell": "lstm", "forget_bias": 1.0},
    "LSTM, forget bias 3": {"cell": "lstm", "forget_bias": 3.0},
}
# Small, since the bound takes a singular value of every Jacobian.
UNTRAINED_WIDTH, UNTRAINED_STEPS, UNTRAINED_ROWS = 64, 40, 2
TRAINED_STEPS, TRAINED_ROWS = 64, 16


def reach_before_training(key, vocab_size, rows_BN):
    """``reach/NAME`` and ``bound/NAME`` [K] of UNTRAINED_CELLS: log-norms of gradients on text, and their bounds."""
    rows_BT = rows_BN[:, : UNTRAINED_STEPS + 1].astype(jnp.int32)
    log_norms = {}
    for number, (name, settings) in enumerate(UNTRAINED_CELLS.items()):
        config = RecurrentConfig(vocab_size, width=UNTRAINED_WIDTH, d_embedding=UNTRAINED_WIDTH, **settings)
        model = RecurrentLM(config)
        variables = model.init(jax.random.fold_in(key, number), rows_BT[:1, :1])
        log_norms[f"reach/{name}"], log_norms[f"bound/{name}"] = reach_of_model(
            model, variables, rows_BT[:UNTRAINED_ROWS], bounds=True
        )
    return log_norms


def reach_after_training(model, variables, rows_BN):
    """Log-norms [K] of a trained model's gradients on text."""
    rows_BT = rows_BN[:TRAINED_ROWS, : TRAINED_STEPS + 1].astype(jnp.int32)
    return reach_of_model(model, variables, rows_BT)


def reach_of_model(model, variables, rows_BT, bounds=False):
    """``gradient_reach`` of a RecurrentLM, mean over rows [B, T + 1] of text, the last token being the target."""

    def step(states, token):
        return model.apply(variables, token[None], states, method="read")[1]

    def reach_of_row(row_T):
        def loss(states):
            logits_1V = model.apply(variables, last_outputs(model.config, states), method="logits")
            return token_losses(logits_1V, row_T[-1:]).sum()

        return gradient_reach(step, model.initial_states(1), row_T[:-1], loss, bounds)

    return jax.tree.map(lambda x: x.mean(0), jax.lax.map(reach_of_row, rows_BT))


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
    grad_last = jax.grad(loss)(last)
    norms = jnp.append(log_norm(grad_last), jax.vmap(log_norm)(backward(grad_last)[0])[::-1])
    if not bounds:
        return norms

    def log_largest_singular_value(pair):
        state, x = pair
        flat, unravel = ravel_pytree(state)
        jacobian = jax.jacobian(lambda flat: ravel_pytree(step(unravel(flat), x))[0])(flat)
        return jnp.log(jnp.linalg.norm(jacobian, 2))

    logs_T = jax.lax.map(log_largest_singular_value, (entered_T, inputs_T))
    return norms, norms[0] + jnp.append(0.0, jnp.cumsum(logs_T[::-1]))
