"""The bias of a wide output."""

import jax
import jax.numpy as jnp
import numpy as np

from models.linear import add_bias


def test_a_bias_and_its_gradients_are_those_of_a_plain_sum():
    x_NV, weights_NV = (jax.random.normal(jax.random.key(i), (7, 5)) for i in range(2))
    bias_V = jnp.arange(5.0)

    def loss(add):
        return lambda x, bias: (weights_NV * add(x, bias) ** 2).sum()

    np.testing.assert_array_equal(add_bias(x_NV, bias_V), x_NV + bias_V)
    found, expected = (jax.grad(loss(add), (0, 1))(x_NV, bias_V) for add in (add_bias, jnp.add))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-5), found, expected)
