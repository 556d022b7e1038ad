"""How large gradients are at each layer of a network, or at each step of a recurrent one.

Axes: L layers, counted from the input.
"""

import jax
import jax.numpy as jnp
import numpy as np


def log_norm(tree):
    """The log of the Euclidean norm of all numbers of a pytree; -inf for zeros, also where squares would underflow."""
    leaves = jax.tree.leaves(tree)
    largest = jnp.max(jnp.stack([jnp.abs(leaf).max() for leaf in leaves]))
    scale = jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1.0)
    squares = sum(jnp.sum(jnp.square(leaf / scale)) for leaf in leaves)
    return jnp.log(scale) + 0.5 * jnp.log(squares)


def through_layers(layer, weights_L, state, cotangent):
    """Gradients of ``sum(cotangent * h_L)`` for ``h_{l+1} = layer(w_l, h_l)``, h_0 = ``state``, by one scan.

    Args:
      layer: (weights of one layer, state) -> state; states are pytrees of one shape throughout.
      weights_L: a pytree with a leading axis L: weights, or the inputs of a recurrent network at each step.
      cotangent: like the state; what a loss would send back from its end.
    Returns:
      (log-norms [L + 1] of the gradient in h_0 ... h_L, log-norms [L] of that in the weights, the states h_0 ... h_L
      stacked).
    """

    def forward(weights_L, offsets_L):
        def step(h, inputs):
            weights, offset = inputs
            h = jax.tree.map(jnp.add, h, offset)
            return layer(weights, h), h

        last, entered_L = jax.lax.scan(step, state, (weights_L, offsets_L))
        return last, entered_L

    length = len(jax.tree.leaves(weights_L)[0])
    offsets_L = jax.tree.map(lambda x: jnp.zeros((length, *x.shape), x.dtype), state)
    last, backward, entered_L = jax.vjp(forward, weights_L, offsets_L, has_aux=True)
    of_weights, of_states = backward(cotangent)
    of_states = jnp.append(jax.vmap(log_norm)(of_states), log_norm(cotangent))
    states = jax.tree.map(lambda xs, x: jnp.concatenate([xs, x[None]]), entered_L, last)
    return of_states, jax.vmap(log_norm)(of_weights), states


def fit_line(x, y):
    """The least-squares line through points (x, y): its slope, and the share R^2 of y's variance that it explains.

    Both are NaN where a value is not finite.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if not np.isfinite(y).all():
        return np.nan, np.nan
    centred, height = x - x.mean(), y - y.mean()
    slope = centred @ height / (centred @ centred)
    residual = height - slope * centred
    return slope, 1 - residual @ residual / (height @ height) if height.any() else np.nan
