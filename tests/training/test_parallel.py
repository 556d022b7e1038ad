"""The same step on one device, under pmap, over meshes, in microbatches, and vmapped over seeds."""

import re
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import regression

from models.transformer import scanned
from training import parallel
from training.experiment import UserError
from training.step import init_state, leaves_by_path, repeat, train_step

TASK = regression.task(regression.Config(noise=0.0), optax.sgd(0.1))  # Adam would hide a wrong scale
ALL_AXES = ("mesh", "data=2,fsdp=2,model=2")
PLACEMENTS = [("pmap", ""), ALL_AXES, ("mesh", "data=4"), ("mesh", "fsdp=4"), ("mesh", "model=2")]
QUICK = [*PLACEMENTS[:2], *(pytest.param(*placement, marks=pytest.mark.slow) for placement in PLACEMENTS[2:])]


def trained(task, kind, mesh="", num_seeds=1, steps=20):
    placement = parallel.choose(kind, mesh)
    parallel.check_batch(placement, task)
    state = parallel.place(placement, parallel.initial(placement, task, list(range(num_seeds))))
    run = parallel.train_steps(placement, task, num_seeds)
    if task.batch_on_host:
        for step in range(steps):
            batches = [task.batch(seed, step) for seed in range(num_seeds)]
            batch = jax.tree.map(lambda *x: np.stack(x), *batches) if num_seeds > 1 else batches[0]
            state = run(state, parallel.place_batch(placement, batch, num_seeds))
    else:
        state = run(state, steps)
    return jax.device_get(parallel.gathered(placement, state))


@pytest.fixture(scope="module")
def single():
    return trained(TASK, "single")


@pytest.mark.parametrize(("kind", "mesh"), PLACEMENTS)
def test_masks_that_differ_between_devices_give_the_same_training(single, kind, mesh):
    other = trained(TASK, kind, mesh)
    assert other.step == 20
    np.testing.assert_allclose(other.params["w"], single.params["w"], rtol=0, atol=1e-5)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4), other.sums, single.sums)


@pytest.mark.parametrize(("kind", "mesh"), [("single", ""), *PLACEMENTS[:2]])
def test_uneven_microbatches_give_the_same_training(single, kind, mesh):
    task = replace(TASK, accumulate=2)
    other = trained(task, kind, mesh)
    np.testing.assert_allclose(other.params["w"], single.params["w"], rtol=0, atol=1e-5)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4), other.sums, single.sums)


@pytest.mark.parametrize("num_seeds", [pytest.param(1, marks=pytest.mark.slow), 3])
@pytest.mark.parametrize(("kind", "mesh"), [("single", ""), *PLACEMENTS[:2]])
def test_batches_made_on_the_host_give_the_same_training(kind, mesh, num_seeds):
    on_host = replace(TASK, batch=lambda *at: jax.device_get(TASK.batch(*at)), batch_on_host=True)
    here = trained(on_host, kind, mesh, num_seeds, steps=5)
    there = trained(TASK, "single", "", num_seeds, steps=5)
    np.testing.assert_allclose(here.params["w"], there.params["w"], rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def transformer(tiny):
    """(task, its training on one device) of a Transformer with every kind of parameter."""
    with jax.enable_x64(True):
        _, _, _, tasks = tiny(("two_layer",), d_mlp=32, norm="layernorm", repeats__vocab_size=7, dtype="float64")
        task = replace(tasks["two_layer"], optimizer=optax.adamw(1e-2))
        return task, trained(task, "single")


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "mesh"), QUICK)
def test_the_transformer_trains_alike_however_it_is_split(transformer, kind, mesh):
    task, single = transformer
    with jax.enable_x64(True):
        other = trained(task, kind, mesh)
    assert other.step == 20
    jax.tree.map(partial(np.testing.assert_allclose, rtol=0, atol=1e-9), other.params, single.params)


@pytest.fixture(scope="module")
def in_single_precision(tiny):
    _, _, _, tasks = tiny()
    task = replace(tasks["two_layer"], optimizer=optax.sgd(0.1))
    return task, trained(task, "single")


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "mesh"), PLACEMENTS)
def test_in_single_precision_sgd_differs_by_rounding_alone(in_single_precision, kind, mesh):
    task, single = in_single_precision
    other = trained(task, kind, mesh)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=0, atol=1e-5), other.params, single.params)


@pytest.mark.parametrize(("kind", "mesh"), [("single", ""), *PLACEMENTS[:2]])
def test_every_dispatch_shares_one_compilation_the_last_one_included(kind, mesh, caplog):
    placement = parallel.choose(kind, mesh)
    state = parallel.place(placement, parallel.initial(placement, TASK, [0]))
    run = parallel.train_steps(placement, TASK, 1)
    with jax.log_compiles():
        for count in (1, 4, 16, 3):
            state = run(state, count)
    assert sum("Finished XLA compilation of" in record.getMessage() for record in caplog.records) == 1


