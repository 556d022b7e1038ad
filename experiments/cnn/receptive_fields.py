"""Receptive fields of convolutional networks: by the formula, as gradients show them, and what widens them.

A single field is measured in ``models.receptive_field``.
"""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from models.cnn import CNN
from models.receptive_field import extent, measured_field
from models.summary import layers

# A network, and what is changed in it: what widens a receptive field, and what does not.
BASE = {"image_shape": (24, 24, 1), "channels": (2, 2), "pool": 1, "norm": "none", "layout": "BHWC"}
WIDENING_CHANGES = {
    "a larger kernel": {"kernel_size": 5},
    "a further layer": {"channels": (2, 2, 2)},
    "stride": {"stride": 2},
    "pooling": {"pool": 2},
}
OTHER_CHANGES = {
    "more channels": {"channels": (8, 8)},
    "another activation": {"activation": "tanh"},
    "batch normalisation": {"norm": "batch"},
}


def variable_shapes(model):
    """The shapes of a model's variables."""
    return jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((2, *model.image_shape)))


def layers_of_one_image(model):
    """The layers of a model of images, with the operations of one image: see ``models.summary.layers``."""
    return layers(model, variable_shapes(model), (jax.ShapeDtypeStruct((1, *model.image_shape), np.float32),))


def compare_fields(model, names, num_images=100):
    """The receptive fields of the layers of these names, in pixels of a side: (by formula, as measured) [layers]."""
    generator = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda leaf: generator.uniform(0.1, 1, leaf.shape).astype(np.float32), variable_shapes(model)
    )
    params = jax.tree.map(lambda leaf: generator.normal(size=leaf.shape).astype(np.float32), variables["params"])
    by_path = {layer.path: layer.receptive_field for layer in layers_of_one_image(model)}

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
    """The receptive fields of the table model and of networks that differ in one thing; they depend on no seed.

    "table/formula" and "table/measured" are those of the convolutions and poolings of the table model, which is the
    default ``models.cnn.CNN``; "variants/formula" and "variants/measured" those of the last activation or pooling of
    BASE, of BASE with each of WIDENING_CHANGES and with each of OTHER_CHANGES, in that order. "parameters" and "macs"
    are the numbers of parameters and of multiply-adds of the table model's layers.
    """
    model = CNN(layout="BHWC")
    table_formula, table_measured = compare_fields(model, ("convolution_0", "pool_0", "convolution_1", "pool_1"))
    variants = []
    for change in ({}, *WIDENING_CHANGES.values(), *OTHER_CHANGES.values()):
        variant = CNN(**BASE | change)
        kind = "pool" if variant.pool > 1 else "activation"
        variants.append(compare_fields(variant, (f"{kind}_{len(variant.channels) - 1}",)))
    variants_formula, variants_measured = np.concatenate(variants, axis=1)
    return {
        "table/formula": table_formula,
        "table/measured": table_measured,
        "variants/formula": variants_formula,
        "variants/measured": variants_measured,
        "parameters": np.array([layer.parameters for layer in layers_of_one_image(model)]),
        "macs": np.array([layer.macs for layer in layers_of_one_image(model)]),
    }
