"""What the claims about fixed-window and n-gram language models are made of."""

from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from data import tokenizers
from experiments.mlp_lm import experiment as mlp_lm
from models import ngram
from training.config import override

TEXTS = Path(__file__).parents[1] / "fixtures" / "kenlm"
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
        log_M = ngram.log_probabilities(ngram.kneser_ney(counts, order, ngram.FALLBACK_DISCOUNTS), test_N)[4:]
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
    with pytest.raises(ValueError, match="strategies names none"):
        mlp_lm.strategies_of(override(CONFIG, {"strategies": ""}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sampled_tokens": 3}, "sampled_tokens=3 must lie between 4 and"),
        ({"test_tokens": 20, "sampled_tokens": 21}, "sampled_tokens=21 must lie between 4 and the 20"),
        ({"order": 8, "test_tokens": 7}, "the test text has 7 tokens.* order up to 8 need 9.*test_tokens"),
        ({"eval_tokens": 1}, "the validation text has 3 tokens.*eval_tokens"),
        ({"eval_tokens": -1}, "eval_tokens=-1 must be 0"),
        ({"strategies": ""}, "strategies names none"),
    ],
)
def test_settings_that_cannot_be_measured_are_refused_before_training(changes, message):
    with pytest.raises(ValueError, match=message):
        mlp_lm.task(override(CONFIG, changes))


def test_no_limit_takes_the_whole_text(texts):
    task = mlp_lm.task(override(CONFIG, {"eval_tokens": 0, "test_tokens": 0}))
    np.testing.assert_array_equal(task.data["validation"], texts[1])
    assert task.facts["test_tokens"] == len(texts[2])


def test_what_is_used_of_a_text_is_spread_over_it():
    for N, at_most in ((10, 0), (10, 10), (10, 9), (999, 998), (60_000, 1001), (123_457, 50_000)):
        found = mlp_lm.spread(np.arange(N), at_most)
        assert len(found) == (at_most or N)
        assert (np.diff(found) > 0).all()
    pieces = np.flatnonzero(np.diff(found) > 1)
    assert len(pieces) == mlp_lm.PIECES - 1
    assert (found[0], found[-1]) == (0, 123_456)
    assert np.ptp(np.diff(pieces)) <= 1


def test_a_text_begins_after_the_end_of_a_line():
    for kind, texts in (("byte", ["a"]), ("word", ["a b\n"]), ("sentencepiece", ["some words to merge\n" * 9])):
        size = {"vocab_size": 270} if kind == "sentencepiece" else {}
        tokenizer = tokenizers.train(kind, texts, **size)
        module, _ = mlp_lm.language_model(override(CONFIG, {"tokenizer": kind}), tokenizer.vocab_size)
        assert tokenizer.encode("\n").tolist() == [module.config.padding]
