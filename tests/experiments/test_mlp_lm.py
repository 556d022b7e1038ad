"""The experiment of fixed-window and n-gram models: its config and its claims.

Its figures, its sampling strategies and its task are also run by test_every_experiment.py.
"""

from types import SimpleNamespace

import numpy as np
import pytest
from kenlm_texts import FOLDER

from data import tokenizers
from data.tokens import read_corpus
from experiments.mlp_lm.claims import greedy_repetition, most_distinct_over_plain
from experiments.mlp_lm.experiment import Config, language_model, task
from training.config import override

ARMS = ("large",)  # the others differ from it in data or shape alone
SMALL = {
    "corpus": str(FOLDER / "text.txt"),
    "test_corpus": str(FOLDER / "test.txt"),
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

CONFIG = override(Config(), SMALL)


def test_claims_say_which_strategy_they_lack():
    result = SimpleNamespace(config=CONFIG)
    assert most_distinct_over_plain(result) == "strategy top-k 40 is not in this run"
    result.examined = {"repeated": np.array([[0.9, 0.1, 0.2]])}
    assert greedy_repetition(result) == [0.9]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sampled_tokens": 3}, "sampled_tokens=3 must lie between 4 and"),
        ({"test_tokens": 20, "sampled_tokens": 21}, "sampled_tokens=21 must lie between 4 and the 20"),
        ({"order": 8, "test_tokens": 7}, "the test text has 7 tokens.* order up to 8 need 9.*test_tokens"),
        ({"eval_tokens": 1}, "the validation text has 3 tokens.*eval_tokens"),
        ({"eval_tokens": -1}, "eval_tokens=-1 must be 0"),
        ({"strategies": ""}, "strategies names none"),
        ({"strategies": "greedy,best"}, "'best' is not one of greedy"),
    ],
)
def test_settings_that_cannot_be_measured_are_refused_before_training(changes, message):
    with pytest.raises(ValueError, match=message):
        task(override(CONFIG, changes))


def test_no_limit_takes_the_whole_text():
    tokens, whole = read_corpus(CONFIG), task(override(CONFIG, {"eval_tokens": 0, "test_tokens": 0}))
    np.testing.assert_array_equal(whole.data["validation"], tokens.validation)
    assert whole.facts["test_tokens"] == len(tokens.test)


def test_a_text_begins_after_the_end_of_a_line():
    for kind, texts in (("byte", ["a"]), ("word", ["a b\n"]), ("sentencepiece", ["some words to merge\n" * 9])):
        size = {"vocab_size": 270} if kind == "sentencepiece" else {}
        tokenizer = tokenizers.train(kind, texts, **size)
        module, _ = language_model(override(CONFIG, {"tokenizer": kind}), tokenizer.vocab_size)
        assert tokenizer.encode("\n").tolist() == [module.config.padding]
