"""Trained translators without their data: of each line of a source text, its translation."""

import contextlib

from experiments.trained_arms import load_trained, refuse_another_config
from training.experiment import UserError

LINES_AT_ONCE = 64


def translate_text(run, text, arm=None, beam_size=1):
    """An iterator over the translations of a text's lines, in order, each one line; an empty line's is empty.

    Every line is read before the first is translated: a text with a mistake is not translated in part.

    Args:
      run: an ``experiments.trained_arms.Run`` of an experiment that has a ``translator``.
      arm: of a workdir; the first that was trained where None.
    Raises:
      UserError: a line cannot be translated, or not with this beam; and what ``load_trained`` raises.
    """
    trained, lines = load_trained(run, arm), split_lines(text)
    with refuse_another_config(run), refuse_values():
        read, translate = run.experiment.translator(trained)
    sources = read_lines(read, lines)

    def translate_some(some):
        filled = [source for source in some if source is not None]
        with refuse_another_config(run), refuse_values():
            translations = iter(translate(filled, beam_size) if filled else ())
        return ["" if source is None else join_lines(next(translations)) for source in some]

    chunks = (sources[first : first + LINES_AT_ONCE] for first in range(0, len(sources), LINES_AT_ONCE))
    return (line for some in chunks for line in translate_some(some))


def split_lines(text):
    """The lines of a text without white space at their ends: no byte order mark, and no ends as Windows writes them."""
    lines = text.removeprefix("\ufeff").split("\n")
    return [line.strip() for line in (lines if lines[-1] else lines[:-1])]


def join_lines(text):
    """A translation as one line, whatever its model wrote: so it stays beside its source."""
    return " ".join(text.splitlines())


def read_lines(read, lines):
    """What ``read`` makes of each line, None of an empty one; raises UserError, with the line's number of several."""
    sources = []
    for number, line in enumerate(lines, start=1):
        with refuse_values(f"line {number}: " if len(lines) > 1 else ""):
            sources.append(read(line) if line else None)
    return sources


@contextlib.contextmanager
def refuse_values(where=""):
    """Turns a ValueError of an experiment's own code into a UserError that says where."""
    try:
        yield
    except ValueError as error:
        raise UserError(f"{where}{error}") from error
