"""Trained arms without their data: how a run is found, how one of its arms is loaded, and what that arm answers."""

import contextlib
from typing import Any, NamedTuple

import jax
from etils import epath
from flax import errors

from experiments import load_recorded
from training import checkpoint
from training.config import closest, from_dict
from training.experiment import Experiment, Trained, UserError


class Run(NamedTuple):
    """A run of train.py that a path stands for; its arm and step are None where the path leaves them open."""

    path: Any  # as it was given
    workdir: Any
    record: dict  # its config.json
    experiment: Experiment
    arm: str | None
    step: int | None

    @property
    def name(self):
        """The experiment's name; of one outside the repository, its folder's."""
        return epath.Path(self.record["experiment"]).name


def find_run(path):
    """The ``Run`` of a workdir, an arm's folder or one step's checkpoint; raises UserError for any other path."""
    workdir, arm, step = checkpoint.locate(path)
    record = checkpoint.read_run(workdir)
    return Run(path, workdir, record, load_recorded(workdir, record), arm, step)


def load_trained(run, arm=None):
    """The ``Trained`` arm of a run: its config, its first seed's variables and its files.

    Args:
      arm: of a workdir; the first that was trained where None.
    Raises:
      UserError: there is no such arm or step, or a file of the arm is gone.
      RunFailed: no checkpoint is whole.
    """
    if run.arm and arm and run.arm != arm:
        raise UserError(f"--checkpoint={run.path} is of arm {run.arm}; --arm={arm} is another")
    trained_arms = [name for name in run.record["arms"] if checkpoint.steps(run.workdir / name)]
    if not trained_arms:
        raise UserError(f"no arm of {run.workdir} has a checkpoint yet")
    arm = run.arm or arm or trained_arms[0]
    if arm not in trained_arms:
        raise UserError(f"{run.workdir} has no trained arm {arm!r}{closest(arm, trained_arms)}")
    folder = run.workdir / arm
    step = checkpoint.newest(folder, run.step)
    variables = checkpoint.restore_as_saved(folder, step)
    if run.record["num_seeds"] > 1:
        variables = jax.tree.map(lambda x: x[0], variables)
    try:
        files = {name: (folder / name).read_bytes() for name in run.record.get("files", {}).get(arm, ())}
    except OSError as error:
        raise UserError(f"{error.filename} cannot be read: {error.strerror}; {arm} is of no use without it") from error
    return Trained(from_dict(run.experiment.config, run.record["arms"][arm]), variables, files, arm, step)


@contextlib.contextmanager
def refuse_another_config(run):
    """Turns flax's error about variables that a model does not fit into a UserError about the run's config.json."""
    try:
        yield
    except errors.FlaxError as error:
        raise UserError(
            f"config.json of {run.workdir} is not the checkpoint's: {str(error).split(' (https')[0]}"
        ) from error


def answer(run, flag, value):
    """(Trained, Answer): a trained arm of a run, and what it answers to ``--FLAG=VALUE``.

    Raises:
      UserError: the experiment answers no such flag, or not this value; and what ``load_trained`` raises.
    """
    if flag not in run.experiment.queries:
        raise UserError(f"runs of {run.name} answer no --{flag}")
    trained = load_trained(run)
    try:
        with refuse_another_config(run):
            return trained, run.experiment.queries[flag](trained, value)
    except UnicodeDecodeError as error:
        byte = f"byte 0x{error.object[error.start]:02X} at offset {error.start}"
        raise UserError(f"--{flag}={value} is no UTF-8: {byte}") from error
    except OSError as error:
        raise UserError(f"{error.filename or f'--{flag}={value}'} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise UserError(str(error)) from error
