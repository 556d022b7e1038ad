"""What a config's sequences are, for both kinds of data."""

from dataclasses import replace

import jax
import pytest

from experiments.induction_heads import sequences
from experiments.induction_heads.experiment import Config, RepeatsConfig


def test_lengths_and_vocabularies_are_those_of_the_data():
    repeats, markov = Config(), Config(data="markov")
    assert (sequences.context_length(repeats), sequences.context_length(markov)) == (64, 100)
    assert sequences.context_length(replace(markov, context_length=12)) == 12
    assert (sequences.vocab_size(repeats), sequences.vocab_size(markov)) == (65, 2)


def test_the_longest_block_is_half_the_context_unless_the_config_or_the_vocabulary_says_less():
    assert sequences.longest_period(Config()) == 32
    assert sequences.longest_period(Config(repeats=RepeatsConfig(max_period=16))) == 16
    assert sequences.longest_period(Config(repeats=RepeatsConfig(vocab_size=20))) == 20


@pytest.mark.parametrize("data", ["repeats", "markov"])
def test_a_batch_has_the_size_and_length_asked_for(data):
    config = Config(data=data, context_length=20)
    batch = jax.eval_shape(lambda key: sequences.draw(config, key, 3), jax.random.key(0))
    assert batch["tokens"].shape == batch["targets"].shape == (3, 20)


def test_unknown_data_is_refused():
    with pytest.raises(ValueError, match="data='text' is not one of repeats, markov"):
        sequences.draw(Config(data="text"), jax.random.key(0), 3)
