"""Hand-derived gradients against finite differences and loops written from the definitions, in float64."""

import jax
import numpy as np
import pytest

from models import derivations as d


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def differences(f, x, step=1e-6):
    """df/dx by central differences: the shape of f's value, then that of x."""
    x = np.array(x, float)
    columns = []
    for i in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[i], down[i] = x[i] + step, x[i] - step
        columns.append((np.asarray(f(up), float) - np.asarray(f(down), float)) / (2 * step))
    return np.stack(columns, axis=-1).reshape(*columns[0].shape, *x.shape)


def assert_is_derivative(ours, f, x):
    np.testing.assert_allclose(ours, differences(f, x), atol=1e-8)


def one_hot(size, label):
    return np.eye(size)[label]


def test_softmax_and_cross_entropy_are_their_definitions():
    z, y = normal(5), np.array([0.5, 0.25, 0.25, 0, 0])
    exponentials = [np.exp(x) for x in z]
    np.testing.assert_allclose(d.softmax(z), [e / sum(exponentials) for e in exponentials], atol=1e-15)
    loss = -sum(y[i] * np.log(exponentials[i] / sum(exponentials)) for i in range(5))
    assert float(d.cross_entropy(z, y)) == pytest.approx(loss, abs=1e-14)
    assert np.isfinite(d.cross_entropy(1e4 * z, y))


def test_softmax_jacobian_and_cross_entropy_gradient():
    z, y = normal(5), np.array([0.5, 0.25, 0.25, 0, 0])
    assert_is_derivative(d.softmax_jacobian(z), d.softmax, z)
    assert_is_derivative(d.cross_entropy_gradient(z, y), lambda z: d.cross_entropy(z, y), z)
    np.testing.assert_allclose(d.softmax_jacobian(z).sum(1), 0, atol=1e-15)  # probabilities keep their sum


def test_relu_and_its_derivative_with_zero_at_zero():
    z = np.array([-2.0, 0.0, 3.0])
    assert d.relu(z).tolist() == [0, 0, 3]
    assert d.relu_derivative(z).tolist() == [0, 0, 1]


def test_residual_network():
    params = {
        "W1": normal(4, 3),
        "b1": normal(4),
        "W2": normal(4, 4),
        "b2": normal(4),
        "U": normal(5, 4),
        "b3": normal(5),
    }
    x, y = normal(3, seed=1), one_hot(5, 2)
    states = d.residual_network(params, x)
    h1 = np.maximum(params["W1"] @ x + params["b1"], 0)
    h3 = h1 + np.maximum(params["W2"] @ h1 + params["b2"], 0)
    np.testing.assert_allclose(states["h3"], h3)
    np.testing.assert_allclose(states["z3"], params["U"] @ h3 + params["b3"])
    assert np.count_nonzero(states["z1"] > 0) > 0
    assert 0 < np.count_nonzero(states["z2"] > 0) < 4
    gradient = d.residual_network_gradient(params, x, y)
    assert_is_derivative(gradient, lambda x: d.cross_entropy(d.residual_network(params, x)["z3"], y), x)

    def block(h1):
        return h1 + d.relu(params["W2"] @ h1 + params["b2"])

    assert_is_derivative(d.residual_block_jacobian(params, x), block, states["h1"])


def recurrent():
    """Parameters, a previous state, an embedding and a target of the recurrent step."""
    params = {
        "W_h": normal(4, 4),
        "W_e": normal(4, 3, seed=1),
        "b1": normal(4, seed=2),
        "U": normal(5, 4, seed=3),
        "b2": normal(5, seed=4),
    }
    return params, normal(4, seed=5), normal(3, seed=6), one_hot(5, 1)


def recurrent_loss(params, previous, e, y):
    return d.cross_entropy(params["U"] @ d.recurrent_step(params, previous, e) + params["b2"], y)


