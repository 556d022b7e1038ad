"""Optimisers: what do SGD's flags, momentum, Adam, Xavier and dropout really do, and why search at random?"""

from dataclasses import dataclass, field
from functools import partial

import flax.linen as nn
import jax
import numpy as np

from experiments.optimizers.claims import CLAIMS
from experiments.optimizers.figures import figures
from experiments.optimizers.measures import (
    DROPOUT_RATES,
    LAYERS,
    dropout_moments,
    measure_adam,
    measure_convergence,
    variance_ratios,
)
from experiments.optimizers.search import network_task, search
from experiments.optimizers.sgd_flags import compare_with_torch
from training import step
from training.config import setting
from training.experiment import Arm, Experiment, Measurement
from training.optimizer import SGDConfig


@dataclass(frozen=True)
class SearchConfig:
    num_trials: int = setting(256, "trials of the random search, and at most as many of the grid search")
    small_trials: int = setting(16, "trials of each small grid; a square number")
    num_one_by_one: int = setting(16, "trials that are timed one after another in a program that is compiled once")
    num_compiled: int = setting(2, "trials that are timed one after another, each compiled for itself")


@dataclass(frozen=True)
class Config:
    dimension: int = setting(20, "dimension of the convex quadratics")
    quadratic_steps: int = setting(4000, "steps of each method on the convex quadratics")
    adam_steps: int = setting(3000, "steps of Adam on gradients that are given")
    dropout_masks: int = setting(20000, "masks that expectations under dropout are taken over")
    hidden: int = setting(16, "hidden units of the network whose hyperparameters are searched for")
    search: SearchConfig = field(default_factory=SearchConfig)
    seed: int = setting(0, "seed of the first run; --num_seeds=N measures with seed, seed+1, ...")
    num_steps: int = setting(200, "training steps of a trial of the search")
    batch_size: int = setting(16, "rows of data in a step of a trial")
    eval_every: int = setting(50, "steps between evaluations of a trial")
    # The search draws learning_rate and weight_decay itself.
    optimizer: SGDConfig = field(default_factory=lambda: SGDConfig(learning_rate=0.02, momentum=0.9))


def sgd_measurement(config):
    """PyTorch's semantics of SGD, and two misreadings of them."""
    return Measurement(lambda key: compare_with_torch())


def quadratics_measurement(config):
    """Rates of convergence on quadratics in a random basis, from a random start."""
    D = config.dimension
    if D < 2 or config.quadratic_steps < 100:
        raise ValueError("dimension must be at least 2 and quadratic_steps at least 100")

    def measure(key):
        start_key, basis_key = jax.random.split(key)
        basis_DD, _ = np.linalg.qr(np.asarray(jax.random.normal(basis_key, (D * D,)).reshape(D, D), float))
        start_D = np.asarray(jax.random.normal(start_key, (D,)), float)
        return measure_convergence(basis_DD, start_D, config.quadratic_steps)

    return Measurement(measure)


def adam_measurement(config):
    """What Adam's two running means make of gradients of different scales."""
    T, G = config.adam_steps, 64
    if T < 100:
        raise ValueError(f"adam_steps={T} must be at least 100: the running means need time to settle")

    def measure(key):
        scales_G = np.geomspace(1e-2, 1e2, G)
        noise_TG = np.asarray(jax.random.normal(key, (T * G,)).reshape(T, G), float)
        return measure_adam(noise_TG, scales_G) | {"scale": scales_G}

    return Measurement(measure)


def xavier_measurement(config):
    """What Xavier's initialisation keeps of the variance, forward and backward, in layers of different shapes."""
    draw, measure_ratios = nn.initializers.xavier_uniform(), jax.jit(partial(variance_ratios, num_rows=2000))

    def measure(key):
        measured = {}
        for layer_key, (fan_in, fan_out) in zip(jax.random.split(key, len(LAYERS)), LAYERS, strict=True):
            layer = f"{fan_in}_to_{fan_out}"
            ratios = measure_ratios(draw(layer_key, (fan_in, fan_out)), step.key(0, f"xavier {layer}"))
            measured |= {f"{name}/{layer}": ratio for name, ratio in ratios.items()}
        return measured

    return Measurement(measure)


def dropout_measurement(config):
    """What gamma = 1 / (1 - p) keeps of a vector's mean and variance under dropout."""
    measure_moments = jax.jit(partial(dropout_moments, rates=DROPOUT_RATES, num_masks=config.dropout_masks))

    def measure(key):
        input_key, mask_key = jax.random.split(key)
        return measure_moments(jax.random.normal(input_key, (64,)), mask_key)

    return Measurement(measure)


def search_measurement(config):
    """Trials of a small network at once and one by one, at random and on grids."""
    sizes = config.search
    if int(np.sqrt(sizes.small_trials)) ** 2 != sizes.small_trials or sizes.num_trials < sizes.small_trials:
        raise ValueError("search.small_trials must be a square number, at most search.num_trials")
    if min(sizes.num_one_by_one, sizes.num_compiled) < 1:
        raise ValueError("search.num_one_by_one and search.num_compiled must be at least 1")
    network_task(config)  # raises ValueError for a network that cannot be

    return Measurement(lambda key: search(config, seed=int(jax.random.randint(key, (), 0, 2**30))))


EXPERIMENT = Experiment(
    question=__doc__,
    config=Config(),
    arms=lambda config: {
        "sgd": Arm(sgd_measurement),
        "quadratics": Arm(quadratics_measurement),
        "adam": Arm(adam_measurement),
        "xavier": Arm(xavier_measurement),
        "dropout": Arm(dropout_measurement),
        "search": Arm(search_measurement),
    },
    default_arms=("sgd", "quadratics", "adam", "xavier", "dropout", "search"),
    claims=CLAIMS,
    figures=figures,
)
