"""Many trials of an experiment's arm trained at once: one compiled program, mapped over hyperparameters.

A trial is the arm's config with some float fields replaced. Inside the program these are tracers, so every trial shares
one compilation, and a trial that diverges stops changing while its neighbours go on.

Axes: N trials, E evaluations over training.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, get_type_hints

import jax
import jax.numpy as jnp
import numpy as np

from training import config as configs
from training.experiment import UserError
from training.step import init_state, repeat, train_step, variables, with_data

FORMS = "FIELD=log(LOW,HIGH), FIELD=uniform(LOW,HIGH) or FIELD=choice(VALUE,...)"
METHODS = ("random", "grid")
MOST_NUMBERS_SIDE_BY_SIDE = 8192  # parameters and numbers of a batch of one trial, on a CPU
TRACER_ERRORS = (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError,
                 jax.errors.TracerIntegerConversionError)  # fmt: skip


class Axis(NamedTuple):
    """Where a field's values come from: "log" or "uniform" between two numbers, or "choice" among several."""

    kind: str
    numbers: tuple[float, ...]

    def at(self, fractions):
        """The values at fractions in [0, 1] of the axis: evenly spread ones give evenly spread values."""
        if self.kind == "choice":
            last = len(self.numbers) - 1
            return np.asarray(self.numbers)[np.minimum((np.asarray(fractions) * len(self.numbers)).astype(int), last)]
        low, high = np.log(self.numbers) if self.kind == "log" else self.numbers
        values = low + (high - low) * np.asarray(fractions)
        return np.clip(np.exp(values), *self.numbers) if self.kind == "log" else values


def parse(text):
    """{path: Axis} of a sweep such as ``optimizer.learning_rate=log(1e-4,1),optimizer.b1=choice(0.8,0.9)``.

    Raises:
      UserError: text of another form, a field named twice, or bounds between which nothing lies.
    """
    axes, rest = {}, text.strip()
    while rest:
        found = re.match(r"([\w.]+)\s*=\s*(log|uniform|choice)\(([^()]*)\)\s*(,\s*(?=\S)|$)", rest)
        if not found:
            raise UserError(f"--sweep: {rest!r} is not of the form {FORMS}, joined by commas")
        path, kind, listed, _ = found.groups()
        if path in axes:
            raise UserError(f"--sweep names {path} twice; give it one axis")
        axes[path] = _axis(path, kind, listed)
        rest = rest[found.end() :]
    if not axes:
        raise UserError(f"--sweep is empty; give {FORMS}, joined by commas")
    return axes


def _axis(path, kind, listed):
    try:
        numbers = tuple(float(number) for number in listed.split(","))
    except ValueError:
        raise UserError(f"--sweep: {path}={kind}({listed}) must list numbers, joined by commas") from None
    if not all(map(math.isfinite, numbers)):
        raise UserError(f"--sweep: {path}={kind}({listed}) must list finite numbers")
    if kind != "choice" and (len(numbers) != 2 or numbers[0] >= numbers[1]):
        raise UserError(f"--sweep: {path}={kind}({listed}) needs two numbers, the lower one first")
    if kind == "log" and numbers[0] <= 0:
        raise UserError(f"--sweep: {path}=log({listed}) needs numbers above 0; uniform(LOW,HIGH) takes any")
    return Axis(kind, numbers)


def sample(axes, num_trials, seed=0, method="random"):
    """The trials' values {path: [N]}, of all paths at the same trial.

    Args:
      axes: {path: Axis}.
      method: "random": N independent draws. "grid": every combination of evenly spaced values, the ends of each axis
        among them; choices are all taken, and the other axes get as many values as fit into ``num_trials``, so that N
        can be less.
    Raises:
      UserError: fewer than one trial, an unknown method, or choices that alone are more than ``num_trials``.
    """
    if num_trials < 1:
        raise UserError(f"{num_trials} trials are too few; ask for at least 1")
    if method == "random":
        generator = np.random.default_rng(seed)
        return {path: axis.at(generator.random(num_trials)) for path, axis in axes.items()}
    if method != "grid":
        raise UserError(f"unknown method {method!r}{configs.closest(method, METHODS)}")
    counts = _grid_counts(axes, num_trials)
    # The middle of each choice's share of [0, 1]; the ends of the other axes, or the middle where one value has to do.
    fractions = [
        (np.arange(n) + 0.5) / n if axis.kind == "choice" or n == 1 else np.linspace(0.0, 1.0, n)
        for axis, n in zip(axes.values(), counts, strict=True)
    ]
    meshes = np.meshgrid(*fractions, indexing="ij")
    return {path: axis.at(mesh.ravel()) for (path, axis), mesh in zip(axes.items(), meshes, strict=True)}


