"""The text of the comparison: tokens of the corpus, and the pieces of it that models are scored on.

Axis: N tokens.
"""

import numpy as np

from experiments.mlp_lm.generated_text import REPEATED_NGRAM_LENGTH
from experiments.mlp_lm.ngram_models import greatest_order

# A held-out text that is longer than what is used of it is cut into at most so many pieces of at least so many tokens.
MOST_PIECES, LEAST_PIECE_TOKENS = 20, 500


def held_out_texts(config, tokens):
    """What is used of the validation and of the test text [N].

    Raises ValueError where they are too short for what is measured on them.
    """
    window = config.order - 1
    validation_N = take_pieces(tokens.validation, config.eval_tokens and config.eval_tokens + window)
    test_N = take_pieces(tokens.test, config.test_tokens)
    order = greatest_order(config.order)
    for text_N, split, name in ((validation_N, "validation", "eval_tokens"), (test_N, "test", "test_tokens")):
        if len(text_N) < order + 1:
            raise ValueError(
                f"the {split} text has {len(text_N)} tokens, and models of order up to {order} need {order + 1}: "
                f"give more text or a larger --config.{name}" + (", or a test_corpus" if split == "test" else "")
            )
    if not REPEATED_NGRAM_LENGTH <= config.sampled_tokens <= len(test_N):
        raise ValueError(
            f"sampled_tokens={config.sampled_tokens} must lie between {REPEATED_NGRAM_LENGTH} and the {len(test_N)} "
            "tokens of the test text, which sampled texts are compared with"
        )
    return validation_N, test_N


def take_pieces(text_N, at_most):
    """``at_most`` tokens of a text as pieces evenly spread over it, end to end; 0 keeps all."""
    left_out = len(text_N) - at_most
    if not at_most or left_out <= 0:
        return np.asarray(text_N)
    count = min(MOST_PIECES, max(at_most // LEAST_PIECE_TOKENS, 1))
    ends = at_most * np.arange(count + 1) // count
    skipped = left_out * np.arange(count) // max(count - 1, 1)
    pieces = zip(ends[:-1] + skipped, ends[1:] + skipped, strict=True)
    return np.concatenate([np.asarray(text_N[start:end]) for start, end in pieces])
