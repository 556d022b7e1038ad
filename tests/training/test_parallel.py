"""The same step on one device, under pmap, over meshes, in microbatches, and mapped over seeds."""

import functools
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from regression.experiment import Config, network_task
from regression.experiment import task as make_task

from training import parallel
from training.experiment import UserError
from training.step import init_state, leaves_by_path, repeat, train_step

TASK = make_task(Config(noise=0.0), optax.sgd(0.1))  # Adam would hide a wrong scale
ON_HOST = replace(TASK, batch=lambda *at: jax.device_get(TASK.batch(*at)), batch_on_host=True)
ALL_AXES = ("mesh", "data=2,fsdp=2,model=2")
PLACEMENTS = [("pmap", ""), ALL_AXES, ("mesh", "data=4"), ("mesh", "fsdp=4"), ("mesh", "model=2")]
ONE_OF_EACH = [("single", ""), *PLACEMENTS[:2]]


def train(task, parallelism, mesh="", num_seeds=1, steps=20):
    """The whole state after so many steps, in memory."""
    placement = parallel.choose(parallelism, mesh)
    placement.check_batch(task)
    state = placement.training_form(placement.init_state(task, list(range(num_seeds))))
    take_steps = placement.compile_train_steps(task, num_seeds)
    if task.batch_on_host:
        for step in range(steps):
            batches = [task.batch(seed, step) for seed in range(num_seeds)]
            batch = jax.tree.map(lambda *x: np.stack(x), *batches) if num_seeds > 1 else batches[0]
            state = take_steps(state, placement.place_batch(batch, num_seeds))
    else:
        state = take_steps(state, steps)
    return jax.device_get(placement.gather(state))


@functools.cache
def train_alone(seed=0, steps=20):
    """The state of one seed on one device, which knows nothing of placements."""
    return jax.device_get(jax.jit(repeat(train_step(TASK)))(init_state(TASK, seed), steps))


@functools.cache
def train_three_seeds(parallelism):
    return train(TASK, parallelism, num_seeds=3)


def assert_same_training(state, other):
    np.testing.assert_allclose(state.params["w"], other.params["w"], rtol=0, atol=1e-5)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4), state.sums, other.sums)


@pytest.mark.parametrize(("parallelism", "mesh"), ONE_OF_EACH)
def test_masks_that_differ_between_devices_give_the_same_training(parallelism, mesh):
    state = train(TASK, parallelism, mesh)
    assert state.step == 20
    assert_same_training(state, train_alone())


@pytest.mark.parametrize(("parallelism", "mesh"), ONE_OF_EACH)
def test_uneven_microbatches_give_the_same_training(parallelism, mesh):
    assert_same_training(train(replace(TASK, accumulate=2), parallelism, mesh), train_alone())


@pytest.mark.parametrize("num_seeds", [pytest.param(1, marks=pytest.mark.slow), 3])
@pytest.mark.parametrize(("parallelism", "mesh"), ONE_OF_EACH)
def test_batches_made_on_the_host_give_the_same_training(parallelism, mesh, num_seeds):
    weights = train(ON_HOST, parallelism, mesh, num_seeds, steps=5).params["w"].reshape(num_seeds, -1)
    for seed in range(num_seeds):
        np.testing.assert_allclose(weights[seed], train_alone(seed, 5).params["w"], rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def network():
    """(task, its training on one device) of a network in float64 that a mesh splits."""
    with jax.enable_x64(True):
        task = network_task(Config(width=4, noise=0.0), optax.adamw(1e-2))
        return task, train(task, "single")


@pytest.mark.parametrize(("parallelism", "mesh"), PLACEMENTS)
def test_a_network_trains_alike_however_it_is_split(network, parallelism, mesh):
    """Masks differ between devices here, too; the gradient's norm would tell of a scale that Adam hides."""
    task, expected = network
    with jax.enable_x64(True):
        state = train(task, parallelism, mesh)
    assert state.step == 20
    jax.tree.map(partial(np.testing.assert_allclose, rtol=0, atol=1e-9), state.params, expected.params)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-9), state.sums, expected.sums)


@pytest.fixture(scope="module")
def transformer(tiny):
    """(task, its training on one device) of a Transformer with every kind of parameter."""
    with jax.enable_x64(True):
        _, _, _, tasks = tiny(("two_layer",), d_mlp=32, norm="layernorm", repeats__vocab_size=7, dtype="float64")
        task = replace(tasks["two_layer"], optimizer=optax.adamw(1e-2))
        return task, train(task, "single")


@pytest.mark.slow
@pytest.mark.parametrize(("parallelism", "mesh"), PLACEMENTS)
def test_the_transformer_trains_alike_however_it_is_split(transformer, parallelism, mesh):
    task, expected = transformer
    with jax.enable_x64(True):
        state = train(task, parallelism, mesh)
    assert state.step == 20
    jax.tree.map(partial(np.testing.assert_allclose, rtol=0, atol=1e-9), state.params, expected.params)


@pytest.fixture(scope="module")
def in_single_precision(tiny):
    _, _, _, tasks = tiny()
    task = replace(tasks["two_layer"], optimizer=optax.sgd(0.1))
    return task, train(task, "single")


@pytest.mark.slow
@pytest.mark.parametrize(("parallelism", "mesh"), PLACEMENTS)
def test_in_single_precision_sgd_differs_by_rounding_alone(in_single_precision, parallelism, mesh):
    task, expected = in_single_precision
    state = train(task, parallelism, mesh)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=0, atol=1e-5), state.params, expected.params)


