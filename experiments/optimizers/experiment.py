"""Optimisers: what do SGD's flags, momentum, Adam, Xavier and dropout really do, and why search at random?"""

import time
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.optimizers import figures as optimizers
from experiments.optimizers.measures import (
    METHODS,
    adam_steps,
    convergence,
    dropout_moments,
    explained,
    recorded_errors,
    trajectory,
    variance_ratios,
)
from reporting.claims import by_id, judge_all, stated
from training import sweep
from training.config import override, setting
from training.experiment import Experiment, Loss, Task
from training.optimizer import SGDConfig, buffered, sgd
from training.step import init_state, key, repeat, train_step, variables

TORCH = Path(__file__).with_name("torch_sgd.npz")  # recorded by tests/fixtures/make_torch_sgd.py

# --- What the claims hold the measurements against: from the statements themselves, before any run.

LIKE_TORCH = 1e-6  # in parameters of order one, over 100 steps
EXACT = 1e-12  # rounding in float64
APART = 1e-3  # far more than LIKE_TORCH
RATE_ERROR = 0.02  # of the logarithm of a rate: at a double root t rate^t falls that much slower over the fit
SAMPLING_ERROR = 0.05
FASTER = 5.0


@dataclass(frozen=True)
class SearchConfig:
    num_trials: int = setting(256, "of the random search, and at most as many of the grid search")
    small_trials: int = setting(16, "of each small grid; a square number")
    num_one_by_one: int = setting(16, "trials that are timed one after another in a program that is compiled once")
    num_compiled: int = setting(2, "trials that are timed one after another, each compiled for itself")


@dataclass(frozen=True)
class Config:
    topic: str = setting("search", "what is measured: sgd, quadratics, adam, xavier, dropout or search")
    dimension: int = setting(20, "of the convex quadratics")
    quadratic_steps: int = setting(4000, "on the convex quadratics")
    adam_steps: int = setting(3000, "of Adam on gradients that are given")
    dropout_masks: int = setting(20000, "that expectations under dropout are taken over")
    hidden: int = setting(16, "units of the network that is searched for")
    search: SearchConfig = field(default_factory=SearchConfig)
    seed: int = setting(0, "of the first of the seeds")
    num_steps: int = setting(200, "training steps of a trial")
    batch_size: int = setting(16, "rows a step")
    eval_every: int = setting(50, "steps between evaluations")
    checkpoint_every: int = setting(200, "steps between checkpoints")
    optimizer: SGDConfig = field(default_factory=lambda: SGDConfig(learning_rate=0.02, momentum=0.9))


def arms(config):
    """One arm a topic."""
    return {topic: {"topic": topic} for topic in TOPICS}


def task(config):
    if config.topic not in TOPICS:
        raise ValueError(f"topic={config.topic!r} is not one of {', '.join(TOPICS)}")
    return TOPICS[config.topic](config)


# --- sgd: PyTorch's semantics, and two misreadings of them.


def misread_dampening(config):
    """SGD as if dampening scaled the old momentum: b = (1 - dampening) momentum b + g."""
    return optax.chain(
        optax.scale(-1.0) if config.maximize else optax.identity(),
        optax.add_decayed_weights(config.weight_decay),
        buffered((1.0 - config.dampening) * config.momentum),
        optax.scale_by_learning_rate(config.learning_rate),
    )


def misread_maximize(config):
    """SGD as if maximize only flipped the last sign."""
    return optax.chain(sgd(replace(config, maximize=False)), optax.scale(-1.0 if config.maximize else 1.0))


def sgd_task(config):
    recorded = dict(np.load(TORCH))
    matrix, offset = recorded["matrix"], recorded["offset"]

    def init(key):
        return {"params": {"start": jnp.asarray(recorded["start_P"], jnp.float32)}}

    def evaluate(variables):
        error = matrix @ variables["params"]["start"] - offset
        return {"loss": (jnp.sum(jnp.logaddexp(error, -error) - jnp.log(2.0)), jnp.float32(1.0))}

    return Task(model=None, init=init, evaluate=evaluate, measure=lambda variables: against_torch())


