"""Recurrent cells: Elman, GRU (of two kinds) and LSTM, and the loop over time that they share.

A cell is ``(state, x [..., D]) -> (state, output [..., F])``; ``initial_state(shape)`` gives zeros for a batch of that
shape. Weights of the inputs and of the state start with variance 1 / fan-in, biases at zero but for the LSTM's forget
gate.

A cell has two halves. ``project`` maps inputs to what they add to the gates, which ``unroll`` does for all steps in one
product; ``step`` is the rest, one step after the other. A cell that reads the state through a single matrix U also has
``merge``, (z, h U) -> gates, where z is what ``project`` returns, and ``update``, (state, gates) -> (state, output);
``unroll`` then spares the backward pass one product a step. ``hidden`` gives the part h of a state that gates read.
Several sequences may stand one behind the other in a row.

Axes: T time, G gates, F the cell's width; the leading axes of a batch may be any.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from models.mlp import activation_function, gaussian_kernel


def product(features, name):
    """A linear map to ``features`` numbers, as a part of a cell."""
    return nn.Dense(features, use_bias=False, kernel_init=gaussian_kernel("lecun"), name=name)


class ElmanCell(nn.Module):
    """``h' = activation(x W + h U + b)`` (Elman 1990); the state and the output are h [..., F].

    ``activation`` is a name in ``models.mlp``; identity makes the linear recurrent network.
    """

    width: int
    activation: str = "tanh"

    def initial_state(self, shape=()):
        return jnp.zeros((*shape, self.width))

    def setup(self):
        self.input, self.recurrent = product(self.width, "input"), product(self.width, "recurrent")
        self.bias = self.param("bias", nn.initializers.zeros, (self.width,))

    def __call__(self, h, x):
        return self.step(h, self.project(x))

    def project(self, x):
        return self.input(x) + self.bias

    def step(self, h, z):
        return self.update(h, self.merge(z, self.recurrent(h)))

    def hidden(self, h):
        return h

    def merge(self, z, state_product):
        return z + state_product

    def update(self, h, z):
        h = activation_function(self.activation)(z)
        return h, h


class GRUCell(nn.Module):
    """The gated recurrent unit of Cho et al. 2014, with a reset gate r and an update gate z.

    ``h' = z h + (1 - z) tanh(x W + (r h) U + b)``; the state and the output are h [..., F].
    """

    width: int

    def initial_state(self, shape=()):
        return jnp.zeros((*shape, self.width))

    def setup(self):
        F = self.width
        self.input, self.recurrent = product(2 * F, "input"), product(2 * F, "recurrent")
        self.candidate_input = product(F, "candidate_input")
        self.candidate_recurrent = product(F, "candidate_recurrent")
        self.bias = self.param("bias", nn.initializers.zeros, (3 * F,))

    def __call__(self, h, x):
        return self.step(h, self.project(x))

    def project(self, x):
        return jnp.concatenate([self.input(x), self.candidate_input(x)], axis=-1) + self.bias

    def step(self, h, z):
        z_gates, z_candidate = jnp.split(z, [2 * self.width], axis=-1)
        reset, update = jnp.split(jax.nn.sigmoid(z_gates + self.recurrent(h)), 2, axis=-1)
        h = update * h + (1 - update) * jnp.tanh(z_candidate + self.candidate_recurrent(reset * h))
        return h, h

    def hidden(self, h):
        return h


class ResetAfterGRUCell(nn.Module):
    """The GRU of cuDNN and PyTorch: the reset gate comes after the product, so that a single matrix reads h.

    ``h' = z h + (1 - z) tanh(x W + r (h U) + b)``; the state and the output are h [..., F]. Without the second bias,
    that of h U, which the two libraries have.
    """

    width: int

    def initial_state(self, shape=()):
        return jnp.zeros((*shape, self.width))

    def setup(self):
        F = self.width
        self.input, self.recurrent = product(3 * F, "input"), product(3 * F, "recurrent")
        self.bias = self.param("bias", nn.initializers.zeros, (3 * F,))

    def __call__(self, h, x):
        return self.step(h, self.project(x))

    def project(self, x):
        return self.input(x) + self.bias

    def step(self, h, z):
        return self.update(h, self.merge(z, self.recurrent(h)))

    def hidden(self, h):
        return h

    def merge(self, z, state_product):
        """Reset and update gates before their sigmoid, and the two parts of the candidate [..., 4 F]."""
        (z_gates, z_candidate), (gates, candidate) = (jnp.split(x, [2 * self.width], -1) for x in (z, state_product))
        return jnp.concatenate([z_gates + gates, z_candidate, candidate], axis=-1)

    def update(self, h, gates):
        F = self.width
        reset, update = jnp.split(jax.nn.sigmoid(gates[..., : 2 * F]), 2, axis=-1)
        candidate = jnp.tanh(gates[..., 2 * F : 3 * F] + reset * gates[..., 3 * F :])
        h = update * h + (1 - update) * candidate
        return h, h


class LSTMCell(nn.Module):
    """Long short-term memory with a forget gate f (Hochreiter and Schmidhuber 1997; Gers et al. 2000).

    ``c' = f c + i g``, ``h' = o tanh(c')``, gates in the order i, f, g, o; the state is (c, h), the output h [..., F].
    ``forget_bias`` is what the forget gate's bias starts at; 1 was recommended by Jozefowicz et al. 2015.
    """

    width: int
    forget_bias: float = 1.0

    def initial_state(self, shape=()):
        # Two arrays, not the same one twice: memory cannot be donated twice.
        return jnp.zeros((*shape, self.width)), jnp.zeros((*shape, self.width))

    def setup(self):
        F = self.width
        self.input, self.recurrent = product(4 * F, "input"), product(4 * F, "recurrent")
        start = jnp.repeat(jnp.array([0.0, self.forget_bias, 0.0, 0.0]), F)
        self.bias = self.param("bias", lambda key: start)

    def __call__(self, state, x):
        return self.step(state, self.project(x))

    def project(self, x):
        return self.input(x) + self.bias

    def step(self, state, z):
        return self.update(state, self.merge(z, self.recurrent(self.hidden(state))))

    def hidden(self, state):
        return state[1]

    def merge(self, z, state_product):
        return z + state_product

    def update(self, state, z):
        # sigmoid(z) = (1 + tanh(z / 2)) / 2: one tanh of all gates, 1.8 times as fast on CPU as four functions.
        is_sigmoid = np.repeat([True, True, False, True], self.width)
        scale = np.where(is_sigmoid, 0.5, 1.0).astype(z.dtype)
        gates = scale * jnp.tanh(scale * z) + np.where(is_sigmoid, 0.5, 0.0).astype(z.dtype)
        i, f, g, o = jnp.split(gates, 4, axis=-1)
        c = f * state[0] + i * g
        h = o * jnp.tanh(c)
        return (c, h), h


def unroll(cell, params, state, x_T, starts_T=None):
    """The last state and the outputs [T, ..., F] of a cell that reads x [T, ..., D] one step after the other.

    Where ``starts_T`` [T, ...] is true another sequence begins: the cell reads that step from a state of zeros.
    """
    # The leading axes are made one for the product: XLA's CPU backend multiplies [N, D] faster than [T, B, D].
    z = cell.apply({"params": params}, x_T.reshape(-1, x_T.shape[-1]), method="project")
    z_T = z.reshape(*x_T.shape[:-1], z.shape[-1])
    if hasattr(cell, "update"):
        return _unroll(cell, params["recurrent"]["kernel"], state, z_T, starts_T)

    def step(state, inputs):
        z, start = inputs
        return cell.apply({"params": params}, _begin(state, start), z, method="step")

    return jax.lax.scan(step, state, (z_T, starts_T))


def _begin(state, start):
    """The state, with zeros in the rows where ``start`` is true; as it is where ``start`` is None."""
    return state if start is None else jax.tree.map(lambda rows: jnp.where(start[..., None], 0, rows), state)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _unroll(cell, kernel, state, z_T, starts_T):
    """The loop over time for gates ``merge(z, h U)``, U the kernel.

    Differentiated by hand for its speed: automatic differentiation adds up the kernel's gradient one step at a time,
    with a product each; here it is one product of all states and all gates.
    """
    return _forward(cell, kernel, state, z_T, starts_T)[0]


def _forward(cell, kernel, state, z_T, starts_T):
    def step(state, inputs):
        z, start = inputs
        state = _begin(state, start)
        gates = cell.merge(z, cell.hidden(state) @ kernel)
        new, output = cell.update(state, gates)
        return new, (output, state, gates)

    last, (output_T, state_T, gates_T) = jax.lax.scan(step, state, (z_T, starts_T))
    return (last, output_T), (kernel, state_T, gates_T, starts_T)


def _backward(cell, saved, cotangents):
    kernel, state_T, gates_T, starts_T = saved

    def split(grad_gates):
        """The gradients of z and of h U; ``merge`` is linear."""
        shape = jax.ShapeDtypeStruct((*grad_gates.shape[:-1], kernel.shape[1]), grad_gates.dtype)
        return jax.linear_transpose(cell.merge, shape, shape)(grad_gates)

    # Once, before the loop: XLA would transpose it in every step, which makes the product half again as slow.
    transposed = jax.lax.optimization_barrier(kernel.T)

    def step(grad_next, inputs):
        grad_output, state, gates, start = inputs
        grad_state, grad_gates = jax.vjp(cell.update, state, gates)[1]((grad_next, grad_output))
        _, grad_product = split(grad_gates)
        grad_state_by_gates = jax.vjp(cell.hidden, state)[1](grad_product @ transposed)[0]
        return _begin(jax.tree.map(jnp.add, grad_state, grad_state_by_gates), start), grad_gates

    grad_last, grad_output_T = cotangents
    inputs_T = (grad_output_T, state_T, gates_T, starts_T)
    grad_state, grad_gates_T = jax.lax.scan(step, grad_last, inputs_T, reverse=True)
    grad_z_T, grad_product_T = split(grad_gates_T)
    hidden = cell.hidden(state_T).reshape(-1, kernel.shape[0])
    return hidden.T @ grad_product_T.reshape(-1, kernel.shape[1]), grad_state, grad_z_T, None


_unroll.defvjp(_forward, _backward)
