"""Token arrays: a corpus tokenized, kept on disk by a hash of its content, and cut into windows or columns.

Axes: N tokens of a split, B sequences, T positions, W windows.
"""

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from data import corpora, tokenizers
from data.corpora import SPLITS
from data.ids import check_ids, smallest_type
from data.tokenizers import Tokenizer

# Larger arrays stay on disk and are read as they are used.
MEMORY_MAPPED_BYTES = 64 * 2**20
# The version of the cache: raise it whenever the same text and settings give other tokens.
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
        """The number of the tokenizer's ids."""
        return self.tokenizer.vocab_size

    @property
    def facts(self):
        """{name: value} that say which tokens these are, for a run's config.json."""
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
    tokenizer_size: int | None = None,
    split: str | None = None,
    max_characters: int = 0,
    context_length: int = 0,
    test_corpus: str = "",
    test_share: float = 0.0,
    data_dir: str | None = None,
) -> Tokens:
    """The corpus of that name or path as tokens of a tokenizer trained on its training split only.

    The tokens are kept under $XDG_CACHE_HOME/assay (default ~/.cache/assay) by a hash of text and settings; an entry
    that is damaged is made anew. Arrays of more than 64 MiB are memory-mapped. Documents of a split stand end to end,
    each followed by the tokenizer's ``end`` where it has one. A character tokenizer gets an <unk> where the held-out
    text has characters that the training text has not.

    Args:
      corpus:         a name or a path, see `data.corpora.load`; so are max_characters, test_corpus, test_share and
                      data_dir.
      tokenizer:      char, byte, word or sentencepiece.
      tokenizer_size: vocabulary of a word tokenizer (0: every word) or a sentencepiece tokenizer; others ignore it.
      split:          what a word tokenizer takes for a word, see `data.tokenizers.Words`; others ignore it.
      context_length: if given, each split that is not empty must hold a window of it.

    A tokenizer_size or split of None leaves the tokenizer its default.

    Raises:
      ValueError: what `data.corpora.load` and `data.tokenizers.train` raise, and for a split shorter than
        context_length + 1.
    """
    text = corpora.load(corpus, data_dir, test_share=test_share, max_characters=max_characters, test_corpus=test_corpus)
    settings = tokenizer_settings(tokenizer, tokenizer_size, split)
    entry = _cache_folder() / _entry_name(text, tokenizer, settings)
    arrays, trained = _read(entry) or _write(entry, *tokenize(text, tokenizer, **settings))
    num_bytes = {name: sum(len(document.encode("utf-8")) for document in text[name]) for name in SPLITS}
    tokens = Tokens(**arrays, tokenizer=trained, corpus=corpus, sha256=text.sha256, num_bytes=num_bytes)
    for name in SPLITS:
        check_length(tokens[name], context_length, f"the {name} split of {corpus}", may_be_empty=name != "train")
    return tokens


prepare_once = lru_cache(maxsize=1)(prepare)  # the arms of a run share their text


def read_corpus(config, context_length: int = 0) -> Tokens:
    """The text that an experiment's config asks for, by `prepare`, which says what is raised.

    The config has the fields corpus, tokenizer, tokenizer_size and max_characters, and may have split and test_corpus.
    """
    return prepare_once(
        config.corpus,
        config.tokenizer,
        tokenizer_size=config.tokenizer_size,
        split=getattr(config, "split", None),
        max_characters=config.max_characters,
        context_length=context_length,
        test_corpus=getattr(config, "test_corpus", ""),
    )


def tokenizer_settings(tokenizer, tokenizer_size=None, split=None):
    """The keywords of `data.tokenizers.train`: those of the two options that are given and that the tokenizer takes."""
    settings = {}
    if tokenizer in ("word", "sentencepiece") and tokenizer_size is not None:
        settings["vocab_size"] = tokenizer_size
    if tokenizer == "word" and split is not None:
        settings["split"] = split
    return settings


def tokenize(text: corpora.Corpus, kind: str, **settings) -> tuple[dict[str, np.ndarray], Tokenizer]:
    """{split: its tokens} and the tokenizer of that kind, trained on the training split; nothing is kept on disk.

    Settings are those of `data.tokenizers.train`.
    """
    tokenizer = tokenizers.train(kind, text.train, **settings)
    if kind == "char" and not tokenizer.unknown and "unknown" not in settings:
        held_out = set().union(*(set(document) for document in (*text.validation, *text.test)))
        if held_out - set(tokenizer.characters):
            tokenizer = tokenizers.Characters(tokenizer.characters, unknown=True)
    arrays = {split: _joined((_document(doc, tokenizer) for doc in text[split]), tokenizer) for split in SPLITS}
    return arrays, tokenizer


def check_length(tokens_N, context_length, what, may_be_empty=False):
    """Raises ValueError where the tokens hold no window of context_length + 1; ``what`` names them."""
    if len(tokens_N) <= context_length and not (may_be_empty and len(tokens_N) == 0):
        raise ValueError(
            f"{what} has {len(tokens_N)} tokens, fewer than context_length + 1 = {context_length + 1}: "
            "take a smaller --config.context_length or more text"
        )


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


def _document(document, tokenizer):
    """Ids of a document, its end included where the tokenizer marks it."""
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


def _entry_name(text, tokenizer, settings):
    """A hash of what the tokens of a text depend on."""
    content = {"format": FORMAT, "corpus": text.sha256, "tokenizer": tokenizer, "settings": settings}
    if tokenizer == "sentencepiece":
        import sentencepiece

        content["sentencepiece"] = sentencepiece.__version__
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def _sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(entry):
    """({split: tokens}, tokenizer) of an entry, or None where no whole entry is there."""
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
