"""A run's folder: who may write into it, what its config.json records, and the versions and device of this process."""

import contextlib
import io
import json
import os
import platform
from dataclasses import asdict
from importlib.metadata import version

import jax
import numpy as np
from etils import epath

from training import checkpoint, config, files, metrics
from training.experiment import UserError
from training.progress import say

REPORTED_VERSIONS = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


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
    tasks = tasks or {}
    with files.lock(workdir):
        record = {
            "experiment": experiment_name,
            "num_seeds": num_seeds,
            "config": asdict(base),
            "arms": {name: asdict(c) for name, c in arm_configs.items()},
            "data": metrics.jsonable({name: dict(task.facts) for name, task in tasks.items() if task.facts}),
            "files": {name: list(names) for name, task in tasks.items() if (names := getattr(task, "files", ()))},
        }
        if (workdir / "config.json").exists():
            record = merge_records(workdir, checkpoint.read_run(workdir), record)
        write_json(workdir / "config.json", record | environment())
        yield


def merge_records(workdir, old, new):
    """The record of the run in a workdir, ``old``, with the arms, data and files of a ``new`` command on it.

    Raises:
      UserError: the two are of different runs, or the data have changed.
    """
    fields = ("experiment", "num_seeds", "config")
    # An arm that is new to the workdir is no difference; the same arm with another config is one.
    arms = old["arms"] | new["arms"]
    differences = config.differences({name: old[name] for name in fields}, {name: new[name] for name in fields})
    differences = differences or config.differences(new["arms"] | old["arms"], arms)
    if differences:
        raise UserError(
            f"{workdir} holds another run: {', '.join(differences[:4])}{' ...' if len(differences) > 4 else ''}.\n"
            "Choose another --workdir, or remove that folder"
        )
    old_data = old.get("data", {})
    for arm in old_data.keys() & new["data"].keys():
        check_data(workdir, arm, old_data[arm], new["data"][arm])
    return new | {"arms": arms, "data": old_data | new["data"], "files": old.get("files", {}) | new["files"]}


def check_data(workdir, arm, recorded_facts, facts):
    """Raises UserError where facts of an arm's data are not those that were recorded when its run began."""
    facts = {name: fact for name, fact in metrics.jsonable(dict(facts)).items() if name in recorded_facts}
    differences = config.differences(recorded_facts, facts)
    if differences:
        raise UserError(
            f"{workdir} was trained on other data: {arm}: {', '.join(differences[:4])}. Bring the data back as they "
            "were, or choose another --workdir"
        )


def make_folder(folder):
    """The path of a folder, created where there was none; raises UserError where it cannot be created or written."""
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
    current = environment()
    return current["versions"] | {"device": current["device"]}


def write_json(path, value):
    """Strict JSON, written whole or not at all."""
    files.write_whole(path, json.dumps(metrics.jsonable(value), indent=1, allow_nan=False) + "\n")


def write_outputs(folder, result):
    """Writes the files that a trained arm outputs into a folder, each whole or not at all."""
    folder = epath.Path(folder)
    for name, content in result.outputs.items():
        folder.mkdir(parents=True, exist_ok=True)
        files.write_whole(folder / name, content)


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
