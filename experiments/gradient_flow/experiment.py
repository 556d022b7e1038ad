"""Gradient flow: how large are the gradients of each layer, what changes that, and what does the backward pass cost?"""

from dataclasses import dataclass
from itertools import chain

import jax
import jax.numpy as jnp
import numpy as np

from experiments.gradient_flow import figures as gradients
from experiments.gradient_flow.backward_memory import SCANNED_DEPTHS, depths_of, measure_programs
from experiments.gradient_flow.gradient_identities import measure_exact
from experiments.gradient_flow.layer_gradients import (
    CELLS,
    DEVIATIONS,
    VARIANTS,
    draw_cnn,
    draw_mlp,
    draw_residual,
    draw_rnn,
)
from probes.gradient_flow import fit_line
from reporting.claims import judge_all, stated
from training.config import setting
from training.experiment import Experiment, Task


@dataclass(frozen=True)
class Config:
    part: str = setting("mlp", "exact, mlp, residual, cnn, rnn or program: set by the arms")
    num_draws: int = setting(5, "independent draws of weights and inputs a seed")
    batch_size: int = setting(32, "inputs of a draw")
    width: int = setting(256, "units of a layer of the MLPs and residual networks")
    num_layers: int = setting(20, "layers of the MLPs and CNNs")
    num_blocks: int = setting(50, "blocks of the residual networks")
    num_channels: int = setting(16, "channels of the CNNs")
    image_size: int = setting(8, "pixels of a side of the CNNs' images")
    cell_width: int = setting(64, "units of the recurrent networks")
    num_time_steps: int = setting(50, "steps of the recurrent networks")
    input_scale: float = setting(1.0, "deviation of the recurrent networks' inputs")
    num_updates: int = setting(20, "steps of gradient descent after which movement is measured")
    learning_rate: float = setting(1.0, "of that gradient descent")
    seed: int = setting(0, "of the first of the seeds")


DRAWS = {
    "mlp": lambda c, rng: draw_mlp(rng, c.num_layers, c.width, c.batch_size, c.num_updates, c.learning_rate),
    "residual": lambda c, rng: draw_residual(rng, c.num_blocks, c.width, c.batch_size),
    "cnn": lambda c, rng: draw_cnn(rng, c.num_layers, c.num_channels, c.image_size, c.batch_size),
    "rnn": lambda c, rng: draw_rnn(rng, c.num_time_steps, c.cell_width, c.batch_size, c.input_scale),
}
# The same for every seed.
MEASURES = {"exact": measure_exact, "program": measure_programs}


def arms(config):
    return {part: {"part": part} for part in ("exact", *DRAWS, "program")}


def task(config):
    """A task that trains nothing: its one parameter is the key of which all weights are drawn."""
    for name in ("num_draws", "batch_size", "width", "num_channels", "image_size", "cell_width", "num_updates"):
        if getattr(config, name) < 1:
            raise ValueError(f"{name}={getattr(config, name)} must be at least 1")
    for name in ("num_layers", "num_blocks", "num_time_steps"):
        if getattr(config, name) < 3:
            raise ValueError(f"{name}={getattr(config, name)} must be at least 3: a slope needs points")

    def examine(variables):
        if config.part not in DRAWS:
            return {}
        keys = jax.random.split(jax.random.wrap_key_data(variables["params"]["key"]), config.num_draws)
        return jax.lax.map(lambda k: DRAWS[config.part](config, k), keys)

    return Task(
        model=None,
        init=lambda rng: {"params": {"key": jax.random.key_data(rng)}},
        evaluate=lambda variables: {"draws": (jnp.float32(config.num_draws), jnp.float32(1))},
        examine=examine,
        measure=lambda variables: dict(MEASURES.get(config.part, dict)()),
    )


# --- Claims. All thresholds were written down before the first run: from theory, or as planned.

EXACT = 1e-10  # rounding in float64


def log_norms(result, variant, of="of_states"):
    """[S, N draws, L] of a variant of the arm."""
    return result.examined[of][:, :, VARIANTS[result.config.part].index(variant)]


def slopes(result, variant, of="of_states"):
    """Slopes [S, N] of the gradient's log-norm against the layer's number: positive where it vanishes to the input."""
    norms = log_norms(result, variant, of)
    norms = norms[..., :-1] if result.config.part == "rnn" else norms  # the last is the loss's own gradient
    return np.array([[fit_line(np.arange(draw.size), draw)[0] for draw in seed] for seed in norms])


