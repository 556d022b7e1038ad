"""Optimisers of networks side by side."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.cnn.member_optimizers import optimize_by_name, optimize_each


def test_each_member_is_optimised_by_the_optimiser_of_its_name():
    optimizers = {"fast": optax.sgd(1.0), "slow": optax.sgd(0.1), "still": optax.sgd(0.0)}
    names = {"a": np.array(["fast", "slow", "still"]), "b": np.array(["slow"])}
    optimizer = optimize_by_name(optimizers, names)
    params = {"a": {"w": jnp.ones((3, 2))}, "b": {"w": jnp.ones((1, 2))}}
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    np.testing.assert_allclose(updates["a"]["w"], [[-1.0] * 2, [-0.1] * 2, [0.0] * 2])
    np.testing.assert_allclose(updates["b"]["w"], [[-0.1] * 2])
    alone = optimize_by_name(optimizers, {"a": np.array(["slow"] * 3), "b": np.array(["slow"])})
    updates, _ = alone.update(params, alone.init(params), params)
    np.testing.assert_allclose(updates["a"]["w"], -0.1)


@pytest.mark.parametrize("names", [["adma"], ["adam", "adma"]])
def test_an_unknown_name_of_an_optimiser_is_refused(names):
    optimizers = {"adam": optax.adam(0.1), "sgd": optax.sgd(0.1)}
    with pytest.raises(ValueError, match="no optimiser named adma: the task has adam, sgd"):
        optimize_by_name(optimizers, {"a": np.array(["sgd"]), "b": np.array(names)})


def test_members_are_clipped_each_by_its_own_norm():
    params = {"a": {"w": jnp.zeros((2, 2)), "b": jnp.zeros(2)}, "b": {"w": jnp.zeros((1, 2)), "b": jnp.zeros(1)}}
    large, small = jnp.array([3.0, 0.0, 4.0]), jnp.array([0.3, 0.0, 0.4])
    gradients = {"a": {"w": jnp.stack([large[:2], small[:2]]), "b": jnp.array([4.0, 0.4])}}
    gradients |= {"b": {"w": large[None, :2], "b": large[2:]}}
    optimizer = optimize_each(optax.clip_by_global_norm(1.0))
    clipped, _ = optimizer.update(gradients, optimizer.init(params), params)
    np.testing.assert_allclose(clipped["a"]["w"], [[0.6, 0.0], [0.3, 0.0]], rtol=1e-6)
    np.testing.assert_allclose(clipped["a"]["b"], [0.8, 0.4], rtol=1e-6)
    np.testing.assert_allclose(clipped["b"]["w"], [[0.6, 0.0]], rtol=1e-6)
