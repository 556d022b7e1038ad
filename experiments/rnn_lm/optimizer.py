"""The optimisers of recurrent language models: Adam or plain SGD, with clipping and a falling rate."""

from dataclasses import dataclass

import optax

from training.config import setting
from training.optimizer import check_range

# The best of 0.001, 0.003, 0.01 and 0.03 for each cell in runs of 200 steps: see README.md.
LEARNING_RATES = {"elman_sigmoid": 3e-2, "elman_tanh": 1e-2, "gru": 1e-2, "lstm": 3e-2}
QUARTERED_AFTER = (1 / 2, 2 / 3, 5 / 6)  # shares of the steps after which a quartered rate falls


@dataclass(frozen=True)
class OptimizerConfig:
    """Settings of Adam or SGD; raises UserError for a rate out of range."""

    algorithm: str = setting("adam", "adam, or sgd without momentum")
    learning_rate: float = setting(0.0, "learning rate at the start; 0: the best one found for the cell with adam")
    schedule: str = setting("cosine", "cosine: to 0; quartered: divided by 4 after 1/2, 2/3 and 5/6 of the steps")
    clip: float = setting(1.0, "largest global norm of the gradient")

    def __post_init__(self):
        check_range("learning_rate", self.learning_rate, 0.0, float("inf"))
        check_range("clip", self.clip, 0.0, float("inf"), low_included=False)


def make_optimizer(config: OptimizerConfig, cell: str, num_steps: int):
    """The optimiser of a run of ``num_steps`` that trains networks of a cell.

    Raises ValueError for an unknown algorithm or schedule, and for SGD without a learning rate.
    """
    if config.algorithm not in ("adam", "sgd") or config.schedule not in ("cosine", "quartered"):
        raise ValueError(
            f"optimizer.algorithm={config.algorithm!r} must be adam or sgd, and optimizer.schedule="
            f"{config.schedule!r} cosine or quartered"
        )
    if config.learning_rate == 0 and config.algorithm == "sgd":
        raise ValueError("optimizer.learning_rate must be given with sgd: rates were only tuned for adam")
    rate, steps = config.learning_rate or LEARNING_RATES[cell], max(num_steps, 1)
    if config.schedule == "cosine":
        schedule = optax.cosine_decay_schedule(rate, steps)
    else:
        schedule = optax.piecewise_constant_schedule(rate, {int(steps * share): 0.25 for share in QUARTERED_AFTER})
    algorithm = optax.adam if config.algorithm == "adam" else optax.sgd
    return optax.chain(optax.clip_by_global_norm(config.clip), algorithm(schedule))