def test_a_mesh_splits_what_the_rules_name_and_the_optimisers_copies_of_it(transformer):
    task, _ = transformer
    placement = parallel.choose("mesh", "data=2,fsdp=2,model=2")
    with jax.enable_x64(True):
        state = parallel.initial(placement, task, [0])
    spec = {path: leaf.sharding.spec for path, leaf in leaves_by_path(state)}
    for owner in ("params", "optimizer/0/mu", "optimizer/0/nu"):
        assert tuple(spec[f"{owner}/layer_0/attention/query/kernel"]) == ("fsdp", "model", None)
        assert tuple(spec[f"{owner}/layer_1/mlp_project/kernel"]) == ("model", "fsdp")
    kernel = state.params["layer_0"]["attention"]["query"]["kernel"]
    assert kernel.addressable_data(0).size * 4 == kernel.size
    repeated = jax.eval_shape(lambda params: scanned(task.model, params)[1], state.params)
    paths = [path for params in (state.params, repeated) for path, _ in leaves_by_path(params)]
    for pattern, _ in task.sharding:
        assert any(re.search(pattern, path) for path in paths), pattern


def test_partition_by_rule_by_default_and_where_it_does_not_fit():
    placement = parallel.choose("mesh", "fsdp=2,model=4")
    rules = (("special$", ("model", None)), ("kernel$", ("fsdp", "model")))
    assert parallel.partition(placement, rules, "params/a/kernel", (6, 8)) == ("fsdp", "model")
    assert parallel.partition(placement, rules, "params/a/kernel", (6, 6)) == ("fsdp", None)
    assert parallel.partition(placement, rules, "params/a/kernel", (2, 3, 4)) == (None, None, "fsdp")  # no such rule
    assert parallel.partition(placement, rules, "params/other", (3, 8)) == (None, "fsdp")
    assert parallel.partition(placement, rules, "params/bias", (8,)) == (None,)
    assert parallel.partition(parallel.choose("mesh", "data=8"), rules, "params/a/kernel", (6, 8)) == ()


@pytest.mark.parametrize("kind", ["single", "pmap", "mesh"])
def test_seeds_trained_at_once_equal_seeds_trained_alone(kind):
    together = trained(TASK, kind, num_seeds=3)
    for seed in range(3):
        run = parallel.train_steps(parallel.choose("single"), TASK, 1)
        alone = run(init_state(TASK, seed), 20)
        np.testing.assert_allclose(together.params["w"][seed], alone.params["w"], rtol=0, atol=1e-5)


def test_seeds_side_by_side_equal_seeds_in_turn():
    """An accelerator vmaps over seeds, a CPU maps: the step must be right under both."""
    steps = repeat(jax.vmap(train_step(TASK)))
    states = jax.vmap(partial(init_state, TASK))(jnp.arange(3))
    side_by_side = jax.jit(steps)(states, 20)
    in_turn = trained(TASK, "single", num_seeds=3)
    np.testing.assert_allclose(side_by_side.params["w"], in_turn.params["w"], rtol=0, atol=1e-6)


def test_choice_of_placement():
    assert parallel.choose("auto").kind == "pmap"  # eight simulated devices
    assert parallel.choose("auto", "data=2") == parallel.choose("mesh", "data=2")
    assert parallel.choose("single").num_devices == 1
    assert parallel.choose("mesh", "data=2,fsdp=2,model=2").batch_shards == 4


@pytest.mark.parametrize(
    ("kind", "mesh", "says"),
    [
        ("mesh", "data=9", "asks for 9 devices; there are 8"),
        ("mesh", "data=4,model=4", "asks for 16 devices; there are 8"),
        ("mesh", "rows=2", "the axes are data, fsdp, model"),
        ("mesh", "data=2,data=2", "once each"),
        ("mesh", "data=x", "not of the form"),
        ("pmap", "data=2", "goes with --parallelism=mesh"),
    ],
)
def test_impossible_placements_are_refused(kind, mesh, says):
    with pytest.raises(UserError, match=says):
        parallel.choose(kind, mesh)


def test_a_batch_that_devices_or_microbatches_do_not_divide_is_refused(tiny):
    _, _, _, tasks = tiny(batch_size=12)
    with pytest.raises(UserError, match="batch_size=12 is not divisible by the 8 devices"):
        parallel.check_batch(parallel.choose("pmap"), tasks["two_layer"])
    with pytest.raises(UserError, match="batch_size=12 is not divisible by 5 microbatches"):
        parallel.check_batch(parallel.SINGLE, replace(tasks["two_layer"], accumulate=5))
    parallel.check_batch(parallel.choose("mesh", "data=2,fsdp=2,model=2"), tasks["two_layer"])


def test_a_loss_that_needs_the_whole_batch_is_refused_where_devices_split_it():
    def loss(variables, batch, rngs):
        if len(batch["x"]) < 16:
            raise ValueError("rows are carried: train with --parallelism=single")
        return TASK.loss(variables, batch, rngs)

    task = replace(TASK, loss=loss)
    parallel.check_batch(parallel.SINGLE, task)
    with pytest.raises(UserError, match="rows are carried"):
        parallel.check_batch(parallel.choose("pmap"), task)
