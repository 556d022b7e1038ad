"""Runs an experiment's arms in a workdir, and reads back what they left there."""

import json
import re
import time
from dataclasses import replace

import jax
import numpy as np
from etils import epath

from training import checkpoint, config, files, loop, metrics, processes, signals, workdirs
from training.experiment import ArmResult, Interrupted, Measurement, UserError
from training.parallel import map_over_seeds
from training.progress import say
from training.step import abstract_state, bind_data, key

# Fields that experiments share; one that is None is left to the experiment.
LEAST_VALUES = {
    "num_steps": 0,
    "eval_every": 1,
    "checkpoint_every": 1,
    "batch_size": 1,
    "eval_batch_size": 1,
    "context_length": 1,
}


def select_arms(experiment, base, names, overrides):
    """{arm: its config} of the arms asked for.

    Args:
      names: the arms; the experiment's default arms where empty.
      overrides: {dotted path: value} of the fields set by flag, which no arm may set otherwise.
    Raises:
      UserError: an unknown arm, or a field set by flag that an arm sets.
    """
    arms = experiment.arms(base)
    names = names or experiment.default_arms
    for name in names:
        if name not in arms:
            raise UserError(f"unknown arm {name!r}{config.closest(name, arms)}")
        for path in overrides:
            if path in arms[name].changes:
                others = [other for other in names if path not in arms[other].changes]
                hint = f"; leave the arm out with --arms={','.join(others)}" if others else ""
                raise UserError(f"--config.{path}: arm {name} sets {path}={arms[name].changes[path]!r} itself{hint}")
    return {name: config.override(base, arms[name].changes) for name in names}


def make_tasks(experiment, arm_configs, placement):
    """{arm: Task or Measurement}; raises UserError where a config's fields do not fit together or fit the devices."""
    check_claims(experiment, next(iter(arm_configs.values())))
    tasks = {name: make_task(experiment, name, arm_config) for name, arm_config in arm_configs.items()}
    for task in tasks.values():
        if is_trained(task):
            placement.check_batch(task)
    return tasks


def check_claims(experiment, arm_config):
    """Raises UserError for a claim of an arm that there is not, and for ids of another form or that two claims have."""
    arms = experiment.arms(arm_config)
    ids = [claim.id for claim in experiment.claims]
    for claim in experiment.claims:
        for arm in claim.of:
            if arm not in arms:
                raise UserError(f"claim {claim.id} is of an unknown arm {arm!r}{config.closest(arm, arms)}")
        if not re.fullmatch(r"\d+[a-z]?", claim.id):
            raise UserError(f"claim {claim.id!r}: an id is a number and at most one letter, such as 1 or 2b")
        if ids.count(claim.id) > 1:
            raise UserError(f"two claims have the id {claim.id}; give each its own")


def make_task(experiment, name, arm_config):
    """An arm's Task, its shapes tried, or its Measurement.

    Raises:
      UserError: the config's fields do not fit together.
    """
    try:
        for field, least in LEAST_VALUES.items():
            if (value := getattr(arm_config, field, None)) is not None and value < least:
                raise ValueError(f"{field}={value} must be at least {least}")
        # An arm's function does not depend on the config, so the arm's own config finds it as well.
        task = experiment.arms(arm_config)[name].make(arm_config)
        if not isinstance(task, Measurement):
            abstract_state(task, 1)
    except (ValueError, TypeError) as error:
        raise UserError(f"arm {name}: {error}") from error
    return task


def is_trained(task):
    """Whether an arm is trained: it is no Measurement, and its weights are not written by hand."""
    return not isinstance(task, Measurement) and task.optimizer is not None


def train(experiment, tasks, arm_configs, workdir, placement, num_seeds, stop_at=None, profile=0):
    """Trains or measures every arm and writes final.json of each.

    Args:
      profile: how many steps of the first arm that is trained to trace for a profiler.
    Returns:
      {arm: ArmResult}, or None where ``stop_at`` left an arm unfinished. Of several processes, only the first returns
      results.
    """
    options = loop.Options(placement, num_seeds, stop_at, experiment.watch, profile)
    results, is_unfinished = {}, False
    for name, task in tasks.items():
        if processes.any_says(signals.has_come()):
            raise Interrupted("interrupted between arms; the same command goes on from what was saved")
        start, arm_config, folder = time.monotonic(), arm_configs[name], epath.Path(workdir) / name
        folder.mkdir(parents=True, exist_ok=True)
        if isinstance(task, Measurement):
            if processes.is_first():
                results[name] = measure(name, task, arm_config, num_seeds)
                write_final(folder, numbers_of(results[name]))
                say(f"{name}: measured in {results[name].seconds:.1f} s")
            continue
        if processes.is_first():
            for file_name, content in task.files.items():
                if not callable(content):
                    files.write_whole(folder / file_name, content)
                elif not (folder / file_name).exists():
                    files.write_whole(folder / file_name, content())
        variables, step = loop.train_arm(name, task, arm_config, folder, options)
        options = replace(options, profile=0 if is_trained(task) else options.profile)
        if task.optimizer and step < arm_config.num_steps:
            is_unfinished = True
        elif processes.is_first():
            result = read_arm(name, task, arm_config, folder, num_seeds, variables, step)
            hashes = hash_seeds(result)
            # Written before the examination too, which may fail; where it has succeeded before, its numbers stay.
            if not has_final(folder, evaluated := numbers_of(result, params_sha256=hashes)):
                write_final(folder, evaluated)
            results[name] = examine(task, result, start)
            write_final(folder, numbers_of(results[name], params_sha256=hashes))
            workdirs.write_outputs(folder, results[name])
            say(f"{name}: done at step {step} in {results[name].seconds:.1f} s")
    return None if is_unfinished else results