@cache
def against_torch():
    """What the claims about SGD's flags are made of; no seed is in it."""
    recorded = dict(np.load(TORCH))

    def errors(make):
        """The largest difference [C] from PyTorch's parameters."""

        def optimizer(rates, nesterov, maximize):
            return make(SGDConfig(recorded["learning_rate"], *rates, nesterov=nesterov, maximize=maximize))

        return recorded_errors(recorded, optimizer)

    with jax.enable_x64(True):
        ours_C, dampened_C, flipped_C = errors(sgd), errors(misread_dampening), errors(misread_maximize)
        still = partial(trajectory, gradient=lambda x, _: jnp.zeros_like(x), start_P=jnp.ones(1), num_steps=100)
        ascent = SGDConfig(0.1, weight_decay=0.05, maximize=True)
        decaying, growing = (np.asarray(still(make(ascent))[:, 0]) for make in (sgd, misread_maximize))
    momentum, dampening, decay, _, maximize = recorded["flags_C5"].T > 0
    powers = np.arange(101)
    decay_error = max(np.abs(decaying - 0.995**powers).max(), np.abs(growing - 1.005**powers).max())
    return {
        "torch_error": ours_C.max(),
        "torch_error_dampened": ours_C[momentum & dampening].max(),
        "misread_dampening_error": dampened_C[momentum & dampening].min(),
        "flipped_error_without_decay": flipped_C[maximize & ~decay].max(),
        "flipped_error_with_decay": flipped_C[maximize & decay].min(),
        "decay_error": decay_error,
        "decaying": decaying,
        "growing": growing,
    }


# --- quadratics: rates of convergence.

CONDITIONS = (10.0, 100.0, 1000.0)
SHOWN = 1  # the index of the condition number that the figure shows


def quadratics_task(config):
    D = config.dimension
    if D < 2 or config.quadratic_steps < 100:
        raise ValueError("dimension must be at least 2 and quadratic_steps at least 100")

    def init(key):
        start_key, basis_key = jax.random.split(key)
        basis = jax.random.normal(basis_key, (D * D,)).reshape(D, D)
        return {"params": {"start": jax.random.normal(start_key, (D,)), "basis": basis}}

    def evaluate(variables):
        return {"loss": (jnp.sum(variables["params"]["start"] ** 2) / 2, jnp.float32(1.0))}

    def measure(variables):
        basis, _ = np.linalg.qr(np.asarray(variables["params"]["basis"], float))
        start = np.asarray(variables["params"]["start"], float)

        def make(rate, momentum, nesterov):
            return sgd(SGDConfig(rate, momentum, nesterov=nesterov))

        return convergence(make, basis, start, CONDITIONS, config.quadratic_steps, SHOWN)

    return Task(model=None, init=init, evaluate=evaluate, measure=measure)


# --- adam: what its two running means do.


def adam_task(config):
    T, G = config.adam_steps, 64
    if T < 100:
        raise ValueError(f"adam_steps={T} must be at least 100: the running means need time to settle")

    def init(key):
        return {"params": {"noise": jax.random.normal(key, (T * G,)).reshape(T, G)}}

    def evaluate(variables):
        return {"noise_power": (jnp.sum(variables["params"]["noise"] ** 2), jnp.float32(T * G))}

    def measure(variables):
        scales_G = np.geomspace(1e-2, 1e2, G)
        return adam_steps(np.asarray(variables["params"]["noise"], float), scales_G) | {"scale": scales_G}

    return Task(model=None, init=init, evaluate=evaluate, measure=measure)


# --- xavier: what the initialisation keeps.

LAYERS = ((784, 10), (50, 1000), (300, 300))


def layer_name(fan_in, fan_out):
    return f"{fan_in}_to_{fan_out}"


def xavier_task(config):
    def init(key):
        draw = nn.initializers.xavier_uniform()
        keys = jax.random.split(key, len(LAYERS))
        return {"params": {layer_name(*shape): draw(k, shape) for k, shape in zip(keys, LAYERS, strict=True)}}

    def evaluate(variables):
        leaves = jax.tree.leaves(variables["params"])
        return {"weight_variance": (sum(jnp.sum(w**2) for w in leaves), jnp.float32(sum(w.size for w in leaves)))}

    def examine(variables):
        found = {}
        for shape in LAYERS:
            name = layer_name(*shape)
            measured = variance_ratios(variables["params"][name], key(0, f"xavier {name}"), num_rows=2000)
            found |= {f"{what}/{name}": x for what, x in measured.items()}
        return found

    return Task(model=None, init=init, evaluate=evaluate, examine=examine)


