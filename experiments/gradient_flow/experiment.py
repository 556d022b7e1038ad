"""Gradient flow: how large are the gradients of each layer, what changes that, and what does the backward pass cost?"""

from collections.abc import Callable
from dataclasses import dataclass

import jax

from experiments.gradient_flow.backward_memory import measure_programs
from experiments.gradient_flow.claims import CLAIMS
from experiments.gradient_flow.figures import figures
from experiments.gradient_flow.gradient_identities import measure_exact
from experiments.gradient_flow.layer_gradients import draw_cnn, draw_mlp, draw_residual, draw_rnn
from training.config import setting
from training.experiment import Arm, Experiment, Measurement


@dataclass(frozen=True)
class Config:
    num_draws: int = setting(5, "independent draws of weights and inputs a seed")
    batch_size: int = setting(32, "inputs of a draw")
    width: int = setting(256, "units of a layer of the MLPs and residual networks")
    num_layers: int = setting(20, "layers of the MLPs and CNNs")
    num_blocks: int = setting(50, "blocks of the residual networks")
    num_channels: int = setting(16, "channels of the CNNs")
    image_size: int = setting(8, "pixels of a side of the CNNs' images")
    cell_width: int = setting(64, "units of the recurrent networks")
    num_time_steps: int = setting(50, "steps of the recurrent networks")
    input_scale: float = setting(1.0, "standard deviation of the recurrent networks' inputs")
    num_updates: int = setting(20, "steps of gradient descent after which the movement of weights is measured")
    learning_rate: float = setting(1.0, "learning rate of these steps")
    seed: int = setting(0, "seed of the first run; --num_seeds=N measures with seed, seed+1, ...")


def exact_measurement(config):
    """Formulas against automatic differentiation in float64; the same for every seed."""
    return Measurement(lambda key: measure_exact())


def mlp_measurement(config):
    """Deep MLPs with several activation functions and initialisations, and how far gradient descent moves one."""
    return drawn_measurement(
        config,
        lambda key: draw_mlp(
            key,
            config.num_layers,
            config.width,
            config.batch_size,
            config.num_updates,
            config.learning_rate,
        ),
    )


def residual_measurement(config):
    """Blocks of two layers, plain and residual."""
    return drawn_measurement(config, lambda key: draw_residual(key, config.num_blocks, config.width, config.batch_size))


def cnn_measurement(config):
    """Deep CNNs without and with batch normalisation."""
    return drawn_measurement(
        config,
        lambda key: draw_cnn(key, config.num_layers, config.num_channels, config.image_size, config.batch_size),
    )


def rnn_measurement(config):
    """Recurrent cells over many time steps."""
    return drawn_measurement(
        config,
        lambda key: draw_rnn(key, config.num_time_steps, config.cell_width, config.batch_size, config.input_scale),
    )


def program_measurement(config):
    """Memory of the backward pass and its longest chain of products; the same for every seed."""
    return Measurement(lambda key: measure_programs())


def drawn_measurement(config: Config, draw: Callable) -> Measurement:
    """``num_draws`` independent draws: arrays [N, ...] of what ``draw(key)`` returns.

    Raises ValueError for sizes that give no slope.
    """
    for name in ("num_draws", "batch_size", "width", "num_channels", "image_size", "cell_width", "num_updates"):
        if getattr(config, name) < 1:
            raise ValueError(f"{name}={getattr(config, name)} must be at least 1")
    for name in ("num_layers", "num_blocks", "num_time_steps"):
        if getattr(config, name) < 3:
            raise ValueError(f"{name}={getattr(config, name)} must be at least 3: a slope needs points")

    @jax.jit
    def measure(key):
        return jax.lax.map(draw, jax.random.split(key, config.num_draws))

    return Measurement(measure)


EXPERIMENT = Experiment(
    question=__doc__,
    config=Config(),
    arms=lambda config: {
        "exact": Arm(exact_measurement),
        "mlp": Arm(mlp_measurement),
        "residual": Arm(residual_measurement),
        "cnn": Arm(cnn_measurement),
        "rnn": Arm(rnn_measurement),
        "program": Arm(program_measurement),
    },
    default_arms=("exact", "mlp", "residual", "cnn", "rnn", "program"),
    claims=CLAIMS,
    figures=figures,
)
