"""Transformers with random parameters, for tests; numpy draws them, so that no initializer has to be compiled."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from models.transformer import Transformer


@functools.cache
def parameter_shapes(config):
    """The parameters' tree of a TransformerConfig, with shapes in place of arrays."""
    return jax.eval_shape(Transformer(config).init, jax.random.key(0), jnp.zeros((1, 1), jnp.int32))["params"]


def random_params(config, seed=0, gain=1.0, sharpness=1.0):
    """Parameters ~ N(0, gain^2 / d_model), and 1 more for the scales of norms: no bias is 0 and no scale is 1.

    The larger ``sharpness``, which multiplies the query's weights, the further heads are from uniform attention.
    """
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        names = [key.key for key in path]
        weights = rng.normal(scale=gain * config.d_model**-0.5, size=leaf.shape)
        if names[-1] == "scale":
            weights = 1 + weights
        return (sharpness * weights if "query" in names else weights).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, parameter_shapes(config))


@functools.partial(jax.jit, static_argnums=0)
def compute_logits(model, variables, tokens_BT, **options):
    """The logits of a model, compiled once for all tests; options are arrays, such as positions_BT and visible_BK."""
    return model.apply(variables, tokens_BT, **options)