@pytest.mark.parametrize(("parallelism", "mesh"), ONE_OF_EACH)
def test_every_dispatch_shares_one_compilation_the_last_one_included(parallelism, mesh, caplog):
    placement = parallel.choose(parallelism, mesh)
    state = placement.training_form(placement.init_state(TASK, [0]))
    take_steps = placement.compile_train_steps(TASK, 1)
    with jax.log_compiles():
        for count in (1, 4, 16, 3):
            state = take_steps(state, count)
    assert sum("Finished XLA compilation of" in record.getMessage() for record in caplog.records) == 1


def test_a_mesh_splits_what_the_rules_name_and_the_optimisers_copies_of_it(network):
    task, _ = network
    placement = parallel.choose(*ALL_AXES)
    with jax.enable_x64(True):
        state = placement.init_state(task, [0])
    spec = {path: leaf.sharding.spec for path, leaf in leaves_by_path(state)}
    for owner in ("params", "optimizer/0/mu", "optimizer/0/nu"):
        assert tuple(spec[f"{owner}/in/kernel"]) == ("fsdp", "model")
        assert tuple(spec[f"{owner}/out/kernel"]) == ("model", "fsdp")
        assert tuple(spec[f"{owner}/in/bias"]) == (None,)
    kernel = state.params["in"]["kernel"]
    assert kernel.addressable_data(0).size * 4 == kernel.size


@pytest.mark.parametrize("parallelism", ["single", "pmap", "mesh"])
def test_seeds_trained_at_once_equal_seeds_trained_alone(parallelism):
    weights = train_three_seeds(parallelism).params["w"]
    for seed in range(3):
        np.testing.assert_allclose(weights[seed], train_alone(seed).params["w"], rtol=0, atol=1e-5)


def test_seeds_side_by_side_equal_seeds_in_turn():
    """An accelerator vmaps over seeds, a CPU maps: the step must be right under both."""
    steps = repeat(jax.vmap(train_step(TASK)))
    states = jax.vmap(partial(init_state, TASK))(jnp.arange(3))
    side_by_side = jax.jit(steps)(states, 20)
    in_turn = train_three_seeds("single")
    np.testing.assert_allclose(side_by_side.params["w"], in_turn.params["w"], rtol=0, atol=1e-6)


def test_what_is_evaluated_is_every_seeds_state_and_the_data():
    def evaluate(state, data):
        return state.seed * data["ten"] + state.step

    data = {"ten": np.full(2, 10)}
    for parallelism, mesh in ONE_OF_EACH:
        placement = parallel.choose(parallelism, mesh)
        state = placement.training_form(placement.init_state(TASK, [3, 4]))
        numbers = placement.compile_evaluation(evaluate, 2, placement.place_data(data))(state)
        assert np.asarray(numbers).tolist() == [[30, 30], [40, 40]]


def test_choice_of_placement():
    assert parallel.choose("auto") == parallel.Pmap(8)  # simulated devices
    assert parallel.choose("auto", "data=2") == parallel.choose("mesh", "data=2")
    assert parallel.choose("single") == parallel.SINGLE
    assert parallel.SINGLE.num_devices == 1
    assert parallel.choose(*ALL_AXES).num_devices == 8
    assert parallel.choose(*ALL_AXES).num_batch_shards == 4
    assert parallel.Pmap(8).num_batch_shards == 8
    kinds = [parallel.choose(parallelism).kind for parallelism in ("single", "pmap", "mesh")]
    assert kinds == ["single", "pmap", "mesh"]
    splitting = [parallel.choose(*placement).splits_parameters for placement in PLACEMENTS]
    assert splitting == [False, True, False, True, True]


@pytest.mark.parametrize(
    ("parallelism", "mesh", "says"),
    [
        ("mesh", "data=9", "asks for 9 devices; there are 8"),
        ("mesh", "data=4,model=4", "asks for 16 devices; there are 8"),
        ("mesh", "rows=2", "the axes are data, fsdp, model"),
        ("pmap", "data=2", "goes with --parallelism=mesh"),
    ],
)
def test_impossible_placements_are_refused(parallelism, mesh, says):
    with pytest.raises(UserError, match=says):
        parallel.choose(parallelism, mesh)


def test_a_batch_that_devices_or_microbatches_do_not_divide_is_refused():
    task = make_task(Config(batch_size=12))
    with pytest.raises(UserError, match="batch_size=12 is not divisible by the 8 devices"):
        parallel.choose("pmap").check_batch(task)
    with pytest.raises(UserError, match="batch_size=12 is not divisible by 5 microbatches; choose a multiple of 5"):
        parallel.SINGLE.check_batch(replace(task, accumulate=5))
    with pytest.raises(UserError, match="by 2 microbatches a device; choose a multiple of 8"):
        parallel.choose(*ALL_AXES).check_batch(replace(task, accumulate=2))
    parallel.choose(*ALL_AXES).check_batch(task)


def test_a_loss_that_needs_the_whole_batch_is_refused_where_devices_split_it():
    def loss(variables, batch, rngs):
        if len(batch["x"]) < 16:
            raise ValueError("rows are carried: train with --parallelism=single")
        return TASK.loss(variables, batch, rngs)

    task = replace(TASK, loss=loss)
    parallel.SINGLE.check_batch(task)
    with pytest.raises(UserError, match="rows are carried"):
        parallel.choose("pmap").check_batch(task)
