"""What the arms train: targets, networks and where they start. Also the tests of targets.py and networks.py.

Small runs in test_every_experiment.py draw figures.py and judge claims.py.
"""

import jax
import numpy as np
import pytest

from experiments.approximation import experiment as approximation
from experiments.approximation import networks, targets
from experiments.approximation.capacity import mlp_outputs
from training.config import override

SMALL = {"num_steps": 2, "batch_size": 40, "eval_every": 1, "num_draws": 2}


def test_targets_have_mean_0_and_variance_1_at_the_training_points():
    points = targets.points_on_interval(40, targets.TARGETS.values())
    assert points.x_test.shape == (160, 1)
    np.testing.assert_allclose(points.y.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(points.y.var(0), 1)
    jump = points.y_test[:, list(targets.TARGETS).index("jump")]
    np.testing.assert_allclose(jump, np.where(points.x_test[:, 0] > 0, 1, -1))


def test_the_wide_networks_for_teeth_have_nearly_as_many_parameters():
    one, deep = (
        sum(size * (rows + 1) for rows, size in zip((1, *network.widths), network.widths, strict=False))
        for network in map(networks.networks_for_teeth().get, (networks.WIDE_LAYER, networks.WIDE_DEEP))
    )
    assert 0 <= deep - one < 3  # a hidden unit more has three parameters


@pytest.mark.parametrize(("noise", "least", "most"), [(np.zeros, 0.0, 1e-9), (np.ones, 1e-3, 1.0)])
def test_the_start_near_the_construction_is_near_it(noise, least, most):
    points = targets.points_on_interval(64, [targets.teeth])
    params = networks.params_near_teeth(points, noise)
    assert least <= np.mean(np.square(mlp_outputs(params, points.x) - points.y)) <= most
    network = networks.networks_for_teeth()[networks.SMALL_DEEP_STARTED_NEAR]
    assert set(params) == {f"layer_{number}" for number in range(len(network.widths))}


def test_every_draw_starts_from_weights_of_its_own():
    config = override(approximation.EXPERIMENT.config, SMALL)
    kernels = jax.jit(approximation.width_task(config).init)(jax.random.key(0))["params"]["row"]["kernel"]
    assert kernels.shape == (len(targets.TARGETS), config.num_draws, 1, sum(networks.WIDTHS))
    assert len(np.unique(kernels)) == kernels.size


def test_points_that_see_no_teeth_are_refused():
    config = override(approximation.EXPERIMENT.config, {"batch_size": 16})
    with pytest.raises(ValueError, match="batch_size=16 points are too few"):
        approximation.depth_task(config)


def test_no_draws_are_refused():
    config = override(approximation.EXPERIMENT.config, {"num_draws": 0})
    with pytest.raises(ValueError, match="num_draws=0 must be at least 1"):
        approximation.width_task(config)
