"""The formula of the receptive field, as a model's summary follows it, against its measurement by input gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import summary
from models.cnn import CNN
from models.convolution import convolve, max_pool
from models.receptive_field import Field, extent, field_after_window, measured_field


def test_fields_grow_by_windows_and_jumps():
    field = Field()
    for window in ((3, 1), (2, 2), (3, 1), (2, 2)):
        field = field_after_window(field, *window)
    assert field == Field(10, 4)
    assert field_after_window(Field(3, 2), 3, stride=2, dilation=2) == Field(11, 4)


def random_network(rng):
    num_layers = int(rng.integers(1, 4))
    return CNN(
        kernel_size=int(rng.integers(1, 6)),
        stride=int(rng.integers(1, 3)),
        pool=int(rng.integers(1, 4)),
        channels=tuple(int(c) for c in rng.integers(2, 4, size=num_layers)),
        activation=str(rng.choice(["leaky_relu", "relu", "gelu", "tanh"])),
        norm=str(rng.choice(["batch", "none"])),
        norm_place=str(rng.choice(["between", "convolution"])),
        padding=str(rng.choice(["SAME", "VALID"])),
        pool_after=tuple(np.flatnonzero(rng.random(num_layers) < 0.7).tolist()),
    )


def image_size(network):
    """The side of an image in whose middle the whole receptive field lies."""
    field = Field()
    for layer in range(len(network.channels)):
        field = field_after_window(field, network.kernel_size, network.stride)
        if layer in network.pool_after:
            field = field_after_window(field, network.pool, network.pool)
    return field.size + 4 * field.jump + 8


def random_variables(model, images):
    """Random kernels and biases; norms keep the image as it is."""
    rng = np.random.default_rng(1)

    def draw(path, leaf):
        name = path[-1].key
        if name in ("kernel", "bias"):
            return (rng.standard_normal(leaf.shape) * np.prod(leaf.shape[:-1]) ** -0.5).astype(np.float32)
        return np.full(leaf.shape, 1.0 if name in ("scale", "var") else 0.0, np.float32)

    return jax.tree_util.tree_map_with_path(draw, jax.eval_shape(model.init, jax.random.key(1), images))


def check_formula_against_measurement(network):
    size = image_size(network)
    model = network.clone(image_shape=(size, size, 2), layout="BHWC")
    images = jax.ShapeDtypeStruct((1, size, size, 2), jnp.float32)
    variables = random_variables(model, images)
    layers = summary.layers(model, variables, (images,))
    last = layers[[layer.kind for layer in layers].index("Flatten") - 1]

    def features(x):
        _, captured = model.apply(variables, x, capture_intermediates=lambda module, _: module.name == last.path)
        return captured["intermediates"][last.path]["__call__"][0]

    mask = measured_field(features, (size, size, 2), num_images=100)
    assert not np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]]).any(), "the field meets the edge"
    assert extent(mask) == (last.receptive_field, last.receptive_field)


def test_the_formula_is_what_input_gradients_show():
    check_formula_against_measurement(CNN(channels=(3, 4), kernel_size=3, stride=1, pool=2, pool_after=(0, 1)))


@pytest.mark.parametrize("seed", range(20))
def test_the_formula_holds_for_random_networks(seed):
    rng = np.random.default_rng(seed)
    network = random_network(rng)
    while image_size(network) > 80:
        network = random_network(rng)
    check_formula_against_measurement(network)


def test_one_image_does_not_show_the_whole_field_behind_max_pooling():
    def features(x):
        return max_pool(convolve(x, np.ones((3, 3, 1, 1), np.float32)), 2)

    assert extent(measured_field(features, (12, 12, 1))) == (4, 4)
    one = measured_field(features, (12, 12, 1), num_images=1)
    assert extent(one) == (3, 3)  # of the four places where the maximum can be, one image shows one