def measure(name, measurement, arm_config, num_seeds):
    """The ArmResult of an arm that trains nothing."""
    start = time.monotonic()
    measured = [measurement.measure(key(arm_config.seed + i, "init")) for i in range(num_seeds)]
    return ArmResult(name, arm_config, num_seeds, stack_seeds(measured), seconds=time.monotonic() - start)


def stack_seeds(measured):
    """[{name: array}] of the seeds -> {name: array with a leading seed axis}."""
    return {name: np.stack([np.asarray(one_seed[name]) for one_seed in measured]) for name in measured[0]}


def take_seed(tree, i):
    """The i-th seed's arrays of a tree whose leaves have a leading seed axis."""
    return jax.tree.map(lambda x: x[i], tree)


def hash_seeds(result):
    """[S] hashes of an arm's final parameters."""
    return [checkpoint.params_sha256(take_seed(result.variables["params"], i)) for i in range(result.num_seeds)]


def write_final(folder, numbers):
    """Writes an arm's final.json; ``numbers`` is what ``numbers_of`` returns."""
    workdirs.write_json(folder / "final.json", numbers)


def has_final(folder, numbers):
    """Whether an arm's final.json holds these numbers, and maybe others."""
    try:
        stored = json.loads((folder / "final.json").read_text())
    except (OSError, ValueError):
        return False
    return stored == stored | metrics.jsonable(numbers)


def numbers_of(result, **more):
    """{"step": N, name: number or text, or list with one a seed}: ``more``, the last evaluation, and what was measured.

    Of what ``examine`` and ``measure`` returned, this is what is one number or one text a seed. Where it has the name
    of an evaluation metric, the metric stands.

    Args:
      more: {name: [S]}.
    """
    values = more | dict(result.final)
    values |= {name: x for name, x in result.examined.items() if x.ndim == 1 and name not in ("step", *values)}
    return {"step": result.step} | {name: list(x) if result.num_seeds > 1 else x[0] for name, x in values.items()}


def read_arm(name, task, arm_config, folder, num_seeds, variables, step):
    """An ArmResult from an arm's folder and its restored variables, not yet examined."""
    variables = loop.with_seed_axis(variables, num_seeds)
    history = metrics.read(folder, num_seeds, up_to=step)
    return ArmResult(
        arm=name,
        config=arm_config,
        num_seeds=num_seeds,
        examined={},
        model=task.model,
        variables=variables,
        step=step,
        num_parameters=sum(leaf[0].size for leaf in jax.tree.leaves(variables["params"])),
        train=history["train"],
        evaluation=history["eval"],
        probes=history["probe"],
        final={name: values[-1] for name, values in history["eval"].values.items()},
    )


def examine(task, result, start):
    """The result with what the task examines and outputs of its final variables, and the seconds since ``start``."""
    examined = call_each_seed(task, "examine", result.variables, result.num_seeds)
    measured = [task.measure(take_seed(result.variables, i)) for i in range(result.num_seeds)]
    examined |= stack_seeds(measured)
    outputs = task.outputs(take_seed(result.variables, 0), take_seed(examined, 0))
    return replace(result, examined=examined, outputs=outputs, seconds=time.monotonic() - start)


def call_each_seed(task, name, variables, num_seeds):
    """What a task's function of one seed's variables returns for each seed: arrays in memory with the seed axis."""
    variables = variables if num_seeds > 1 else take_seed(variables, 0)

    @jax.jit
    def call(variables, data):
        return map_over_seeds(getattr(bind_data(task, data), name), num_seeds)(variables)

    return loop.with_seed_axis(jax.device_get(call(variables, task.data)), num_seeds)


def evaluate(experiment, record, workdir, arms=None, step=None):
    """ArmResults of a finished or unfinished run, evaluated anew from checkpoints; nothing is written.

    Args:
      record: what ``checkpoint.read_run`` returns.
      arms: names; None for every arm that has a checkpoint or trains nothing.
      step: which checkpoint; the newest where None.
    Raises:
      UserError: no such arm or step, or a checkpoint of another model.
    """
    workdir, num_seeds, results = epath.Path(workdir), record["num_seeds"], {}
    for name in arms or record["arms"]:
        start = time.monotonic()
        if name not in record["arms"]:
            raise UserError(f"{workdir} has no arm {name!r}{config.closest(name, record['arms'])}")
        if not arms and not has_results(workdir / name):
            continue
        arm_config = config.from_dict(experiment.config, record["arms"][name])
        task = make_task(experiment, name, arm_config)
        if not arms and not isinstance(task, Measurement) and not checkpoint.steps(workdir / name):
            continue
        workdirs.check_data(workdir, name, record.get("data", {}).get(name, task.facts), task.facts)
        if isinstance(task, Measurement):
            results[name] = measure(name, task, arm_config, num_seeds)
            continue
        arm_step = checkpoint.newest(workdir / name, step)
        variables = checkpoint.restore_variables(workdir / name, arm_step, abstract_state(task, num_seeds))
        result = read_arm(name, task, arm_config, workdir / name, num_seeds, variables, arm_step)
        sums = call_each_seed(task, "evaluate", result.variables, num_seeds)
        results[name] = examine(task, replace(result, final=loop.means(task, sums)), start)
    if not results:
        raise UserError(f"{workdir} holds no checkpoint of any arm")
    return results


def has_results(folder):
    """Whether an arm's folder holds a checkpoint, or the final.json of an arm that has ended."""
    return bool(checkpoint.steps(folder)) or (folder / "final.json").exists()


def metrics_of(results):
    """{arm: its numbers}, see ``numbers_of``."""
    return {arm: numbers_of(result) for arm, result in results.items()}
