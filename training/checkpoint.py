"""Checkpoints of an arm: orbax's CheckpointManager behind a few functions.

``ARM/checkpoints/STEP/`` holds the items ``params`` and, where the model has any, ``collections``: all that evaluation
needs; ``rest``: what training needs besides to go on exactly where it stopped; and a manifest of every file's SHA-256,
written last. A folder without it was not finished; one that differs from it is damaged, and passed over.
"""

import hashlib
import json
import logging
import threading

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from training import files
from training.experiment import RunFailed, UserError
from training.processes import is_first
from training.progress import say
from training.step import State, leaves_by_path

NUM_LATEST = 2  # steps that stay besides those to keep
KEEP_FILE = "KEPT"  # in the folder of a step to keep


def _orbax():
    """Orbax, imported where it is needed (it takes a second) and told to keep its remarks to itself."""
    logging.getLogger("absl").setLevel(logging.CRITICAL)  # what fails comes back as an exception
    import orbax.checkpoint as ocp

    return ocp


def _folder(arm_folder):
    path = epath.Path(arm_folder)
    return (path if files.is_remote(path) else epath.Path(path.absolute())) / "checkpoints"


def step_folder(arm_folder, step):
    """Where the checkpoint of a step lies."""
    return _folder(arm_folder) / str(step)


class Saver:
    """Saves an arm's states in the background: the latest two, and every one that was saved with ``keep``.

    Use it as a context: leaving by any way finishes the last save. Every process of a run has one; the first seals.
    """

    def __init__(self, arm_folder):
        ocp = _orbax()
        # Orbax keeps every step: were it killed while it removes one, what is left would pass for a damaged one.
        options = ocp.CheckpointManagerOptions(cleanup_tmp_directories=True)
        self.arm_folder = arm_folder
        self.manager = ocp.CheckpointManager(_folder(arm_folder), options=options)
        self.seal_thread, self.failure, self.step = None, None, None

    def __enter__(self):
        return self

    def __exit__(self, kind, *exception):
        try:
            self.finish()
        except RunFailed:
            if kind is None:
                raise
        finally:
            if not self.failure:
                self.manager.close()

    def save(self, state, *, keep=False):
        """Begins to save a state at rest under its step, once the save before it is finished.

        Raises:
          RunFailed: the save before it failed, or this one could not begin.
        """
        self.finish()
        ocp = _orbax()
        items = {"params": state.params, "rest": (state.step, state.seed, state.optimizer, state.sums)}
        if state.collections:
            items["collections"] = state.collections
        items = {name: ocp.args.StandardSave(item) for name, item in items.items()}
        self.step = int(np.min(state.step))
        try:
            self.manager.save(self.step, args=ocp.args.Composite(**items), force=True)
        except Exception as error:  # orbax and its storage raise many kinds
            self.failure = error
            self.finish()
        self.seal_thread = threading.Thread(target=self._seal, args=(keep,))
        self.seal_thread.start()

    def _seal(self, keep):
        try:
            self.manager.wait_until_finished()
            if is_first():
                folder = step_folder(self.arm_folder, self.step)
                if keep:
                    (folder / KEEP_FILE).write_text("")
                files.seal(folder)
                _remove_old_steps(self.arm_folder)
        except Exception as error:
            self.failure = error

    def finish(self):
        """Waits until the last save is on disk; raises RunFailed where it could not be written."""
        if self.seal_thread:
            self.seal_thread.join()
            self.seal_thread = None
        if self.failure:
            whole_steps = steps(self.arm_folder)
            remains = (
                f"step {whole_steps[-1]} is the last that is whole" if whole_steps else "nothing was saved before it"
            )
            reason = str(self.failure).strip().splitlines()[0][:120]
            raise RunFailed(
                f"the checkpoint of step {self.step} could not be written: {reason}. In {_folder(self.arm_folder)} "
                f"{remains}. With the cause mended the same command goes on"
            ) from self.failure


