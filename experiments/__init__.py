"""A folder with an experiment.py is an experiment; the folder listing is the registry."""

import importlib
import sys
from pathlib import Path

from training.config import closest, from_dict
from training.experiment import Measurement, UserError

FOLDER = Path(__file__).resolve().parent
FILE = "experiment.py"


def names():
    """The experiments of this folder, in alphabetical order."""
    return sorted(path.parent.name for path in FOLDER.glob(f"*/{FILE}"))


def identify(name):
    """What a run records of the experiment that ``name`` asks for: its name here, or its folder's absolute path.

    Args:
      name: an experiment of this folder, or a path to a folder anywhere that has an experiment.py.
    Raises:
      UserError: with the closest names.
    """
    if name in names():
        return name
    folder = Path(name).expanduser().resolve()
    if (folder / FILE).is_file():
        return folder.name if folder.parent == FOLDER else str(folder)
    if "/" in name:
        raise UserError(f"{name} is no experiment: it must be a folder with {FILE} in it")
    raise UserError(f"unknown experiment {name!r}{closest(name, names())}")


def load(name):
    """The ``Experiment`` that a folder's experiment.py defines.

    Raises:
      UserError: what ``identify`` raises; a folder whose name no module can have, or another module has; a file that
        defines no EXPERIMENT.
    """
    name = identify(name)
    module = import_outside(Path(name)) if "/" in name else importlib.import_module(f"experiments.{name}.experiment")
    if not hasattr(module, "EXPERIMENT"):
        raise UserError(f"{module.__file__} defines no EXPERIMENT = Experiment(...)")
    return module.EXPERIMENT


def import_outside(folder):
    """The module of an experiment.py that lies outside this folder; raises what ``load`` raises."""
    if not folder.name.isidentifier():
        raise UserError(f"{folder} is no name for a module: rename the folder, to letters, digits and underscores")
    # Beside it, so that its files import one another as FOLDER.FILE, as ours do.
    if str(folder.parent) not in sys.path:
        sys.path.append(str(folder.parent))
    clash = UserError(f"{folder} has the name of another module, {folder.name}: rename the folder")
    try:
        module = importlib.import_module(f"{folder.name}.experiment")
    except ModuleNotFoundError as error:
        if error.name in (folder.name, f"{folder.name}.experiment"):
            raise clash from error
        raise
    if Path(module.__file__).resolve().parent != folder:
        raise clash
    return module


def load_recorded(workdir, record):
    """The ``Experiment`` of a run, by its config.json; raises UserError where its folder is no longer there."""
    name = record["experiment"]
    if "/" in name and not (Path(name) / FILE).is_file():
        raise UserError(f"{workdir}/config.json names the experiment {name}, which is not there: bring it back")
    return load(name)


def listing():
    """One line for each experiment, and one for each of its presets."""
    for name in names():
        experiment = load(name)
        yield f"{name}: {experiment.question}"
        for preset, (_, _, about) in sorted(experiment.presets.items()):
            yield f"    --preset={preset}: {about}"


def restore(workdir, arm, step=None):
    """A trained arm, for use in Python.

    Args:
      step: which checkpoint; the newest where None.
    Returns:
      (model, params, config): a Linen module; its parameters, with a leading axis where the run had several seeds; the
      arm's config.
    Raises:
      UserError: no such arm or step, or a checkpoint of another model.
      RunFailed: the checkpoint is damaged.
    """
    from etils import epath

    from training import checkpoint, run
    from training.step import abstract_state

    record = checkpoint.read_run(workdir)
    experiment = load_recorded(workdir, record)
    if arm not in record["arms"]:
        raise UserError(f"{workdir} has no arm {arm!r}{closest(arm, record['arms'])}")
    config = from_dict(experiment.config, record["arms"][arm])
    task = run.make_task(experiment, arm, config)
    if isinstance(task, Measurement):
        raise UserError(f"arm {arm} of {record['experiment']} trains nothing: there is no model to restore")
    folder = epath.Path(workdir) / arm
    variables = checkpoint.restore_variables(
        folder, checkpoint.newest(folder, step), abstract_state(task, record["num_seeds"])
    )
    return task.model, variables["params"], config
