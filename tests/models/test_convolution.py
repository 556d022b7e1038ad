"""Convolution and pooling against their definition."""

from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models.convolution import LAYOUTS, METHODS, PADDINGS, convolve, edges, max_pool, to_layout

SIZE, INPUTS, CHANNELS = 4, 2, 3


def image(batch=1, size=SIZE, inputs=INPUTS):
    return np.random.default_rng(0).normal(size=(batch, size, size, inputs)).astype(np.float32)


def kernel_of(size, inputs=INPUTS, channels=CHANNELS):
    return np.random.default_rng(1).normal(size=(size, size, inputs, channels)).astype(np.float32)


def convolved(x, kernel, stride=1, dilation=1, padding="SAME"):
    """A convolution of one image, summed in plain loops."""
    size, k = x.shape[0], kernel.shape[0]
    low, high = edges(size, k, stride, dilation, padding)
    count = (size + low + high - (k - 1) * dilation - 1) // stride + 1
    out = np.zeros((count, count, kernel.shape[-1]))
    for i, j, a, b in product(range(count), range(count), range(k), range(k)):
        row, column = i * stride + a * dilation - low, j * stride + b * dilation - low
        if padding == "CIRCULAR":
            row, column = row % size, column % size
        if 0 <= row < size and 0 <= column < size:
            out[i, j] += x[row, column] @ kernel[a, b]
    return out


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("padding", "size", "stride", "dilation"),
    [("SAME", 3, 1, 1), ("SAME", 2, 2, 1), ("SAME", 3, 2, 2), ("VALID", 3, 2, 1), ("CIRCULAR", 3, 1, 1)],
)
def test_all_ways_to_convolve_are_the_sum_of_the_definition(method, padding, size, stride, dilation):
    x, kernel = image(2, 7), kernel_of(size)
    expected = [convolved(one, kernel, stride, dilation, padding) for one in x]
    for layout in LAYOUTS:
        run = jax.jit(
            partial(convolve, stride=stride, dilation=dilation, padding=padding, method=method, layout=layout)
        )
        y = run(to_layout(x, layout), kernel)
        np.testing.assert_allclose(to_layout(y, layout), expected, atol=1e-5)


def test_same_padding_is_what_xla_calls_same():
    assert set(PADDINGS) == {"SAME", "VALID", "CIRCULAR"}
    for size, k, stride, dilation in product((5, 8), (1, 2, 3, 5), (1, 2, 3), (1, 2)):
        (expected,) = jax.lax.padtype_to_pads((size,), ((k - 1) * dilation + 1,), (stride,), "SAME")
        assert edges(size, k, stride, dilation) == expected


@pytest.mark.parametrize("method", METHODS)
def test_convolution_is_linear_in_image_and_kernel(method):
    # Small integers, so that floating point is exact and the two sides may be compared bit by bit.
    rng = np.random.default_rng(2)
    x, y = rng.integers(-8, 9, size=(2, 3, 5, 5, INPUTS)).astype(np.float32)
    k, l = rng.integers(-8, 9, size=(2, 3, 3, INPUTS, CHANNELS)).astype(np.float32)

    conv = jax.jit(partial(convolve, method=method))

    def relu(x):
        return np.maximum(x, 0)

    assert np.array_equal(conv(2 * x - 3 * y, k), 2 * conv(x, k) - 3 * conv(y, k))
    assert np.array_equal(conv(x, 2 * k - 3 * l), 2 * conv(x, k) - 3 * conv(x, l))
    assert not np.array_equal(relu(conv(-x, k)), -relu(conv(x, k)))


