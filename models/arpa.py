"""ARPA files of n-gram models: log10 p(w | h) of every n-gram h w, and log10 left(h) of every one that is a context.

`models.ngram` says what a model is, and what left(h) is.

Axes: V vocabulary, G n-grams of one order, T tokens of an n-gram.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from models.ngram import UNSEEN, NGram, log_probabilities, places_in_text


class Entry(NamedTuple):
    """A line of an ARPA file."""

    log10_p: float
    words: tuple[str, ...]
    log10_left: float


def write_arpa(path: str | Path, model: NGram, words: Sequence[str]) -> None:
    """Writes the model as an ARPA file; ``words`` spells ids 0 ... V, the last one being <s>.

    As KenLM does, <s> has the probability 1, which no sentence uses. Raises ValueError for a wrong number of words, and
    for one that is empty, holds white space or is there twice.
    """
    V = model.vocab_size
    if len(words) != V + 1 or len(set(words)) != V + 1 or any(word.split() != [word] for word in words):
        raise ValueError(f"An ARPA file of this model needs {V + 1} different words without white space, the last <s>.")
    sizes = [V + 1, *map(len, model.keys)]
    lines = ["\\data\\", *(f"ngram {k + 1}={size}" for k, size in enumerate(sizes))]
    spelled, p_G, grams_GT = list(words), np.append(model.unigram_V, 1.0), np.arange(V + 1)[:, None]
    for k in range(model.order):
        if k:
            contexts_G, last_G = model.keys[k - 1] // (V + 1), model.keys[k - 1] % (V + 1)
            grams_GT = np.column_stack([grams_GT[contexts_G], last_G])
            shorter = NGram(V, model.unigram_V, model.keys[: k - 1], model.added[: k - 1], model.left[: k - 1])
            # A pruned model may lack an n-gram's last n-1 tokens, and then backs off again.
            shorter_p_G = _last_probabilities(shorter, grams_GT[:, 1:])
            p_G = model.added[k - 1] + model.left[k - 1][contexts_G] * shorter_p_G
            spelled = [f"{spelled[context]} {words[word]}" for context, word in zip(contexts_G, last_G, strict=True)]
        columns = [_log10(p_G), spelled]
        if k < model.order - 1:
            columns.append(_log10(model.left[k]))
        lines += ["", f"\\{k + 1}-grams:", *map("\t".join, zip(*columns, strict=True))]
    Path(path).write_text("\n".join([*lines, "", "\\end\\", ""]), encoding="utf-8")


def _log10(p):
    return [f"{x:.7g}" for x in np.log10(np.maximum(p, 1e-99))]


def read_arpa(path: str | Path) -> tuple[NGram, tuple[str, ...]]:
    """The model of an ARPA file, and the words of ids 0 ... V: in the file's order, <s> last.

    Raises ValueError for a file that is no ARPA file, that has no <s>, or an n-gram whose first n-1 tokens it lacks.
    """
    sections = _sections(Path(path))
    known = [entry.words[0] for entry in sections[0]]
    if "<s>" not in known:
        raise ValueError(f"{path} has no <s>.")
    words = (*(word for word in known if word != "<s>"), "<s>")
    ids, V = {word: id for id, word in enumerate(words)}, len(words) - 1
    unigram = np.zeros(V + 1)
    left = np.ones(V + 1)
    for entry in sections[0]:
        id = ids[entry.words[0]]
        unigram[id], left[id] = 10.0**entry.log10_p, 10.0**entry.log10_left
    model = NGram(V, unigram[:V])
    for section in sections[1:]:
        try:
            grams = [[ids[word] for word in entry.words] for entry in section]
        except KeyError as error:
            raise ValueError(f"{path} has an n-gram with {error}, which is not among its words.") from error
        grams_GT = np.array(grams).reshape(-1, model.order + 1)
        # Laid end to end, n-grams hold no n-gram across their borders where only each one's last place is read.
        places_GT = places_in_text(model.keys, V, grams_GT.ravel())[model.order - 1].reshape(grams_GT.shape)
        contexts_G = places_GT[:, -2]
        if (contexts_G == UNSEEN).any():
            missing = " ".join(section[int(np.argmin(contexts_G))].words[:-1])
            raise ValueError(f"{path} has n-grams that begin with {missing!r} and not that n-gram itself.")
        keys_G = contexts_G * (V + 1) + grams_GT[:, -1]
        order = np.argsort(keys_G)
        p_G = np.array([10.0**entry.log10_p for entry in section])
        added_G = p_G - left[contexts_G] * _last_probabilities(model, grams_GT[:, 1:])
        model = NGram(
            V,
            model.unigram_V,
            (*model.keys, keys_G[order]),
            (*model.added, added_G[order]),
            (*model.left, left),
        )
        left = np.array([10.0**entry.log10_left for entry in section])[order]
    return model, words


def _last_probabilities(model, grams_GT):
    """p [G] of the last token of each row after the others."""
    return np.exp(log_probabilities(model, grams_GT.ravel()).reshape(grams_GT.shape)[:, -1])


def _sections(path):
    """The entries of each order."""
    sections = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        fields = line.split()
        if line.startswith("\\") and line.endswith("-grams:"):
            sections.append([])
        elif sections and fields and not line.startswith("\\"):
            try:
                sections[-1].append(_entry(fields, len(sections)))
            except ValueError:
                raise ValueError(
                    f"{path}, line {number} is no {len(sections)}-gram of an ARPA file: {line[:60]!r}."
                ) from None
    if not sections or not sections[0]:
        raise ValueError(f"{path} is no ARPA file: it lists no 1-grams.")
    return sections


def _entry(fields, order):
    """The entry of a line's fields: log10 p, ``order`` words, and log10 left where it is not 0."""
    if not order + 1 <= len(fields) <= order + 2:
        raise ValueError
    log10_left = float(fields[order + 1]) if len(fields) > order + 1 else 0.0
    return Entry(float(fields[0]), tuple(fields[1 : order + 1]), log10_left)