def _remove_old_steps(arm_folder):
    """Removes all steps but the latest two and those to keep; a half-removed one has no manifest."""
    for step in steps(arm_folder)[:-NUM_LATEST]:
        folder = step_folder(arm_folder, step)
        if not (folder / KEEP_FILE).exists():
            (folder / files.MANIFEST).unlink()
            folder.rmtree()


def steps(arm_folder):
    """The steps of the finished checkpoints, in order; whether their files are as they were, ``newest`` looks."""
    folder = _folder(arm_folder)
    if not folder.exists():
        return []
    return sorted(int(p.name) for p in folder.iterdir() if p.name.isdecimal() and files.is_sealed(p))


def newest(arm_folder, step=None):
    """The newest checkpoint whose files are as they were saved, or ``step`` itself.

    Damaged ones are passed over with one warning.

    Raises:
      UserError: there is no checkpoint, or none of this step.
      RunFailed: there are some, and none is whole; or the one of this step is damaged.
    """
    finished = steps(arm_folder)
    if step is not None and step not in finished and finished:
        raise UserError(f"{arm_folder} has no checkpoint of step {step}; there are: {', '.join(map(str, finished))}")
    damages = []
    for candidate in reversed(finished) if step is None else [step] if finished else []:
        damage = files.damage(step_folder(arm_folder, candidate))
        if not damage:
            if damages:
                say(
                    f"warning: passed over damaged checkpoints in {_folder(arm_folder)}: "
                    f"{'; '.join(damages)[:120]}. Step {candidate} is whole and is used"
                )
            return candidate
        damages.append(f"step {candidate} ({damage})")
    unfinished = _started_steps(arm_folder)
    if not unfinished:
        raise UserError(f"{arm_folder} holds no checkpoint")
    damages = damages or [f"step {name} (no {files.MANIFEST})" for name in unfinished]
    reasons, folder = "; ".join(damages)[:110], str(_folder(arm_folder))[-110:]
    raise RunFailed(f"no whole checkpoint in {folder}: {reasons}. Remove that folder to train the arm anew")


def _started_steps(arm_folder):
    """The steps of all checkpoints, those that were not finished among them."""
    folder = _folder(arm_folder)
    return sorted(int(p.name) for p in folder.iterdir() if p.name.isdecimal()) if folder.exists() else []


def prepare_to_resume(arm_folder):
    """Clears away what is of no use, and returns the step that training goes on from, or None where it starts.

    Folders that a kill left unfinished are removed; later ones that are damaged are renamed STEP.damaged.

    Raises:
      RunFailed: there are checkpoints, and none is whole.
    """
    is_new = not steps(arm_folder) and set(_started_steps(arm_folder)) <= {0}  # or killed in the first save
    newest_step = None if is_new else newest(arm_folder)
    for step in _started_steps(arm_folder):
        folder = step_folder(arm_folder, step)
        if not files.is_sealed(folder):
            folder.rmtree()
        elif step > newest_step:
            aside = folder.with_name(f"{step}.damaged")
            if aside.exists():
                aside.rmtree()
            folder.rename(aside)
    return newest_step


def restore_state(arm_folder, step, abstract, shardings=None):
    """The whole state of a step at rest, to train on from.

    Args:
      shardings: where each leaf shall lie, a tree like ``abstract``; on the first device where None.
    Raises:
      UserError: the checkpoint does not hold what ``abstract`` asks for.
    """
    if shardings is not None:
        abstract = jax.tree.map(
            lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), abstract, shardings
        )
    params, collections = _restore_variables(arm_folder, step, abstract)
    rest = (abstract.step, abstract.seed, abstract.optimizer, abstract.sums)
    step_array, seed, optimizer, sums = _restore_item(arm_folder, step, "rest", rest)
    return State(step_array, seed, params, collections, optimizer, sums)


