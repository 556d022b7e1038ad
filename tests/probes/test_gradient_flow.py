"""Norms of gradients by layer, against gradients taken one by one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from probes.gradient_flow import fit_line, log_norm, through_layers


def test_log_norms_where_squares_would_underflow_or_overflow():
    assert log_norm(jnp.array([3e-30, 4e-30])) == pytest.approx(np.log(5e-30), rel=1e-6)
    assert log_norm({"a": jnp.array([3e30]), "b": jnp.array([[4e30]])}) == pytest.approx(np.log(5e30), rel=1e-6)
    assert log_norm(jnp.zeros(3)) == -np.inf
    assert not np.isfinite(log_norm(jnp.array([1.0, np.inf])))


def test_gradients_through_layers_are_those_of_each_layer_alone():
    generator = np.random.default_rng(0)
    W = generator.normal(size=(3, 4, 4)).astype(np.float32)
    h, cotangent = generator.normal(size=(2, 5, 4)).astype(np.float32)

    def layer(w, h):
        return jnp.tanh(h @ w)

    of_states, of_weights, states = jax.jit(lambda: through_layers(layer, W, h, cotangent))()

    def rest(number, weights, h):
        for w in weights[number:]:
            h = layer(w, h)
        return jnp.sum(h * cotangent)

    for number in range(4):
        expected = jax.grad(lambda h, n=number: rest(n, W, h))(states[number])
        assert of_states[number] == pytest.approx(float(np.log(np.linalg.norm(expected))), rel=1e-4)
        if number < 3:
            np.testing.assert_allclose(layer(W[number], states[number]), states[number + 1], rtol=1e-5)
            expected = jax.grad(lambda w, n=number: rest(0, [*W[:n], w, *W[n + 1 :]], h))(W[number])
            assert of_weights[number] == pytest.approx(float(np.log(np.linalg.norm(expected))), rel=1e-4)


def test_lines_are_fitted():
    x = np.arange(5)
    assert fit_line(x, 2 - 3.0 * x) == pytest.approx((-3, 1))
    slope, straight = fit_line(x, np.array([0.0, 1, 0, 1, 0]))
    assert slope == pytest.approx(0)
    assert straight == pytest.approx(0)
    assert np.isnan(fit_line(x, np.array([0, 1, 2, -np.inf, 3]))).all()
