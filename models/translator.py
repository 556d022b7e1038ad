"""How a translator is read, whatever it is made of: in one pass over a known translation, or token by token.

Axes: B sentences, T target time, S source time, H attention maps, V vocabulary. A sentence is token ids with the end
token last; lengths include it. The end token also starts every translation. Beyond a sentence's length any ids may
stand.
"""

from collections.abc import Callable
from typing import Any, NamedTuple


class Translator(NamedTuple):
    """Pure functions of a model that reads a source sentence and writes a target sentence.

    model:   its Linen module
    init:    key -> variables
    forward: (variables, source_BS, source_length_B, target_BT, rngs={}, replaced=None) -> (logits_BTV, weights_BHTS).
             ``target_BT`` are the tokens read, the end token first; logits at t predict the target's token t. Weights
             are those of every attention map, exactly 0 at padded source positions; H is 0 where there is no attention.
             ``rngs`` is {"dropout": key} in training. ``replaced`` is (weights_BTS, is_replaced_BT): rows that take the
             place of the model's own in every map
    encode:  (variables, source_BS, source_length_B, max_length) -> cache, a pytree whose leaves all have the leading
             axis B, for translations of at most ``max_length`` tokens
    advance: (variables, cache, tokens_B) -> (logits_BV, cache): every sentence reads one more target token
    """

    model: Any
    init: Callable
    forward: Callable
    encode: Callable
    advance: Callable
