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
MEMORY_BATCH, MEMORY_WIDTH = 64, 64


def depths_of(way):
    """The depths at which a way of running the layers is measured."""
    return SCANNED_DEPTHS if way.startswith("scan") else UNROLLED_DEPTHS


@functools.cache
def measure_programs() -> Mapping[str, np.ndarray]:
    """Memory of the backward pass against depth, traced and compiled, and the longest chain of matrix products.

    Returns:
      {"compiled/WAY", "saved/WAY": bytes at ``depths_of(WAY)``, without weights, of layers run one after another in a
      scan or unrolled, each also with rematerialisation; "forward_chain/N", "backward_chain/N": products at
      SCANNED_DEPTHS, N "one" input or a "batch"}.
    """
    layer, found = memory_layer(), {}
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

        inputs = [memory_inputs(depth) for depth in depths_of(way)]
        sizes = [sum(leaf.size * leaf.dtype.itemsize for leaf in weights.values()) for weights, _ in inputs]
        found[f"compiled/{way}"] = [compiled_temporary_bytes(loss, *one) for one in inputs]
        found[f"saved/{way}"] = [saved_bytes(loss, *one) - size for one, size in zip(inputs, sizes, strict=True)]

    for name, batch in (("one", 1), ("batch", MEMORY_BATCH)):

        def loss(W, x):
            return jnp.sum(run_unrolled(mlp_layer(8, "relu"), W, x))

        over_batch = jax.vmap(loss, (None, 0))
        depths = [
            (np.zeros((depth, 8, 8), np.float32), np.zeros((batch, 1, 8), np.float32)) for depth in SCANNED_DEPTHS
        ]
        backward = jax.grad(lambda W, x, f=over_batch: jnp.sum(f(W, x)))
        found[f"forward_chain/{name}"] = [longest_chain(over_batch, *one) for one in depths]
        found[f"backward_chain/{name}"] = [longest_chain(backward, *one) for one in depths]
    return {name: np.array(values, np.float64) for name, values in found.items()}


def memory_layer():
    """A residual block whose body is four times as wide: (weights, h) -> h."""
    block = ResidualBlock(MLP((4 * MEMORY_WIDTH, MEMORY_WIDTH), activation="tanh", use_bias=False))

    def layer(weights, h):
        body = {"layer_0": {"kernel": weights["first"]}, "layer_1": {"kernel": weights["second"]}}
        return block.apply({"params": {"body": body}}, h)

    return layer


def memory_inputs(depth):
    """Shapes of the weights of ``depth`` such layers, stacked, and of a batch of inputs."""
    D = MEMORY_WIDTH
    shapes = {"first": (depth, D, 4 * D), "second": (depth, 4 * D, D)}
    weights = {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()}
    return weights, jax.ShapeDtypeStruct((MEMORY_BATCH, D), jnp.float32)


def run_scan(layer, weights, h):
    """The output of stacked layers, by a scan."""
    return jax.lax.scan(lambda h, w: (layer(w, h), None), h, weights)[0]


def run_unrolled(layer, weights, h):
    """The same, with each layer written out in the program."""
    for number in range(len(jax.tree.leaves(weights)[0])):
        h = layer(jax.tree.map(lambda w, n=number: w[n], weights), h)
    return h
