"""A folder with an experiment.py is an experiment; the folder listing is the registry."""

import importlib
from pathlib import Path

from training.config import closest, from_dict
from training.experiment import UserError


def names():
    """The experiments, in alphabetical order."""
    return sorted(path.parent.name for path in Path(__file__).parent.glob("*/experiment.py"))


def load(name):
    """The ``Experiment`` that a folder's experiment.py defines; raises UserError with the closest names."""
    if name not in names():
        raise UserError(f"unknown experiment {name!r}{closest(name, names())}")
    return importlib.import_module(f"experiments.{name}.experiment").EXPERIMENT


def listing():
    """One line for each experiment, and one for each of its presets."""
    for name in names():
        experiment = load(name)
        yield f"{name}: {experiment.question}"
        for preset, (_, _, about) in sorted(experiment.presets.items()):
            yield f"    --preset={preset}: {about}"


def language_model(path, arm=None):
    """(tokenizer, decoder, variables) of a trained language model, without its corpus; of several seeds, the first.

    Args:
      path: a workdir, an arm's folder or one step's checkpoint.
      arm: of a workdir; the first that was trained where None.
    Raises:
      UserError: the run is none of a language model, there is no such arm, or its files are not of one run.
    """
    import jax
    from flax import errors

    from data import tokenizers
    from training import checkpoint

    workdir, found, step = checkpoint.locate(path)
    record = checkpoint.read_run(workdir)
    experiment = load(record["experiment"])
    if not experiment.language_model:
        raise UserError(f"{workdir} is a run of {record['experiment']}, which trains no language model")
    if found and arm and found != arm:
        raise UserError(f"--checkpoint={path} is of arm {found}; --arm={arm} is another")
    arm = found or arm or next((name for name in record["arms"] if checkpoint.steps(workdir / name)), "")
    if arm not in record["arms"]:
        raise UserError(f"{workdir} has no trained arm {arm!r}{closest(arm, record['arms'])}")
    file = workdir / arm / tokenizers.FILE
    try:
        tokenizer = tokenizers.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read as a tokenizer: {error}") from error
    trained = record.get("data", {}).get(arm, {}).get("vocab_size", tokenizer.vocab_size)
    if trained != tokenizer.vocab_size:
        raise UserError(f"{file} has {tokenizer.vocab_size} tokens; {arm} was trained with {trained}: it is another's")
    variables = checkpoint.restore_as_saved(workdir / arm, checkpoint.newest(workdir / arm, step))
    if record["num_seeds"] > 1:
        variables = jax.tree.map(lambda x: x[0], variables)
    arm_config = from_dict(experiment.config, record["arms"][arm])
    decoder = experiment.language_model(arm_config, tokenizer.vocab_size)[1]
    try:
        jax.eval_shape(decoder.advance, variables, decoder.start(1), jax.ShapeDtypeStruct((1, 1), "int32"))
    except errors.FlaxError as error:
        raise UserError(
            f"config.json of {workdir} is not the checkpoint's: {str(error).split(' (https')[0]}"
        ) from error
    return tokenizer, decoder, variables


def begun(ids, tokenizer, window):
    """The prompt's ids, filled up to ``window`` by line ends before it, where the vocabulary has them."""
    try:
        line_end = tokenizer.encode("\n").tolist()
    except ValueError:
        return ids
    return line_end * (max(window - len(ids), 0) if len(line_end) == 1 else 0) + ids
