"""Scores and losses inside jit: by hand, and in chunks of any size."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data.treebanks import Sentence
from experiments.dependency_parser import evaluation
from experiments.dependency_parser.arrays import make_split
from experiments.dependency_parser.evaluation import positions_of_example, score_split, sum_losses
from experiments.dependency_parser.vocabulary import build_vocabulary

TRAINING = [Sentence(("a", "b", "c"), ("D", "N", "V"), (2, 3, 0), ("det", "subj", "root"))]
SENTENCES = [*TRAINING, Sentence(("b", "c"), ("N", "V"), (2, 0), ("odd", "root"))]  # odd is unseen in training
VOCABULARY = build_vocabulary(TRAINING, 1)
DET, ROOT, SUBJ = (VOCABULARY.labels.index(name) for name in ("det", "root", "subj"))


def parser_of(heads, labels):
    """A parser that always says the same, [N, T]; -1 and 0 are filled in behind."""
    T = make_split(SENTENCES, VOCABULARY).heads_NT.shape[1]

    def parse(variables, split):
        rows = [np.full((2, T), -1, np.int32), np.zeros((2, T), np.int32)]
        for array_NT, values in zip(rows, (heads, labels), strict=True):
            for n, row in enumerate(values):
                array_NT[n, 1 : 1 + len(row)] = row
        return tuple(map(jnp.asarray, rows))

    return SimpleNamespace(parse=parse)


@pytest.mark.parametrize(
    ("heads", "labels", "uas", "las"),
    [
        ([[2, 3, 0], [2, 0]], [[DET, SUBJ, ROOT], [SUBJ, ROOT]], 5, 4),  # no parser can name a label it has never seen
        ([[2, 3, 0], [2, 0]], [[SUBJ, SUBJ, ROOT], [0, ROOT]], 5, 3),
        ([[3, 3, 0], [0, 1]], [[DET, SUBJ, ROOT], [SUBJ, ROOT]], 2, 2),
        ([[0, 1, 1], [0, 1]], [[DET, SUBJ, ROOT], [SUBJ, ROOT]], 0, 0),
    ],
)
def test_scores_by_hand(heads, labels, uas, las):
    split = make_split(SENTENCES, VOCABULARY)
    (right, words), (right_arcs, arcs) = score_split(parser_of(heads, labels), {}, split)
    assert (right, words, arcs) == (uas, 5, 5)
    assert right_arcs == las


@pytest.mark.parametrize("has_rows", [True, False])
@pytest.mark.parametrize("positions", [1, 20, 10**6])
def test_losses_are_those_of_all_examples_at_once(monkeypatch, has_rows, positions):
    """In chunks that divide the examples, that do not, and of all of them."""
    monkeypatch.setattr(evaluation, "EVAL_POSITIONS", positions)
    random = np.random.default_rng(0)
    examples = {"words": random.normal(size=(13, 6)).astype(np.float32)}
    examples |= {"segments": random.integers(-1, 3, (13, 6))} if has_rows else {}
    assert positions_of_example(examples) == (6 if has_rows else 1)

    def losses(variables, batch, deterministic, rngs):
        assert deterministic
        weights = batch["segments"] >= 0 if has_rows else jnp.ones_like(batch["words"])
        return jnp.sum(variables * batch["words"] ** 2 * weights), jnp.sum(weights)

    parser = SimpleNamespace(losses=losses)
    together = losses(3.0, examples, True, {})
    in_chunks = jax.jit(lambda variables: sum_losses(parser, variables, examples))(3.0)
    for one, other in zip(in_chunks, together, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)
