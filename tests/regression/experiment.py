"""The smallest experiment: least squares under a mask, for tests of the engine (it compiles in no time).

``python train.py --experiment=tests/regression [flags]`` trains it.
"""

import json
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from reporting.tables import table
from training.config import setting
from training.experiment import Answer, Arm, Experiment, Loss, Task
from training.optimizer import OptimizerConfig, adamw
from training.step import key

TRUTH = np.array([1.0, -2.0, 3.0], np.float32)


@dataclass(frozen=True)
class Config:
    width: int = setting(3, "width of the inputs")
    noise: float = setting(0.1, "noise that the loss adds, as dropout would be")
    seconds: float = setting(0.0, "seconds that each batch but the first takes on the host; 0: made on the device")
    poisoned_step: int = setting(-1, "step whose batch is infinite; -1: none")
    seed: int = setting(0, "seed of the first run; --num_seeds=N trains seed, seed+1, ...")
    num_steps: int = setting(8, "training steps")
    batch_size: int = setting(16, "rows a step")
    eval_every: int = setting(2, "steps between evaluations")
    checkpoint_every: int = setting(4, "steps between checkpoints")
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(learning_rate=0.05))


def rows(config, key, size):
    """Rows whose mask differs from the first to the last: a mean of shards' means would be wrong."""
    uniform = jax.random.uniform(key, (size, config.width + 1))  # drawn at once: that compiles faster
    x = 3.0 * (uniform[:, 1:] - 0.5)
    mask = (uniform[:, 0] < jnp.linspace(0.05, 0.95, size)).astype(jnp.float32)
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

    compiled_batch = jax.jit(batch)

    def slow_batch(seed, step):
        time.sleep(config.seconds if step else 0)
        return jax.device_get(compiled_batch(seed, step))

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
        outputs=write_weights,
        files={"inputs.json": json.dumps([f"x{i}" for i in range(config.width)]).encode()},
    )


def write_weights(variables, examined):
    """Files of one seed's weights and of what was examined."""
    return {
        "weights.bin": np.asarray(variables["params"]["w"], "<f4").tobytes(),
        "examined.json": json.dumps({name: value.tolist() for name, value in examined.items()}).encode(),
    }


def predict_rows(trained, path):
    """The answer to --text=FILE: y of each row of the file, which has a number for every input."""
    inputs = json.loads(trained.files["inputs.json"])
    rows = [line.split() for line in Path(path).read_text(encoding="utf-8").splitlines()]
    if not rows:
        raise ValueError(f"{path} is empty: give a row of {len(inputs)} numbers a line")
    for number, row in enumerate(rows, start=1):
        if len(row) != len(inputs):
            raise ValueError(f"{path}, line {number}: {len(row)} numbers for the {len(inputs)} inputs")
    predictions = np.array(rows, np.float32) @ np.asarray(trained.variables["params"]["w"])
    text = "\n".join(f"{y:.4f}" for y in predictions)
    figure = table("Rows", "", [*inputs, "y"], [[*row, float(y)] for row, y in zip(rows, predictions, strict=True)])
    return Answer(text, {"predictions.txt": text.encode()}, [figure])


def make_translator(trained):
    """Translates the names of inputs into their weights, with as many decimals as the beam is wide."""
    inputs = json.loads(trained.files["inputs.json"])
    weights = np.asarray(trained.variables["params"]["w"])

    def read(line):
        for name in line.split():
            if name not in inputs:
                raise ValueError(f"{name!r} is none of the inputs {', '.join(inputs)}")
        return [inputs.index(name) for name in line.split()]

    def translate(numbers, beam_size):
        if beam_size > 9:
            raise ValueError(f"beam_size={beam_size} must be at most 9")
        return [" ".join(f"{weights[i]:.{beam_size}f}" for i in row) for row in numbers]

    return read, translate


def resident_task(config):
    """The same, by SGD, on rows that are drawn from 64 that stay on the devices."""
    plain = task(config, optax.sgd(config.optimizer.learning_rate))

    def batch(seed, step, data):
        drawn = jax.random.choice(key(seed, "batch", step), 64, (config.batch_size,), replace=False)
        return jax.tree.map(lambda x: x[drawn], data)

    def mean_error(variables, data):
        return {"loss": (jnp.sum((data["x"] @ variables["params"]["w"] - data["y"]) ** 2), jnp.float32(64))}

    return replace(
        plain,
        data=jax.device_get(rows(config, key(7, "rows"), 64)),
        batch=batch,
        evaluate=mean_error,
        probe=lambda variables, data: {"weights": variables["params"]["w"] + 0 * data["y"][0]},
        examine=lambda variables, data: {"rows": jnp.int32(len(data["y"]))},
        perplexity=True,
        files={"tokenizer.json": b"{}"},
        facts={"sha256": "abc"},
    )


def constant_task(config):
    """The same with the 64 rows as constants of the programs: what arrays that stay on the devices must equal."""
    resident = resident_task(config)
    data = jax.tree.map(jnp.asarray, resident.data)
    return replace(
        resident,
        data=None,
        batch=lambda seed, step: resident.batch(seed, step, data),
        evaluate=lambda variables: resident.evaluate(variables, data),
        probe=lambda variables: resident.probe(variables, data),
        examine=lambda variables: resident.examine(variables, data),
    )


def network_task(config, optimizer):
    """A network of two kernels and their biases, fitted to the same rows; its rules split it over a mesh."""

    def init(key):
        in_key, out_key = jax.random.split(key)
        return {
            "params": {
                "in": {"kernel": jax.random.normal(in_key, (config.width, 8)), "bias": jnp.zeros(8)},
                "out": {"kernel": jax.random.normal(out_key, (8, 4)), "bias": jnp.zeros(4)},
            }
        }

    def loss(variables, batch, rngs):
        params = variables["params"]
        hidden = jnp.tanh(batch["x"] @ params["in"]["kernel"] + params["in"]["bias"])
        error = (hidden @ params["out"]["kernel"] + params["out"]["bias"]).sum(-1) - batch["y"]
        return Loss(jnp.sum(batch["mask"] * error**2), batch["mask"].sum())

    sharding = (("in/kernel$", ("fsdp", "model")), ("out/kernel$", ("model", "fsdp")))
    return replace(task(config, optimizer), init=init, loss=loss, sharding=sharding, evaluate=None)


EXPERIMENT = Experiment(
    question=__doc__,
    config=Config(),
    arms=lambda config: {
        "plain": Arm(task),
        "quiet": Arm(task, {"noise": 0.0}),
        "wide": Arm(task, {"width": 2 * config.width}),
    },
    default_arms=("plain", "quiet"),
    claims=[],
    figures=lambda results: [],
    translator=make_translator,
    queries={"text": predict_rows},
)
