"""What the claims about fixed-window and n-gram language models are made of."""

from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from experiments import mlp_lm
from models import ngram
from training.config import override

TEXTS = Path(__file__).parent / "fixtures" / "kenlm"
ARMS = ("large",)  # the others differ from it in data or shape alone
SMALL = {
    "corpus": str(TEXTS / "text.txt"),
    "test_corpus": str(TEXTS / "test.txt"),
    "order": 3,
    "d_embed": 4,
    "d_hidden": 8,
    "sampled_tokens": 8,
    "strategies": "greedy,plain",
    "num_steps": 2,
    "batch_size": 8,
    "eval_every": 1,
    "checkpoint_every": 2,
}

CONFIG = override(mlp_lm.Config(), SMALL)


@pytest.fixture(scope="module")
def texts():
    tokens = mlp_lm.read(CONFIG)
    return tokens.train, tokens.validation, tokens.test, tokens.vocab_size


@pytest.fixture(scope="module")
def known(texts):
    return mlp_lm.NGramModels.of(*texts, 3)


def test_ngram_measurements_are_those_of_the_models(texts, known):
    train_N, _, test_N, V = texts
    counts = ngram.count(np.append(V, train_N), 5, V)
    for i, order in enumerate(mlp_lm.ORDERS):
        # Every order is measured on the same tokens: those with four before them.
        log_M = ngram.log_probabilities(ngram.kneser_ney(counts, order, mlp_lm.FALLBACK), test_N)[4:]
        np.testing.assert_allclose(known.measured["kneser_ney_perplexity"][i], np.exp(-log_M.mean()))
        zero_M = np.isneginf(ngram.log_probabilities(ngram.maximum_likelihood(counts, order), test_N)[4:])
        assert known.measured["zero_share"][i] == zero_M.mean()
        assert known.measured["unseen_share"][i] == zero_M.mean()  # an n-gram never seen has likelihood zero
        assert len(known.log_test[order]) == len(test_N) - 4


def test_an_interpolation_of_two_equal_models_is_either(texts, known):
    # The neural model scores two more tokens, from the third on.
    same = [np.concatenate([[-1.0, -1.0], log[3]]) for log in (known.log_validation, known.log_test)]
    found = mlp_lm.mixture(known, *same, 3)
    np.testing.assert_allclose(found["mixture_curve"], known.measured["kneser_ney_perplexity"][1])
    assert found["neural_perplexity"] == pytest.approx(found["counted_perplexity"])


def test_an_interpolation_of_a_good_and_a_bad_model_leaves_the_bad_one_out(texts, known):
    for log, weight in ((-0.01, 1.0), (-50.0, 0.0)):
        same = [np.full(len(of[3]) + 2, log) for of in (known.log_validation, known.log_test)]
        found = mlp_lm.mixture(known, *same, 3)
        assert found["mixture_weight"] == weight
        assert found["mixture_perplexity"] == found["neural_perplexity" if weight else "counted_perplexity"]


def test_a_model_that_ignores_its_prompt_is_caught(texts):
    *_, test_N, V = texts
    module, decoder = mlp_lm.language_model(CONFIG, V)
    shapes, random = (
        jax.eval_shape(module.init, jax.random.key(0), np.zeros((1, 2), np.int32)),
        np.random.default_rng(0),
    )
    variables = jax.tree.map(lambda x: np.float32(random.normal(size=x.shape)), shapes)
    assert mlp_lm.prompt_errors(module, decoder, variables, test_N).sum() == 0
    forgetful = decoder._replace(advance=lambda v, cache, tokens: decoder.advance(v, 0 * cache, tokens))
    assert mlp_lm.prompt_errors(module, forgetful, variables, test_N).sum() > 0


def test_claims_say_which_strategy_they_lack():
    result = SimpleNamespace(config=CONFIG)
    assert mlp_lm.most_distinct_over_plain(result) == "strategy top-k 40 is not in this run"
    result.examined = {"repeated": np.array([[0.9, 0.1, 0.2]])}
    assert mlp_lm.greedy_repetition(result) == [0.9]
    with pytest.raises(ValueError, match="'best' is not one of greedy"):
        mlp_lm.strategies_of(override(CONFIG, {"strategies": "greedy,best"}))
