"""Are gradients derived by hand those of automatic differentiation, and what becomes of them if W is transposed?"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from experiments.derivations import comparisons, worked_example
from experiments.derivations.claims import CLAIMS
from experiments.derivations.figures import figures
from training.config import setting
from training.experiment import Arm, Experiment, Measurement


@dataclass(frozen=True)
class Config:
    width: int = setting(16, "width of inputs, hidden states and embeddings")
    num_classes: int = setting(7, "classes of the softmax; also inputs and outputs of the two-layer network")
    num_channels: int = setting(3, "channels of the image, and of what the convolution makes of it")
    batch_size: int = setting(4, "examples, where a formula sums over several")
    seed: int = setting(0, "seed of the first run; --num_seeds=N measures with seed, seed+1, ...")


def derivations_measurement(config):
    """Every formula of models/derivations.py against automatic differentiation, in float64 on random networks."""
    if config.num_classes < 2 or min(config.width, config.num_channels, config.batch_size) < 1:
        raise ValueError(f"num_classes={config.num_classes} must be at least 2, and the other sizes at least 1")
    errors = jax.jit(comparisons.errors)

    def measure(key):
        networks = comparisons.draw(key, config.width, config.num_classes, config.num_channels, config.batch_size)
        networks = jax.tree.map(lambda x: np.asarray(x, np.float64), networks)
        with jax.enable_x64(True):
            worked_pairs = comparisons.two_layers(worked_example.given_arrays())
            worked_errors = [jnp.abs(by_hand - automatic).max() for by_hand, automatic in worked_pairs.values()]
            return {
                **errors(networks),
                **{f"worked/{name}": array for name, array in worked_example.quantities().items()},
                "worked/error": np.max(worked_errors),
                "misshapen": worked_example.count_misshapen(worked_example.shapes(**worked_example.LARGE_NETWORK)),
                **comparisons.derivatives_at_zero(),
                **comparisons.chain_gradients(),
                **comparisons.transposition(**networks["linear"]),
            }

    return Measurement(measure)


EXPERIMENT = Experiment(
    question=__doc__,
    config=Config(),
    arms=lambda config: {"hand_derived": Arm(derivations_measurement)},
    default_arms=("hand_derived",),
    claims=CLAIMS,
    figures=figures,
)