def slope(variant):
    return lambda result: slopes(result, variant).mean(1)


def difference(variant, other):
    """Measures the slope [S] of a variant less that of the other."""
    return lambda result: slopes(result, variant).mean(1) - slopes(result, other).mean(1)


def straightness(variant):
    def measure(result):
        return [np.mean([fit_line(np.arange(d.size), d)[1] for d in seed]) for seed in log_norms(result, variant)]

    return measure


def power_of_depth(result):
    """The slope [S] of the pre-norm network's log-norm against log(1 + l)."""
    norms = log_norms(result, "residual, pre-norm")
    x = np.log(1 + np.arange(norms.shape[-1]))
    return [np.mean([fit_line(x, draw)[0] for draw in seed]) for seed in norms]


def early_zeros(result):
    """The share [S] of weights' gradients in the first half of the layers that are exactly zero, tanh times 1000."""
    norms = log_norms(result, f"tanh, {list(DEVIATIONS)[-1]}", "of_weights")
    return np.mean(norms[..., : norms.shape[-1] // 2] == -np.inf, axis=(1, 2))


def last_kurtosis(result):
    """The fourth moment [S] over the squared second of the last tanh layer's gradient, all draws pooled."""
    second, fourth = np.moveaxis(result.examined["last_moments"].mean(1), -1, 0)
    with np.errstate(invalid="ignore"):  # NaN where every gradient is zero
        return fourth / second**2


def overflow(result):
    """The share [S] of draws in which the first layer's gradient is not finite, ReLU times 1000."""
    return np.mean(~np.isfinite(log_norms(result, f"relu, {list(DEVIATIONS)[-1]}", "of_weights")[..., 0]), axis=1)


def movement_order(result):
    """The rank correlation [S] of how far a layer moves with its number from the input, least over draws."""
    movement = result.examined["movement"]
    order = np.arange(movement.shape[-1])
    return [min(np.corrcoef(np.argsort(np.argsort(d)), order)[0, 1] for d in seed) for seed in movement]


def first_over_last(result):
    movement = result.examined["movement"]
    return np.exp(movement[..., 0] - movement[..., -1]).max(1)


def most_vanishing(result):
    """How much more steeply [S] the sigmoid Elman network vanishes than the steepest of the other cells."""
    others = [slopes(result, name).mean(1) for name in CELLS if name != "Elman, sigmoid"]
    return slopes(result, "Elman, sigmoid").mean(1) - np.max(others, axis=0)


def examined(name):
    return lambda result: result.examined[name]


def growth(kind, way):
    """Bytes [S] a layer: the slope of memory against depth."""

    def measure(result):
        return np.array([fit_line(depths_of(way), values)[0] for values in result.examined[f"{kind}/{way}"]])

    return measure


def linearity(kind, way):
    return lambda result: [fit_line(SCANNED_DEPTHS, values)[1] for values in result.examined[f"{kind}/{way}"]]


def growth_ratio(kind, way, other):
    return lambda result: growth(kind, way)(result) / growth(kind, other)(result)


def segment_exponent(result):
    """The power [S] of the depth with which the compiled memory of root-long segments grows."""
    return [fit_line(np.log(SCANNED_DEPTHS), np.log(v))[0] for v in result.examined["compiled/scan, segments"]]


def chain_over_depth(direction, factor, reduce):
    """Measures the longest chain [S] over ``factor`` times the depth, reduced over depths and batch sizes."""

    def measure(result):
        both = [result.examined[f"{direction}_chain/{name}"] for name in ("one", "batch")]
        return reduce(np.stack(both) / (factor * np.array(SCANNED_DEPTHS)), axis=(0, 2))

    return measure


# A claim in a line or two: the statement, then the measure and its bounds.
# fmt: off
STATED = [
    stated("exact", "1a", "the sigmoid's derivative is s (1 - s): error in float64",
        examined("sigmoid_error"), at_most=EXACT),
    stated("exact", "1b", "a gradient through it is multiplied by 1/4 at most: greatest factor",
        examined("sigmoid_greatest"), at_most=0.25),
    stated("exact", "1c", "and keeps its sign: least factor", examined("sigmoid_least"), above=0.0),
    stated("exact", "1d", "dh3/dh1 = I + (dh2/dz2)(dz2/dh1) in the residual block: error in float64",
        examined("residual_jacobian_error"), at_most=EXACT),
    stated("exact", "1e", "LayerNorm without epsilon fails on constant inputs: share of outputs that are no numbers",
        examined("layernorm_without_epsilon_fails"), at_least=1.0),
    stated("exact", "1f", "with epsilon it gives zeros: greatest output",
        examined("layernorm_with_epsilon"), at_most=0.0),
    stated("exact", "1g", "LayerNorm does not normalise over the batch: change of a row by other rows",
        examined("layernorm_reads_other_rows"), at_most=0.0),
    stated("exact", "1h", "BatchNorm does: the same change", examined("batchnorm_reads_other_rows"), above=0.0),
    stated("exact", "1i",
        "a linear RNN's gradients grow as the spectral radius says, at .8, 1 and 1.25: error of the log-slope a step",
        examined("linear_rnn_error"), at_most=0.01),
    stated("mlp", "2a", "deep sigmoid net, Xavier: the gradient falls towards the input: log-norm a layer",
        slope("sigmoid, Xavier"), at_least=1.3),
    stated("mlp", "2b", "and falls linearly: R^2 of the line", straightness("sigmoid, Xavier"), at_least=0.99),
    stated("mlp", "2c", "sigmoid, He: log-norm a layer", slope("sigmoid, He"), at_least=1.0),
    stated("mlp", "2d", "tanh, Xavier: log-norm a layer", slope("tanh, Xavier"), at_least=0.0, at_most=0.13),
    stated("mlp", "2e", "tanh, He: log-norm a layer", slope("tanh, He")),
    stated("mlp", "2f", "ReLU, Xavier: log(2) / 2 = .347 a layer", slope("relu, Xavier"), at_least=0.3, at_most=0.39),
    stated("mlp", "2g", "ReLU, He: no slope", slope("relu, He"), at_least=-0.02, at_most=0.02),
    stated("mlp", "3a", "weights times 1000 saturate tanh: share of |tanh| > .999",
        lambda result: result.examined["saturated"].mean(1), at_least=0.99),
    stated("mlp", "3b", "the gradients of the first half of the layers are exactly zero: share of them",
        early_zeros, at_least=1.0),
    stated("mlp", "3c", "the last layer's is heavy-tailed: kurtosis, 3 for a normal distribution",
        last_kurtosis, at_least=10.0),
    stated("mlp", "3d", "the same weights overflow a ReLU net: share of draws", overflow, at_least=1.0),
    stated("mlp", "4a",
        "under vanishing gradients earlier layers learn more slowly, not later: rank correlation of movement and layer",
        movement_order, at_least=0.99),
    stated("mlp", "4b", "the first layer's movement over the last one's, relative to their weights",
        first_over_last, at_most=1e-3),
    stated("mlp", "4c", "in float32 it is rounded away: share of the first layer's weights that change",
        lambda result: result.examined["weights_changed"][..., 0].mean(1), at_most=1e-3),
    stated("residual", "5a", "plain blocks, ReLU and He, 50 of them: no slope",
        slope("plain blocks"), at_least=-0.02, at_most=0.02),
    stated("residual", "5b", "residual blocks explode towards the input: -log(2) / 2 = -.347 a block",
        slope("residual"), at_least=-0.39, at_most=-0.31),
    stated("residual", "5c", "with the branch divided by sqrt(L): no slope",
        slope("residual, branch / sqrt(L)"), at_least=-0.02, at_most=0.02),
    stated("residual", "5d", "with pre-norm: no slope", slope("residual, pre-norm"), at_least=-0.02, at_most=0.02),
    stated("residual", "5e", "with pre-norm the growth is a power of depth, (1 + l)^(-1/2): the power",
        power_of_depth, at_least=-0.6, at_most=-0.4),
    stated("cnn", "6a", "CNN, ReLU and He: no slope", slope("CNN, relu"), at_least=-0.05, at_most=0.05),
    stated("cnn", "6b", "BN makes it explode towards the input: log-norm a layer, -.19 in theory",
        slope("CNN, relu, BN"), at_most=-0.1),
    stated("cnn", "6c", "CNN, sigmoid: log-norm a layer", slope("CNN, sigmoid"), at_least=1.0),
    stated("cnn", "6d", "BN takes the sigmoid's slope away: log-norm a layer, -.017 in theory",
        slope("CNN, sigmoid, BN"), at_least=-0.1, at_most=0.1),
    stated("rnn", "7a", "of the recurrent cells the sigmoid Elman cell vanishes fastest: lead in log-norm a step",
        most_vanishing, above=0.0),
    stated("rnn", "7b", "LSTM: forget bias 0 vanishes faster than 1: difference of slopes",
        difference("LSTM, forget bias 0", "LSTM, forget bias 1"), at_least=0.1),
    stated("rnn", "7c", "and 1 faster than 3: difference of slopes",
        difference("LSTM, forget bias 1", "LSTM, forget bias 3"), at_least=0.1),
    stated("rnn", "7d", "LSTM, forget bias 3: log-norm a step",
        slope("LSTM, forget bias 3"), at_least=-0.1, at_most=0.1),
    stated("rnn", "7e", "an LSTM with forget bias 0 vanishes faster than tanh: difference of slopes",
        difference("LSTM, forget bias 0", "Elman, tanh"), above=0.0),
    stated("program", "8a", "memory of the backward pass is linear in depth: R^2, compiled, layers in a scan",
        linearity("compiled", "scan"), at_least=0.999),
    stated("program", "8b", "rematerialisation cuts what is saved a layer: ratio, traced, layers in a scan",
        growth_ratio("saved", "scan, remat", "scan"), at_most=0.25),
    stated("program", "8c", "and the compiled program's memory a layer: ratio, layers in a scan",
        growth_ratio("compiled", "scan, remat", "scan"), at_most=0.25),
    stated("program", "8d", "segments of sqrt(L) layers: power of the depth with which compiled memory grows",
        segment_exponent, at_most=0.75),
    stated("program", "8e", "layers one after the other in the program: ratio of what is saved, traced",
        growth_ratio("saved", "unrolled, remat", "unrolled"), at_most=0.25),
    stated("program", "8f", "the same, compiled: ratio of memory a layer, 1 where the compiler undoes it",
        growth_ratio("compiled", "unrolled, remat", "unrolled")),
    stated("program", "9a",
        "layers are a sequence: least chain of products over depth, forward, for one input and for a batch",
        chain_over_depth("forward", 1, np.min), at_least=1.0),
    stated("program", "9b", "no longer for a batch than for one: greatest chain over depth, forward",
        chain_over_depth("forward", 1, np.max), at_most=1.0),
    stated("program", "9c", "forward and backward: least chain over twice the depth",
        chain_over_depth("backward", 2, np.min), at_least=1.0),
    stated("program", "9d", "forward and backward: greatest chain over twice the depth",
        chain_over_depth("backward", 2, np.max), at_most=1.0),
]
# fmt: on


def claims(results):
    return judge_all(STATED, results)


# --- Figures.

PANELS = {"mlp": "MLPs", "residual": "residual networks", "cnn": "CNNs", "rnn": "recurrent networks"}


def figures(results):
    found = []
    drawn = {arm: results[arm] for arm in DRAWS if arm in results}
    for pair in (("mlp", "residual"), ("cnn", "rnn")):
        if shown := {PANELS[arm]: by_variant(log_norms, drawn[arm]) for arm in pair if arm in drawn}:
            found.append(gradients.norms_by_layer(shown))
    if drawn:
        pairs = [by_variant(slopes_in_both, result).items() for result in drawn.values()]
        found.append(gradients.slope_table(dict(chain.from_iterable(pairs))))
    if "mlp" in results:
        movement, config = results["mlp"].examined["movement"], results["mlp"].config
        found.append(gradients.movement_by_layer(movement, config.num_updates))
    if "program" in results:
        found.append(gradients.memory_against_depth(results["program"].examined, depths_of))
    return found or [gradients.exact_table(claims(results))]


def by_variant(measure, result):
    """{variant: measure(result, variant)} of an arm's variants."""
    return {variant: measure(result, variant) for variant in VARIANTS[result.config.part]}


def slopes_in_both(result, variant):
    """Slopes of the gradient in the layers' inputs, and of that in their weights where an arm has any."""
    in_weights = slopes(result, variant, "of_weights") if "of_weights" in result.examined else np.nan
    return slopes(result, variant), in_weights


EXPERIMENT = Experiment(
    question=__doc__,
    config=Config(),
    arms=arms,
    default_arms=("exact", *DRAWS, "program"),
    task=task,
    claims=claims,
    figures=figures,
)