def _grid_counts(axes, num_trials):
    """How many values each axis gets."""
    counts = [len(axis.numbers) if axis.kind == "choice" else 1 for axis in axes.values()]
    if math.prod(counts) > num_trials:
        raise UserError(f"a grid of these choices has {math.prod(counts)} trials; ask for at least as many")
    while growing := [i for i, axis in enumerate(axes.values()) if axis.kind != "choice"]:
        smallest = min(growing, key=lambda i: counts[i])
        grown = [n + (i == smallest) for i, n in enumerate(counts)]
        if math.prod(grown) > num_trials:
            break
        counts = grown
    return counts


@dataclass(frozen=True)
class Trials:
    """What trials of one sweep reached. A metric is NaN from where its trial diverged."""

    values: Mapping[str, np.ndarray]  # {path: [N]}
    steps: np.ndarray  # [E]
    history: Mapping[str, np.ndarray]  # {metric: [E, N]}
    final: Mapping[str, np.ndarray]  # {metric: [N]}
    diverged: np.ndarray  # [N]


def train_trials(make_task, config, values, num_steps, seed=0):
    """Trains all trials at once, in one compiled program, and returns their Trials.

    Args:
      make_task: config -> Task, such as an Experiment's ``task``.
      config: the arm's config; its ``eval_every`` and ``num_steps`` where it has them are those of every trial.
      values: {path: [N]} of float fields.
      seed: of every trial, or [N].
    Raises:
      UserError: an unknown field, a field or an arm that cannot be swept at once, or a trial whose config is refused.
    """
    return prepared(make_task, config, values, num_steps)(seed)


def prepared(make_task, config, values, num_steps):
    """Makes seed -> Trials as ``train_trials`` trains them; raises what it raises, before anything is trained."""
    values = check(config, values)
    run = program(make_task, config, values, num_steps)

    def train(seed=0):
        N = len(next(iter(values.values())))
        return collect(values, jax.device_get(run(values, np.broadcast_to(np.asarray(seed, np.int32), N))))

    return train


def collect(values, found):
    """Trials from what a ``program`` returned."""
    steps_NE, history, diverged = found
    history = {name: x_NE.T for name, x_NE in history.items()}
    return Trials(values, steps_NE[0], history, {name: x_EN[-1] for name, x_EN in history.items()}, diverged)


def check(config, values):
    """The trials' values as float arrays, after each trial's config was made of plain numbers.

    Raises:
      UserError: an unknown field, one that is no float, values of unequal lengths, or a trial whose config is refused.
    """
    known = configs.leaves(config)
    for path in values:
        if path not in known:
            raise UserError(f"unknown config field {path!r}{configs.closest(path, known)}")
        if _hint(config, path) not in (float, float | None):
            raise UserError(
                f"{path} cannot be swept at once: it is no float field, and so shapes the program that trials share. "
                "Train its variants one after another"
            )
    values = {path: np.asarray(x, float) for path, x in values.items()}
    if len({x.shape for x in values.values()}) != 1 or next(iter(values.values())).ndim != 1:
        raise UserError("every swept field needs one value a trial")
    for trial in zip(*values.values(), strict=True):
        try:
            configs.override(config, dict(zip(values, map(float, trial), strict=True)))
        except (ValueError, TypeError) as error:
            raise UserError(f"a trial of the sweep is refused: {error}") from error
    return values


def _hint(config, path):
    """The type of a leaf field as its dataclass states it."""
    *parents, name = path.split(".")
    for parent in parents:
        config = getattr(config, parent)
    return get_type_hints(type(config))[name]


