"""Subwords by sentencepiece (Kudo and Richardson 2018): a tokenizer, and how it is trained.

`data.tokenizers` says what a tokenizer is.
"""

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from data.ids import check_ids

# A vocabulary changes little with more text than this, and training one takes time in proportion.
TRAINING_CHARACTERS = 100_000_000
# With these options of sentencepiece, decoding gives a text back to the byte.
EXACT_OPTIONS = {
    "normalization_rule_name": "identity",
    "remove_extra_whitespaces": False,
    "add_dummy_prefix": False,
    "user_defined_symbols": ["\n"],
    "allow_whitespace_only_pieces": True,
}


@dataclass(frozen=True)
class SentencePiece:
    """Subwords of a sentencepiece model, given as its serialized bytes."""

    model: bytes

    @cached_property
    def processor(self):
        """The sentencepiece processor of the model; raises ValueError for bytes that are no model."""
        from sentencepiece import SentencePieceProcessor

        try:
            return SentencePieceProcessor(model_proto=self.model)
        except RuntimeError as error:
            raise ValueError("this is not a sentencepiece model, or it is damaged") from error

    @property
    def vocab_size(self):
        """The number of pieces, the special ones included."""
        return self.processor.vocab_size()

    @property
    def end(self):
        """The id of </s>, or None where the model has none."""
        return self.processor.eos_id() if self.processor.eos_id() >= 0 else None

    def encode(self, text):
        """Ids of the pieces, int32 [N]."""
        return np.array(self.processor.encode(text), np.int32)

    def decode(self, ids):
        """The text of the pieces, without special ones. Raises ValueError for an id outside the vocabulary."""
        ids_N = np.asarray(ids, np.int64).reshape(-1)
        check_ids(ids_N, self.vocab_size)
        return self.processor.decode(ids_N.tolist())

    def piece(self, id):
        """The piece, in which U+2581 stands for a space."""
        return self.processor.id_to_piece(int(id))


def train_sentencepiece(
    texts, vocab_size=4096, model_type="bpe", byte_fallback=True, character_coverage=1.0, exact=True
):
    """A sentencepiece model trained on the lines of the texts.

    Args:
      texts:              texts, of which the first 100 million characters are used; or {line: how often it occurs},
                          which is faster where lines repeat. Lines of the latter have no tab.
      vocab_size:         the number of pieces, with <unk>, <s>, </s>, and the bytes of ``byte_fallback``.
      model_type:         "bpe" (Sennrich et al. 2016) or "unigram" (Kudo 2018).
      byte_fallback:      whether characters outside the vocabulary become bytes; else they are <unk>.
      character_coverage: share of the text's characters that get a piece of their own.
      exact:              whether decoding gives the text back to the byte: no normalization, every space and line feed
                          kept (only a U+2581, sentencepiece's sign for a space, comes back as a space). Else text is
                          treated as sentencepiece does by default: NFKC, white space collapsed, and a space put before
                          each line, so that a word has the same pieces wherever it stands.

    Raises:
      ValueError: for a vocabulary that the text cannot fill, or that is too small for its characters.
    """
    from sentencepiece import SentencePieceTrainer

    if model_type not in ("bpe", "unigram"):
        raise ValueError(f"model_type={model_type!r} is not bpe or unigram")
    options = dict(EXACT_OPTIONS) if exact else {}
    if isinstance(texts, Mapping):
        options["input_format"] = "tsv"
        lines = (f"{line}\t{count}" for line, count in texts.items())
    else:
        lines = (line for text in first_characters(texts, TRAINING_CHARACTERS) for line in text.split("\n"))
        lines = filter(str.strip, lines)
    model = io.BytesIO()
    try:
        SentencePieceTrainer.train(
            sentence_iterator=lines,
            model_writer=model,
            vocab_size=vocab_size,
            model_type=model_type,
            byte_fallback=byte_fallback,
            character_coverage=character_coverage,
            max_sentence_length=1 << 30,
            num_threads=1,
            minloglevel=2,
            **options,
        )
    except RuntimeError as error:
        raise ValueError(_error_message(str(error), vocab_size)) from error
    return SentencePiece(model.getvalue())


def first_characters(texts, num_characters):
    """Yields the texts until they have so many characters; the last one is cut off there."""
    for text in texts:
        yield text[:num_characters]
        num_characters -= len(text)
        if num_characters <= 0:
            break


def _error_message(message, vocab_size):
    """What sentencepiece's own message means for a user."""
    if match := re.search(r"too high \(\d+\).*<= (\d+)", message):
        return f"vocab_size={vocab_size} is more than the training text supports: take at most {match[1]}, or more text"
    if match := re.search(r"smaller than required_chars\. \d+ vs (\d+)", message):
        return (
            f"vocab_size={vocab_size} is too small for the text's characters and the special pieces: take at least "
            f"{match[1]}, or a lower character_coverage"
        )
    return f"sentencepiece refused the training text: {' '.join(message.split())[:200]}"
