"""Token arrays: a corpus tokenized, kept on disk by a hash of its content, and cut into windows or columns.

Axes: N tokens of a split, B sequences, T positions, W windows.
"""

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from data import corpora, tokenizers
from data.corpora import SPLITS
from data.tokenizers import Tokenizer

# Larger arrays stay on disk and are read as they are used.
MEMORY_MAPPED_BYTES = 64 * 2**20
# Of what an entry of the cache means: raise it whenever the same text and settings give other tokens.
FORMAT = 1


@dataclass(frozen=True)
class Tokens:
    """The tokens of three splits, each a 1-D array of the smallest unsigned type that holds the vocabulary."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    tokenizer: Tokenizer
    corpus: str
    sha256: str  # of the corpus
    num_bytes: dict[str, int]  # of each split's text in UTF-8

    def __getitem__(self, split):
        return getattr(self, split)

    @property
    def vocab_size(self):
        """Ids of the tokenizer."""
        return self.tokenizer.vocab_size

    @property
    def facts(self):
        """{name: value} that say which tokens these are."""
        return {
            "corpus": self.corpus,
            "sha256": self.sha256,
            "vocab_size": self.vocab_size,
            "training_tokens": len(self.train),
            "bytes_per_token": round(self.bytes_per_token("validation" if len(self.validation) else "train"), 4),
        }

    def bytes_per_token(self, split="train"):
        """Bytes of UTF-8 text for each token of the split; a loss in nats / ln 2 / this is in bits a byte."""
        return self.num_bytes[split] / max(len(self[split]), 1)


def prepare(
    corpus: str,
    tokenizer: str = "char",
    *,
    context_length: int = 0,
    data_dir: str | None = None,
    test_share: float = 0.0,
    max_characters: int = 0,
    test_corpus: str = "",
    **settings,
) -> Tokens:
    """The corpus of that name or path as tokens of a tokenizer trained on its training split only.

    The tokens are kept under $XDG_CACHE_HOME/assay (default ~/.cache/assay) by a hash of text and settings; an entry
    that is damaged is made anew. Arrays of more than 64 MiB are memory-mapped. Documents of a split stand end to end,
    each followed by the tokenizer's ``end`` where it has one. A character tokenizer gets an <unk> where the held-out
    text has characters that the training text has not.

    Args:
      corpus:         see `data.corpora.load`; so are data_dir, test_share, max_characters and test_corpus.
      tokenizer:      char, byte, word or sentencepiece.
      context_length: if given, each split that is not empty must hold a window of it.
      settings:       of the tokenizer, see `data.tokenizers.train`.

    Raises:
      ValueError: what `load` and `train` raise, and a split shorter than context_length + 1.
    """
    text = corpora.load(corpus, data_dir, test_share=test_share, max_characters=max_characters, test_corpus=test_corpus)
    described = {"format": FORMAT, "corpus": text.sha256, "tokenizer": tokenizer, "settings": settings}
    if tokenizer == "sentencepiece":
        import sentencepiece

        described["sentencepiece"] = sentencepiece.__version__
    entry = _cache_folder() / hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:32]
    found = _read(entry) or _write(entry, *tokenize(text, tokenizer, **settings))
    arrays, learnt = found
    num_bytes = {split: sum(len(document.encode("utf-8")) for document in text[split]) for split in SPLITS}
    tokens = Tokens(**arrays, tokenizer=learnt, corpus=corpus, sha256=text.sha256, num_bytes=num_bytes)
    for split in SPLITS:
        check_length(tokens[split], context_length, f"the {split} split of {corpus}", may_be_empty=split != "train")
    return tokens


def tokenize(text: corpora.Corpus, kind: str, **settings) -> tuple[dict[str, np.ndarray], Tokenizer]:
    """{split: its tokens} and the tokenizer, trained on the training split."""
    learnt = tokenizers.train(kind, text.train, **settings)
    if kind == "char" and not learnt.unknown and "unknown" not in settings:
        held_out = set().union(*(set(document) for document in (*text.validation, *text.test)))
        if held_out - set(learnt.characters):
            learnt = tokenizers.Characters(learnt.characters, unknown=True)
    arrays = {split: _joined((_document(document, learnt) for document in text[split]), learnt) for split in SPLITS}
    return arrays, learnt


def check_length(tokens_N, context_length, what, may_be_empty=False):
    """Raises ValueError where the tokens hold no window of context_length + 1; ``what`` names them."""
    if len(tokens_N) <= context_length and not (may_be_empty and len(tokens_N) == 0):
        raise ValueError(
            f"{what} has {len(tokens_N)} tokens, fewer than context_length + 1 = {context_length + 1}: "
            "take a smaller --config.context_length or more text"
        )


def check_ids(tokens_N, vocab_size):
    """Raises ValueError for ids outside 0 ... vocab_size - 1: on a device they would be clamped or give NaN."""
    if len(tokens_N) and not (tokens_N.min() >= 0 and tokens_N.max() < vocab_size):
        raise ValueError(f"token ids {tokens_N.min()} ... {tokens_N.max()} do not fit a vocabulary of {vocab_size}")


def windows(tokens_N, starts_B, context_length):
    """Tokens [B, T + 1] from each start on, int32: inputs are [:, :-1], targets [:, 1:]. Traceable.

    A start above N - T - 1 is moved back to it, as in `jax.lax.dynamic_slice`.
    """
    tokens_N = jnp.asarray(tokens_N)
    starts_B1 = jnp.clip(jnp.asarray(starts_B)[:, None], 0, tokens_N.shape[0] - context_length - 1)
    return tokens_N[starts_B1 + jnp.arange(context_length + 1)].astype(jnp.int32)


def random_windows(key, tokens_N, batch_size, context_length):
    """``batch_size`` windows [B, T + 1] at uniformly random places, as `windows`. Traceable."""
    starts_B = jax.random.randint(key, (batch_size,), 0, tokens_N.shape[0] - context_length)
    return windows(tokens_N, starts_B, context_length)


def consecutive_windows(tokens_N, context_length, at_most=0):
    """All windows [W, T + 1] that start every T tokens, so that each token is a target once; a numpy array, int32.

    What is left at the end is dropped. ``at_most`` keeps that many windows, evenly spaced; 0 keeps all. Raises
    ValueError where there is none.
    """
    check_length(tokens_N, context_length, "the text")
    starts_W = np.arange((len(tokens_N) - 1) // context_length) * context_length
    if at_most and len(starts_W) > at_most:
        starts_W = starts_W[np.linspace(0, len(starts_W) - 1, at_most).astype(int)]
    return np.asarray(tokens_N)[starts_W[:, None] + np.arange(context_length + 1)].astype(np.int32)


def columns(tokens_N, batch_size):
    """The tokens as ``batch_size`` rows [B, N // B], each contiguous, for truncated backpropagation through time.

    Row b goes on where it stopped, so hidden states can be carried from one segment to the next; what is left at the
    end is dropped. Raises ValueError where a row would have fewer than two tokens.
    """
    length = len(tokens_N) // batch_size
    if length < 2:
        raise ValueError(f"{len(tokens_N)} tokens are too few for batch_size={batch_size} rows of at least two")
    return np.asarray(tokens_N[: batch_size * length]).reshape(batch_size, length)


def smallest_type(vocab_size):
    """The smallest unsigned integer type that holds 0 ... vocab_size - 1."""
    return next(t for t in (np.uint8, np.uint16, np.uint32) if vocab_size - 1 <= np.iinfo(t).max)


def _document(document, tokenizer):
    if isinstance(tokenizer, tokenizers.Words) and not document.endswith("\n"):
        document += "\n"  # its <eos>
    ids_N = tokenizer.encode(document)
    if isinstance(tokenizer, tokenizers.SentencePiece) and tokenizer.end is not None:
        ids_N = np.append(ids_N, np.int32(tokenizer.end))
    return ids_N


def _joined(documents, tokenizer):
    smallest = smallest_type(tokenizer.vocab_size)
    pieces = [np.zeros(0, smallest)]
    for ids_N in documents:
        check_ids(ids_N, tokenizer.vocab_size)
        pieces.append(ids_N.astype(smallest))
    return np.concatenate(pieces)


# --- The cache. An entry is a folder that appears whole, by renaming, with a manifest of its files' hashes.


def _cache_folder():
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "assay" / "tokens"


def _sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(entry):
    """({split: tokens}, tokenizer) of an entry, or None where there is none that is whole."""
    try:
        manifest = json.loads((entry / "manifest.json").read_text())
        if any(_sha256(entry / name) != sha256 for name, sha256 in manifest.items()):
            return None
        return _opened(entry)
    except (OSError, ValueError, AttributeError):
        return None


def _opened(entry):
    arrays = {}
    for split in SPLITS:
        path = entry / f"{split}.npy"
        arrays[split] = np.load(path, mmap_mode="r" if path.stat().st_size > MEMORY_MAPPED_BYTES else None)
    return arrays, tokenizers.loads((entry / "tokenizer.json").read_bytes())


def _write(entry, arrays, tokenizer):
    """Keeps the arrays and the tokenizer; gives them back from disk, or as they are where nothing can be written."""
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=entry.parent, prefix=".making-"))
    except OSError:
        return arrays, tokenizer
    try:
        for split, tokens_N in arrays.items():
            np.save(made / f"{split}.npy", tokens_N)
        (made / "tokenizer.json").write_bytes(tokenizers.dumps(tokenizer))
        sums = {path.name: _sha256(path) for path in sorted(made.iterdir())}
        (made / "manifest.json").write_text(json.dumps(sums))
        shutil.rmtree(entry, ignore_errors=True)
        made.rename(entry)
        return _opened(entry)
    except OSError:  # the disk is full, or another process was first
        return _read(entry) or (arrays, tokenizer)
    finally:
        shutil.rmtree(made, ignore_errors=True)
