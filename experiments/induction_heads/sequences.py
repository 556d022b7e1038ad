"""The sequences that a config asks for: blocks that repeat (repeats.py), or Markov chains (data/markov.py)."""

from data import markov
from experiments.induction_heads import repeats

DEFAULT_LENGTHS = {"repeats": 64, "markov": 100}  # tokens in a sequence, by kind of data


def context_length(config):
    """Tokens in a sequence."""
    return config.context_length or DEFAULT_LENGTHS.get(config.data, DEFAULT_LENGTHS["repeats"])


def vocab_size(config):
    """Ids that the model knows, BOS included."""
    return config.markov.num_states if config.data == "markov" else config.repeats.vocab_size + 1


def longest_period(config):
    """Tokens in the longest block."""
    if config.repeats.max_period is not None:
        return config.repeats.max_period
    return min(context_length(config) // 2, config.repeats.vocab_size)


def draw(config, key, size):
    """A batch of sequences, as ``repeats.repeats`` or ``markov.markov`` returns it.

    Raises:
      ValueError: an unknown kind of data, or settings for which there are no such sequences.
    """
    length = context_length(config)
    if config.data == "markov":
        markov.check(config.markov.num_states)
        return markov.markov(key, size, length, config.markov.num_states)
    if config.data != "repeats":
        raise ValueError(f"data={config.data!r} is not one of {', '.join(DEFAULT_LENGTHS)}")
    tokens, shortest, longest = config.repeats.vocab_size, config.repeats.min_period, longest_period(config)
    repeats.check(tokens, length, shortest, longest)
    return repeats.repeats(key, size, length, tokens, shortest, longest)
