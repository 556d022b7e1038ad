"""Runs an experiment's arms in a workdir, and reads back what they left there."""

import contextlib
import io
import json
import os
import platform
import time
from dataclasses import asdict, replace
from importlib.metadata import version

import flax.linen as nn
import jax
import numpy as np
from etils import epath

from training import checkpoint, config, files, loop, metrics, parallel, processes, signals
from training.experiment import ArmResult, Interrupted, UserError
from training.progress import say
from training.step import abstract_state, leaves_by_path, with_data

# Fields that experiments share, with their least values.
LEAST = {"num_steps": 0} | dict.fromkeys(
    ("eval_every", "checkpoint_every", "batch_size", "eval_batch_size", "context_length"), 1
)
REPORTED_VERSIONS = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def select_arms(experiment, base, names, given):
    """{arm: its config} of the arms asked for.

    Args:
      names: the arms; the experiment's default arms where empty.
      given: {dotted path: value} of the fields set by flag, which no arm may set otherwise.
    Raises:
      UserError: an unknown arm, or a field given by flag that an arm sets.
    """
    arms = experiment.arms(base)
    names = names or experiment.default_arms
    for name in names:
        if name not in arms:
            raise UserError(f"unknown arm {name!r}{config.closest(name, arms)}")
        for path in given:
            if path in arms[name]:
                others = [n for n in names if path not in arms[n]]
                hint = f"; leave the arm out with --arms={','.join(others)}" if others else ""
                raise UserError(f"--config.{path}: arm {name} sets {path}={arms[name][path]!r} itself{hint}")
    return {name: config.override(base, arms[name]) for name in names}


def make_tasks(experiment, arm_configs, placement):
    """{arm: Task}; raises UserError where a config's fields do not fit together or do not fit the devices."""
    tasks = {name: make_task(experiment, name, arm_config) for name, arm_config in arm_configs.items()}
    for task in tasks.values():
        if task.optimizer:
            parallel.check_batch(placement, task)
    return tasks


def make_task(experiment, name, arm_config):
    """An arm's Task, its shapes tried; raises UserError where the config's fields do not fit together."""
    try:
        for field, least in LEAST.items():
            if (value := getattr(arm_config, field, None)) is not None and value < least:
                raise ValueError(f"{field}={value} must be at least {least}")
        task = experiment.task(arm_config)
        abstract_state(task, 1)
    except (ValueError, TypeError) as error:
        raise UserError(f"arm {name}: {error}") from error
    return task


def summary(tasks, describe):
    """A table of every arm's layers, or of its parameters where it trains anything but one module.

    Args:
      describe: (module, variables, example inputs), arrays as shapes, -> text.
    """
    lines = []
    for name, task in tasks.items():
        leaves = leaves_by_path(abstract_state(task, 1).params)
        lines.append(f"{name}: {sum(leaf.size for _, leaf in leaves):,} parameters")
        model = initialized(task.init)
        if model:
            lines += [f"  {line}" for line in describe(*model).splitlines()]
        else:
            lines += [f"  {path:40} {leaf.shape!s:>18} {leaf.size:>12,}" for path, leaf in leaves]
    return "\n".join(lines)


def initialized(init):
    """(module, variables, inputs of a batch of one) of the one module that a task's ``init`` calls; arrays as shapes.

    None where it calls none, or makes something else of its variables, such as a copy for each of many settings.
    """
    calls, within = [], []

    def intercept(call, args, kwargs, context):
        # A module without a scope is a mere description, such as a cell that is asked for its initial state.
        is_model = context.module.scope is not None and not context.module.path
        if within or not is_model or context.method_name != "__call__":
            return call(*args, **kwargs)
        calls.append((context.module.clone(parent=None), args))
        within.append(True)
        out = call(*args, **kwargs)
        within.pop()
        return out

    with nn.intercept_methods(intercept):
        variables = jax.eval_shape(init, jax.random.key(0))
    if not calls:
        return None
    module, args = calls[-1]  # a model may call others by themselves before, as it is set up
    inputs = tuple(jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype) for x in args if getattr(x, "shape", ()))
    if len(inputs) < len(args) or jax.eval_shape(module.init, jax.random.key(0), *inputs) != variables:
        return None
    return module, variables, inputs