# --- dropout: what gamma = 1 / (1 - p) keeps.

DROPPED = (0.1, 0.3, 0.5, 0.8)


def dropout_task(config):
    def init(key):
        input_key, mask_key = jax.random.split(key)
        drawn = {"key": jax.random.key_data(mask_key)}
        return {"params": {"inputs": jax.random.normal(input_key, (64,))}, "drawn": drawn}

    def evaluate(variables):
        return {"input_power": (jnp.sum(variables["params"]["inputs"] ** 2), jnp.float32(64))}

    def examine(variables):
        mask_key = jax.random.wrap_key_data(variables["drawn"]["key"])
        return dropout_moments(variables["params"]["inputs"], mask_key, DROPPED, config.dropout_masks)

    return Task(model=None, init=init, evaluate=evaluate, examine=examine)


# --- search: trials at once, random against grid.

RELEVANT, IRRELEVANT = "optimizer.learning_rate", "optimizer.weight_decay"
AXES = {RELEVANT: sweep.Axis("log", (1e-4, 10.0)), IRRELEVANT: sweep.Axis("log", (1e-9, 1e-6))}


def network_task(config):
    """Least squares with a small tanh network on 256 fixed rows: what a trial of the search trains."""
    if config.hidden < 1:
        raise ValueError(f"hidden={config.hidden} must be at least 1")
    x_N2 = jax.random.uniform(key(0, "rows"), (1024,), minval=-1.0).reshape(512, 2)
    y_N = jnp.sin(3.0 * x_N2[:, 0]) * x_N2[:, 1]

    def error(variables, rows):
        p = variables["params"]
        return jnp.tanh(x_N2[rows] @ p["in"] + p["bias"]) @ p["out"] - y_N[rows]

    def init(key):
        in_key, out_key = jax.random.split(key)
        H = config.hidden
        out = jax.random.normal(out_key, (H,)) / jnp.sqrt(H)
        return {"params": {"in": jax.random.normal(in_key, (2 * H,)).reshape(2, H), "bias": jnp.zeros(H), "out": out}}

    def loss(variables, rows, rngs):
        e = error(variables, rows)
        return Loss(jnp.sum(e**2), jnp.float32(e.size))

    return Task(
        model=None,
        init=init,
        batch=lambda seed, step: jax.random.randint(key(seed, "batch", step), (config.batch_size,), 0, 256),
        loss=loss,
        optimizer=sgd(config.optimizer),
        evaluate=lambda v: {"loss": (jnp.sum(error(v, jnp.arange(256, 512)) ** 2), jnp.float32(256))},
    )


def search_task(config):
    s = config.search
    side = int(np.sqrt(s.small_trials))
    if side**2 != s.small_trials or s.num_trials < s.small_trials or min(s.num_one_by_one, s.num_compiled) < 1:
        raise ValueError("search.small_trials must be a square number, at most search.num_trials; the others positive")
    return replace(network_task(config), init=with_seed_drawn(network_task(config).init), measure=measure_of(config))


def with_seed_drawn(init):
    """The same parameters, and a number for ``measure``, which knows the variables and not the seed."""

    def init_and_draw(key):
        return {**init(key), "drawn": {"seed": jax.random.randint(key, (), 0, 2**30)}}

    return init_and_draw


def measure_of(config):
    def measure(variables):
        return search(config, int(variables["drawn"]["seed"]))

    return measure


