"""What does a token embedding cost as a lookup and as a matrix product, and which of it grows with the vocabulary?"""

from dataclasses import dataclass

import jax
import numpy as np

from experiments.embedding_layer.claims import CLAIMS
from experiments.embedding_layer.figures import figures
from experiments.embedding_layer.measures import GATHER, bytes_by_xla, costs, exactness, seconds, vocabularies
from training.config import setting
from training.experiment import Arm, Experiment, Measurement


@dataclass(frozen=True)
class Config:
    smallest_vocabulary: int = setting(1_000, "smallest vocabulary in tokens; the exact claims are tried at this size")
    largest_vocabulary: int = setting(100_000, "largest vocabulary in tokens")
    width: int = setting(64, "width of the embedding vectors")
    num_tokens: int = setting(256, "tokens in a batch")
    seed: int = setting(0, "seed of the first run; --num_seeds=N measures with seed, seed+1, ...")


def embedding_measurement(config):
    """Both ways of an embedding, on a random table and random tokens: exactness, costs by count and by the clock."""
    if not 2 <= config.smallest_vocabulary < config.largest_vocabulary or min(config.width, config.num_tokens) < 1:
        raise ValueError("smallest_vocabulary must be at least 2 and below largest_vocabulary, other sizes positive")
    N, V_largest, D = config.num_tokens, config.largest_vocabulary, config.width
    lookup = f"{GATHER}: forward"

    def measure(key):
        sample = draw(key, N, config.smallest_vocabulary, D)
        generator = np.random.default_rng(np.asarray(sample["tokens"]))
        xla_bytes, our_bytes = bytes_by_xla(lookup, N, V_largest, D), costs(N, V_largest, D)[f"bytes/{lookup}"]
        by_vocabulary = [costs(N, V, D) | seconds(N, V, D, generator) for V in vocabularies(config).tolist()]
        return {
            **exactness(sample),
            "xla_bytes_over_ours": np.float64(xla_bytes / our_bytes),
            **{name: np.array([numbers[name] for numbers in by_vocabulary], np.float64) for name in by_vocabulary[0]},
        }

    return Measurement(measure)


def draw(key, N, V, D):
    """A random table [V, D], tokens [N] and cotangents [N, D] of the rows that the tokens look up."""
    normal = jax.random.normal(key, (V * D + N * D,))
    return {
        "table": normal[: V * D].reshape(V, D),
        "cotangent": normal[V * D :].reshape(N, D),
        "tokens": jax.random.randint(key, (N,), 0, V),
    }


EXPERIMENT = Experiment(
    question=__doc__,
    config=Config(),
    arms=lambda config: {"embedding": Arm(embedding_measurement)},
    default_arms=("embedding",),
    claims=CLAIMS,
    figures=figures,
)