@contextlib.contextmanager
def open_workdir(workdir, experiment_name, base, arm_configs, num_seeds, tasks=None):
    """Holds a workdir for this process alone: a new one, or one that holds the same run; writes config.json into it.

    Raises:
      UserError: the folder cannot be written, is in use, or holds a run of another config.
    """
    workdir = make_folder(workdir)
    if not (workdir / "config.json").exists() and any(path.name != ".lock" for path in workdir.iterdir()):
        raise UserError(f"{workdir} is not empty and holds no run; choose another --workdir")
    if files.is_remote(workdir):
        say(f"{workdir} cannot be locked: start no second run on it. There will be no TensorBoard file")
    with files.locked(workdir):
        record = {
            "experiment": experiment_name,
            "num_seeds": num_seeds,
            "config": asdict(base),
            "arms": {name: asdict(c) for name, c in arm_configs.items()},
            "data": metrics.jsonable({name: dict(task.facts) for name, task in (tasks or {}).items() if task.facts}),
        }
        if (workdir / "config.json").exists():
            old = checkpoint.read_run(workdir)
            keys = ("experiment", "num_seeds", "config")
            different = config.differences({k: old[k] for k in keys}, {k: record[k] for k in keys})
            # An arm that is new to the workdir is no difference; the same arm with another config is one.
            arms = old["arms"] | record["arms"]
            different = different or config.differences(record["arms"] | old["arms"], arms)
            if different:
                raise UserError(
                    f"{workdir} holds another run: {', '.join(different[:4])}{' ...' if len(different) > 4 else ''}.\n"
                    "Choose another --workdir, or remove that folder"
                )
            old_data = old.get("data", {})
            for name in old_data.keys() & record["data"].keys():
                check_data(workdir, name, old_data[name], record["data"][name])
            record |= {"arms": arms, "data": old_data | record["data"]}
        write_json(workdir / "config.json", record | environment())
        yield


def check_data(workdir, arm, recorded, facts):
    """Raises UserError where the data of an arm are not those that its run began with, by what was recorded then."""
    now = {name: fact for name, fact in metrics.jsonable(dict(facts)).items() if name in recorded}
    different = config.differences(recorded, now)
    if different:
        raise UserError(
            f"{workdir} was trained on other data: {arm}: {', '.join(different[:4])}. Bring the data back as they "
            "were, or choose another --workdir"
        )


def make_folder(folder):
    """The path of a folder, created where it was not; raises UserError where it cannot be, or not be written."""
    try:
        path = epath.Path(folder)
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be created: {error.strerror or error}") from error
    except (ImportError, KeyError, NotImplementedError) as error:
        reason = error if isinstance(error, ImportError) else "no such kind of storage is known; gs:// and s3:// are"
        raise UserError(f"{folder} cannot be reached: {reason}") from error
    if not files.is_remote(path) and not os.access(path, os.W_OK):
        raise UserError(f"{folder} cannot be written; choose another --workdir")
    return path


def environment():
    """Versions and device of this process."""
    versions = {"python": platform.python_version()} | {name: version(name) for name in REPORTED_VERSIONS}
    device = jax.devices()[0]
    return {"versions": versions, "device": f"{len(jax.devices())} x {device.platform} ({device.device_kind})"}


def facts():
    """{label: text} of this process's versions and device, for a report."""
    found = environment()
    return {**found["versions"], "device": found["device"]}


def write_json(path, value):
    """Strict JSON, written whole or not at all."""
    files.write_whole(path, json.dumps(metrics.jsonable(value), indent=1, allow_nan=False) + "\n")


def train(experiment, tasks, arm_configs, workdir, placement, num_seeds, stop_at=None, profile=0):
    """Trains every arm and writes final.json of each.

    Args:
      profile: how many steps of the first arm to trace for a profiler.
    Returns:
      {arm: ArmResult}, or None where ``stop_at`` left an arm unfinished. Of several processes, only the first returns
      results.
    """
    results, unfinished = {}, False
    for name, task in tasks.items():
        if processes.agree(signals.received())[:, 0].any():
            raise Interrupted("interrupted between arms; the same command goes on from what was saved")
        began, arm_config, folder = time.monotonic(), arm_configs[name], epath.Path(workdir) / name
        folder.mkdir(parents=True, exist_ok=True)
        if processes.is_first():
            for file_name, content in task.files.items():
                files.write_whole(folder / file_name, content)
        options = {"stop_at": stop_at, "watch": experiment.watch, "profile": profile}
        variables, step = loop.train_arm(name, task, arm_config, folder, placement, num_seeds, **options)
        profile = 0
        if task.optimizer and step < arm_config.num_steps:
            unfinished = True
        elif processes.is_first():
            results[name] = finished(name, task, arm_config, folder, num_seeds, variables, step, began)
    return None if unfinished else results


