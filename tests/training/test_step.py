"""The training step: streams, sums and weights, steps that must change nothing."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from regression.experiment import Config
from regression.experiment import task as make_task

from training.step import bind_data, init_state, key, leaves_by_path, repeat, reset_sums, train_step, variables


def poison(task, when):
    """The same task, whose batch is not a number when(seed, step)."""

    def batch(seed, step):
        rows = task.batch(seed, step)
        return rows | {"x": jnp.where(when(seed, step), jnp.nan, rows["x"])}

    return replace(task, batch=batch)


@pytest.fixture(scope="module")
def task():
    return make_task(Config(noise=0.0), optax.sgd(0.1))


@pytest.fixture(scope="module")
def one_step(task):
    """state -> state, compiled."""
    return jax.jit(train_step(task))


@pytest.fixture(scope="module")
def steps(task):
    """(state, count) -> state, compiled."""
    return jax.jit(repeat(train_step(task)))


@pytest.fixture(scope="module")
def start(task):
    return init_state(task, 0)


def test_streams_differ_by_seed_name_and_step():
    keys = [key(s, name, step) for s in (0, 1) for name in ("batch", "init") for step in (0, 1)]
    assert len({tuple(jax.random.key_data(k).tolist()) for k in keys}) == len(keys)


def test_gradient_is_the_sum_divided_once_by_the_weight(task, one_step, start):
    batch = task.batch(0, 0)
    error = np.asarray(batch["x"] @ start.params["w"] - batch["y"])
    mask = np.asarray(batch["mask"])
    by_hand = sum(2 * mask[i] * error[i] * np.asarray(batch["x"])[i] for i in range(16)) / mask.sum()
    new = one_step(start)
    np.testing.assert_allclose(new.params["w"], start.params["w"] - 0.1 * by_hand, rtol=1e-5)
    np.testing.assert_allclose(np.divide(*new.sums["loss"]), (mask * error**2).sum() / mask.sum(), rtol=1e-5)


def test_many_steps_in_one_dispatch_equal_steps_one_by_one(one_step, steps, start):
    state, losses = start, []
    for _ in range(5):
        state = one_step(reset_sums(state))
        losses.append(state.sums["loss"][0])
    many = steps(start, 5)
    assert many.step == 5
    np.testing.assert_array_equal(many.params["w"], state.params["w"])
    np.testing.assert_allclose(many.sums["loss"][0], sum(losses), rtol=1e-6)


def test_sums_do_not_depend_on_how_steps_are_dispatched(steps, start):
    at_once = steps(start, 40)
    in_pieces = steps(steps(steps(start, 1), 23), 16)
    jax.tree.map(np.testing.assert_array_equal, in_pieces, at_once)


def test_any_number_of_steps_shares_one_compilation(steps, start):
    state = start
    for count in (1, 3, 7):
        state = steps(state, count)
    assert steps._cache_size() == 1


def test_a_step_that_is_not_finite_changes_nothing(task, start):
    poisoned_steps = jax.jit(repeat(train_step(poison(task, lambda seed, step: step == 3))))
    state, before = poisoned_steps(start, 10), poisoned_steps(start, 3)
    assert state.step == 3
    jax.tree.map(np.testing.assert_array_equal, state, before)


def test_a_seed_that_diverges_leaves_its_neighbours_alone(task, steps):
    poisoned_task = poison(task, lambda seed, step: (seed == 1) & (step == 2))
    states = jax.vmap(lambda seed: init_state(task, seed))(jnp.arange(3))
    states = jax.jit(repeat(jax.vmap(train_step(poisoned_task))))(states, 5)
    assert states.step.tolist() == [5, 2, 5]
    alone = steps(init_state(task, 2), 5)
    np.testing.assert_allclose(states.params["w"][2], alone.params["w"], rtol=1e-6)


def test_noise_is_drawn_anew_each_step_and_alike_when_redone(start):
    task = make_task(Config(noise=1.0))
    batch = task.batch(0, 0)

    def loss(step):
        return task.loss(variables(start), batch, {"dropout": key(0, "dropout", step)}).sum

    assert loss(0) == loss(0)
    assert loss(0) != loss(1)


@pytest.mark.parametrize("seed", [0, 1])
def test_batches_are_a_function_of_seed_and_step(task, seed):
    np.testing.assert_array_equal(task.batch(seed, 3)["x"], task.batch(seed, 3)["x"])
    assert (task.batch(seed, 3)["x"] != task.batch(seed, 4)["x"]).any()
    assert (task.batch(seed, 3)["x"] != task.batch(seed + 2, 3)["x"]).any()


def test_a_tasks_data_are_bound_to_the_functions_that_take_them(task):
    with_data = replace(
        task,
        data=10,
        batch=lambda seed, step, data: seed + step + data,
        evaluate=lambda variables, data: variables + data,
        probe=lambda variables, data: variables - data,
        examine=lambda variables, data: variables * data,
    )
    bound = bind_data(with_data, 20)
    assert (bound.batch(1, 2), bound.evaluate(1), bound.probe(1), bound.examine(2)) == (23, 21, -19, 40)
    assert bound.data is None
    assert bind_data(task, None) is task
    on_host = replace(with_data, batch=lambda seed, step: seed - step, batch_on_host=True)
    assert bind_data(on_host, 20).batch(5, 2) == 3  # a batch made on the host does not get them


def test_leaves_are_named_by_their_paths():
    tree = {"b": np.zeros(1), "a": [np.zeros(2), {"c": np.zeros(3)}], "text": "no array"}
    assert [(path, leaf.size) for path, leaf in leaves_by_path(tree)] == [("a/0", 2), ("a/1/c", 3), ("b", 1)]
