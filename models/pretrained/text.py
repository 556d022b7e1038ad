"""Text for pretrained models: the tokenizer of a model's folder, and prompts of different lengths in one batch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class PretrainedTokenizer:
    """Turns text into token ids and back, by a tokenizer.json.

    vocab_size: the model's number of ids; larger ones are refused
    rules:      a ``tokenizers.Tokenizer``
    """

    vocab_size: int
    rules: Any

    def encode(self, text, special_tokens=False):
        """Ids [T] of a text, int32; with special_tokens also the ids that the tokenizer puts before and after a text.

        Raises ValueError where an id is not in the model's vocabulary.
        """
        ids = np.array(self.rules.encode(text, add_special_tokens=special_tokens).ids, np.int32)
        if len(ids) and ids.max() >= self.vocab_size:
            token = self.rules.id_to_token(int(ids.max()))
            raise ValueError(
                f"token {token!r} has id {ids.max()}, which a model with vocab_size={self.vocab_size} does not know"
            )
        return ids

    def decode(self, ids):
        """The text of ids [T]; special tokens are left out."""
        return self.rules.decode([int(i) for i in np.asarray(ids)], skip_special_tokens=True)


def load_tokenizer(folder, vocab_size):
    """The PretrainedTokenizer of a model's folder; raises ValueError where it has no valid tokenizer.json."""
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise ValueError("text for pretrained models needs the tokenizers package: pip install tokenizers") from None
    path = Path(folder) / "tokenizer.json"
    if not path.is_file():
        raise ValueError(
            f"{path} is missing: write it with AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR) of transformers"
        )
    try:
        return PretrainedTokenizer(vocab_size, Tokenizer.from_file(str(path)))
    except Exception as error:  # the tokenizers package raises nothing more specific
        raise ValueError(f"{path} is not a valid tokenizer: {error}") from None


def pad_left(prompts, context_length, num_new_tokens=0):
    """Puts prompts into one batch (tokens_BT, positions_BT, visible_BT), in which each ends in the last column.

    Padding has token 0 and position 0, and is not visible. Positions count each prompt's own tokens and padding is
    hidden from attention, so that a prompt's logits are those of the prompt alone. Raises ValueError for an empty
    prompt, and for a prompt that exceeds the context length together with its num_new_tokens.
    """
    lengths = [len(prompt) for prompt in prompts]
    if not lengths or min(lengths) == 0:
        raise ValueError("each prompt needs at least one token")
    if max(lengths) + num_new_tokens > context_length:
        more = f" and {num_new_tokens} new ones" if num_new_tokens else ""
        raise ValueError(
            f"a prompt of {max(lengths)} tokens{more} does not fit the model's context of {context_length}"
        )
    tokens_BT = np.zeros((len(prompts), max(lengths)), np.int32)
    visible_BT = np.zeros(tokens_BT.shape, bool)
    for row, prompt in enumerate(prompts):
        tokens_BT[row, -len(prompt) :] = prompt
        visible_BT[row, -len(prompt) :] = True
    positions_BT = np.maximum(visible_BT.cumsum(1) - 1, 0).astype(np.int32)
    return tokens_BT, positions_BT, visible_BT