def test_a_recurrent_step_and_every_derivative_of_it():
    params, previous, e, y = recurrent()
    h = d.recurrent_step(params, previous, e)
    np.testing.assert_allclose(h, 1 / (1 + np.exp(-(params["W_h"] @ previous + params["W_e"] @ e + params["b1"]))))
    gradients = d.recurrent_gradients(params, previous, e, y)
    for name in params:
        assert_is_derivative(
            gradients[f"d{name}"], lambda x, n=name: recurrent_loss(params | {n: x}, previous, e, y), params[name]
        )
    assert_is_derivative(gradients["dh'"], lambda x: recurrent_loss(params, x, e, y), previous)
    assert_is_derivative(gradients["de"], lambda x: recurrent_loss(params, previous, x, y), e)
    assert_is_derivative(gradients["delta_1"], lambda z: d.cross_entropy(z, y), params["U"] @ h + params["b2"])


def test_one_step_back_in_time():
    params, earlier, e, y = recurrent()
    e_before = normal(3, seed=7)

    def loss(weights, earlier, e_before):
        """With weights of its own for the earlier step."""
        return recurrent_loss(params, d.recurrent_step(weights, earlier, e_before), e, y)

    by_state = d.recurrent_gradients(params, d.recurrent_step(params, earlier, e_before), e, y)["dh'"]
    gradients = d.recurrent_gradients_from_state(params, earlier, e_before, by_state)
    for name in ("W_h", "W_e", "b1"):
        assert_is_derivative(
            gradients[f"d{name}"], lambda x, n=name: loss(params | {n: x}, earlier, e_before), params[name]
        )
    assert_is_derivative(gradients["dh'"], lambda x: loss(params, x, e_before), earlier)
    assert_is_derivative(gradients["de"], lambda x: loss(params, earlier, x), e_before)


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_convolution_and_its_kernel_gradient_are_sums_over_positions(stride):
    x, kernel = normal(2, 7, 6, 3), normal(3, 2, 3, 4, seed=1)
    rows, columns = (7 - 3) // stride + 1, (6 - 2) // stride + 1
    delta = normal(2, rows, columns, 4, seed=2)
    z, gradient = np.zeros(delta.shape), np.zeros(kernel.shape)
    for n, i, j, f in np.ndindex(delta.shape):
        for a, b, c in np.ndindex(kernel.shape[:3]):
            pixel = x[n, stride * i + a, stride * j + b, c]
            z[n, i, j, f] += pixel * kernel[a, b, c, f]
            gradient[a, b, c, f] += pixel * delta[n, i, j, f]
    np.testing.assert_allclose(d.convolution(x, kernel, stride), z, atol=1e-12)
    np.testing.assert_allclose(d.convolution_kernel_gradient(x, delta, (3, 2), stride), gradient, atol=1e-12)


def test_two_layer_network_and_every_derivative_of_it():
    params = {"W1": normal(4, 3), "b1": normal(4), "W_out": normal(2, 4, seed=1), "b_out": normal(2, seed=2)}
    A_in, dA_out = normal(3, 5, seed=3), normal(2, 5, seed=4)

    def loss(params, A_in):
        return (dA_out * d.two_layer_network(params, A_in)["A_out"]).sum()

    gradients = d.two_layer_gradients(params, A_in, dA_out)
    for name in d.LAYERS:
        assert_is_derivative(gradients[f"d{name}"], lambda x, n=name: loss(params | {n: x}, A_in), params[name])
    assert_is_derivative(gradients["dA_in"], lambda x: loss(params, x), A_in)


def test_one_step_of_descent_subtracts_the_rate_times_the_gradient():
    params = {name: np.full(2, 1.0) for name in d.LAYERS}
    gradients = {f"d{name}": np.full(2, 3.0) for name in d.LAYERS}
    new_params = d.descend(params, gradients, 0.1)
    assert set(new_params) == set(d.LAYERS)
    np.testing.assert_allclose(list(new_params.values()), 0.7)


def test_a_chain_of_factors():
    assert float(d.chain(2.0, 3.0, 4, 5.0)) == 5 * 3**4 * 2
    assert_is_derivative([d.chain_gradient(3.0, 4, 5.0)], lambda h: d.chain(h, 3.0, 4, 5.0).sum(), [2.0])
