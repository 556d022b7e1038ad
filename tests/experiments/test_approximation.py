"""What the claims about depth, width and activation functions are made of."""

import jax
import numpy as np
import pytest

import experiments
from experiments.approximation import experiment as approximation
from experiments.approximation import side_by_side, tent
from experiments.approximation.measures import (
    apply,
    count_pieces,
    error_with_one_unit_less,
    interpolation_slopes,
    least_squares_error,
)
from models.mlp import MLP
from training import parallel, run
from training.config import override

SMALL = {"num_steps": 2, "batch_size": 40, "eval_every": 1, "num_draws": 2}


def test_networks_in_numpy_are_those_of_the_model():
    network, x = MLP((4, 3, 2)), np.random.default_rng(1).normal(size=(7, 3))
    params = side_by_side.gaussian_params(network, 3, np.random.default_rng(0).standard_normal)
    expected = jax.eval_shape(network.init, jax.random.key(0), x)["params"]
    assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, expected)
    np.testing.assert_allclose(network.apply({"params": params}, x), apply(params, x), atol=1e-4)


def test_least_squares_is_exact_on_a_plane_and_leaves_a_parabola():
    x = np.linspace(-1, 1, 101)[:, None]
    assert least_squares_error(x, 3 * x - 2) < 1e-20
    assert least_squares_error(x, x**2) == pytest.approx(1.0)
    assert least_squares_error(np.hstack([x, x**2]), x**2 - x) < 1e-20


def test_pieces_are_counted():
    x = np.array([0.0, 0.25, 0.5, 1.0])
    assert count_pieces(x, 2 * x) == 1
    assert count_pieces(x, np.abs(x - 0.25)) == 2
    assert count_pieces(x, tent.composed_tent(x, 1)) == 2


def test_one_unit_less_is_enough_only_with_a_straight_line_added():
    k, x = 2, np.linspace(0, 1, 33)
    y = tent.composed_tent(x, k)
    bends = np.maximum(x[:, None] - np.arange(1, 2**k) / 2**k, 0)
    assert least_squares_error(np.hstack([bends, x[:, None]]), y[:, None]) < 1e-20
    assert error_with_one_unit_less(k) > 0.01


def test_interpolation_errors_follow_their_powers():
    slopes = dict(zip(approximation.TARGETS, interpolation_slopes(approximation.TARGETS.values()), strict=True))
    assert slopes["sine"] == pytest.approx(-2, abs=0.05)
    assert slopes["jump"] == pytest.approx(-0.5, abs=0.05)


def test_the_start_near_the_construction_is_near_it():
    config = override(experiments.load("approximation").config, SMALL | {"part": "depth", "batch_size": 64})
    problem = approximation.depth_problem(config)
    ((name, start),) = problem.start.items()
    for noise, low, high in ((np.zeros, 0.0, 1e-9), (lambda shape: np.full(shape, 1.0), 1e-3, 1.0)):
        params = start(noise)
        error = np.mean(np.square(apply(params, problem.x) - problem.y))
        assert low <= error <= high
        assert set(params) == {f"layer_{number}" for number in range(len(problem.networks[name].widths))}


def test_every_draw_starts_from_weights_of_its_own():
    experiment = experiments.load("approximation")
    config = override(experiment.config, SMALL)
    arm_configs = run.select_arms(experiment, config, ("width",), {})
    task = run.make_tasks(experiment, arm_configs, parallel.Placement("single", 1))["width"]
    kernels = jax.jit(task.init)(jax.random.key(0))["params"]["row"]["kernel"]
    assert kernels.shape == (len(approximation.TARGETS), config.num_draws, 1, sum(approximation.WIDTHS))
    assert len(np.unique(kernels)) == kernels.size


def test_a_jump_is_at_least_half_its_height_away_from_any_value():
    experiment = experiments.load("approximation")
    values = np.array([-3.0, -1.0, 0.0, 1.0])  # in deviations about the mean: 0 lies half-way up

    class Result:
        config = override(experiment.config, {"batch_size": 16})
        examined = {"at_zero": np.zeros((1, 4, 4, 1)) + values[None, :, None, None]}  # noqa: RUF012

    assert approximation.jump_error_at_zero(Result) == pytest.approx(0.5)
    Result.examined = {"at_zero": np.full((1, 4, 4, 1), 2.0)}
    assert approximation.jump_error_at_zero(Result) == pytest.approx(1.5)


def test_networks_side_by_side_are_those_networks():
    networks = {
        "a": MLP((3, 1), activation="sin"),
        "deep": MLP((2, 2, 1)),
        "b": MLP((1, 1), activation="sin"),
        "c": MLP((4, 1), activation="square"),
        "line": MLP((1,)),
    }
    normal = np.random.default_rng(0).standard_normal
    params = {name: side_by_side.gaussian_params(network, 1, normal) for name, network in networks.items()}
    x = np.linspace(-1, 1, 5)[:, None].astype(np.float32)
    found = side_by_side.outputs(networks, side_by_side.pack(params), x)
    assert list(found) == list(networks)
    first = side_by_side.first_layers(networks, side_by_side.pack(params))
    for name, network in networks.items():
        np.testing.assert_allclose(found[name], network.apply({"params": params[name]}, x)[:, 0], atol=1e-5)
        np.testing.assert_allclose(first[name][0], params[name]["layer_0"]["kernel"], rtol=1e-6)
        np.testing.assert_allclose(first[name][1], params[name]["layer_0"]["bias"], rtol=1e-6)


def test_points_that_see_no_teeth_are_refused():
    config = override(experiments.load("approximation").config, {"part": "depth", "batch_size": 16})
    with pytest.raises(ValueError, match="batch_size=16 points are too few"):
        approximation.task(config)


def test_no_draws_are_refused():
    config = override(experiments.load("approximation").config, {"num_draws": 0})
    with pytest.raises(ValueError, match="num_draws=0 must be at least 1"):
        approximation.task(config)
