"""Convolution blocks against their definition."""

import jax
import numpy as np
import pytest

from models.cnn import ConvolutionBlock

SIZE, INPUTS, CHANNELS = 4, 2, 3


def image(batch=1):
    return np.random.default_rng(0).normal(size=(batch, SIZE, SIZE, INPUTS)).astype(np.float32)


def convolved(x, kernel, circular):
    """A 3 x 3 convolution of one image, summed in plain loops."""
    out = np.zeros((SIZE, SIZE, kernel.shape[-1]))
    for i in range(SIZE):
        for j in range(SIZE):
            for a in range(3):
                for b in range(3):
                    row, column = i + a - 1, j + b - 1
                    if circular:
                        row, column = row % SIZE, column % SIZE
                    if 0 <= row < SIZE and 0 <= column < SIZE:
                        out[i, j] += x[row, column] @ kernel[a, b]
    return out


@pytest.mark.parametrize("padding", ["SAME", "CIRCULAR"])
def test_a_block_convolves_and_rectifies(padding):
    block = ConvolutionBlock(CHANNELS, padding=padding)
    variables = block.init(jax.random.key(0), image())
    kernel = np.asarray(variables["params"]["convolution"]["kernel"])
    expected = np.maximum(convolved(image()[0], kernel, padding == "CIRCULAR"), 0)
    np.testing.assert_allclose(block.apply(variables, image())[0], expected, atol=1e-5)


def test_batch_norm_normalises_each_channel_over_batch_and_image():
    block = ConvolutionBlock(CHANNELS, norm="batch", activation="identity")
    variables = block.init(jax.random.key(0), image(8))
    y, changed = block.apply(variables, image(8), train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(np.mean(y, axis=(0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(np.var(y, axis=(0, 1, 2)), 1, atol=1e-3)
    assert np.abs(changed["batch_stats"]["norm"]["mean"]).max() > 0
    # In evaluation it uses what it has gathered, and an image does not depend on its neighbours.
    alone, among = block.apply(variables, image(1)), block.apply(variables, image(8))
    np.testing.assert_allclose(alone[0], among[0], atol=1e-6)


def test_unknown_norms_are_refused():
    with pytest.raises(ValueError, match="norm='group' is not one of none, batch"):
        ConvolutionBlock(CHANNELS, norm="group").init(jax.random.key(0), image())
