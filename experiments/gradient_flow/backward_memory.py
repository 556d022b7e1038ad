"""What the backward pass costs against depth: memory, traced and compiled, and the longest chain of matrix products."""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from experiments.gradient_flow.layer_gradients import mlp_layer
from experiments.gradient_flow.programs import compiled_temporary_bytes, in_segments, longest_chain, saved_bytes
from models.mlp import MLP
from models.residual import ResidualBlock

SCANNED_DEPTHS = (4, 16, 64)  # squares, so that segments of their root fit
UNROLLED_DEPTHS = (2, 4, 8)
BATCH_SIZE, WIDTH = 64, 64
CHAIN_WIDTH = 8  # the length of a chain of products does not depend on it


def depths_of(way):
    """The depths at which a way of running the layers is measured."""
    return SCANNED_DEPTHS if way.startswith("scan") else UNROLLED_DEPTHS


@functools.cache
def measure_programs() -> Mapping[str, np.ndarray]:
    """All measurements of this file, {name: one number a depth}; no seed is in them, so they are made once."""
    measured = measure_memory() | measure_chains()
    return {name: np.array(values, np.float64) for name, values in measured.items()}


def measure_memory():
    """Bytes that the backward pass of residual blocks takes at ``depths_of(WAY)``, without weights.

    Returns:
      {"compiled/WAY": scratch memory of the compiled program; "saved/WAY": what the traced one keeps}. Layers are run
      by a scan or unrolled, each also with rematerialisation.
    """
    layer, measured = residual_layer(), {}
    ways = {
        "scan": lambda weights, h: run_scan(layer, weights, h),
        "scan, remat": lambda weights, h: run_scan(jax.checkpoint(layer), weights, h),
        "scan, segments": lambda weights, h: in_segments(layer, weights, h, round(len(weights["first"]) ** 0.5)),
        "unrolled": lambda weights, h: run_unrolled(layer, weights, h),
        "unrolled, remat": lambda weights, h: run_unrolled(jax.checkpoint(layer), weights, h),
    }
    for way, run in ways.items():

        def loss(weights, h, run=run):
            return jnp.sum(jnp.square(run(weights, h)))

        inputs = [residual_inputs(depth) for depth in depths_of(way)]
        sizes = [sum(leaf.size * leaf.dtype.itemsize for leaf in weights.values()) for weights, _ in inputs]
        measured[f"compiled/{way}"] = [compiled_temporary_bytes(loss, *one) for one in inputs]
        measured[f"saved/{way}"] = [saved_bytes(loss, *one) - size for one, size in zip(inputs, sizes, strict=True)]
    return measured


def residual_layer():
    """A residual block whose body is four times as wide: (weights, h) -> h."""
    block = ResidualBlock(MLP((4 * WIDTH, WIDTH), activation="tanh", use_bias=False))

    def layer(weights, h):
        body = {"layer_0": {"kernel": weights["first"]}, "layer_1": {"kernel": weights["second"]}}
        return block.apply({"params": {"body": body}}, h)

    return layer


def residual_inputs(depth):
    """Shapes of the weights of ``depth`` such layers, stacked, and of a batch of inputs."""
    shapes = {"first": (depth, WIDTH, 4 * WIDTH), "second": (depth, 4 * WIDTH, WIDTH)}
    weights = {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()}
    return weights, jax.ShapeDtypeStruct((BATCH_SIZE, WIDTH), jnp.float32)


def measure_chains():
    """The longest chain of matrix products at SCANNED_DEPTHS in an MLP, forward alone and forward and backward.

    Returns:
      {"forward_chain/one", "backward_chain/one": of one input; "forward_chain/batch", "backward_chain/batch"}.
    """

    def loss(W, x):
        return jnp.sum(run_unrolled(mlp_layer(CHAIN_WIDTH, "relu"), W, x))

    over_batch = jax.vmap(loss, (None, 0))
    backward = jax.grad(lambda W, x: jnp.sum(over_batch(W, x)))
    measured = {}
    for size, batch_size in (("one", 1), ("batch", BATCH_SIZE)):
        x = np.zeros((batch_size, 1, CHAIN_WIDTH), np.float32)
        weights = [np.zeros((depth, CHAIN_WIDTH, CHAIN_WIDTH), np.float32) for depth in SCANNED_DEPTHS]
        measured[f"forward_chain/{size}"] = [longest_chain(over_batch, W, x) for W in weights]
        measured[f"backward_chain/{size}"] = [longest_chain(backward, W, x) for W in weights]
    return measured


def run_scan(layer, weights, h):
    """The output of stacked layers, by a scan."""
    return jax.lax.scan(lambda h, w: (layer(w, h), None), h, weights)[0]


def run_unrolled(layer, weights, h):
    """The output of stacked layers, with each layer written out in the program."""
    for number in range(len(jax.tree.leaves(weights)[0])):
        h = layer(jax.tree.map(lambda w, n=number: w[n], weights), h)
    return h
