"""Affine maps: several of one input as one product, and the bias of a wide output."""

from functools import partial

import flax.linen as nn
import jax
import numpy as np
import pytest

from models.linear import SMALL_KERNEL, Linear, add_bias, apply_together


class Together(nn.Module):
    """Two Linears of the same input, with a bias and without."""

    width: int

    @nn.compact
    def __call__(self, x):
        biased = Linear((2, 3), (self.width, 2), bias=True, name="biased")
        plain = Linear((2, 3), (5,), name="plain")
        return apply_together(x, [biased, plain])


@pytest.mark.parametrize("width", [4, SMALL_KERNEL // 12])
def test_linears_of_one_input_are_affine_maps_of_its_last_axes(width):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((7, 2, 3)).astype(np.float32)
    params = {
        "biased": {"kernel": rng.standard_normal((2, 3, width, 2)), "bias": rng.standard_normal((width, 2))},
        "plain": {"kernel": rng.standard_normal((2, 3, 5))},
    }
    biased, plain = jax.jit(Together(width).apply)({"params": jax.tree.map(np.float32, params)}, x)
    expected = np.einsum("nij,ijkl->nkl", x, params["biased"]["kernel"]) + params["biased"]["bias"]
    np.testing.assert_allclose(biased, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(plain, np.einsum("nij,ijk->nk", x, params["plain"]["kernel"]), rtol=1e-4, atol=1e-4)


def test_a_bias_and_its_gradients_are_those_of_a_plain_sum():
    rng = np.random.default_rng(0)
    x_NV, weights_NV = (rng.standard_normal((7, 5)).astype(np.float32) for _ in range(2))
    bias_V = np.arange(5, dtype=np.float32)

    @jax.jit
    def sum_and_gradients(x_NV, bias_V):
        gradients = jax.grad(lambda x, bias: (weights_NV * add_bias(x, bias) ** 2).sum(), (0, 1))(x_NV, bias_V)
        return add_bias(x_NV, bias_V), gradients

    y_NV, gradients = sum_and_gradients(x_NV, bias_V)
    np.testing.assert_array_equal(y_NV, x_NV + bias_V)
    gradient_NV = 2 * weights_NV * (x_NV + bias_V)
    expected = (gradient_NV, gradient_NV.sum(0))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5), gradients, expected)
