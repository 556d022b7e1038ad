"""Internal covariate shift of networks small enough to work out by hand.

``measure_shift``, of an ensemble's networks, is covered by the slow test in tests/experiments/test_cnn.py.
"""

import jax.numpy as jnp
import numpy as np

from experiments.cnn.covariate_shift import internal_covariate_shift


def test_a_product_of_two_weights():
    """Loss (a b x - y)^2 / 2 of weights a before b, and c beside b, which no step reaches."""
    a, b, x, y, rate = 1.5, -0.7, 2.0, 1.0, 0.1
    params = {"b": jnp.array([b]), "a": jnp.array([a]), "c": jnp.array([0.3])}

    def loss(p):
        return jnp.sum((p["a"] * p["b"] * x - y) ** 2 / 2 + p["c"] ** 2)

    measured = internal_covariate_shift(loss, params, {"a": 0, "b": 1, "c": 1}, ("a", "b", "c"), rate)
    error = a * b * x - y
    moved = a - rate * error * b * x
    before, after = error * a * x, (moved * b * x - y) * moved * x
    np.testing.assert_allclose(measured["shift"], [0, abs(after - before), 0], rtol=1e-5)
    np.testing.assert_allclose(measured["relative_shift"], [0, abs(after / before - 1), 0], rtol=1e-5)
    np.testing.assert_allclose(measured["cosine"], [1, np.sign(after * before), 1], rtol=1e-5)
    np.testing.assert_allclose(measured["loss"], error**2 / 2 + 0.09, rtol=1e-5)
    # A step of length 0 shifts nothing; a long one turns the gradient.
    still = internal_covariate_shift(loss, params, {"a": 0, "b": 1, "c": 1}, ("b",), 0.0)
    assert still["shift"][0] == 0
    turned = internal_covariate_shift(loss, params, {"a": 0, "b": 1, "c": 1}, ("b",), 0.5)
    assert turned["cosine"][0] == -1
