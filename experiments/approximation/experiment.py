"""Approximation: what do depth, width and the activation function each give a network, and what do they not?"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from experiments.approximation import figures as approximation
from experiments.approximation import tent
from experiments.approximation.measures import (
    factorisation_error,
    interpolation_slopes,
    least_squares_error,
    measure_tents,
)
from experiments.approximation.side_by_side import first_layers, initial_params, num_parameters, outputs
from models.mlp import MLP
from reporting.claims import judge_all, stated
from training.config import setting
from training.experiment import Experiment, Loss, Task
from training.optimizer import OptimizerConfig, adamw

LINEAR_DEPTHS = (1, 2, 6)  # layers of the networks without activation functions
WIDTHS = (1, 2, 4, 8, 16, 32, 64)  # hidden units of the networks with one hidden layer
FOLDS = 4  # of the composed tent map that networks are trained on
COUNTED_FOLDS = 8  # up to which constructed tents are checked
UNITS = 32  # hidden units of the networks that differ in their activation function

TARGETS = {
    "sine": lambda x: np.sin(2 * np.pi * x),
    "two sines": lambda x: np.sin(2 * np.pi * x) + 0.5 * np.sin(6 * np.pi * x),
    "root": lambda x: np.sqrt(np.abs(x)),
    "jump": lambda x: (x > 0).astype(float),
}
CONTINUOUS = ("sine", "two sines", "root")
REASONS = {
    "identity": "the network is one linear map",
    "step": "its derivative is zero: the first layer gets no gradient, the last fits random steps",
    "square": "one layer of squares is a quadratic polynomial, whatever its width",
    "min": "min(x, x/2): bends, and its slopes are 1 and 1/2",
    "relu": "bends, and half of its units pass a gradient",
    "sigmoid": "smooth and no polynomial",
    "sin": "smooth and no polynomial",
    "constant": "no input reaches the output, which can only be the mean",
}
TRAINABLE = ("min", "relu", "sigmoid", "sin")


@dataclass(frozen=True)
class Config:
    part: str = setting("width", "linear, width, depth or activation: set by the arms")
    num_draws: int = setting(5, "initialisations of every network, trained at once")
    seed: int = setting(0, "of the first of the seeds")
    num_steps: int = setting(2000, "training steps")
    batch_size: int = setting(256, "training points, all used in every step")
    eval_every: int = setting(100, "steps between evaluations")
    checkpoint_every: int = setting(1000, "steps between checkpoints")
    # Clipping by the global norm would tie together networks that have nothing to do with each other.
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(learning_rate=0.01, weight_decay=0.0, clip=1e6)
    )


@dataclass(frozen=True)
class Problem:
    """Networks that are trained on the same points: x [B, D], y [B, M] for M targets, each of variance 1."""

    networks: Mapping[str, MLP]
    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray  # [G, D]
    y_test: np.ndarray
    start: Mapping[str, Callable] = field(default_factory=dict)  # network -> its initial params, where not Gaussian
    measure: Callable = lambda: {}


def one_layer(width, **settings):
    """A network with one hidden layer."""
    return MLP((width, 1), **settings)


def on_interval(config, functions):
    """Training points and a four times denser grid of test points on [-1, 1], and the functions' values at both."""
    x, x_test = (
        np.linspace(-1, 1, n, endpoint=False)[:, None] + 1 / n for n in (config.batch_size, 4 * config.batch_size)
    )
    y, y_test = (np.hstack([f(points) for f in functions]) for points in (x, x_test))
    mean, deviation = y.mean(0), y.std(0)
    if not deviation.all():
        raise ValueError(f"batch_size={config.batch_size} points are too few to tell a target from a constant")
    return (x, (y - mean) / deviation), (x_test, (y_test - mean) / deviation)


