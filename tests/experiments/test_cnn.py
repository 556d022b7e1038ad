"""What the experiment about convolutional networks is made of."""

from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.cnn import experiment as cnn
from experiments.cnn import networks as image_networks
from models.cnn import ImageMLP
from training import parallel, run
from training.config import override
from training.experiment import UserError
from training.step import key

ARMS = ("table",)  # the others take longer to compile: see the slow test
SMALL = {
    "num_steps": 2,
    "eval_every": 2,
    "checkpoint_every": 2,
    "num_draws": 2,
    "train_size": 20,
    "test_size": 20,
    "image_size": 9,
}


def small(part, **overrides):
    return override(cnn.Config(), SMALL | {"part": part} | overrides)


def test_networks_side_by_side_are_trained_each_for_itself():
    """Two MLPs, one of permuted images and with its first weights in that order, and a narrower third."""
    config = override(cnn.Config(), SMALL | {"image_size": 4, "batch_size": 8})
    model = ImageMLP(10, (4, 4, 1), hidden=(6,))
    networks = {
        "plain": image_networks.Network(model, width=6, by_adam=False),
        "permuted": image_networks.Network(model, width=6, is_permuted=True, by_adam=False),
        "narrow": image_networks.Network(model, width=2, by_adam=False),
    }
    # The part decides how images are scaled.
    config = replace(config, part="space")
    task = image_networks.side_by_side(config, cnn.view(config), networks, None, optax.sgd(0.1))
    data = task.data
    variables = jax.jit(task.init)(jax.random.key(0))
    order = cnn.view(config).orders[1]
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
    arm_configs = run.select_arms(experiment, config, (*experiment.default_arms, "residual", "airbench"), {})
    tasks = run.make_tasks(experiment, arm_configs, parallel.SINGLE)
    results = run.train(experiment, tasks, arm_configs, tmp_path, parallel.SINGLE, num_seeds=2)
    claims = {claim.id: claim for claim in experiment.claims(results)}
    exact = [claim for id, claim in claims.items() if id[0] in "1234" and len(id) == 2]
    assert len(exact) == 14
    assert all(claim.passed for claim in exact)
    assert {id for id, claim in claims.items() if claim.measured is None} <= {"5b", "6c", "10a", "10b"}
    assert len(experiment.figures(results)) == 12


def test_chunks_are_put_together_in_order():
    x = jnp.arange(7 * 2).reshape(7, 2)
    np.testing.assert_array_equal(image_networks.in_chunks(lambda rows: rows * 2, x), x * 2)
    original, image_networks.CHUNK = image_networks.CHUNK, 3
    try:
        np.testing.assert_array_equal(image_networks.in_chunks(lambda rows: rows * 2, x), x * 2)
    finally:
        image_networks.CHUNK = original


def test_tested_images_are_spread_over_the_whole_test_set():
    arrays = {"test_images": np.arange(10)[:, None], "test_labels": np.repeat([0, 1], 5)}
    found = image_networks.tested(override(cnn.Config(), {"test_size": 4}), arrays)
    np.testing.assert_array_equal(found["test_labels"], [0, 0, 1, 1])
    assert len(image_networks.tested(override(cnn.Config(), {"test_size": 99}), arrays)["test_labels"]) == 10


def test_small_batches_fit_two_devices():
    """One example a device: batch normalisation takes both together."""
    task = run.make_task(cnn.EXPERIMENT, "norms_2", small("norms", batch_size=2))
    parallel.check_batch(parallel.Placement("pmap", 2), task)


def test_seeds_and_draws_have_training_sets_of_their_own():
    task = cnn.task(small("overfitting", num_draws=3, train_size=200))
    init, draw = jax.jit(lambda seed: task.init(key(seed, "init"))["drawn"]["rows"]), jax.jit(task.batch)
    sets = [set(rows.tolist()) for seed in range(3) for rows in np.asarray(init(seed)).T]
    # Chance: 200^2 / 1438 = 28 images in common.
    assert max(len(a & b) for number, a in enumerate(sets) for b in sets[:number]) < 60
    images = np.asarray(task.data["train_images"][np.asarray(init(1))[:, 2]])
    for image in np.asarray(draw(1, 0, task.data)["images"])[:, 2]:  # a batch is of that draw's set
        assert (images == image).all((1, 2, 3)).any()


def test_a_claim_is_judged_on_its_own_data_set_and_width(monkeypatch):
    def judged(dataset, source, width):
        seen = SimpleNamespace(facts={"dataset": source})
        monkeypatch.setattr(cnn, "view", lambda config: seen)
        config = SimpleNamespace(dataset=dataset, airbench_width=width)
        result = SimpleNamespace(config=config, examined={"accuracy": np.array([0.9])})
        claims = cnn.claims({"table": result, "airbench": result})
        return {claim.id: claim.passed for claim in claims if claim.id in ("5b", "10a", "10b") and claim.measured}

    assert judged("cifar10_binary", "cifar10_binary", 16) == {"5b": True, "10a": True}
    assert judged("cifar10", "cifar10_jpeg", 32) == {"5b": True, "10a": True}
    assert judged("cifar10", "cifar10", 64) == {"5b": True, "10b": False}
    assert judged("cifar10", "cifar10_jpeg", 64) == {"5b": True}
    assert judged("digits", "digits", 16) == {}


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
        ({"part": "airbench", "image_size": 8}, "image_size=8 is too small for airbench"),
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
