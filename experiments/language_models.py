"""Trained language models without their corpus: how they are loaded, and how they write text."""

import jax
from flax import errors

from data import tokenizers
from experiments import load_recorded
from models.streaming import stream
from training import checkpoint
from training.config import closest, from_dict
from training.experiment import UserError

UNFINISHED = "\N{REPLACEMENT CHARACTER}"  # how a character decodes of which only the first bytes are there


def load_language_model(path, arm=None):
    """(tokenizer, decoder, variables) of a trained language model, without its corpus; of several seeds, the first.

    Args:
      path: a workdir, an arm's folder or one step's checkpoint.
      arm: of a workdir; the first that was trained where None.
    Raises:
      UserError: the run is none of a language model, there is no such arm, or its files are not of one run.
    """
    workdir, given_arm, step = checkpoint.locate(path)
    record = checkpoint.read_run(workdir)
    experiment = load_recorded(workdir, record)
    if not experiment.language_model:
        raise UserError(f"{workdir} is a run of {record['experiment']}, which trains no language model")
    if given_arm and arm and given_arm != arm:
        raise UserError(f"--checkpoint={path} is of arm {given_arm}; --arm={arm} is another")
    trained_arms = [name for name in record["arms"] if checkpoint.steps(workdir / name)]
    if not trained_arms:
        raise UserError(f"no arm of {workdir} has a checkpoint yet")
    arm = given_arm or arm or trained_arms[0]
    if arm not in trained_arms:
        raise UserError(f"{workdir} has no trained arm {arm!r}{closest(arm, trained_arms)}")
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


def generate_text(tokenizer, decoder, variables, key, ids, max_tokens, **options):
    """Yields the text that follows a prompt's ids, piece by piece; a character is held back until it is whole."""
    ids, shown = list(ids), tokenizer.decode(ids)
    for token in stream(decoder, variables, key, list(ids), max_tokens, **options):
        ids.append(token)
        whole = tokenizer.decode(ids).rstrip(UNFINISHED)
        yield whole[len(shown) :]
        shown = whole if len(whole) > len(shown) else shown


def fill_window(ids, tokenizer, window):
    """The prompt's ids, filled up to ``window`` by line ends before it, where the vocabulary has them."""
    try:
        line_end = tokenizer.encode("\n").tolist()
    except ValueError:
        return ids
    return line_end * (max(window - len(ids), 0) if len(line_end) == 1 else 0) + ids