def restore_variables(arm_folder, step, abstract):
    """What the model's ``apply`` takes, from a step's checkpoint; the optimiser's state is not read."""
    params, collections = _restore_variables(arm_folder, step, abstract)
    return {"params": params, **collections}


def restore_as_saved(arm_folder, step):
    """What the model's ``apply`` takes, from a step's checkpoint, in the shapes that it has there."""
    ocp, folder = _orbax(), step_folder(arm_folder, step)

    def shapes(name):
        with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as reader:
            metadata = reader.metadata(folder / name)
        leaves = getattr(metadata, "item_metadata", metadata).tree
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), leaves)

    collections = shapes("collections") if (folder / "collections").exists() else {}
    abstract = State(step=None, seed=None, params=shapes("params"), collections=collections, optimizer=None)
    return restore_variables(arm_folder, step, abstract)


def _restore_variables(arm_folder, step, abstract):
    params = _restore_item(arm_folder, step, "params", abstract.params)
    if not abstract.collections:
        return params, {}
    return params, _restore_item(arm_folder, step, "collections", abstract.collections)


def _restore_item(arm_folder, step, name, target):
    ocp = _orbax()
    folder = step_folder(arm_folder, step) / name
    with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as reader:
        try:
            metadata = reader.metadata(folder)
            saved = _describe(getattr(metadata, "item_metadata", metadata))
            if not saved:
                raise ValueError("it lists no arrays")
        except Exception as error:  # orbax raises many kinds for a folder that is damaged
            raise RunFailed(f"{folder} cannot be read as a checkpoint: {str(error).splitlines()[0][:120]}") from error
        expected = _describe(target)
        for leaf in sorted({*expected, *saved}):
            if expected.get(leaf) != saved.get(leaf):
                raise UserError(
                    f"checkpoint {folder} is of another model: {name}/{leaf} is {saved.get(leaf, 'absent')} there, "
                    f"{expected.get(leaf, 'absent')} in this config"
                )
        device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        target = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=getattr(x, "sharding", None) or device), target
        )
        return reader.restore(folder, args=ocp.args.StandardRestore(target))


def _describe(tree):
    """{leaf's path: "dtype[shape]"} of arrays or of orbax's descriptions of arrays."""
    return {path: f"{jnp.dtype(leaf.dtype).name}{list(leaf.shape)}" for path, leaf in leaves_by_path(tree)}


def params_sha256(params):
    """SHA-256 over the leaves in sorted path order: path, dtype, shape, little-endian bytes."""
    digest = hashlib.sha256()
    for path, leaf in leaves_by_path(params):
        leaf = np.asarray(leaf)
        digest.update(f"{path} {leaf.dtype.name} {list(leaf.shape)}".encode())
        digest.update(leaf.astype(leaf.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def locate(path):
    """What a path to a workdir, an arm's folder or one step's checkpoint stands for.

    Returns:
      (workdir, arm or None, step or None).
    Raises:
      UserError: it is none of these, or the step is not there.
    """
    path = epath.Path(path)
    path = path if files.is_remote(path) else epath.Path(path.absolute())
    if not path.exists() and path.parent.name == "checkpoints" and path.name.isdecimal():
        newest(path.parent.parent, int(path.name))
    if not path.is_dir():
        raise UserError(f"{path} is not a folder; give a workdir, an arm's folder or one step's checkpoint")
    if (path / "config.json").exists():
        return path, None, None
    if (path.parent / "config.json").exists():
        return path.parent, path.name, None
    if path.name.isdecimal() and (path.parents[2] / "config.json").exists():
        return path.parents[2], path.parents[1].name, int(path.name)
    raise UserError(f"{path} holds no run: there is no config.json in it, nor above it")


def read_run(workdir):
    """The record config.json of a workdir."""
    try:
        return json.loads((epath.Path(workdir) / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{workdir}/config.json cannot be read: {error}") from error
