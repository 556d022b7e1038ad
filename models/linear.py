"""Affine maps, laid out so that a CPU computes them quickly.

Axes: N rows (all leading axes as one), V output width.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

SMALL_KERNEL = 2**16  # kernels with fewer numbers than this are joined with their neighbours


def gaussian(deviation):
    """An initializer of N(0, deviation^2).

    Numbers are drawn along one axis: XLA's CPU compiler takes several times longer over more axes.
    """

    def init(key, shape, dtype):
        return deviation * jax.random.normal(key, (math.prod(shape),), dtype).reshape(shape)

    return init


class Linear(nn.Module):
    """An affine map of the last axes, ``inputs``, to ``features``; initial weights ~ N(0, 1 / fan-in), biases 0.

    ``dtype`` is the dtype of the computation; parameters are kept in float32 or wider.
    """

    inputs: tuple[int, ...]
    features: tuple[int, ...]
    bias: bool = False
    dtype: Any = "float32"

    def setup(self):
        wide = jnp.promote_types(self.dtype, jnp.float32)
        init = gaussian(math.prod(self.inputs) ** -0.5)
        self.kernel = self.param("kernel", init, self.inputs + self.features, wide)
        if self.bias:
            self.offset = self.param("bias", nn.initializers.zeros, self.features, wide)

    def __call__(self, x):
        return apply_together(x, [self])[0]


def apply_together(x, linears):
    """The outputs of several Linears for the same x; small ones are computed by one matrix product.

    The Linears must have the same inputs and dtype. Leading axes are flattened to one around the product: XLA's CPU
    backend runs the backward products of [N, D] operands up to twice as fast as those of [B, T, D]. One wide product is
    faster than several narrow ones, as long as joining the kernels costs no memory to speak of.
    """
    inputs, dtype = linears[0].inputs, linears[0].dtype
    fan_in = math.prod(inputs)
    widths = [math.prod(linear.features) for linear in linears]
    matrices = [linear.kernel.reshape(fan_in, -1).astype(dtype) for linear in linears]
    rows = x.reshape(-1, fan_in)
    if fan_in * max(widths) < SMALL_KERNEL:
        ends = [sum(widths[:i]) for i in range(1, len(widths))]
        columns = jnp.split(rows @ jnp.concatenate(matrices, axis=1), ends, axis=1)
    else:
        columns = [rows @ matrix for matrix in matrices]
    leading = x.shape[: x.ndim - len(inputs)]
    outputs = [y.reshape(leading + linear.features) for y, linear in zip(columns, linears, strict=True)]
    pairs = zip(outputs, linears, strict=True)
    return [y + linear.offset.astype(dtype) if linear.bias else y for y, linear in pairs]


@jax.custom_vjp
def add_bias(x_NV, bias_V):
    """x + bias, both of one dtype, for a wide output [N, V]; differentiable in reverse mode only.

    The bias's gradient is a product with a vector of ones, because XLA's CPU backend sums columns of tens of thousands
    of numbers up to eighty times more slowly (jax 0.10).
    """
    return x_NV + bias_V


def _gradient_of_bias(_, gradient_NV):
    ones_N = jnp.ones(gradient_NV.shape[0], gradient_NV.dtype)
    return gradient_NV, jnp.dot(ones_N, gradient_NV, precision=jax.lax.Precision.HIGHEST)


add_bias.defvjp(lambda x_NV, bias_V: (x_NV + bias_V, None), _gradient_of_bias)
