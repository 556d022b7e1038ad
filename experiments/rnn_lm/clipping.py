"""What clipping does to a recurrent network whose gradients explode.

Recurrent weights start larger than usual; above a gain of 1 the map from state to state is chaotic, and products of
Jacobians grow (Sompolinsky et al. 1988; Pascanu et al. 2013).

Axes: B rows of text, N tokens of a row, T steps of a window.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.rnn_lm.text import num_windows, window
from models.rnn_lm import RecurrentConfig, RecurrentLM

WIDTH, GAIN = 64, 2.0
LENGTH, NUM_STEPS = 50, 200
LEARNING_RATES = (0.5, 8.0)
CLIPS = (np.inf, 1.0)  # largest norms of the gradient: not clipped, and clipped


def train_exploding_network(
    key,
    vocab_size,
    rows_BN,
    *,
    width=WIDTH,
    gain=GAIN,
    length=LENGTH,
    num_steps=NUM_STEPS,
    learning_rates=LEARNING_RATES,
    clips=CLIPS,
):
    """Plain SGD on a text by a tanh network, at several rates and with several largest norms of the gradient.

    The start is the same for all: recurrent weights ``gain`` times as large as usual. Windows of ``length`` tokens
    follow one another, and states are carried from one to the next.

    Returns:
      ``clipping/losses`` [rates, clips, steps] in nats a token, and ``clipping/norms`` of the same shape, the
      gradient's norm before it is clipped.
    """
    model = RecurrentLM(RecurrentConfig(vocab_size, "elman_tanh", width=width, d_embedding=width))
    params = model.init(key, rows_BN[:1, :1])["params"]
    params["layer_0"]["recurrent"]["kernel"] *= gain

    def loss(params, states, tokens_BT):
        losses, states = model.apply({"params": params}, tokens_BT[:, :-1], tokens_BT[:, 1:], states, method="losses")
        return losses.mean(), states

    def train(pair):
        learning_rate, clip = pair

        def step(carry, index):
            params, states = carry
            tokens_BT = window(rows_BN, index % num_windows(rows_BN, length), length)
            (value, states), gradients = jax.value_and_grad(loss, has_aux=True)(params, states, tokens_BT)
            norm = optax.tree.norm(gradients)
            rate = learning_rate * jnp.minimum(1.0, clip / norm)
            params = jax.tree.map(lambda p, g: p - rate * g, params, gradients)
            return (params, states), (value, norm)

        start = params, model.initial_states(len(rows_BN))
        return jax.lax.scan(step, start, jnp.arange(num_steps))[1]

    pairs = jnp.array([(rate, clip) for rate in learning_rates for clip in clips])
    losses, norms = jax.lax.map(train, (pairs[:, 0], pairs[:, 1]))
    shape = (len(learning_rates), len(clips), num_steps)
    return {"clipping/losses": losses.reshape(shape), "clipping/norms": norms.reshape(shape)}
