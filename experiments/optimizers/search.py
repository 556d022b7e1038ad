"""A search for hyperparameters of a small network: at random against on a grid, at once against one by one.

Axes: N trials or rows of data, G grids, H hidden units.
"""

import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from training import sweep
from training.config import override
from training.experiment import Loss, Task
from training.optimizer import sgd
from training.step import init_state, key, repeat, train_step, variables

RELEVANT, IRRELEVANT = "optimizer.learning_rate", "optimizer.weight_decay"
AXES = {RELEVANT: sweep.Axis("log", (1e-4, 10.0)), IRRELEVANT: sweep.Axis("log", (1e-9, 1e-6))}
CALM_RATE = 1e-3  # a learning rate at which no trial diverges
TOP, NUM_DRAWN, NUM_RESAMPLES = 0.05, 60, 20000  # how often do 60 trials hold one of the best 5 %?


def network_task(config):
    """Least squares with a small tanh network on 256 fixed rows: what a trial of the search trains."""
    if config.hidden < 1:
        raise ValueError(f"hidden={config.hidden} must be at least 1")
    H = config.hidden
    x_N2 = jax.random.uniform(key(0, "rows"), (1024,), minval=-1.0).reshape(512, 2)
    y_N = jnp.sin(3.0 * x_N2[:, 0]) * x_N2[:, 1]

    def init(key):
        in_key, out_key = jax.random.split(key)
        return {
            "params": {
                "in": jax.random.normal(in_key, (2 * H,)).reshape(2, H),
                "bias": jnp.zeros(H),
                "out": jax.random.normal(out_key, (H,)) / jnp.sqrt(H),
            }
        }

    def errors(variables, rows):
        params = variables["params"]
        return jnp.tanh(x_N2[rows] @ params["in"] + params["bias"]) @ params["out"] - y_N[rows]

    def loss(variables, rows, rngs):
        errors_N = errors(variables, rows)
        return Loss(jnp.sum(errors_N**2), jnp.float32(errors_N.size))

    def evaluate(variables):
        return {"loss": (jnp.sum(errors(variables, jnp.arange(256, 512)) ** 2), jnp.float32(256))}

    return Task(
        model=None,
        init=init,
        batch=lambda seed, step: jax.random.randint(key(seed, "batch", step), (config.batch_size,), 0, 256),
        loss=loss,
        optimizer=sgd(config.optimizer),
        evaluate=evaluate,
    )


def search(config, seed):
    """Random and grid searches over AXES, all trials at once, and how long the same takes one after another.

    Args:
      seed: seed of the random values, and of every trial.
    Returns:
      {name: array} of all that ``compare_with_one_by_one``, ``measure_divergence`` and ``compare_with_grids`` return.
    """
    train = trial_trainer(config, seed)
    values = sweep.sample(AXES, config.search.num_trials, seed)
    seconds_with_compilation, trials = least_seconds(lambda: train(values))
    return {
        **compare_with_one_by_one(config, seed, train, values, trials, seconds_with_compilation),
        **measure_divergence(train, values, trials),
        **compare_with_grids(config, seed, train, values, trials),
    }


def trial_trainer(config, seed, num_at_once=None):
    """A function {path: [N]} -> ``sweep.Trials``, compiled once for each N; ``num_at_once`` as ``sweep`` takes it."""
    train_trials = sweep.compile_trials(network_task, config, AXES, config.num_steps, num_at_once)

    def train(values):
        values = sweep.check_values(config, values)
        return train_trials(values, np.full(len(values[RELEVANT]), seed, np.int32))

    return train


