"""Translations of lines of text by a trained arm, without its data: what sample.py asks for."""

import unicodedata

import numpy as np

from data import tokenizers
from models.beam_search import search

MULTIPLE = 16  # sentences are padded to a multiple of it, so that few lengths are compiled
ROWS = 64  # sentences are translated so many at once, and filled up to it; at least as many as are asked for at once
UNKNOWN = 0  # its id in every vocabulary


def make_line_translator(trained, make_translator):
    """(read, translate) of a trained arm, as ``training.experiment.Experiment.translator`` has them.

    Args:
      make_translator: (config, vocabulary's size) -> ``models.translator.Translator``.
    Raises:
      ValueError: the arm's tokeniser cannot be read.
    """
    tokenizer = tokenizers.loads(trained.files[tokenizers.FILE])
    translator = make_translator(trained.config, tokenizer.vocab_size)

    def read(line):
        ids = [*tokenizer.encode(line).tolist(), tokenizer.end]
        if UNKNOWN in ids:
            unknown = ", ".join(repr(piece) for piece in dict.fromkeys(find_unknown(tokenizer, line)))
            raise ValueError(f"the training text does not hold {unknown}: leave it out or write it otherwise")
        if len(ids) > trained.config.context_length:
            raise ValueError(
                f"the line has {len(ids)} tokens; the translator was trained on at most "
                f"{trained.config.context_length}: divide the line"
            )
        return ids

    def translate(sources, beam_size):
        longest = max(map(len, sources))
        length = -(-longest // MULTIPLE) * MULTIPLE
        num_rows = -(-len(sources) // ROWS) * ROWS
        source_BS, length_B = np.zeros((num_rows, length), np.int32), np.ones(num_rows, np.int32)
        for row, ids in enumerate(sources):
            source_BS[row, : len(ids)], length_B[row] = ids, len(ids)
        translations = search(
            translator,
            trained.variables,
            source_BS,
            length_B,
            end=tokenizer.end,
            max_length=10 + 2 * length,
            beam_size=beam_size,
        )
        rows = zip(np.asarray(translations.tokens_BT), np.asarray(translations.lengths_B), strict=True)
        return [tokenizer.decode(ids[:length]) for (ids, length), _ in zip(rows, sources, strict=False)]

    return read, translate


def find_unknown(tokenizer, line):
    """The words of a line, or its characters where the tokeniser has subwords, that the training text did not hold."""
    # An accent that stands alone becomes one character with its letter, as sentencepiece has it: NFKC.
    pieces = line.split() if isinstance(tokenizer, tokenizers.Words) else unicodedata.normalize("NFKC", line)
    return [piece for piece in pieces if not piece.isspace() and UNKNOWN in tokenizer.encode(piece)]
