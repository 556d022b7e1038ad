"""Statements about networks of images that hold exactly, checked in float64 on random numbers.

Convolution is linear and moves with its input, its weight gradient is a sum over the image, a normalisation reads its
own axes and no others, and a permutation of the pixels is nothing to an MLP.

Axes: B batch, the two axes of an image, C channels, K a kernel's window.
"""

import functools
import itertools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from experiments.cnn.image_views import permuted
from models.convolution import convolve
from models.mlp import MLP
from models.normalization import KINDS, Normalization, normalized_with

NORMS = tuple(kind for kind in KINDS if kind != "none")
NORM_SHAPE = (3, 4, 4, 8)  # of the images that the norms' reach is measured on
NUM_GROUPS = 4


@functools.cache
def measure_exact() -> Mapping[str, np.ndarray]:
    """All measurements of this file, {name: number or array}; no seed is in them."""
    with jax.enable_x64(True):
        return measure_convolution() | measure_norms() | measure_permutation()


SHIFTS = ((1, 0), (0, -1), (-2, 3))  # of an image, in pixels


def measure_convolution():
    """Linearity in image and kernel, equivariance to shifts, and the weight gradient against the formula's sums."""
    generator = np.random.default_rng(0)
    x, other = generator.normal(size=(2, 2, 7, 6, 3))
    kernel, second = generator.normal(size=(2, 3, 3, 3, 4))
    cotangent = generator.normal(size=(2, 7, 6, 4))
    a, b = 1.7, -0.6

    @jax.jit  # one program: each operation by itself would be compiled by itself
    def run(x, other, kernel, second):
        y, backward = jax.vjp(lambda kernel: convolve(x, kernel), kernel)
        others = convolve(other, kernel), convolve(x, second)
        mixed = convolve(a * x + b * other, kernel), convolve(x, a * kernel + b * second)
        images = jnp.concatenate([x, *(jnp.roll(x, s, (1, 2)) for s in SHIFTS)])
        return y, others, mixed, convolve(images, kernel, padding="CIRCULAR"), backward(cotangent)[0]

    y, others, mixed, circular, gradient = jax.tree.map(np.asarray, run(x, other, kernel, second))
    in_order, *moved = np.split(circular, len(SHIFTS) + 1)
    moved = [m - np.roll(in_order, s, (1, 2)) for m, s in zip(moved, SHIFTS, strict=True)]
    return {
        "linearity_error": max(np.abs(m - (a * y + b * o)).max() for m, o in zip(mixed, others, strict=True)),
        "shift_error": np.abs(moved).max(),
        "weight_gradient_error": np.abs(gradient - weight_gradient(x, cotangent, 3)).max(),
    }


def weight_gradient(x, cotangent, size):
    """The gradient [K, K, C in, C out] of a convolution with padding SAME and stride 1 in its kernel, by hand.

    ``dL/dW[p, q, c, o] = sum over b, i, j of x[b, i + p - K//2, j + q - K//2, c] dL/dy[b, i, j, o]``, x being zero
    outside the image. In plain numpy.
    """
    _, height, width, inputs = x.shape
    low = (size - 1) // 2
    padded = np.pad(x, ((0, 0), (low, size - 1 - low), (low, size - 1 - low), (0, 0)))
    found = np.zeros((size, size, inputs, cotangent.shape[-1]))
    for p, q in itertools.product(range(size), repeat=2):
        window = padded[:, p : p + height, q : q + width]
        found[p, q] = np.einsum("bijc,bijo->co", window, cotangent)
    return found


def measure_norms():
    """Which inputs each norm's outputs depend on, against the definition, and the moments that it leaves.

    "reach/KIND" [B, C] is the share of an image's entries that the output at the middle channel of the middle image
    depends on.
    """
    generator = np.random.default_rng(1)
    x = generator.normal(size=NORM_SHAPE) * 3 + 1
    index = (1, 2, 1, 5)

    def apply(kind, x, train, mean, var):
        norm = Normalization(kind, NUM_GROUPS, use_scale=False, use_bias=False)
        return norm.apply({"batch_stats": {"mean": mean, "var": var}}, x, train, mutable=["batch_stats"])[0]

    @jax.jit
    def run(x):
        mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
        found = {}
        for kind in NORMS:
            y, backward = jax.vjp(lambda x, kind=kind: apply(kind, x, True, mean, var), x)
            found[kind] = y, backward(jnp.zeros_like(y).at[index].set(1.0))[0]
        return found, apply("batch", x[:1], False, mean, var) - apply("batch", x, False, mean, var)[:1]

    of_kinds, in_evaluation = jax.tree.map(np.asarray, run(x))
    reaches, mismatches, moments = {}, [], []
    for kind, (y, gradient) in of_kinds.items():
        group = normalized_with(kind, NORM_SHAPE, index, NUM_GROUPS)
        mismatches.append(np.mean((gradient != 0) != group))
        moments += [abs(y[group].mean()), abs(y[group].var() - 1)]
        reaches[f"reach/{kind}"] = np.mean(gradient != 0, axis=(1, 2))
    return reaches | {
        "norm_mismatch": max(mismatches),
        "norm_moments_error": max(moments),
        "evaluation_reads_others": np.abs(in_evaluation).max(),
    }


def measure_permutation(num_steps=10, learning_rate=0.1):
    """What pixels in another order are to an MLP and to a convolution.

    For the MLP the largest difference of the losses of two runs of gradient descent, one on the reordered pixels from
    weights in that order; for the convolution that of its outputs, the reordered image's put back in order.
    """
    generator = np.random.default_rng(2)
    images, labels = generator.normal(size=(16, 5, 5, 2)), generator.normal(size=(16, 3))
    order = generator.permutation(25)
    model = MLP((7, 3), "tanh", dtype="float64")
    shapes = [(50, 7), (7, 3)]
    params = {
        f"layer_{i}": {"kernel": generator.normal(size=shape) / 5, "bias": np.zeros(shape[1])}
        for i, shape in enumerate(shapes)
    }
    first = params["layer_0"]["kernel"].reshape(25, 2, -1)[order].reshape(50, -1)
    kernel = generator.normal(size=(3, 3, 2, 2))

    @jax.jit
    def run(params, first, images):
        def losses(params, x):
            def loss(params):
                return jnp.mean(jnp.square(model.apply({"params": params}, x.reshape(16, -1)) - labels))

            def step(params, _):
                value, gradient = jax.value_and_grad(loss)(params)
                return jax.tree.map(lambda p, g: p - learning_rate * g, params, gradient), value

            return jax.lax.scan(step, params, None, num_steps)[1]

        reordered = permuted(images, order)
        in_order = losses(params, images)
        otherwise = losses(params | {"layer_0": params["layer_0"] | {"kernel": first}}, reordered)
        back = permuted(convolve(reordered, kernel), np.argsort(order))
        return in_order - otherwise, back - convolve(images, kernel)

    of_mlp, of_convolution = run(params, first, images)
    return {"permuted_mlp_error": np.abs(of_mlp).max(), "permuted_convolution_change": np.abs(of_convolution).max()}
