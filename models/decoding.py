"""How a language model is read token by token: a cache, and the function that advances it.

Axes: B sequences, T tokens, V vocabulary.
"""

from collections.abc import Callable
from typing import NamedTuple


class Decoder(NamedTuple):
    """Reads tokens in pieces: advancing by any pieces of a text gives the logits of one pass over all of it.

    start:          batch size B -> cache, a pytree of arrays
    advance:        (variables, cache, tokens_BT) -> (logits_BV of the next token, cache); T is 1 when sampling, and
                    any length for a prompt
    context_length: the most tokens that a cache holds; None: no limit (recurrent, sliding window)
    """

    start: Callable
    advance: Callable
    context_length: int | None