def shifted_grids(config, generator):
    """{path: [num_grids, small_trials]} of grids of cell size 1/side, each shifted at random within its first cell."""
    side = int(np.sqrt(config.search.small_trials))
    num_grids = max(config.search.num_trials // config.search.small_trials, 1)
    shift_G2 = generator.random((num_grids, 2))
    fractions = (np.stack(np.meshgrid(*[np.arange(side)] * 2, indexing="ij"), -1).reshape(-1, 2)) / side
    points_GN2 = fractions + shift_G2[:, None] / side
    return {path: axis.at(points_GN2[..., i]) for i, (path, axis) in enumerate(AXES.items())}


def search(config, seed):
    """Random and grid searches over AXES, all trials at once, and how long the same takes one after another."""
    s, generator = config.search, np.random.default_rng(seed)
    run = sweep.program(network_task, config, AXES, config.num_steps)

    def trials(values):
        values = sweep.check(config, values)
        return sweep.collect(values, jax.device_get(run(values, np.full(len(values[RELEVANT]), seed, np.int32))))

    def seconds(function, times=1):
        """The least time of several, which other programs on the machine disturbed least, and the last result."""
        taken = []
        for _ in range(times):
            began = time.perf_counter()
            result = function()
            taken.append(time.perf_counter() - began)
        return min(taken), result

    randoms = sweep.sample(AXES, s.num_trials, seed)
    cold, random = seconds(lambda: trials(randoms))
    warm, _ = seconds(lambda: trials(randoms), times=5)
    calm = randoms | {RELEVANT: np.where(random.diverged, 1e-3, randoms[RELEVANT])}
    neighbours = np.abs(trials(calm).final["loss"] - random.final["loss"])[~random.diverged]

    single = [{path: x[n : n + 1] for path, x in randoms.items()} for n in range(min(s.num_one_by_one, s.num_trials))]
    trials(single[0])  # compiles
    warm_single, alone = seconds(lambda: [trials(values).final["loss"][0] for values in single], times=5)
    cold_single, _ = seconds(lambda: [one_run(config, values, seed) for values in single[: s.num_compiled]])
    difference = np.abs(np.array(alone) / random.final["loss"][: len(alone)] - 1)
    with jax.enable_x64(True):
        exact_together, exact_alone = (exactly(config, randoms, seed, at_once) for at_once in (len(single), 1))

    grid_values = sweep.sample(AXES, s.num_trials, method="grid")
    grid = trials(grid_values)
    shifted = shifted_grids(config, generator)
    small_GN = trials({path: x.ravel() for path, x in shifted.items()}).final["loss"].reshape(-1, s.small_trials)
    worst = np.nanmax(np.concatenate([random.final["loss"], small_GN.ravel()]))
    small_GN, random_N = (np.nan_to_num(x, nan=worst) for x in (small_GN, random.final["loss"]))
    top = np.sort(random_N)[max(int(np.ceil(0.05 * len(random_N))) - 1, 0)]
    resampled = random_N[generator.integers(len(random_N), size=(20000, 60))]
    return {
        "trials_a_second": np.array([s.num_trials / warm, len(single) / warm_single]),
        "trials_a_second_compiled": np.array([s.num_trials / cold, s.num_compiled / cold_single]),
        "largest_difference": np.nanmax(difference, initial=0.0),
        "largest_difference_float64": np.nanmax(np.abs(exact_together / exact_alone - 1), initial=0.0),
        "neighbours_change": neighbours.max(initial=0.0),
        "diverged_share": random.diverged.mean(),
        "grid_lag": small_GN.min(1).mean() - sweep.best_so_far(random_N)[s.small_trials - 1],
        "explained": np.array([explained(randoms[path], random_N) for path in AXES]),
        "found_top": (resampled.min(1) <= top).mean(),
        "random_loss": random.final["loss"],
        "grid_loss": grid.final["loss"],
        "random_values": np.array([randoms[path] for path in AXES]),
    }


def exactly(config, values, seed, at_once):
    """Final losses of the first trials in the precision at hand, ``at_once`` of them side by side."""
    first = {path: x[: config.search.num_one_by_one] for path, x in values.items()}
    run = sweep.program(network_task, config, AXES, config.num_steps, at_once)
    found = jax.device_get(run(first, np.full(len(first[RELEVANT]), seed, np.int32)))
    return sweep.collect(first, found).final["loss"]


def one_run(config, values, seed):
    """A trial compiled and trained for itself, with plain numbers in its config, as a loop over runs would."""
    task = network_task(override(config, {path: float(x[0]) for path, x in values.items()}))
    state = jax.jit(repeat(train_step(task)))(jax.jit(partial(init_state, task))(seed), config.num_steps)
    total, weight = jax.jit(task.evaluate)(variables(state))["loss"]
    return float(total / weight)


TOPICS = {
    "sgd": sgd_task,
    "quadratics": quadratics_task,
    "adam": adam_task,
    "xavier": xavier_task,
    "dropout": dropout_task,
    "search": search_task,
}


# --- Claims.


def examined(name, *index):
    return lambda result: result.examined[name][(slice(None), *index)]


def ratio(name):
    """The first of two measured rates over the second."""
    return lambda result: result.examined[name][:, 0] / result.examined[name][:, 1]


def relative_error(name, expected):
    """The largest relative error [S] of what was measured from what theory expects."""
    return lambda result: np.abs(result.examined[name] / np.asarray(expected) - 1).max(-1)


def momentum_gain(result):
    steps = result.examined["steps_to_a_millionth"]
    return steps[:, 0] / steps[:, 1]


def neighbours(result):
    if not result.examined["diverged_share"].all():
        return "no trial diverged"
    return result.examined["neighbours_change"]


def between(expected, error=SAMPLING_ERROR):
    """Bounds around what theory expects."""
    return {"at_least": float(f"{expected * (1 - error):.4g}"), "at_most": float(f"{expected * (1 + error):.4g}")}


def forward_ratio(fan_in, fan_out):
    """The variance that a Xavier layer's outputs have over its inputs' (Glorot and Bengio 2010, section 4.2.1)."""
    return 2 * fan_in / (fan_in + fan_out)


# A claim in a line or two: the statement, then the measure and its bounds.
# fmt: off
STATED = [
    stated("sgd", "1",
        "SGD equals torch.optim.SGD for all 20 legal combinations of flags: largest error over 100 steps",
        examined("torch_error"), at_most=LIKE_TORCH),
    stated("sgd", "2a", "dampening scales the new gradient: the same error where momentum is dampened",
        examined("torch_error_dampened"), at_most=LIKE_TORCH),
    stated("sgd", "2b", "it does not scale the old momentum: least error of that reading",
        examined("misread_dampening_error"), at_least=APART),
    stated("sgd", "3a", "without weight decay, maximize only flips the last sign: largest error of that reading",
        examined("flipped_error_without_decay"), at_most=LIKE_TORCH),
    stated("sgd", "3b", "with weight decay the two do not commute: least error of that reading",
        examined("flipped_error_with_decay"), at_least=APART),
    stated("sgd", "3c",
        "the weights decay as (1 - rate x decay)^t while ascending, with the last sign flipped they grow: error",
        examined("decay_error"), at_most=EXACT),
    *(stated("quadratics", f"4{letter}",
        f"{method} on quadratics of condition 10, 100, 1000 converges at theory's rate: error of its logarithm",
        examined("rate_error", i), at_most=RATE_ERROR)
      for i, (letter, method) in enumerate(zip("abc", METHODS, strict=True))),
    stated("quadratics", "4d",
        "momentum is not pointless on a convex problem: steps that the best gradient descent needs, over the heavy "
        "ball's, condition 100",
        momentum_gain, at_least=FASTER),
    stated("adam", "5a",
        "Adam's step is a running mean over the root of another, corrected: error of the sums written out, in rates",
        examined("means_error"), at_most=EXACT),
    stated("adam", "5b", "its first step is the learning rate, whatever the gradient's scale: relative error",
        examined("first_step_error"), at_most=1e-4),
    stated("adam", "5c", "uncorrected it would be too long, not too short: first step in learning rates",
        examined("uncorrected_first_step"), at_least=3.16, at_most=3.165),
    stated("adam", "5d", "gradients 10,000-fold apart give steps of one size: largest over least",
        examined("spread"), at_most=1.5),
    stated("adam", "5e", "so, against SGD, parameters with small gradients gain: rank correlation of gain and gradient",
        examined("gain_correlation"), at_most=-0.9),
    stated("adam", "5f", "of equally large gradients, noise moves a parameter by sqrt((1-b1)/(1+b1)) = .229 rates",
        examined("noise_size"), **between(np.sqrt(0.1 / 1.9))),
    stated("adam", "5g", "and a steady gradient by a whole rate: relative error",
        examined("steady_size_error"), at_most=1e-4),
    *(stated("xavier", f"6{letter}",
        f"a Xavier layer of {fan_in} to {fan_out} multiplies the variance by 2 fan_in / (fan_in + fan_out)",
        examined(f"forward/{layer_name(fan_in, fan_out)}"), **between(forward_ratio(fan_in, fan_out)))
      for letter, (fan_in, fan_out) in zip("abc", LAYERS, strict=True)),
    stated("xavier", "6d", "backward the other way round: 784 to 10",
        examined(f"backward/{layer_name(*LAYERS[0])}"), **between(forward_ratio(*LAYERS[0][::-1]))),
    stated("xavier", "6e", "no weight exceeds sqrt(6 / (fan_in + fan_out)): largest over that, 300 to 300",
        examined(f"largest/{layer_name(*LAYERS[2])}"), at_least=0.99, at_most=1.000001),
    stated("dropout", "7a",
        "dropout with gamma = 1/(1-p) keeps the expectation, p from .1 to .8: largest relative error",
        relative_error("mean_ratio", np.ones(len(DROPPED))), at_most=0.01),
    stated("dropout", "7b",
        "but not the variance: a sum's grows by p/(1-p) times its summands' squares: largest relative error of that",
        relative_error("variance_of_sum", np.array(DROPPED) / (1 - np.array(DROPPED))), at_most=SAMPLING_ERROR),
    stated("dropout", "7c", "in evaluation it changes nothing: largest change",
        examined("evaluation_change"), at_most=0.0),
    stated("search", "8a",
        "256 trials at once train more trials a second than runs one after another, compilation included: ratio",
        ratio("trials_a_second_compiled"), at_least=FASTER),
    stated("search", "8b", "the same where the program of one trial is compiled only once, compilation left out: ratio",
        ratio("trials_a_second"), at_least=FASTER),
    stated("search", "8c",
        "trials at once are the trials one after another: largest relative difference of final losses, float32",
        examined("largest_difference"), at_most=1e-3),
    stated("search", "8d", "trials that diverge do not harm their neighbours: change of the others' losses",
        neighbours, at_most=0.0),
    stated("search", "8e", "the learning rate decides: share of the rank variance of final losses that it explains",
        examined("explained", 0), at_least=0.5),
    stated("search", "8f", "a weight decay below 1e-6 does not: the same share",
        examined("explained", 1), at_most=0.15),
    stated("search", "8g",
        "a grid over both wastes trials: best of 16 on grids, less the best of 16 at random, mean squared error",
        examined("grid_lag"), above=0.0),
    stated("search", "8h", "60 random trials hold one of the best 5 %: share of bootstrap samples",
        examined("found_top"), at_least=0.95),
    stated("search", "8i", "the difference of 8c is rounding: the same in float64 (stated after 8c had failed)",
        examined("largest_difference_float64"), at_most=1e-6),
    stated("search", "8j", "share of the random trials that diverge", examined("diverged_share")),
]
# fmt: on


def claims(results):
    """Claims 1 to 8 of experiments/optimizers/README.md."""
    return sorted(judge_all(STATED, results), key=by_id)


# --- Figures.


def figures(results):
    """The figures of the report, for whatever arms were run."""
    found, measured = [], {arm: result.examined for arm, result in results.items()}
    if "search" in results:
        found += optimizers.search_figures(AXES, measured["search"])
    if "quadratics" in results:
        distance, rate = (measured["quadratics"][name] for name in ("distance", "expected_rate"))
        found += optimizers.quadratic_figure(METHODS, distance, rate[0, :, SHOWN], CONDITIONS[SHOWN])
    if "sgd" in results:
        found += optimizers.decay_figure(measured["sgd"]["decaying"], measured["sgd"]["growing"])
    if "adam" in results:
        found += optimizers.adam_figure(measured["adam"]["scale"][0], measured["adam"]["size"])
    return found


EXPERIMENT = Experiment(
    question=__doc__,
    config=Config(),
    arms=arms,
    default_arms=tuple(TOPICS),
    task=task,
    claims=claims,
    figures=figures,
)
