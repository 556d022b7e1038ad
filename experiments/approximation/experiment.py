"""Approximation: what do depth, width and the activation function each give a network, and what do they not?"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import jax.numpy as jnp
import numpy as np

from experiments.approximation.capacity import (
    factorisation_error,
    interpolation_slopes,
    least_squares_error,
    measure_tents,
)
from experiments.approximation.claims import CLAIMS
from experiments.approximation.figures import figures
from experiments.approximation.networks import (
    SMALL_DEEP_STARTED_NEAR,
    linear_networks,
    networks_for_teeth,
    networks_of_activations,
    networks_of_widths,
    params_near_teeth,
    relu_networks,
)
from experiments.approximation.parallel_networks import draw_params, first_layer_changes, predict
from experiments.approximation.targets import (
    TARGETS,
    Points,
    points_in_four_dimensions,
    points_on_interval,
    teeth,
    wave,
)
from models.mlp import MLP
from training.config import setting
from training.experiment import Arm, Experiment, Loss, Task
from training.optimizer import OptimizerConfig, adamw

MOST_FOLDS = 8  # of the composed tent maps whose constructed networks are checked


@dataclass(frozen=True)
class Config:
    num_draws: int = setting(5, "random initialisations of every network, trained at once")
    seed: int = setting(0, "seed of the first run; --num_seeds=N trains seed, seed+1, ...")
    num_steps: int = setting(2000, "training steps")
    batch_size: int = setting(256, "training points, all used in every step")
    eval_every: int = setting(100, "steps between evaluations")
    checkpoint_every: int = setting(1000, "steps between checkpoints")
    # Clipping by the global norm would tie together networks that have nothing to do with each other.
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(learning_rate=0.01, weight_decay=0.0, clip=1e6)
    )


def linear_task(config):
    """Networks without activation functions, and ReLU networks of the same shapes, on a curved plane."""
    linear, points = linear_networks(), points_in_four_dimensions(config.batch_size)

    def measure(variables):
        return {
            "floor": least_squares_error(points.x, points.y),
            "factorisation_error": factorisation_error(linear.values(), points.x.shape[1]),
        }

    return parallel_task(config, linear | relu_networks(), points, measure)


def width_task(config):
    """One hidden layer of each width, on each of TARGETS."""

    def measure(variables):
        return {"interpolation_slopes": interpolation_slopes(TARGETS.values())}

    points = points_on_interval(config.batch_size, TARGETS.values())
    return parallel_task(config, networks_of_widths(), points, measure)


def depth_task(config):
    """One layer and many layers on the composed tent map."""
    points = points_on_interval(config.batch_size, [teeth])
    starts = {SMALL_DEEP_STARTED_NEAR: partial(params_near_teeth, points)}

    def measure(variables):
        return measure_tents(MOST_FOLDS)

    return parallel_task(config, networks_for_teeth(), points, measure, starts)


def activation_task(config):
    """One hidden layer with each of the activation functions, on a wave."""
    points = points_on_interval(config.batch_size, [wave])

    def measure(variables):
        x, y = points.x, points.y
        return {"floors": np.array([least_squares_error(x, y), least_squares_error(np.hstack([x, x**2]), y)])}

    return parallel_task(config, networks_of_activations(), points, measure)


def parallel_task(
    config: Config,
    networks: Mapping[str, MLP],
    points: Points,
    measure: Callable,
    starts: Mapping[str, Callable] = {},
) -> Task:
    """The Task of all networks in one program, each trained on M targets and from N draws of its initial parameters.

    Args:
      measure: see ``Task.measure``.
      starts: {network: normal(shape) -> its initial params} where they are not Gaussian.
    Raises:
      ValueError: no draws.
    """
    if config.num_draws < 1:
        raise ValueError(f"num_draws={config.num_draws} must be at least 1")
    x, y, x_test, y_test = (jnp.asarray(a, jnp.float32) for a in (points.x, points.y, points.x_test, points.y_test))

    def init(key):
        params = draw_params(key, networks, x.shape[1], y.shape[1], config.num_draws, starts)
        return {"params": params, "initial": params}

    def squared_errors(variables, x, y):
        """[networks, M, N, points]"""
        return jnp.square(predict(networks, variables["params"], x) - y.T[:, None])

    def loss(variables, batch, rngs):
        errors = squared_errors(variables, batch["x"], batch["y"])
        return Loss(errors.sum((0, 1, 2)).sum(), jnp.float32(errors.shape[-1]))

    def evaluate(variables):
        errors = squared_errors(variables, x, y)
        return {"loss": (errors.sum(), jnp.float32(errors.size))}

    def probe(variables):
        return {"unexplained": squared_errors(variables, x, y).mean(-1)}

    def examine(variables):
        """Shares of the variance that stay unexplained at the training and test points, and the fitted functions."""
        everywhere = predict(networks, variables["params"], jnp.concatenate([x, x_test, jnp.zeros_like(x[:1])]))
        at_x, at_x_test, at_zero = jnp.split(everywhere, [len(x), len(x) + len(x_test)], axis=-1)
        return {
            "unexplained": jnp.square(at_x - y.T[:, None]).mean(-1),
            "unexplained_in_test": jnp.square(at_x_test - y_test.T[:, None]).mean(-1),
            "at_zero": at_zero[..., 0],
            "predicted": at_x_test[:, :, 0],  # of the first draw
            "first_layer_moved": first_layer_changes(networks, variables["params"], variables["initial"]),
        }

    return Task(
        model=networks,
        init=init,
        batch=lambda seed, step: {"x": x, "y": y},
        loss=loss,
        optimizer=adamw(config.optimizer, config.num_steps),
        evaluate=evaluate,
        probe=probe,
        examine=examine,
        measure=measure,
    )


EXPERIMENT = Experiment(
    question=__doc__,
    config=Config(),
    arms=lambda config: {
        "linear": Arm(linear_task),
        "width": Arm(width_task),
        "depth": Arm(depth_task),
        "activation": Arm(activation_task),
    },
    default_arms=("linear", "width", "depth", "activation"),
    claims=CLAIMS,
    figures=figures,
)
