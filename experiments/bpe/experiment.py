"""What are the pieces of byte-pair encoding: frequent words, parts of many words, single letters of rare scripts?"""

from dataclasses import dataclass

import jax
import numpy as np

from experiments.bpe.claims import CLAIMS
from experiments.bpe.figures import figures
from experiments.bpe.rare_script import measure_rare_script
from experiments.bpe.vocabularies import (
    analyze,
    count_training_words,
    count_words_with_random_parts,
    load_corpus,
    train_tokenizer,
)
from training.config import setting
from training.experiment import Arm, Experiment, Measurement


@dataclass(frozen=True)
class Config:
    corpus: str = setting("python_stdlib", "the text: python_stdlib, a file, a folder, or a TFDS data set")
    max_characters: int = setting(0, "characters of the training text at most; 0: all")
    vocab_size: int = setting(8_000, "pieces of the vocabulary that the claims are about, unless they name another")
    smallest_vocabulary: int = setting(500, "pieces of the smallest vocabulary; each next one has twice as many")
    largest_vocabulary: int = setting(32_000, "most pieces; vocabularies that the text cannot fill are left out")
    seed: int = setting(0, "seed of the first run; --num_seeds=N measures with seed, seed+1, ...")


def bpe_measurement(config):
    """Vocabularies trained on a text: what their pieces are, what a larger one buys, and what rare scripts cost.

    The training of a vocabulary is deterministic. Seeds draw only the random parts of words that pieces are compared
    with.
    """
    if not 2 <= config.smallest_vocabulary <= config.vocab_size <= config.largest_vocabulary:
        raise ValueError(
            f"smallest_vocabulary={config.smallest_vocabulary}, vocab_size={config.vocab_size} and largest_vocabulary="
            f"{config.largest_vocabulary} must be at least 2 and in this order"
        )
    if not count_training_words(config):
        raise ValueError(
            f"corpus={config.corpus} has no word of Latin letters in its training text, and the claims are about "
            "those: take another text"
        )
    train_tokenizer(config, config.vocab_size)  # raises ValueError where the text cannot fill it

    def measure(key):
        generator = np.random.default_rng(np.asarray(jax.random.bits(key, (4,))))
        return {
            **analyze(config),
            **measure_rare_script(config),
            "productivity/random parts": count_words_with_random_parts(config, generator),
        }

    return Measurement(measure, facts={"corpus": config.corpus, "sha256": load_corpus(config).sha256})


EXPERIMENT = Experiment(
    question=__doc__,
    config=Config(),
    arms=lambda config: {"bpe": Arm(bpe_measurement)},
    default_arms=("bpe",),
    claims=CLAIMS,
    figures=figures,
)
