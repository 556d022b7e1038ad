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
from training.experiment import Measurement, UserError
from training.step import bind_data, init_state, repeat, train_step, variables

AXIS_FORMS = "FIELD=log(LOW,HIGH), FIELD=uniform(LOW,HIGH) or FIELD=choice(VALUE,...)"
SAMPLING_METHODS = ("random", "grid")
MOST_NUMBERS_AT_ONCE = 8192  # parameters and numbers of a batch of one trial, for trials trained at once on a CPU
TRACER_ERRORS = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)


class Axis(NamedTuple):
    """Where a field's values come from: "log" or "uniform" between two numbers, or "choice" among several."""

    kind: str
    numbers: tuple[float, ...]

    def values_at(self, fractions):
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
        match = re.match(r"([\w.]+)\s*=\s*(log|uniform|choice)\(([^()]*)\)\s*(,\s*(?=\S)|$)", rest)
        if not match:
            raise UserError(f"--sweep: {rest!r} is not of the form {AXIS_FORMS}, joined by commas")
        path, kind, numbers, _ = match.groups()
        if path in axes:
            raise UserError(f"--sweep names {path} twice; give it one axis")
        axes[path] = _parse_axis(path, kind, numbers)
        rest = rest[match.end() :]
    if not axes:
        raise UserError(f"--sweep is empty; give {AXIS_FORMS}, joined by commas")
    return axes


def _parse_axis(path, kind, text):
    try:
        numbers = tuple(float(number) for number in text.split(","))
    except ValueError:
        raise UserError(f"--sweep: {path}={kind}({text}) must list numbers, joined by commas") from None
    if not all(map(math.isfinite, numbers)):
        raise UserError(f"--sweep: {path}={kind}({text}) must list finite numbers")
    if kind != "choice" and (len(numbers) != 2 or numbers[0] >= numbers[1]):
        raise UserError(f"--sweep: {path}={kind}({text}) needs two numbers, the lower one first")
    if kind == "log" and numbers[0] <= 0:
        raise UserError(f"--sweep: {path}=log({text}) needs numbers above 0; uniform(LOW,HIGH) takes any")
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
        return {path: axis.values_at(generator.random(num_trials)) for path, axis in axes.items()}
    if method != "grid":
        raise UserError(f"unknown method {method!r}{configs.closest(method, SAMPLING_METHODS)}")
    counts = _grid_counts(axes, num_trials)
    # The middle of each choice's share of [0, 1]; the ends of the other axes, or the middle where one value has to do.
    fractions = [
        (np.arange(n) + 0.5) / n if axis.kind == "choice" or n == 1 else np.linspace(0.0, 1.0, n)
        for axis, n in zip(axes.values(), counts, strict=True)
    ]
    meshes = np.meshgrid(*fractions, indexing="ij")
    return {path: axis.values_at(mesh.ravel()) for (path, axis), mesh in zip(axes.items(), meshes, strict=True)}