@pytest.mark.parametrize(("method", "layout"), [("product", "BHWC"), ("product", "CHWB"), ("convolution", "BHWC")])
def test_gradients_of_a_convolution_equal_the_hand_formulas(method, layout):
    """dJ/dK[p, q] = sum over images and places of x[place + (p, q)]^T dJ/dy[place], and dJ/dx the reverse."""
    x, kernel = image(2, 5), kernel_of(3)
    cotangent = np.random.default_rng(3).normal(size=(2, 5, 5, CHANNELS)).astype(np.float32)

    @jax.jit
    def pull(cotangent):
        convolution = partial(convolve, method=method, layout=layout)
        return jax.vjp(convolution, to_layout(x, layout), jnp.asarray(kernel))[1](cotangent)

    by_x, by_kernel = np.zeros((2, 7, 7, INPUTS)), np.zeros_like(kernel)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    for b, i, j, p, q in product(range(2), range(5), range(5), range(3), range(3)):
        by_kernel[p, q] += np.outer(padded[b, i + p, j + q], cotangent[b, i, j])
        by_x[b, i + p, j + q] += kernel[p, q] @ cotangent[b, i, j]
    gradient_x, gradient_kernel = pull(to_layout(jnp.asarray(cotangent), layout))
    np.testing.assert_allclose(gradient_kernel, by_kernel, atol=1e-4)
    np.testing.assert_allclose(to_layout(gradient_x, layout), by_x[:, 1:-1, 1:-1], atol=1e-4)


@pytest.mark.parametrize(("size", "window", "stride"), [(6, 2, None), (7, 2, None), (7, 3, 2), (3, 3, None)])
def test_max_pooling_takes_the_largest_of_each_window_and_its_gradient_goes_there(size, window, stride):
    x = image(2, size)
    step = stride or window
    count = (size - window) // step + 1

    @jax.jit
    def run(x, cotangent):
        y, pull = jax.vjp(lambda x: max_pool(x, window, stride), x)
        return y, pull(cotangent)[0]

    weights = 1.0 + np.add.outer(np.arange(count), np.arange(count))[None, :, :, None]
    y, gradient = run(x, jnp.asarray(np.broadcast_to(weights, (2, count, count, INPUTS)), jnp.float32))
    expected = np.zeros_like(x)
    for b, i, j, c in product(range(2), range(count), range(count), range(INPUTS)):
        rows, columns = slice(i * step, i * step + window), slice(j * step, j * step + window)
        patch = x[b, rows, columns, c]
        assert y[b, i, j, c] == patch.max()
        expected[b, rows, columns, c] += (patch == patch.max()) * (1 + i + j)
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


def test_of_equal_entries_the_first_gets_the_gradient():
    """As in PyTorch: the gradient of a window is not lost, nor given to all, where an image is flat."""
    x = jnp.asarray([[0, 0, 1, 2], [0, 0, 2, 2], [5, 5, 3, 3], [5, 6, 3, 3.0]])[None, :, :, None]
    gradient = jax.jit(jax.grad(lambda x: max_pool(x, 2).sum()))(x)[0, :, :, 0]
    np.testing.assert_array_equal(gradient, [[1, 0, 0, 1], [0, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0]])
    # Forward mode and second derivatives go through, too.
    tangent = jnp.arange(16.0).reshape(x.shape)
    forward = jax.jit(lambda x, t: jax.jvp(lambda x: max_pool(x, 2), (x,), (t,))[1])(x, tangent)
    np.testing.assert_array_equal(forward[0, :, :, 0], [[0, 3], [13, 10]])
    second = jax.jit(lambda x, t: jax.jvp(jax.grad(lambda x: (max_pool(x, 2) ** 2).sum()), (x,), (t,))[1])(x, tangent)
    assert second.sum() == 2 * (0 + 3 + 10 + 13)


def test_an_unknown_padding_and_a_window_that_does_not_fit_are_refused():
    with pytest.raises(ValueError, match="padding='FULL' is not one of SAME"):
        convolve(image(), kernel_of(3), padding="FULL")
    with pytest.raises(ValueError, match="a window of 5 x 5 does not fit into an image of 4 x 4"):
        convolve(image(), kernel_of(5), padding="VALID")