def program(make_task, config, paths, num_steps, at_once=None):
    """Compiles ({path: [N]}, seeds [N]) -> (steps [N, E], {metric: [N, E]}, diverged [N]).

    Args:
      at_once: how many trials run side by side, the others taking turns; by default all on an accelerator, and on a CPU
        as many as ``side_by_side`` finds worth it.
    Raises:
      UserError: where a field is not merely computed with but decides what is computed, or the arm trains nothing or
        takes its batches from the host.
    """
    kept = {"num_steps": num_steps} if "num_steps" in configs.leaves(config) else {}
    config = configs.override(config, kept)
    every = max(getattr(config, "eval_every", num_steps), 1)
    steps_E = np.unique([*range(0, num_steps, every), num_steps]).astype(np.int32)
    counts_E = np.diff(steps_E, prepend=0)

    data = make_task(config).data

    def train(values, seed, data):
        task = with_data(make_task(configs.override(config, values)), data)
        if task.optimizer is None or task.batch_on_host:
            reason = "its batches are made by the host" if task.optimizer else "it trains nothing"
            raise UserError(f"this arm cannot be swept at once: {reason}")
        steps = repeat(train_step(task))

        def stretch(state, step_and_count):
            step, count = step_and_count
            state = steps(state, count)
            sums = task.evaluate(variables(state))
            alive = state.step == step
            return state, {name: jnp.where(alive, total / weight, jnp.nan) for name, (total, weight) in sums.items()}

        state, history = jax.lax.scan(stretch, init_state(task, seed), (steps_E, counts_E))
        finite = jnp.array([jnp.isfinite(x).all() for x in jax.tree.leaves(state.params)]).all()
        return jnp.asarray(steps_E), history, (state.step < num_steps) | ~finite

    abstract = jax.ShapeDtypeStruct((), jnp.zeros(()).dtype)
    _check_traceable(lambda values, data: train(values, 0, data), {path: abstract for path in paths}, data)
    at_once = at_once or side_by_side(make_task, config)

    def run(values, seeds, data):
        trials = ({path: jnp.asarray(x, abstract.dtype) for path, x in values.items()}, jnp.asarray(seeds))
        if at_once >= len(seeds):
            return jax.vmap(train, (0, 0, None))(*trials, data)
        return jax.lax.map(lambda trial: train(*trial, data), trials, batch_size=at_once if at_once > 1 else None)

    compiled = jax.jit(run)
    return lambda values, seeds: compiled(values, seeds, data)


def side_by_side(make_task, config):
    """How many trials of a config are best run side by side: all of them, or one after another within the program.

    On two CPU cores MLPs of 160, 640 and 2,600 parameters trained 4, 3 and 1.4 times as many trials a second side by
    side; a Transformer on batches of 12,800 tokens and targets was 1.6 times faster in turns, which keep to the caches.
    """
    if jax.default_backend() != "cpu":
        return math.inf

    task = make_task(config)

    def numbers(data):
        return init_state(task, 0).params, with_data(task, data).batch(0, 0)

    size = sum(x.size for x in jax.tree.leaves(jax.eval_shape(numbers, task.data)))
    return math.inf if size <= MOST_NUMBERS_SIDE_BY_SIDE else 1


def _check_traceable(train, abstract, data):
    """Raises UserError that names the field which a program cannot have as a tracer."""
    try:
        jax.eval_shape(train, abstract, data)
        return
    except TRACER_ERRORS as error:
        first = error
    for path, value in abstract.items():
        try:
            jax.eval_shape(train, {path: value}, data)
        except TRACER_ERRORS as error:
            raise UserError(
                f"{path} cannot be swept at once: its value decides what is computed. "
                "Train its variants one after another"
            ) from error
    raise first


def best_so_far(losses_N):
    """The expected least loss [N] of the first n = 1 ... N trials, over all orders in which they could have come.

    Exact: of n trials drawn without replacement, the i-th least of all N is the best with probability
    C(N-i, n-1) / C(N, n). A loss that is not finite counts as the worst that is: a diverged trial is no success, and
    one of them must not hide the others. NaN where none is finite. The formula is that of an order statistic; Dodge et
    al. (2019, section 3) ask for this curve in reports, drawing with replacement.
    """
    losses_N = np.asarray(losses_N, float)
    finite = np.isfinite(losses_N)
    if not finite.any():
        return np.full(len(losses_N), np.nan)
    sorted_N = np.sort(np.where(finite, losses_N, losses_N[finite].max()))
    N = len(sorted_N)
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, N + 1)))])
    n, i = np.arange(1, N + 1)[:, None], np.arange(1, N + 1)[None, :]
    left = np.maximum(N - i - (n - 1), 0)  # where i is too late to be the best of n, the weight is set to 0 below
    log_weights = (
        log_factorial[N - i] - log_factorial[n - 1] - log_factorial[left]
        - (log_factorial[N] - log_factorial[n] - log_factorial[N - n])
    )  # fmt: skip
    return np.where(i <= N - n + 1, np.exp(log_weights), 0.0) @ sorted_N