def _grid_counts(axes, num_trials):
    """How many values each axis gets."""
    counts = [len(axis.numbers) if axis.kind == "choice" else 1 for axis in axes.values()]
    if math.prod(counts) > num_trials:
        raise UserError(f"a grid of these choices has {math.prod(counts)} trials; ask for at least as many")
    while growing := [i for i, axis in enumerate(axes.values()) if axis.kind != "choice"]:
        smallest = min(growing, key=lambda i: counts[i])
        larger_counts = [n + (i == smallest) for i, n in enumerate(counts)]
        if math.prod(larger_counts) > num_trials:
            break
        counts = larger_counts
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
      make_task: config -> Task, such as the ``make`` of an Arm.
      config: the arm's config; its ``eval_every`` and ``num_steps`` where it has them are those of every trial.
      values: {path: [N]} of float fields.
      seed: of every trial, or [N].
    Raises:
      UserError: an unknown field, a field or an arm that cannot be swept at once, or a trial whose config is refused.
    """
    return compile_search(make_task, config, values, num_steps)(seed)


def compile_search(make_task, config, values, num_steps):
    """Makes seed -> Trials as ``train_trials`` trains them; raises what it raises, before anything is trained."""
    values = check_values(config, values)
    train = compile_trials(make_task, config, values, num_steps)
    num_trials = len(next(iter(values.values())))
    return lambda seed=0: train(values, np.broadcast_to(np.asarray(seed, np.int32), num_trials))


def check_values(config, values):
    """The trials' values as float arrays, after each trial's config was made of plain numbers.

    Raises:
      UserError: an unknown field, one that is no float, values of unequal lengths, or a trial whose config is refused.
    """
    fields = configs.leaves(config)
    for path in values:
        if path not in fields:
            raise UserError(f"unknown config field {path!r}{configs.closest(path, fields)}")
        if _type_hint(config, path) not in (float, float | None):
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


def _type_hint(config, path):
    """The type of a leaf field as its dataclass states it."""
    *parents, name = path.split(".")
    for parent in parents:
        config = getattr(config, parent)
    return get_type_hints(type(config))[name]


def compile_trials(make_task, config, paths, num_steps, num_at_once=None):
    """Compiles ({path: [N]}, seeds [N]) -> Trials.

    Args:
      num_at_once: how many trials run at once, the others taking turns; by default all on an accelerator, and on a CPU
        as many as ``choose_num_at_once`` finds worth it.
    Raises:
      UserError: where a field is not merely computed with but decides what is computed, or the arm trains nothing or
        takes its batches from the host.
    """
    if "num_steps" in configs.leaves(config):
        config = configs.override(config, {"num_steps": num_steps})
    every = max(getattr(config, "eval_every", num_steps), 1)
    steps_E = np.unique([*range(0, num_steps, every), num_steps]).astype(np.int32)
    counts_E = np.diff(steps_E, prepend=0)
    float_dtype = jnp.zeros(()).dtype

    def train(values, seed, data):
        task = bind_data(make_task(configs.override(config, values)), data)
        if task.optimizer is None or task.batch_on_host:
            reason = "its batches are made by the host" if task.optimizer else "it trains nothing"
            raise UserError(f"this arm cannot be swept at once: {reason}")
        steps = repeat(train_step(task))

        def train_and_evaluate(state, step_and_count):
            step, count = step_and_count
            state = steps(state, count)
            sums = task.evaluate(variables(state))
            alive = state.step == step
            return state, {name: jnp.where(alive, total / weight, jnp.nan) for name, (total, weight) in sums.items()}

        state, history = jax.lax.scan(train_and_evaluate, init_state(task, seed), (steps_E, counts_E))
        finite = jnp.array([jnp.isfinite(x).all() for x in jax.tree.leaves(state.params)]).all()
        return history, (state.step < num_steps) | ~finite

    made = make_task(config)
    if isinstance(made, Measurement):
        raise UserError("this arm cannot be swept at once: it trains nothing")
    data = made.data
    abstract_values = {path: jax.ShapeDtypeStruct((), float_dtype) for path in paths}
    _check_traceable(lambda values, data: train(values, 0, data), abstract_values, data)
    num_at_once = num_at_once or choose_num_at_once(make_task, config)

    @jax.jit
    def run(values, seeds, data):
        trials = ({path: jnp.asarray(x, float_dtype) for path, x in values.items()}, jnp.asarray(seeds))
        if num_at_once >= len(seeds):
            return jax.vmap(train, (0, 0, None))(*trials, data)
        batch_size = num_at_once if num_at_once > 1 else None
        return jax.lax.map(lambda trial: train(*trial, data), trials, batch_size=batch_size)

    def train_all(values, seeds):
        history, diverged_N = jax.device_get(run(values, seeds, data))
        history = {name: x_NE.T for name, x_NE in history.items()}
        return Trials(values, steps_E, history, {name: x_EN[-1] for name, x_EN in history.items()}, diverged_N)

    return train_all


def choose_num_at_once(make_task, config):
    """How many trials of a config are best run at once: all of them, or one after another within the program.

    On two CPU cores MLPs of 160, 640 and 2,600 parameters trained 4, 3 and 1.4 times as many trials a second at once; a
    Transformer on batches of 12,800 tokens and targets was 1.6 times faster in turns, which keep to the caches.
    """
    if jax.default_backend() != "cpu":
        return math.inf

    task = make_task(config)

    def numbers(data):
        return init_state(task, 0).params, bind_data(task, data).batch(0, 0)

    size = sum(x.size for x in jax.tree.leaves(jax.eval_shape(numbers, task.data)))
    return math.inf if size <= MOST_NUMBERS_AT_ONCE else 1


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
    others = np.maximum(N - i - (n - 1), 0)  # where i is too late to be the best of n, the weight is set to 0 below
    log_chances = log_factorial[N - i] - log_factorial[n - 1] - log_factorial[others]  # C(N-i, n-1)
    log_weights = log_chances - (log_factorial[N] - log_factorial[n] - log_factorial[N - n])
    return np.where(i <= N - n + 1, np.exp(log_weights), 0.0) @ sorted_N
