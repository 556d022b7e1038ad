"""Optimisers of networks side by side, and airbench's."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.cnn.optimizers import airbench, by_member, either


def test_an_optimizer_for_each_member():
    marks = {"a": np.array([True, False])}
    both = either(optax.sgd(1.0), optax.sgd(0.1), marks)
    params = {"a": {"w": jnp.ones((2, 3))}}
    updates, _ = both.update(params, both.init(params), params)
    np.testing.assert_allclose(updates["a"]["w"], [[-1.0] * 3, [-0.1] * 3])
    only = either(optax.sgd(1.0), None, {"a": np.array([True, True])})
    np.testing.assert_allclose(only.update(params, only.init(params), params)[0]["a"]["w"], -1.0)


def test_members_are_clipped_each_by_its_own_norm():
    params = {"a": {"w": jnp.zeros((2, 2)), "b": jnp.zeros(2)}, "b": {"w": jnp.zeros((1, 2)), "b": jnp.zeros(1)}}
    large, small = jnp.array([3.0, 0.0, 4.0]), jnp.array([0.3, 0.0, 0.4])
    gradients = {"a": {"w": jnp.stack([large[:2], small[:2]]), "b": jnp.array([4.0, 0.4])}}
    gradients |= {"b": {"w": large[None, :2], "b": large[2:]}}
    optimizer = by_member(optax.clip_by_global_norm(1.0))
    found, _ = optimizer.update(gradients, optimizer.init(params), params)
    np.testing.assert_allclose(found["a"]["w"], [[0.6, 0.0], [0.3, 0.0]], rtol=1e-6)
    np.testing.assert_allclose(found["a"]["b"], [0.8, 0.4], rtol=1e-6)
    np.testing.assert_allclose(found["b"]["w"], [[0.6, 0.0]], rtol=1e-6)


def test_lookahead_ends_on_the_average_and_norms_biases_go_faster():
    params = {"linear": {"kernel": jnp.ones(2)}, "norm": {"bias": jnp.ones(2)}, "whitening": {"bias": jnp.ones(2)}}
    optimizer = airbench(5, 4, bias_steps=0, weight_decay=0.0)
    gradients, state, now = jax.tree.map(jnp.ones_like, params), optimizer.init(params), params
    moved = []
    for _ in range(5):
        updates, state = optimizer.update(gradients, state, now)
        now = optax.apply_updates(now, updates)
        moved.append(now)
    np.testing.assert_allclose(1 - moved[0]["norm"]["bias"], 64 * (1 - moved[0]["linear"]["kernel"]), rtol=1e-4)
    assert (moved[3]["whitening"]["bias"] == 1).all()
    assert (moved[3]["linear"]["kernel"] < 1).all()
    # No step before the last was due, so the average is the start.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), now, params)
