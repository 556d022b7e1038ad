"""Receptive fields of convolutional networks: by the formula, as gradients show them, and what widens them."""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from models.cnn import CNN
from models.receptive_field import extent, measured_field
from models.summary import layers

IMAGE_SHAPE = (24, 24, 1)  # of the networks that differ in one thing
BASE = {"image_shape": IMAGE_SHAPE, "channels": (2, 2), "pool": 1, "norm": "none", "layout": "BHWC"}
WIDENING = {
    "a larger kernel": {"kernel_size": 5},
    "a further layer": {"channels": (2, 2, 2)},
    "stride": {"stride": 2},
    "pooling": {"pool": 2},
}
OTHERS = {
    "more channels": {"channels": (8, 8)},
    "another activation": {"activation": "tanh"},
    "batch normalisation": {"norm": "batch"},
}


def shapes_of(model):
    """The model's variables, as shapes."""
    return jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((2, *model.image_shape)))


def table(model):
    """The layers of a model of images, for one image: see ``models.summary.layers``."""
    return layers(model, shapes_of(model), (jax.ShapeDtypeStruct((1, *model.image_shape), np.float32),))


def fields(model, names, num_images=100):
    """(by formula, as measured) pixels of a side that a unit of each of these layers sees, [layers] each."""
    generator = np.random.default_rng(0)
    variables = jax.tree.map(lambda leaf: generator.uniform(0.1, 1, leaf.shape).astype(np.float32), shapes_of(model))
    params = jax.tree.map(lambda leaf: generator.normal(size=leaf.shape).astype(np.float32), variables["params"])
    by_path = {layer.path: layer.receptive_field for layer in table(model)}

    def features(images, name):
        _, captured = model.apply(
            variables | {"params": params},
            images,
            capture_intermediates=lambda module, _: module.name == name,
            mutable=["intermediates"],
        )
        return captured["intermediates"][name]["__call__"][0]

    masks = [
        measured_field(functools.partial(features, name=name), model.image_shape, num_images=num_images)
        for name in names
    ]
    return np.array([by_path[name] for name in names]), np.array([max(extent(mask)) for mask in masks])


@functools.cache
def measure_fields() -> Mapping[str, np.ndarray]:
    """What widens a receptive field and what does not, and the fields of the table model; no seed is in it.

    "table/formula" and "table/measured" are those of the convolutions and poolings of the default ``models.cnn.CNN``,
    "variants/formula" and "variants/measured" those of the last activation or pooling of the base, of what widens and
    of the others.
    """
    model = CNN(layout="BHWC")
    of_table = fields(model, ("convolution_0", "pool_0", "convolution_1", "pool_1"))
    of_variants = []
    for change in ({}, *WIDENING.values(), *OTHERS.values()):
        variant = CNN(**BASE | change)
        kind = "pool" if variant.pool > 1 else "activation"
        of_variants.append(fields(variant, (f"{kind}_{len(variant.channels) - 1}",)))
    formula, measured = np.concatenate(of_variants, axis=1)
    return {
        "table/formula": of_table[0],
        "table/measured": of_table[1],
        "variants/formula": formula,
        "variants/measured": measured,
        "parameters": np.array([layer.parameters for layer in table(model)]),
        "macs": np.array([layer.macs for layer in table(model)]),
    }
