"""What the experiment about convolutional networks is made of."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments import cnn
from training import parallel, run
from training.config import override
from training.experiment import UserError

ARMS = ("table",)  # the others take longer to compile: see the slow test
SMALL = {
    "num_steps": 2,
    "eval_every": 2,
    "checkpoint_every": 2,
    "num_draws": 2,
    "train_size": 20,
    "test_size": 20,
    "image_size": 8,
}


def small(part, **overrides):
    return override(cnn.Config(), SMALL | {"part": part} | overrides)


def test_networks_side_by_side_are_trained_each_for_itself():
    """Two MLPs, one of permuted images and with its first weights in that order, and a narrower third."""
    config = override(cnn.Config(), SMALL | {"image_size": 4, "batch_size": 8})
    model = cnn.ImageMLP(10, (4, 4, 1), hidden=(6,))
    networks = {
        "plain": cnn.Network(model, width=6, by_adam=False),
        "permuted": cnn.Network(model, width=6, is_permuted=True, by_adam=False),
        "narrow": cnn.Network(model, width=2, by_adam=False),
    }
    # The part decides how images are scaled.
    task = cnn.side_by_side(replace(config, part="space"), networks, None, optax.sgd(0.1))
    data = task.data
    variables = jax.jit(task.init)(jax.random.key(0))
    order = cnn.view(replace(config, part="space")).orders[1]
    params = variables["params"]["model_0"]["mlp"]
    kernel = params["layer_0"]["kernel"]
    params["layer_0"]["kernel"] = kernel.at[1].set(kernel[0][order])
    batch = jax.jit(task.batch)(0, 0, data)

    @jax.jit
    def gradient(params):
        return jax.grad(lambda p: task.loss(variables | {"params": p}, batch, {"dropout": jax.random.key(0)}).sum)(
            params
        )

    found = gradient(variables["params"])["model_0"]["mlp"]
    np.testing.assert_allclose(found["layer_1"]["kernel"][0], found["layer_1"]["kernel"][1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        found["layer_0"]["kernel"][0][order], found["layer_0"]["kernel"][1], rtol=1e-4, atol=1e-5
    )
    assert (found["layer_1"]["kernel"][2, 2:] == 0).all()
    assert (found["layer_0"]["kernel"][2, :, 2:] == 0).all()
    assert (found["layer_0"]["kernel"][0] != 0).any()
    examined = jax.jit(task.examine)(variables, data)
    assert examined["train_accuracy"].shape == (3, 1)
    assert examined["test_accuracy"].shape == (3, 1, 1)
    np.testing.assert_array_equal(examined["test_accuracy"][0], examined["test_accuracy"][1])
    np.testing.assert_array_equal(task.measure(variables)["num_parameters"], [172, 172, 64])


@pytest.mark.slow
def test_all_arms_report(tmp_path):
    experiment = cnn.EXPERIMENT
    config = override(experiment.config, SMALL)
    arm_configs = run.select_arms(experiment, config, (*experiment.default_arms, "airbench"), {})
    tasks = run.make_tasks(experiment, arm_configs, parallel.SINGLE)
    results = run.train(experiment, tasks, arm_configs, tmp_path, parallel.SINGLE, num_seeds=2)
    claims = {claim.id: claim for claim in experiment.claims(results)}
    exact = [claim for id, claim in claims.items() if id[0] in "1234" and len(id) == 2]
    assert len(exact) == 14
    assert all(claim.passed for claim in exact)
    assert {id for id, claim in claims.items() if claim.measured is None} <= {"5b", "6c", "10a"}
    assert len(experiment.figures(results)) == 12


def test_an_optimizer_for_each_member():
    marks = {"a": np.array([True, False])}
    both = cnn.either(optax.sgd(1.0), optax.sgd(0.1), marks)
    params = {"a": {"w": jnp.ones((2, 3))}}
    updates, _ = both.update(params, both.init(params), params)
    np.testing.assert_allclose(updates["a"]["w"], [[-1.0] * 3, [-0.1] * 3])
    only = cnn.either(optax.sgd(1.0), None, {"a": np.array([True, True])})
    np.testing.assert_allclose(only.update(params, only.init(params))[0]["a"]["w"], -1.0)


def test_chunks_are_put_together_in_order():
    x = jnp.arange(7 * 2).reshape(7, 2)
    np.testing.assert_array_equal(cnn.in_chunks(lambda rows: rows * 2, x), x * 2)
    original, cnn.CHUNK = cnn.CHUNK, 3
    try:
        np.testing.assert_array_equal(cnn.in_chunks(lambda rows: rows * 2, x), x * 2)
    finally:
        cnn.CHUNK = original


def test_tested_images_are_spread_over_the_whole_test_set():
    arrays = {"test_images": np.arange(10)[:, None], "test_labels": np.repeat([0, 1], 5)}
    found = cnn.tested(override(cnn.Config(), {"test_size": 4}), arrays)
    np.testing.assert_array_equal(found["test_labels"], [0, 0, 1, 1])
    assert len(cnn.tested(override(cnn.Config(), {"test_size": 99}), arrays)["test_labels"]) == 10


def test_lookahead_ends_on_the_average_and_norms_biases_go_faster():
    params = {"linear": {"kernel": jnp.ones(2)}, "norm": {"bias": jnp.ones(2)}, "whitening": {"bias": jnp.ones(2)}}
    optimizer = cnn.airbench_optimizer(5, 4, bias_steps=0, weight_decay=0.0)
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


def test_a_preset_and_num_steps_by_flag_reach_every_arm():
    given = cnn.arms(override(cnn.Config(), {"num_steps": 7}))
    assert all("num_steps" not in settings for settings in given.values())
    by_default = cnn.arms(override(cnn.Config(), {"dataset": "cifar10"}))
    assert by_default["table"]["num_steps"] == cnn.STEPS["table"][1]
    assert by_default["norms_2"]["num_steps"] * 2 == by_default["norms_128"]["num_steps"] * 128


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ({"part": "norms", "batch_size": 1}, "cannot train on a batch of 1"),
        ({"part": "table", "image_size": 2}, "too small to pool"),
        ({"part": "table", "dataset": "digit"}, "digit is no data set"),
        ({"part": "overfitting", "train_size": 10**6}, "takes 100000 of class"),
        ({"part": "space", "test_size": 0}, "test_size=0 must be at least 1"),
        ({"part": "airbench", "airbench_width": 0}, "airbench_width=0 must be at least 1"),
        ({"part": "filters"}, "part='filters' is not one of"),
    ],
)
def test_settings_that_do_not_fit_are_refused(overrides, says):
    config = override(cnn.Config(), SMALL | overrides)
    with pytest.raises(UserError, match=says):
        run.make_task(cnn.EXPERIMENT, "arm", config)


def test_a_data_set_that_is_not_there_is_refused_with_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(UserError, match="prepare it with"):
        run.make_task(cnn.EXPERIMENT, "table", small("table", dataset="cifar10"))