def least_seconds(function, times=1):
    """(seconds, result) of the shortest of several calls, which other programs on the machine disturbed least."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - start)
    return min(seconds), result


def compare_with_one_by_one(config, seed, train, values, trials, seconds_with_compilation):
    """What training all trials at once gains, and how far their losses are from those of the same trials one by one.

    Args:
      train: what ``trial_trainer`` made; its first call made ``trials`` of ``values`` in ``seconds_with_compilation``.
    Returns:
      {"trials_a_second" and, compilation included, "trials_a_second_compiled": [at once, one by one];
      "largest_difference" and "largest_difference_float64": relative, of final losses}.
    """
    num_trials, num_compiled = len(values[RELEVANT]), config.search.num_compiled
    singles = [{path: x[n : n + 1] for path, x in values.items()} for n in range(config.search.num_one_by_one)]
    singles = singles[:num_trials]
    seconds, _ = least_seconds(lambda: train(values), times=5)
    train(singles[0])  # compiles
    single_seconds, losses = least_seconds(lambda: [train(single).final["loss"][0] for single in singles], times=5)
    compiled_seconds, _ = least_seconds(lambda: [train_alone(config, x, seed) for x in singles[:num_compiled]])
    differences = np.abs(np.array(losses) / trials.final["loss"][: len(losses)] - 1)

    first = {path: x[: len(singles)] for path, x in values.items()}
    with jax.enable_x64(True):
        exact_at_once = trial_trainer(config, seed, num_at_once=len(singles))(first).final["loss"]
        exact_one_by_one = trial_trainer(config, seed, num_at_once=1)(first).final["loss"]
    return {
        "trials_a_second": np.array([num_trials / seconds, len(singles) / single_seconds]),
        "trials_a_second_compiled": np.array([num_trials / seconds_with_compilation, num_compiled / compiled_seconds]),
        "largest_difference": np.nanmax(differences, initial=0.0),
        "largest_difference_float64": np.nanmax(np.abs(exact_at_once / exact_one_by_one - 1), initial=0.0),
    }


def train_alone(config, values, seed):
    """The final loss of a trial compiled and trained for itself, with plain numbers in its config.

    That is what a loop over runs would do.

    Args:
      values: {path: [1]}.
    """
    task = network_task(override(config, {path: float(x[0]) for path, x in values.items()}))
    state = jax.jit(repeat(train_step(task)))(jax.jit(partial(init_state, task))(seed), config.num_steps)
    total, weight = jax.jit(task.evaluate)(variables(state))["loss"]
    return float(total / weight)


def measure_divergence(train, values, trials):
    """How many trials diverge, and what that does to the others.

    Returns:
      {"diverged_share"; "neighbours_change": the largest change of the other trials' final losses where the diverging
      ones get CALM_RATE}.
    """
    calm = values | {RELEVANT: np.where(trials.diverged, CALM_RATE, values[RELEVANT])}
    changes = np.abs(train(calm).final["loss"] - trials.final["loss"])[~trials.diverged]
    return {"diverged_share": trials.diverged.mean(), "neighbours_change": changes.max(initial=0.0)}


def compare_with_grids(config, seed, train, values, trials):
    """Random trials against one grid of as many and against small grids, and what decides the losses.

    A trial that diverged counts as the worst that did not.

    Returns:
      {"grid_lag": the best of a small grid's trials, mean over grids, minus the expected best of as many random ones;
      "explained" [axes]: by ``explained_share``; "found_top": the share of resamples of NUM_DRAWN random trials that
      hold one of the best 5 %; "random_loss", "grid_loss" [N]; "random_values" [axes, N]}.
    """
    small_trials, generator = config.search.small_trials, np.random.default_rng(seed)
    grid = train(sweep.sample(AXES, config.search.num_trials, method="grid"))
    shifted = shifted_grids(config, generator)
    small_GN = train({path: x.ravel() for path, x in shifted.items()}).final["loss"].reshape(-1, small_trials)
    worst = np.nanmax(np.concatenate([trials.final["loss"], small_GN.ravel()]))
    small_GN, random_N = (np.nan_to_num(losses, nan=worst) for losses in (small_GN, trials.final["loss"]))
    top = np.sort(random_N)[max(int(np.ceil(TOP * len(random_N))) - 1, 0)]
    resampled = random_N[generator.integers(len(random_N), size=(NUM_RESAMPLES, NUM_DRAWN))]
    return {
        "grid_lag": small_GN.min(1).mean() - sweep.best_so_far(random_N)[small_trials - 1],
        "explained": np.array([explained_share(values[path], random_N) for path in AXES]),
        "found_top": (resampled.min(1) <= top).mean(),
        "random_loss": trials.final["loss"],
        "grid_loss": grid.final["loss"],
        "random_values": np.array([values[path] for path in AXES]),
    }


def shifted_grids(config, generator):
    """{path: [G, small_trials]} of grids of cell size 1/side, each shifted at random within its first cell."""
    side = int(np.sqrt(config.search.small_trials))
    num_grids = max(config.search.num_trials // config.search.small_trials, 1)
    shift_G2 = generator.random((num_grids, 2))
    fractions = (np.stack(np.meshgrid(*[np.arange(side)] * 2, indexing="ij"), -1).reshape(-1, 2)) / side
    points_GN2 = fractions + shift_G2[:, None] / side
    return {path: axis.values_at(points_GN2[..., i]) for i, (path, axis) in enumerate(AXES.items())}


def explained_share(values_N, losses_N, bins=8):
    """The share of the variance of the losses' ranks that lies between equally filled bins of a hyperparameter.

    By chance alone (bins - 1) / (N - 1) is expected. Source: the correlation ratio (Pearson 1905), of ranks.
    """
    # Equal losses get ranks of their own: a trial that diverged has some last place.
    rank_N = np.argsort(np.argsort(losses_N)).astype(float)
    bin_N = np.argsort(np.argsort(values_N)) * bins // len(values_N)
    means_N = np.array([rank_N[bin_N == b].mean() for b in bin_N])
    return means_N.var() / rank_N.var()
