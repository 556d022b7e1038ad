"""Trained language models without their corpus: how they are loaded, and how they write text."""

import jax

from data import tokenizers
from experiments.trained_arms import find_run, load_trained, refuse_another_config
from models.streaming import stream
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
    run = find_run(path)
    if not run.experiment.language_model:
        raise UserError(f"{run.workdir} is a run of {run.record['experiment']}, which trains no language model")
    trained = load_trained(run, arm)
    file = run.workdir / trained.arm / tokenizers.FILE
    try:
        tokenizer = tokenizers.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read as a tokenizer: {error}") from error
    size, arm = tokenizer.vocab_size, trained.arm
    trained_size = run.record.get("data", {}).get(arm, {}).get("vocab_size", size)
    if trained_size != size:
        raise UserError(f"{file} has {size} tokens; {arm} was trained with {trained_size}: it is another's")
    decoder = run.experiment.language_model(trained.config, size)[1]
    with refuse_another_config(run):
        jax.eval_shape(decoder.advance, trained.variables, decoder.start(1), jax.ShapeDtypeStruct((1, 1), "int32"))
    return tokenizer, decoder, trained.variables


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