def finished(name, task, arm_config, folder, num_seeds, variables, step, began):
    """The ArmResult of an arm that has reached its last step, examined; writes its final.json."""
    result = read_arm(task, arm_config, folder, num_seeds, variables, step)
    hashes = [checkpoint.params_sha256(jax.tree.map(lambda x, i=i: x[i], result.variables["params"]))
              for i in range(num_seeds)]  # fmt: skip
    final = {"step": step, "params_sha256": hashes} | result.final
    write_json(folder / "final.json", {k: v if k == "step" or num_seeds > 1 else v[0] for k, v in final.items()})
    result = examined(task, result, began)
    say(f"{name}: done at step {step} in {result.seconds:.1f} s")
    return result


def read_arm(task, arm_config, folder, num_seeds, variables, step):
    """An ArmResult from an arm's folder and its restored variables, not yet examined."""
    variables = loop.with_seed_axis(variables, num_seeds)
    history = metrics.read(folder, num_seeds, up_to=step)
    num_parameters = sum(leaf[0].size for leaf in jax.tree.leaves(variables["params"]))
    final = {name: values[-1] for name, values in history["eval"].values.items()}
    return ArmResult(
        config=arm_config,
        model=task.model,
        variables=variables,
        step=step,
        num_parameters=num_parameters,
        train=history["train"],
        evaluation=history["eval"],
        probes=history["probe"],
        final=final,
        examined={},
    )


def examined(task, result, began):
    """The result with the task's examination of its final variables added."""
    found = each_seed(task, "examine", result.variables, result.num_seeds)
    measured = [task.measure(jax.tree.map(lambda x, i=i: x[i], result.variables)) for i in range(result.num_seeds)]
    found |= {name: np.stack([one_seed[name] for one_seed in measured]) for name in measured[0]}
    return replace(result, examined=found, seconds=time.monotonic() - began)


def each_seed(task, name, variables, num_seeds):
    """What a task's function of one seed's variables finds for each seed: arrays in memory with the seed axis."""
    variables = variables if num_seeds > 1 else jax.tree.map(lambda x: x[0], variables)

    @jax.jit
    def find(variables, data):
        return parallel.over_seeds(getattr(with_data(task, data), name), num_seeds)(variables)

    found = find(variables, task.data)
    return loop.with_seed_axis(jax.device_get(found), num_seeds)


def evaluate(experiment, record, workdir, arms=None, step=None):
    """ArmResults of a finished or unfinished run, evaluated anew from checkpoints; nothing is written.

    Args:
      record: of ``checkpoint.read_run``.
      arms: names; None for every arm that has a checkpoint.
      step: which checkpoint; the newest where None.
    Raises:
      UserError: no such arm or step, or a checkpoint of another model.
    """
    workdir, num_seeds, results = epath.Path(workdir), record["num_seeds"], {}
    names = arms or [name for name in record["arms"] if checkpoint.steps(workdir / name)]
    if not names:
        raise UserError(f"{workdir} holds no checkpoint of any arm")
    for name in names:
        began = time.monotonic()
        if name not in record["arms"]:
            raise UserError(f"{workdir} has no arm {name!r}{config.closest(name, record['arms'])}")
        arm_config = config.from_dict(experiment.config, record["arms"][name])
        task = make_task(experiment, name, arm_config)
        check_data(workdir, name, record.get("data", {}).get(name, task.facts), task.facts)
        at = checkpoint.newest(workdir / name, step)
        variables = checkpoint.restore_variables(workdir / name, at, abstract_state(task, num_seeds))
        result = read_arm(task, arm_config, workdir / name, num_seeds, variables, at)
        result = replace(result, final=loop.means(task, each_seed(task, "evaluate", result.variables, num_seeds)))
        results[name] = examined(task, result, began)
    return results


def metrics_of(results):
    """{arm: {"step", and each metric of the last evaluation: a number, or one a seed}}."""
    return {
        arm: {"step": result.step}
        | {name: values[0] if len(values) == 1 else values for name, values in result.final.items()}
        for arm, result in results.items()
    }


def save_results(workdir, results):
    """results.npz: every array that the probes measured, named ARM/NAME, with ARM/steps where it was over training."""
    arrays = {}
    for arm, result in results.items():
        arrays[f"{arm}/steps"] = result.probes.steps
        arrays |= {f"{arm}/training/{name}": values for name, values in result.probes.values.items()}
        arrays |= {f"{arm}/final/{name}": values for name, values in result.examined.items()}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    files.write_whole(epath.Path(workdir) / "results.npz", buffer.getvalue())
