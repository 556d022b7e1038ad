"""Airbench's network, its whitening and its optimiser."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.cnn.airbench import Airbench, airbench_optimizer, dirac_kernel, set_whitening, whitening_kernel
from models.convolution import LAYOUTS, convolve


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_airbench_has_its_parameters_and_starts_by_handing_on_its_inputs():
    shapes = jax.eval_shape(lambda: Airbench().init(jax.random.key(0), jnp.zeros((2, 32, 32, 3))))
    convolutions = 9 * (24 * 64 + 64 * 64 + 64 * 256 + 3 * 256 * 256)
    assert count(shapes["params"]) == 24 + convolutions + 2 * (64 + 256 + 256) + 2560
    assert shapes["frozen"]["whitening"]["kernel"].shape == (2, 2, 3, 24)
    kernel = dirac_kernel(jax.random.key(0), (3, 3, 2, 5))
    x = np.random.default_rng(0).normal(size=(1, 4, 4, 2)).astype(np.float32)
    np.testing.assert_array_equal(convolve(x, kernel)[..., :2], x)
    assert np.abs(kernel[..., 2:]).max() <= 18**-0.5


def test_whitening_makes_patches_uncorrelated_with_variance_one():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(64, 8, 8, 3)).astype(np.float32).cumsum(1) @ rng.normal(size=(3, 3)).astype(np.float32)
    kernel = whitening_kernel(images, epsilon=0.0)
    y = np.asarray(convolve(images, kernel, padding="VALID"))[..., :12].reshape(-1, 12)
    np.testing.assert_allclose(y.T @ y / len(y), np.eye(12), atol=1e-3)
    np.testing.assert_array_equal(kernel[..., :12], -kernel[..., 12:])
    model = Airbench(widths=(2, 2), image_shape=(16, 16, 3))
    x = jnp.ones((2, 16, 16, 3))
    logits = jax.eval_shape(lambda: model.apply(set_whitening(model.init(jax.random.key(0), x), kernel), x))
    assert logits.shape == (2, 10)


@pytest.mark.slow
def test_airbench_computes_the_same_in_either_layout():
    rng = np.random.default_rng(0)
    model = Airbench(image_shape=(8, 8, 3), widths=(4, 6))
    x = rng.normal(size=(4, 8, 8, 3)).astype(np.float32)
    kernel = rng.normal(size=(2, 2, 3, 24)).astype(np.float32)
    variables = set_whitening(model.clone(layout="BHWC").init(jax.random.key(0), x), kernel)

    @partial(jax.jit, static_argnums=0)
    def gradient_and_output(layout, params):
        def loss(params):
            out = model.clone(layout=layout).apply({**variables, "params": params}, x, True, mutable=["batch_stats"])
            return (out[0] ** 2).sum(), out

        return jax.grad(loss, has_aux=True)(params)

    first, last = (gradient_and_output(layout, variables["params"]) for layout in LAYOUTS)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4), first, last)


def test_lookahead_ends_on_the_average_and_biases_of_norms_go_faster():
    params = {"linear": {"kernel": jnp.ones(2)}, "norm": {"bias": jnp.ones(2)}, "whitening": {"bias": jnp.ones(2)}}
    optimizer = airbench_optimizer(5, 4, bias_steps=0, weight_decay=0.0)
    gradients, state, now = jax.tree.map(jnp.ones_like, params), optimizer.init(params), params
    after_steps = []
    for _ in range(5):
        updates, state = optimizer.update(gradients, state, now)
        now = optax.apply_updates(now, updates)
        after_steps.append(now)
    first, fourth = after_steps[0], after_steps[3]
    np.testing.assert_allclose(1 - first["norm"]["bias"], 64 * (1 - first["linear"]["kernel"]), rtol=1e-4)
    assert (fourth["whitening"]["bias"] == 1).all()
    assert (fourth["linear"]["kernel"] < 1).all()
    # No step before the last went back to the average, so the average is the start.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), now, params)
