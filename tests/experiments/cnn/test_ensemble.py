"""Networks side by side: each is trained for itself, on its own draws."""

import jax
import numpy as np
import optax
import pytest

from experiments.cnn.ensemble import Ensemble
from experiments.cnn.experiment import Config
from experiments.cnn.images import load_images
from experiments.cnn.networks import Network, overfitting_networks
from models.cnn import ImageMLP
from training.step import key


def test_networks_side_by_side_are_trained_each_for_itself():
    """Two MLPs, one of permuted images and with its first weights in that order, and a narrower third."""
    images = load_images(Config(image_size=4), digit_channels=1)
    model = ImageMLP(10, (4, 4, 1), hidden=(6,))
    networks = {
        "plain": Network(model, width=6),
        "permuted": Network(model, width=6, is_permuted=True),
        "narrow": Network(model, width=2),
    }
    ensemble = Ensemble(images, networks, batch_size=8, test_size=20)
    task = ensemble.task({"sgd": optax.sgd(0.1)})
    data = task.data
    variables = jax.jit(task.init)(jax.random.key(0))
    order = images.pixel_orders()[1]
    params = variables["params"]["model_0"]["mlp"]
    kernel = params["layer_0"]["kernel"]
    params["layer_0"]["kernel"] = kernel.at[1].set(kernel[0][order])
    batch = jax.jit(task.batch)(0, 0, data)

    @jax.jit
    def gradient(params):
        return jax.grad(lambda p: task.loss(variables | {"params": p}, batch, {"dropout": jax.random.key(0)}).sum)(
            params
        )

    gradients = gradient(variables["params"])["model_0"]["mlp"]
    first, last = gradients["layer_0"]["kernel"], gradients["layer_1"]["kernel"]
    np.testing.assert_allclose(last[0], last[1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(first[0][order], first[1], rtol=1e-4, atol=1e-5)
    assert (last[2, 2:] == 0).all()
    assert (first[2, :, 2:] == 0).all()
    assert (first[0] != 0).any()
    examined = jax.jit(task.examine)(variables, data)
    assert examined["train_accuracy"].shape == (3, 1)
    assert examined["test_accuracy"].shape == (3, 1, 1)
    np.testing.assert_array_equal(examined["test_accuracy"][0], examined["test_accuracy"][1])
    np.testing.assert_array_equal(task.measure(variables)["num_parameters"], [172, 172, 64])


@pytest.fixture(scope="module")
def ensemble_of_subsets():
    """Five networks in three draws, each of its own 200 images."""
    images = load_images(Config(image_size=9), digit_channels=1)
    networks = overfitting_networks(images.shape)
    return Ensemble(images, networks, batch_size=32, test_size=20, num_draws=3, subset_size=200)


def test_seeds_and_draws_have_training_sets_of_their_own(ensemble_of_subsets):
    task = ensemble_of_subsets.task({"adam": optax.adam(0.1), "sgd": optax.sgd(0.1)})
    rows_of = jax.jit(lambda seed: task.init(key(seed, "init"))["drawn"]["rows"])
    sets = [set(rows.tolist()) for seed in range(3) for rows in np.asarray(rows_of(seed)).T]
    # Chance: 200^2 / 1438 = 28 images in common.
    assert max(len(a & b) for number, a in enumerate(sets) for b in sets[:number]) < 60
    images = np.asarray(task.data["train_images"][np.asarray(rows_of(1))[:, 2]])
    batch = jax.jit(task.batch)(1, 0, task.data)
    for image in np.asarray(batch["images"])[:, 2]:  # a batch is of that draw's set
        assert (images == image).all((1, 2, 3)).any()


def test_members_are_networks_by_draws(ensemble_of_subsets):
    settings = ensemble_of_subsets.settings("model_0")
    np.testing.assert_array_equal(settings.draw, [0, 1, 2] * 5)
    np.testing.assert_allclose(settings.dropout_rate, [0.0] * 6 + [0.5] * 3 + [0.0] * 6)
    assert [ensemble_of_subsets.uses(name) for name in ("norm", "max_shift", "is_permuted")] == [True, True, False]
