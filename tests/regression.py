"""The smallest experiment: least squares under a mask, for tests of the engine (it compiles in no time).

``python tests/regression.py train [flags]`` and ``... eval [flags]`` are the real commands, with this experiment.
"""

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from training.config import setting
from training.experiment import Experiment, Loss, Task
from training.optimizer import OptimizerConfig, adamw
from training.step import key

TRUTH = np.array([1.0, -2.0, 3.0], np.float32)


@dataclass(frozen=True)
class Config:
    width: int = setting(3, "of the inputs")
    noise: float = setting(0.1, "noise drawn by the loss, as dropout would be")
    seconds: float = setting(0.0, "that each batch but the first takes on the host; 0: made on the device")
    poisoned_step: int = setting(-1, "whose batch is infinite")
    seed: int = setting(0, "of the first of the seeds")
    num_steps: int = setting(8, "training steps")
    batch_size: int = setting(16, "rows a step")
    eval_every: int = setting(2, "steps between evaluations")
    checkpoint_every: int = setting(2, "steps between checkpoints")
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(learning_rate=0.05))


def rows(config, key, size):
    """Rows whose mask differs from the first to the last: a mean of shards' means would be wrong."""
    x_key, mask_key = jax.random.split(key)
    x = jax.random.normal(x_key, (size, config.width))
    mask = jax.random.bernoulli(mask_key, jnp.linspace(0.05, 0.95, size)).astype(jnp.float32)
    return {"x": x, "y": x @ jnp.resize(TRUTH, config.width), "mask": mask}


def task(config, optimizer=None):
    if config.width < 1:
        raise ValueError(f"width={config.width} must be at least 1")
    held_out = rows(config, key(0, "evaluation"), 64)

    def error(variables, batch):
        return batch["x"] @ variables["params"]["w"] - batch["y"]

    def loss(variables, batch, rngs):
        e = error(variables, batch)
        e += config.noise * jax.random.normal(rngs["dropout"], e.shape)
        right = jnp.abs(e) < 0.1
        return Loss(jnp.sum(batch["mask"] * e**2), batch["mask"].sum(), {"right": (right.sum(), jnp.float32(e.size))})

    def batch(seed, step):
        made = rows(config, key(seed, "batch", step), config.batch_size)
        return made | {"y": jnp.where(step == config.poisoned_step, jnp.inf, made["y"])}

    def slow_batch(seed, step):
        time.sleep(config.seconds if step else 0)
        return jax.device_get(batch(seed, step))

    return Task(
        model=None,
        init=lambda key: {"params": {"w": jax.random.normal(key, (config.width,))}},
        batch=slow_batch if config.seconds else batch,
        batch_on_host=config.seconds > 0,
        loss=loss,
        optimizer=optimizer or adamw(config.optimizer, config.num_steps),
        accumulate=config.optimizer.accumulate,
        evaluate=lambda variables: {"loss": (jnp.sum(error(variables, held_out) ** 2), jnp.float32(64))},
        probe=lambda variables: {"weights": variables["params"]["w"]},
        examine=lambda variables: {"distance": jnp.abs(variables["params"]["w"] - 1.0)},
    )


EXPERIMENT = Experiment(
    question=__doc__,
    config=Config(),
    arms=lambda config: {"plain": {}, "quiet": {"noise": 0.0}, "wide": {"width": 2 * config.width}},
    default_arms=("plain", "quiet"),
    task=task,
    claims=lambda results: [],
    figures=lambda results: [],
)

if __name__ == "__main__":
    import experiments

    experiments.load = lambda name: EXPERIMENT
    which = sys.argv.pop(1)
    command_module = __import__(which)
    command_module.command.run(command_module.main, experiments.load if which == "train" else None)