def linear_problem(config):
    """Networks without activation functions, and ReLU networks of the same shapes, on a curved target."""
    generator = np.random.default_rng(0)
    x, x_test = generator.normal(size=(2, config.batch_size, 4))

    def target(x):
        return (x.sum(1) + np.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2])[:, None]

    mean, deviation = target(x).mean(), target(x).std()
    linear = [linear_network(depth) for depth in LINEAR_DEPTHS]
    networks = {f"linear {depth}": network for depth, network in zip(LINEAR_DEPTHS, linear, strict=True)}
    networks |= {f"ReLU {depth}": MLP((16,) * (depth - 1) + (1,)) for depth in LINEAR_DEPTHS[1:]}
    y, y_test = ((target(points) - mean) / deviation for points in (x, x_test))

    def measure():
        return {"floor": least_squares_error(x, y), "factorisation_error": factorisation_error(linear, x.shape[1])}

    return Problem(networks, x, y, x_test, y_test, measure=measure)


def linear_network(depth, **settings):
    return MLP((16,) * (depth - 1) + (1,), activation="identity", initialization="lecun", **settings)


def width_problem(config):
    (x, y), (x_test, y_test) = on_interval(config, list(TARGETS.values()))
    networks = {str(width): one_layer(width) for width in WIDTHS}

    def slopes():
        return {"interpolation_slopes": interpolation_slopes(TARGETS.values())}

    return Problem(networks, x, y, x_test, y_test, measure=slopes)


def teeth(x):
    """The composed tent map, moved from [0, 1] to [-1, 1]."""
    return tent.composed_tent((x + 1) / 2, FOLDS)


