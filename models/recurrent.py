"""Recurrent cells: Elman, GRU and LSTM, and the loop over time that they share.

A cell is ``(state, x [..., D]) -> (state, output [..., F])``; ``initial_state(shape)`` gives zeros for a batch of that
shape. Weights of the inputs and of the state start with variance 1 / fan-in, biases at zero but for the LSTM's forget
gate.

Axes: T time, F the cell's width; the leading axes of a batch may be any.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from models.mlp import activation_function, gaussian_kernel


def gates(x, h, count, width):
    """``count`` affine maps of the input and of the state together, each [..., F].

    The columns of the kernels ``input`` and ``recurrent`` and of the one bias hold the maps side by side.
    """
    init = gaussian_kernel("lecun")
    of_input = nn.Dense(count * width, use_bias=False, kernel_init=init, name="input")(x)
    of_state = nn.Dense(count * width, kernel_init=init, name="recurrent")(h)
    return jnp.split(of_input + of_state, count, axis=-1)


class ElmanCell(nn.Module):
    """``h' = activation(x W + h U + b)`` (Elman 1990); the state and the output are h [..., F].

    ``activation`` is a name in ``models.mlp``; identity makes the linear recurrent network.
    """

    width: int
    activation: str = "tanh"

    def initial_state(self, shape=()):
        return jnp.zeros((*shape, self.width))

    @nn.compact
    def __call__(self, h, x):
        (z,) = gates(x, h, 1, self.width)
        h = activation_function(self.activation)(z)
        return h, h


class GRUCell(nn.Module):
    """The gated recurrent unit of Cho et al. 2014, with a reset gate r and an update gate z.

    ``h' = z h + (1 - z) tanh(x W + (r h) U + b)``; the state and the output are h [..., F].
    """

    width: int

    def initial_state(self, shape=()):
        return jnp.zeros((*shape, self.width))

    @nn.compact
    def __call__(self, h, x):
        init = gaussian_kernel("lecun")
        reset, update = (jax.nn.sigmoid(z) for z in gates(x, h, 2, self.width))
        of_input = nn.Dense(self.width, use_bias=False, kernel_init=init, name="candidate_input")(x)
        of_state = nn.Dense(self.width, kernel_init=init, name="candidate_recurrent")(reset * h)
        h = update * h + (1 - update) * jnp.tanh(of_input + of_state)
        return h, h


class LSTMCell(nn.Module):
    """Long short-term memory with a forget gate f (Hochreiter and Schmidhuber 1997; Gers et al. 2000).

    ``c' = f c + i g``, ``h' = o tanh(c')``, gates in the order i, f, g, o; the state is (c, h), the output h [..., F].
    ``forget_bias`` is what the forget gate's bias starts at; 1 was recommended by Jozefowicz et al. 2015.
    """

    width: int
    forget_bias: float = 1.0

    def initial_state(self, shape=()):
        zeros = jnp.zeros((*shape, self.width))
        return zeros, zeros

    @nn.compact
    def __call__(self, state, x):
        c, h = state
        i, f, g, o = gates(x, h, 4, self.width)
        forget_bias = self.param("forget_bias", nn.initializers.constant(self.forget_bias), (self.width,))
        c = jax.nn.sigmoid(f + forget_bias) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (c, h), h


def unroll(cell, params, state, x_T):
    """The last state and the outputs [T, ..., F] of a cell that reads x [T, ..., D] one step after the other."""
    return jax.lax.scan(lambda state, x: cell.apply({"params": params}, state, x), state, x_T)
