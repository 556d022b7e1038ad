"""MLPs against their definition."""

from itertools import product

import jax
import numpy as np
import pytest

from models.mlp import ACTIVATIONS, MLP, gaussian_kernel, linear_map


def random_params(network, inputs):
    """Standard normal numbers in the shapes of the network's parameters, in float64."""
    generator, x = np.random.default_rng(0), np.ones((1, inputs))
    shapes = jax.eval_shape(network.init, jax.random.key(0), x)["params"]
    return jax.tree.map(lambda leaf: generator.normal(size=leaf.shape), shapes)


def forward(params, x, activation=lambda z: np.maximum(z, 0)):
    """The network in float64, by matrix products."""
    for number in range(len(params)):
        layer = params[f"layer_{number}"]
        x = (x if number == 0 else activation(x)) @ layer["kernel"] + layer["bias"]
    return x


def test_activations_at_a_few_points():
    x = np.array([-2.0, 0.0, 3.0], np.float32)
    expected = {
        "identity": [-2, 0, 3],
        "step": [0, 0, 1],
        "square": [4, 0, 9],
        "min": [-2, 0, 1.5],
        "relu": [0, 0, 3],
        "leaky_relu": [-0.02, 0, 3],
        "gelu": [-2 * 0.02275013, 0, 3 * 0.99865010],  # x times the normal distribution function
        "sigmoid": [1 / (1 + np.exp(2)), 0.5, 1 / (1 + np.exp(-3))],
        "tanh": np.tanh([-2, 0, 3]),
        "sin": np.sin([-2, 0, 3]),
        "constant": [1, 1, 1],
    }
    assert set(expected) == set(ACTIVATIONS)
    for name, values in expected.items():
        np.testing.assert_allclose(ACTIVATIONS[name](x), values, rtol=1e-5)


@pytest.mark.parametrize(
    ("initialization", "shape", "variance"),
    [("he", (100, 400), 2 / 100), ("xavier", (100, 300), 2 / 400), ("lecun", (3, 3, 10, 400), 1 / 90)],
)
def test_kernels_have_the_variance_of_their_scheme(initialization, shape, variance):
    kernel = np.asarray(gaussian_kernel(initialization, scale=3.0)(jax.random.key(0), shape))
    # The variance of n Gaussian numbers is known to sqrt(2 / n); five deviations.
    assert kernel.var() == pytest.approx(9 * variance, rel=5 * (2 / kernel.size) ** 0.5)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="activation='swish' is not one of identity"):
        MLP((2, 1), activation="swish").init(jax.random.key(0), np.ones((1, 1)))
    with pytest.raises(ValueError, match="initialization='big' is not one of lecun"):
        MLP((2, 1), initialization="big").init(jax.random.key(0), np.ones((1, 1)))


@pytest.mark.parametrize("widths", [(1,), (5, 2), (4, 3, 2)])
def test_an_mlp_is_affine_maps_with_activations_between(widths):
    network = MLP(widths, activation="relu")
    params, x = random_params(network, 3), np.random.default_rng(1).normal(size=(7, 3))
    slow = []
    for row in x:
        for number, width in enumerate(widths):
            layer = params[f"layer_{number}"]
            sums = list(layer["bias"])
            for i, j in product(range(len(row)), range(width)):
                sums[j] += row[i] * layer["kernel"][i, j]
            row = [max(z, 0) for z in sums] if number < len(widths) - 1 else sums
        slow.append(row)
    np.testing.assert_allclose(forward(params, x), slow, rtol=1e-12)
    np.testing.assert_allclose(network.apply({"params": params}, x), slow, rtol=1e-3, atol=1e-4)


def test_the_linear_map_of_a_deep_linear_network_and_of_no_other():
    params, x = random_params(MLP((6, 5, 2)), 4), np.random.default_rng(1).normal(size=(9, 4))
    W, b = linear_map(params)
    np.testing.assert_allclose(forward(params, x, lambda z: z), x @ W + b, atol=1e-12)
    assert np.abs(forward(params, x) - (x @ W + b)).max() > 0.1
