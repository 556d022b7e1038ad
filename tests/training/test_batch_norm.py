"""Batch normalisation in training: statistics of the global batch wherever it is computed, frozen in evaluation.

Covers what training/step.py and training/parallel.py do with mutable collections.
"""

from dataclasses import replace
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from models.normalization import Normalization
from training import parallel, run
from training.experiment import Arm, Experiment, Loss, Task, UserError

BATCH, INPUTS, STEPS = 16, 3, 5


class Model(nn.Module):
    """The statistics of the first norm follow from the batch alone, gradients go through those of the second."""

    axis_name: str = "data"

    @nn.compact
    def __call__(self, x, train=False):
        x = Normalization(axis_name=self.axis_name, name="first")(x, train)
        x = Normalization(axis_name=self.axis_name, name="second")(jnp.tanh(nn.Dense(4)(x)), train)
        return nn.Dense(1)(x)[:, 0]


def batch(seed, step):
    x = jax.random.normal(jax.random.fold_in(jax.random.key(seed), step), (BATCH, INPUTS), jnp.float32)
    # Rows differ in mean, so that the statistics of a device's rows are far from the batch's.
    return {"x": x + jnp.arange(BATCH)[:, None], "y": jnp.sin(x.sum(1))}


def make_task(dtype="float64", **options):
    model = Model(**options)

    def loss(variables, batch, rngs):
        predicted, collections = model.apply(variables, batch["x"].astype(dtype), train=True, mutable=["batch_stats"])
        squares = (predicted - batch["y"].astype(dtype)) ** 2
        return Loss(squares.sum(), jnp.asarray(len(squares), dtype), collections=collections)

    def init(key):
        return jax.tree.map(lambda x: x.astype(dtype), model.init(key, jnp.zeros((1, INPUTS))))

    return Task(model=model, init=init, evaluate=None, batch=batch, loss=loss, optimizer=optax.sgd(0.1))


def train(parallelism, task, num_seeds=1):
    """The state in training, and as one copy in memory, after STEPS steps under a placement."""
    placement = parallel.choose(parallelism)
    state = placement.training_form(placement.init_state(task, list(range(num_seeds))))
    state = placement.compile_train_steps(task, num_seeds)(state, STEPS)
    return state, jax.device_get(placement.gather(state))


@pytest.fixture(scope="module")
def states():
    with jax.enable_x64(True):
        return {parallelism: train(parallelism, make_task()) for parallelism in ("single", "pmap", "mesh")}


def assert_equal_states(one, other):
    for name in ("params", "collections", "sums"):
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-10), getattr(one, name), getattr(other, name))


@pytest.mark.parametrize("parallelism", ["pmap", "mesh"])
def test_eight_devices_compute_what_one_does(states, parallelism):
    assert_equal_states(states["single"][1], states[parallelism][1])


def test_devices_with_statistics_of_their_own_compute_something_else(states):
    """The negative control: no axis of devices has the name that the norm asks for."""
    with jax.enable_x64(True):
        _, apart = train("pmap", make_task(axis_name="elsewhere"))
    together = states["pmap"][1]
    assert np.abs(apart.sums["loss"][0] / together.sums["loss"][0] - 1) > 0.1
    variance = [state.collections["batch_stats"]["first"]["var"] for state in (apart, together)]
    assert (variance[0] < variance[1] / 2).all()


@pytest.mark.parametrize("parallelism", ["single", "pmap", "mesh"])
def test_running_averages_are_those_of_the_global_batch(states, parallelism):
    mean, variance = np.zeros(INPUTS), np.ones(INPUTS)
    for step in range(STEPS):
        x = np.asarray(batch(0, step)["x"], np.float64)
        mean, variance = 0.9 * mean + 0.1 * x.mean(0), 0.9 * variance + 0.1 * x.var(0)
    averages = states[parallelism][1].collections["batch_stats"]["first"]
    np.testing.assert_allclose(averages["mean"], mean, rtol=1e-6)  # the batch itself is in float32
    np.testing.assert_allclose(averages["var"], variance, rtol=1e-6)


def test_all_devices_keep_the_same_statistics(states):
    for array in jax.tree.leaves(states["pmap"][0].collections):
        copies = [np.asarray(shard.data) for shard in array.addressable_shards]
        assert len(copies) == 8
        for copy in copies:
            np.testing.assert_array_equal(copy, copies[0])


def test_evaluation_is_frozen(states):
    state = states["single"][1]
    variables, x = {"params": state.params, **state.collections}, np.asarray(batch(0, 9)["x"])
    among, alone = Model().apply(variables, x), Model().apply(variables, x[:1])
    np.testing.assert_allclose(among[:1], alone, rtol=1e-5)


def test_microbatches_are_normalised_each_by_itself():
    _, end = train("single", replace(make_task("float32"), accumulate=2))
    mean = np.zeros(INPUTS)
    for step in range(STEPS):
        for part in range(2):
            mean = 0.9 * mean + 0.1 * np.asarray(batch(0, step)["x"][part::2]).mean(0)
    np.testing.assert_allclose(end.collections["batch_stats"]["first"]["mean"], mean, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("parallelism", ["single", "pmap", "mesh"])
def test_seeds_have_statistics_of_their_own(states, parallelism):
    with jax.enable_x64(True):
        both = train(parallelism, make_task(), num_seeds=2)[1]
    assert_equal_states(jax.tree.map(lambda x: x[0], both), states["single"][1])
    means = both.collections["batch_stats"]["first"]["mean"]
    assert np.abs(means[0] - means[1]).max() > 1e-3


@pytest.mark.parametrize("accumulate", [1, 4])
def test_a_batch_of_one_is_refused_before_training(accumulate):
    def few_rows(seed, step):
        return jax.tree.map(lambda x: x[:accumulate], batch(seed, step))

    task = replace(make_task("float32"), batch=few_rows, accumulate=accumulate)
    experiment = Experiment(
        question="",
        config=None,
        arms=lambda config: {"a": Arm(lambda config: task)},
        default_arms=("a",),
        claims=[],
        figures=lambda results: [],
    )
    with pytest.raises(UserError, match="arm a: batch normalisation cannot train on a batch of 1"):
        run.make_task(experiment, "a", None)
