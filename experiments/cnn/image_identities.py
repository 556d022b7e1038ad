"""Statements about networks of images that hold exactly, checked in float64 on random numbers.

Convolution is linear and moves with its input, its weight gradient is a sum over the image, a normalisation reads its
own axes and no others, and the order of the pixels makes no difference to an MLP.

Axes: B batch, the two axes of an image, C channels, K a kernel's window.
"""

import functools
import itertools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from experiments.cnn.images import permute_pixels
from models.convolution import convolve
from models.mlp import MLP
from models.normalization import NORM_KINDS, Normalization, normalized_with

NORMS = tuple(kind for kind in NORM_KINDS if kind != "none")
NORM_SHAPE = (3, 4, 4, 8)  # shape of the images that the norms' reach is measured on
NUM_GROUPS = 4
SHIFTS = ((1, 0), (0, -1), (-2, 3))  # by which an image is moved, in pixels


@functools.cache
def measure_exact() -> Mapping[str, np.ndarray]:
    """All measurements of this file, {name: number or array}; they depend on no seed."""
    with jax.enable_x64(True):
        return measure_convolution() | measure_norms() | measure_permutation()


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
    in_place, *moved = np.split(circular, len(SHIFTS) + 1)
    shift_errors = [m - np.roll(in_place, s, (1, 2)) for m, s in zip(moved, SHIFTS, strict=True)]
    return {
        "linearity_error": max(np.abs(m - (a * y + b * o)).max() for m, o in zip(mixed, others, strict=True)),
        "shift_error": np.abs(shift_errors).max(),
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
    gradient = np.zeros((size, size, inputs, cotangent.shape[-1]))
    for p, q in itertools.product(range(size), repeat=2):
        window = padded[:, p : p + height, q : q + width]
        gradient[p, q] = np.einsum("bijc,bijo->co", window, cotangent)
    return gradient


def measure_norms():
    """Which inputs each norm's outputs depend on, against the definition, and the moments that it leaves.

    "reach/KIND" [B, C] is the share of each image's entries in each channel on which one output depends: the one in
    channel 5 of image 1.
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
        by_kind = {}
        for kind in NORMS:
            y, backward = jax.vjp(lambda x, kind=kind: apply(kind, x, True, mean, var), x)
            by_kind[kind] = y, backward(jnp.zeros_like(y).at[index].set(1.0))[0]
        return by_kind, apply("batch", x[:1], False, mean, var) - apply("batch", x, False, mean, var)[:1]

    by_kind, change_by_others = jax.tree.map(np.asarray, run(x))
    reaches, mismatches, moment_errors = {}, [], []
    for kind, (y, gradient) in by_kind.items():
        group = normalized_with(kind, NORM_SHAPE, index, NUM_GROUPS)
        mismatches.append(np.mean((gradient != 0) != group))
        moment_errors += [abs(y[group].mean()), abs(y[group].var() - 1)]
        reaches[f"reach/{kind}"] = np.mean(gradient != 0, axis=(1, 2))
    return reaches | {
        "norm_mismatch": max(mismatches),
        "norm_moments_error": max(moment_errors),
        "evaluation_reads_others": np.abs(change_by_others).max(),
    }


def measure_permutation(num_steps=10, learning_rate=0.1):
    """What another order of the pixels changes for an MLP and for a convolution.

    For the MLP it is the largest difference of the losses of two runs of gradient descent, of which one has the
    reordered pixels and starts from first weights in that order. For the convolution it is the largest difference of
    the outputs, those of the reordered image put back in order.
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

        reordered = permute_pixels(images, order)
        losses_in_order = losses(params, images)
        losses_reordered = losses(params | {"layer_0": params["layer_0"] | {"kernel": first}}, reordered)
        outputs_put_back = permute_pixels(convolve(reordered, kernel), np.argsort(order))
        return losses_in_order - losses_reordered, outputs_put_back - convolve(images, kernel)

    of_mlp, of_convolution = run(params, first, images)
    return {"permuted_mlp_error": np.abs(of_mlp).max(), "permuted_convolution_change": np.abs(of_convolution).max()}