def depth_problem(config):
    (x, y), (x_test, y_test) = on_interval(config, [teeth])
    deep = 16
    num_parameters = 2 * deep + (FOLDS - 1) * (deep + 1) * deep + deep + 1
    narrow = MLP(tent.deep_widths(FOLDS))
    networks = {
        f"one layer, {2 * FOLDS} units": one_layer(2 * FOLDS),
        f"one layer, {2**FOLDS} units": one_layer(2**FOLDS),
        "one layer, wide": one_layer((num_parameters - 1) // 3),
        "deep, wide": MLP((deep,) * FOLDS + (1,)),
        f"deep, {2 * FOLDS} units": MLP(tent.deep_widths(FOLDS)),
        f"deep, {2 * FOLDS} units, started near": narrow,
    }
    scale, shift = 1 / teeth(x).std(), teeth(x).mean()

    def near(normal):
        params = tent.deep_params(FOLDS, np.float32)
        first, last = params["layer_0"], params[f"layer_{FOLDS}"]
        first["kernel"], first["bias"] = first["kernel"] / 2, first["bias"] + first["kernel"][0] / 2
        last["kernel"], last["bias"] = last["kernel"] * scale, (last["bias"] - shift) * scale
        return jax.tree.map(lambda leaf: leaf * (1 + 0.05 * normal(leaf.shape)), params)

    return Problem(networks, x, y, x_test, y_test, {list(networks)[-1]: near}, partial(measure_tents, COUNTED_FOLDS))


def wave(x):
    """What the networks that differ in their activation function are trained on."""
    return np.sin(np.pi * x) + 0.5 * np.cos(np.pi * x)


def activation_problem(config):
    (x, y), (x_test, y_test) = on_interval(config, [wave])
    networks = {name: one_layer(UNITS, activation=name) for name in REASONS}

    def measure():
        return {"floors": np.array([least_squares_error(x, y), least_squares_error(np.hstack([x, x**2]), y)])}

    return Problem(networks, x, y, x_test, y_test, measure=measure)


PROBLEMS = {
    "linear": linear_problem,
    "width": width_problem,
    "depth": depth_problem,
    "activation": activation_problem,
}


def arms(config):
    return {part: {"part": part} for part in PROBLEMS}


def task(config):
    """All networks of an arm, for M targets and from N initialisations, trained side by side in one program."""
    if config.num_draws < 1:
        raise ValueError(f"num_draws={config.num_draws} must be at least 1")
    problem = PROBLEMS[config.part](config)
    x, y, x_test, y_test = (jnp.asarray(a, jnp.float32) for a in (problem.x, problem.y, problem.x_test, problem.y_test))

    draw = partial(initial_params, problem.networks, x.shape[1], own=problem.start)

    def init(rng):
        shape = (y.shape[1], config.num_draws, num_parameters(problem.networks, x.shape[1]))
        # One draw for all: XLA's CPU compiler takes long over each.
        params = jax.vmap(jax.vmap(draw))(jax.random.normal(rng, (math.prod(shape),)).reshape(shape))
        return {"params": params, "initial": params}

    def predict(params, x):
        """[networks, M, N, B]"""

        def one(p):
            return jnp.stack(list(outputs(problem.networks, p, x).values()))

        return jnp.moveaxis(jax.vmap(jax.vmap(one))(params), 2, 0)

    def squares(variables, x, y):
        return jnp.square(predict(variables["params"], x) - y.T[:, None])

    def loss(variables, batch, rngs):
        losses = squares(variables, batch["x"], batch["y"])
        return Loss(losses.sum((0, 1, 2)).sum(), jnp.float32(losses.shape[-1]))

    def evaluate(variables):
        losses = squares(variables, x, y)
        return {"loss": (losses.sum(), jnp.float32(losses.size))}

    def probe(variables):
        return {"unexplained": squares(variables, x, y).mean(-1)}

    def examine(variables):
        """Shares of the variance that stay unexplained at the training and test points, and the fitted functions."""
        everywhere = predict(variables["params"], jnp.concatenate([x, x_test, jnp.zeros_like(x[:1])]))
        at_x, predicted = everywhere[..., : len(x)], everywhere[..., len(x) : -1]
        now, before = (first_layers(problem.networks, variables[which]) for which in ("params", "initial"))
        moved = [
            jnp.max(jnp.stack([jnp.abs(a - b).max() for a, b in zip(now[name], before[name], strict=True)]))
            for name in problem.networks
        ]
        return {
            "unexplained": jnp.square(at_x - y.T[:, None]).mean(-1),
            "unexplained_in_test": jnp.square(predicted - y_test.T[:, None]).mean(-1),
            "at_zero": everywhere[..., -1],
            "predicted": jnp.moveaxis(predicted, 2, 0)[0],  # of the first draw
            "first_layer_moved": jnp.stack(moved),
        }

    return Task(
        model=problem.networks,
        init=init,
        batch=lambda seed, step: {"x": x, "y": y},
        loss=loss,
        optimizer=adamw(config.optimizer, config.num_steps),
        evaluate=evaluate,
        probe=probe,
        examine=examine,
        measure=lambda variables: problem.measure(),
    )


# --- Claims. All thresholds were written down before the first run.

EXACT = 1e-10  # rounding in float64


def unexplained(name, reduce=np.min, where="unexplained"):
    """Measures the share of variance [S] that a network leaves unexplained, the best of its draws by default."""

    def measure(result):
        return reduce(result.examined[where][:, list(result.model).index(name), 0], axis=-1)

    return measure


def over_least_squares(result, kind, reduce):
    """The unexplained variance [S] of networks of a kind over that of least squares, reduced over depths and draws."""
    chosen = [i for i, name in enumerate(result.model) if name.startswith(kind)]
    return reduce(result.examined["unexplained"][:, chosen, 0] / result.examined["floor"][:, None, None], axis=(1, 2))


def relative_rmse(result, target):
    """[S, W]: the best draw's error on the test grid, as a root mean square over the target's deviation."""
    errors = result.examined["unexplained_in_test"][:, :, list(TARGETS).index(target)]
    return np.sqrt(errors.min(-1))


def slope_in_width(target):
    """Measures the slope [S] of log error against log width: error ~ width^slope."""

    def measure(result):
        return np.polyfit(np.log(WIDTHS), np.log(relative_rmse(result, target)).T, 1)[0]

    return measure


def interpolation_slope(target):
    return lambda result: result.examined["interpolation_slopes"][:, list(TARGETS).index(target)]


def rank_correlation(result):
    """Spearman's correlation [S] of error and width, the greatest over targets: -1 where every doubling helps."""
    ranks = np.arange(len(WIDTHS))
    found = [
        [np.corrcoef(np.argsort(np.argsort(errors)), ranks)[0, 1] for errors in relative_rmse(result, target)]
        for target in TARGETS
    ]
    return np.max(found, axis=0)


def jump_error_at_zero(result):
    """The least uniform error [S] of a continuous function to the jump, max(|f(0)|, |f(0) - 1|), over all networks."""
    points = (np.arange(result.config.batch_size) * 2 + 1) / result.config.batch_size - 1
    jump = TARGETS["jump"](points)
    f_0 = result.examined["at_zero"][:, :, list(TARGETS).index("jump")] * jump.std() + jump.mean()
    return np.maximum(np.abs(f_0), np.abs(f_0 - 1)).min((1, 2))


def narrow_jump_gain(result):
    errors = relative_rmse(result, "jump")
    return errors[:, -1] / errors[:, 0]


def over_floor(name, floor, reduce):
    """Measures a network's unexplained variance [S] over what linear or quadratic least squares leaves."""
    return lambda result: (
        unexplained(name, reduce)(result) / result.examined["floors"][:, ("linear", "quadratic").index(floor)]
    )


def worst_trainable(result):
    return np.max([unexplained(name, np.mean)(result) for name in TRAINABLE], axis=0)


def first_layer_moved(names, reduce):
    return lambda result: reduce(
        result.examined["first_layer_moved"][:, [list(result.model).index(name) for name in names]], axis=1
    )


def examined(name):
    return lambda result: result.examined[name]


def pieces_over_power(reduce):
    return lambda result: reduce(result.examined["pieces"] / 2.0 ** np.arange(1, COUNTED_FOLDS + 1), axis=1)


def deep_over_shallow(result):
    return unexplained("deep, wide")(result) / unexplained("one layer, wide")(result)


# A claim in a line or two: the statement, then the measure and its bounds.
# fmt: off
STATED = [
    stated("linear", "1a", "a deep linear network is one affine map, the product of its layers: error in float64",
        examined("factorisation_error"), at_most=EXACT),
    stated("linear", "1b", "trained, it does as well as least squares at every depth: largest ratio of errors",
        lambda result: over_least_squares(result, "linear", np.max), at_most=1.001),
    stated("linear", "1c", "and never better (depth alone gives no power): smallest ratio of errors",
        lambda result: over_least_squares(result, "linear", np.min), at_least=0.9999),
    stated("linear", "1d", "with ReLUs between the same layers it does: largest ratio of errors",
        lambda result: over_least_squares(result, "ReLU", np.max), at_most=0.5),
    stated("width", "2a",
        "one hidden layer approximates better with width: greatest rank correlation of error and width, four targets",
        rank_correlation, at_most=-0.9),
    *(stated("width", f"2{letter}",
        f"target {target}: slope of log error against log width, at least as steep as Barron's -1/2",
        slope_in_width(target), at_most=-0.5)
      for letter, target in zip("bcd", CONTINUOUS, strict=True)),
    stated("width", "2e", "a jump is approached on average: error of the widest network over that of the narrowest",
        narrow_jump_gain, at_most=0.5),
    stated("width", "2f", "but never uniformly: least uniform error over all widths and draws, in heights of the jump",
        jump_error_at_zero, at_least=0.5),
    stated("width", "2g",
        "two sines by hand-set units, 64 to 512 (stated after 2c had failed): slope of log error against log width",
        interpolation_slope("two sines"), at_least=-2.1, at_most=-1.9),
    stated("width", "2h", "the jump by hand-set units (likewise): slope of log error against log width",
        interpolation_slope("jump"), at_least=-0.6, at_most=-0.4),
    stated("depth", "3a", "2k ReLUs in k layers compute the k-fold tent, k = 1 ... 8: error in float64",
        examined("deep_error"), at_most=EXACT),
    stated("depth", "3b", "which has 2^k linear pieces: least ratio of the number counted to 2^k",
        pieces_over_power(np.min), at_least=1.0),
    stated("depth", "3c", "and no more: greatest ratio of the number counted to 2^k",
        pieces_over_power(np.max), at_most=1.0),
    stated("depth", "3d", "one layer of W ReLUs has at most W + 1 pieces: greatest ratio in random networks",
        examined("pieces_over_bound"), at_most=1.0),
    stated("depth", "3e", "2^k ReLUs in one layer compute the k-fold tent, too: error in float64",
        examined("shallow_error"), at_most=EXACT),
    stated("depth", "3f", "2^k - 1 do not, though they have bends enough: least RMSE, k = 1, 2, 3",
        examined("error_with_one_unit_less"), at_least=1e-3),
    stated("depth", "3g", "trained on the 4-fold tent with equal parameters: unexplained variance, deep over one layer",
        deep_over_shallow, below=1.0),
    stated("depth", "3h",
        "2k ReLUs in k layers, trained from random weights, do not find it: unexplained variance, best draw",
        unexplained(f"deep, {2 * FOLDS} units"), at_least=0.1),
    stated("depth", "3i", "started within 5 % of the construction they do: unexplained variance, best draw",
        unexplained(f"deep, {2 * FOLDS} units, started near"), at_most=0.01),
    stated("activation", "4a", "identity: a straight line, error over that of linear least squares, best draw",
        over_floor("identity", "linear", np.min), at_least=0.9999, at_most=1.001),
    stated("activation", "4b", "square: a parabola, error over that of quadratic least squares, best draw",
        over_floor("square", "quadratic", np.min), at_least=0.9999, at_most=1.001),
    stated("activation", "4c", "constant: the mean, unexplained variance, best draw",
        unexplained("constant"), at_least=0.9999, at_most=1.001),
    stated("activation", "4d", "step, constant: the first layer never moves, largest change of a weight",
        first_layer_moved(("step", "constant"), np.max), at_most=0.0),
    stated("activation", "4e",
        "min(x, x/2), ReLU, sigmoid, sin: the first layer moves, least over them of the largest change",
        first_layer_moved(TRAINABLE, np.min), above=0.0),
    stated("activation", "4f", "and they fit: unexplained variance of the worst of the four, mean over draws",
        worst_trainable, at_most=0.02),
    stated("activation", "4g",
        "step: what random steps leave to a trained last layer: unexplained variance, mean over draws",
        unexplained("step", np.mean)),
]
# fmt: on


def claims(results):
    return judge_all(STATED, results)


# --- Figures. Fitted functions are those of the first seed and the first draw.


def figures(results):
    found = []
    if "width" in results:
        result = results["width"]
        found.append(approximation.error_against_width(WIDTHS, {t: relative_rmse(result, t) for t in TARGETS}))
        _, (x_test, y_test) = on_interval(result.config, list(TARGETS.values()))
        targets = dict(zip(TARGETS, y_test.T, strict=True))
        predicted = dict(zip(WIDTHS, result.examined["predicted"][0], strict=True))
        found.append(approximation.fits(x_test[:, 0], targets, predicted))
    if "depth" in results:
        found.append(approximation.pieces_against_units())
        found.append(approximation.training_curves(results["depth"], "The tent with 8 teeth, trained"))
    if "activation" in results:
        result = results["activation"]
        _, (x_test, y_test) = on_interval(result.config, [wave])
        predicted = dict(zip(REASONS, result.examined["predicted"][0, :, 0], strict=True))
        found.append(approximation.fits_by_activation(x_test[:, 0], y_test[:, 0], predicted, TRAINABLE, UNITS))
        left = {name: float(unexplained(name, np.mean)(result).mean()) for name in REASONS}
        moved = {name: float(first_layer_moved([name], np.max)(result).mean()) for name in REASONS}
        found.append(approximation.activation_table(REASONS, left, moved))
    if "linear" in results:
        title = "Depth without activation functions"
        floor = {"least squares": results["linear"].examined["floor"][0]}
        found.append(approximation.training_curves(results["linear"], title, floor))
    return found


EXPERIMENT = Experiment(
    question=__doc__,
    config=Config(),
    arms=arms,
    default_arms=tuple(PROBLEMS),
    task=task,
    claims=claims,
    figures=figures,
)
