"""The training step: streams, sums and weights, steps that must change nothing."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import regression

from training.step import init_state, key, repeat, train_step, variables, without_sums


def poisoned(task, when):
    """The same task, whose batch is not a number when(seed, step)."""

    def batch(seed, step):
        rows = task.batch(seed, step)
        return rows | {"x": jnp.where(when(seed, step), jnp.nan, rows["x"])}

    return replace(task, batch=batch)


@pytest.fixture
def task():
    return regression.task(regression.Config(noise=0.0), optax.sgd(0.1))


def test_streams_differ_by_seed_name_and_step():
    keys = [key(s, name, step) for s in (0, 1) for name in ("batch", "init") for step in (0, 1)]
    assert len({tuple(jax.random.key_data(k).tolist()) for k in keys}) == len(keys)


def test_gradient_is_the_sum_divided_once_by_the_weight(task):
    state = init_state(task, 0)
    batch = task.batch(0, 0)
    error = np.asarray(batch["x"] @ state.params["w"] - batch["y"])
    mask = np.asarray(batch["mask"])
    by_hand = sum(2 * mask[i] * error[i] * np.asarray(batch["x"])[i] for i in range(16)) / mask.sum()
    new = train_step(task)(state)
    np.testing.assert_allclose(new.params["w"], state.params["w"] - 0.1 * by_hand, rtol=1e-5)
    np.testing.assert_allclose(np.divide(*new.sums["loss"]), (mask * error**2).sum() / mask.sum(), rtol=1e-5)


def test_many_steps_in_one_dispatch_equal_steps_one_by_one(task):
    step = jax.jit(train_step(task))
    state = init_state(task, 0)
    losses = []
    for _ in range(5):
        state = step(without_sums(state))
        losses.append(state.sums["loss"][0])
    many = jax.jit(repeat(train_step(task)))(init_state(task, 0), 5)
    assert many.step == 5
    np.testing.assert_array_equal(many.params["w"], state.params["w"])
    np.testing.assert_allclose(many.sums["loss"][0], sum(losses), rtol=1e-6)


def test_sums_do_not_depend_on_how_steps_are_dispatched(task):
    steps = jax.jit(repeat(train_step(task)))
    at_once = steps(init_state(task, 0), 40)
    in_pieces = steps(steps(steps(init_state(task, 0), 1), 23), 16)
    jax.tree.map(np.testing.assert_array_equal, in_pieces, at_once)


def test_any_number_of_steps_shares_one_compilation(task):
    steps = jax.jit(repeat(train_step(task)))
    state = init_state(task, 0)
    for count in (1, 3, 7):
        state = steps(state, count)
    assert steps._cache_size() == 1


def test_a_step_that_is_not_finite_changes_nothing(task):
    steps = jax.jit(repeat(train_step(poisoned(task, lambda seed, step: step == 3))))
    state = steps(init_state(task, 0), 10)
    before = steps(init_state(task, 0), 3)
    assert state.step == 3
    jax.tree.map(np.testing.assert_array_equal, state, before)


def test_a_seed_that_diverges_leaves_its_neighbours_alone(task):
    diverging = poisoned(task, lambda seed, step: (seed == 1) & (step == 2))
    states = jax.vmap(lambda seed: init_state(task, seed))(jnp.arange(3))
    states = jax.jit(repeat(jax.vmap(train_step(diverging))))(states, 5)
    assert states.step.tolist() == [5, 2, 5]
    alone = jax.jit(repeat(train_step(task)))(init_state(task, 2), 5)
    np.testing.assert_allclose(states.params["w"][2], alone.params["w"], rtol=1e-6)


def test_noise_is_drawn_anew_each_step_and_alike_when_redone():
    task = regression.task(regression.Config(noise=1.0))
    state = init_state(task, 0)
    batch = task.batch(0, 0)

    def loss(step):
        return task.loss(variables(state), batch, {"dropout": key(0, "dropout", step)}).sum

    assert loss(0) == loss(0)
    assert loss(0) != loss(1)


@pytest.mark.parametrize("seed", [0, 1])
def test_batches_are_a_function_of_seed_and_step(task, seed):
    np.testing.assert_array_equal(task.batch(seed, 3)["x"], task.batch(seed, 3)["x"])
    assert (task.batch(seed, 3)["x"] != task.batch(seed, 4)["x"]).any()
    assert (task.batch(seed, 3)["x"] != task.batch(seed + 2, 3)["x"]).any()
