"""Gradient flow: how large are the gradients of each layer, what changes that, and what does the backward pass cost?"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from models.cnn import ConvolutionBlock
from models.mlp import MLP, VARIANCES
from models.recurrent import ElmanCell, GRUCell, LSTMCell
from models.residual import ResidualBlock
from probes.gradient_flow import fit_line, log_norm, through_layers
from probes.programs import compiled_temporary_bytes, in_segments, longest_chain, saved_bytes
from reporting.claims import Stated, interval_95, judge_all
from reporting.figures import curves
from reporting.tables import table
from training.config import setting
from training.experiment import Experiment, Task

ACTIVATIONS = ("sigmoid", "tanh", "relu")
# Deviation of a weight of a square layer, of its width.
DEVIATIONS = {
    "Xavier": lambda width: VARIANCES["xavier"](width, width) ** 0.5,
    "He": lambda width: VARIANCES["he"](width, width) ** 0.5,
    "N(0,1) x 1000": lambda width: 1000.0,
}
CELLS = {
    "Elman, sigmoid": lambda width: ElmanCell(width, "sigmoid"),
    "Elman, tanh": lambda width: ElmanCell(width, "tanh"),
    "GRU": GRUCell,
    "LSTM, forget bias 0": lambda width: LSTMCell(width, 0.0),
    "LSTM, forget bias 1": lambda width: LSTMCell(width, 1.0),
    "LSTM, forget bias 3": lambda width: LSTMCell(width, 3.0),
}
RADII = (0.8, 1.0, 1.25)  # spectral radii of linear recurrent networks
SATURATED = 0.999  # |tanh| above which a unit counts as saturated
SCANNED_DEPTHS = (4, 16, 64)  # squares, so that segments of their root fit
UNROLLED_DEPTHS = (2, 4, 8)
MEMORY_BATCH, MEMORY_WIDTH = 64, 64


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


# --- What is measured in one draw: {name: array}, log-norms of gradients by layer, layers counted from the input.


def draw_mlp(config, rng):
    """MLPs without biases: three activation functions with three initialisations of the same draw."""
    L, D, B = config.num_layers, config.width, config.batch_size
    kernels, h, cotangent = normals(rng, (L, D, D), (B, D), (B, D))
    deviations = jnp.array([deviation(D) for deviation in DEVIATIONS.values()])
    found = []
    for activation in ACTIVATIONS:
        layer = mlp_layer(D, activation)
        run = jax.vmap(lambda deviation, layer=layer: through_layers(layer, deviation * kernels, h, cotangent))
        found.append(run(deviations))
    of_states, of_weights, states = (jnp.stack(parts) for parts in zip(*found, strict=True))
    shape = (len(ACTIVATIONS) * len(DEVIATIONS),)

    units_LBD = states[ACTIVATIONS.index("tanh"), -1]
    last = jax.grad(lambda w: jnp.sum(mlp_layer(D, "tanh")(w, units_LBD[-2]) * cotangent))(1000.0 * kernels[-1])
    return {
        "of_states": of_states.reshape(*shape, -1),
        "of_weights": of_weights.reshape(*shape, -1),
        "saturated": jnp.mean(jnp.abs(units_LBD[1:]) > SATURATED),
        "last_moments": jnp.stack([jnp.mean(last**2), jnp.mean(last**4)]),
        **draw_movement(config, DEVIATIONS["Xavier"](D) * kernels, h, cotangent[:, 0]),
    }


def mlp_layer(width, activation):
    """(kernel, h) -> the next h."""
    module = MLP((width,), output_activation=activation, use_bias=False)
    return lambda kernel, h: module.apply({"params": {"layer_0": {"kernel": kernel}}}, h)


def draw_movement(config, kernels, x, y):
    """How far plain gradient descent on a squared error moves each layer of a deep sigmoid network.

    What is added to the weights is kept apart from them: added in float32, most of it would be rounded away.
    """
    layer = mlp_layer(config.width, "sigmoid")

    def loss(moved):
        h = jax.lax.scan(lambda h, w: (layer(w, h), None), x, kernels + moved)[0]
        return jnp.mean(jnp.square(h.mean(-1) * 2 - 1 - y)) / 2

    def step(moved, _):
        return moved - config.learning_rate * jax.grad(loss)(moved), None

    moved = jax.lax.scan(step, jnp.zeros_like(kernels), None, length=config.num_updates)[0]
    return {
        "movement": jax.vmap(log_norm)(moved) - jax.vmap(log_norm)(kernels),
        "weights_changed": jnp.mean(kernels + moved != kernels, axis=(1, 2)),
    }


def draw_residual(config, rng):
    """Two-layer ReLU bodies (He, then 1 / fan-in, so that a body keeps the mean square), plain and residual."""
    L, D, B = config.num_blocks, config.width, config.batch_size
    first, second, h, cotangent = normals(rng, (L, D, D), (L, D, D), (B, D), (B, D))
    body = MLP((D, D), use_bias=False)
    params = {"layer_0": {"kernel": (2 / D) ** 0.5 * first}, "layer_1": {"kernel": (1 / D) ** 0.5 * second}}
    norm = {"scale": jnp.ones((L, D)), "bias": jnp.zeros((L, D))}
    blocks = {
        "plain blocks": (body, params),
        "residual": (ResidualBlock(body), {"body": params}),
        "residual, branch / sqrt(L)": (ResidualBlock(body, branch_scale=L**-0.5), {"body": params}),
        "residual, pre-norm": (ResidualBlock(body, norm="layernorm"), {"body": params, "norm": norm}),
    }
    return by_variant(
        through_layers(lambda p, h, block=block: block.apply({"params": p}, h), stacked, h, cotangent)
        for block, stacked in blocks.values()
    )


def draw_cnn(config, rng):
    """Convolutions on a torus: ReLU with He's and sigmoid with Xavier's initialisation, without and with BN."""
    L, C, B, size = config.num_layers, config.num_channels, config.batch_size, config.image_size
    image = (B, size, size, C)
    kernels, h, cotangent = normals(rng, (L, 3, 3, C, C), image, image)
    found = []
    for activation, gain in (("relu", 2.0), ("sigmoid", 1.0)):
        params = {"convolution": {"kernel": (gain / (9 * C)) ** 0.5 * kernels}}
        for norm in ("none", "batch"):
            block = ConvolutionBlock(C, norm=norm, activation=activation, padding="CIRCULAR", use_bias=False)
            ones, zeros = jnp.ones((L, C)), jnp.zeros((L, C))
            variables = {"params": params}
            if norm == "batch":
                variables["params"] = params | {"norm": {"scale": ones, "bias": zeros}}
                variables["batch_stats"] = {"norm": {"mean": zeros, "var": ones}}

            def layer(variables, h, block=block):
                return block.apply(variables, h, train=True, mutable=["batch_stats"])[0]

            found.append(through_layers(layer, variables, h, cotangent))
    return by_variant(found)


def draw_rnn(config, rng):
    """Recurrent cells on random inputs: the gradient of a linear function of the last output in the state at each step.

    Of an LSTM the state is (c, h).
    """
    T, D, B = config.num_time_steps, config.cell_width, config.batch_size
    x_TBD, cotangent = normals(rng, (T, B, D), (B, D))
    x_TBD, found = config.input_scale * x_TBD, []
    for number, make in enumerate(CELLS.values()):
        cell = make(D)
        state = cell.initial_state((B,))
        params = cell.init(jax.random.fold_in(rng, number), state, x_TBD[0])["params"]
        end = (jnp.zeros_like(cotangent), cotangent) if isinstance(cell, LSTMCell) else cotangent
        step = lambda x, state, cell=cell, params=params: cell.apply({"params": params}, state, x)[0]  # noqa: E731
        found.append(through_layers(step, x_TBD, state, end))
    return {"of_states": by_variant(found)["of_states"]}


def by_variant(found):
    of_states, of_weights = zip(*((states, weights) for states, weights, _ in found), strict=True)
    return {"of_states": jnp.stack(of_states), "of_weights": jnp.stack(of_weights)}


def normals(rng, *shapes):
    """Independent standard normal numbers in arrays of these shapes, each drawn flat, which compiles faster."""
    keys = jax.random.split(rng, len(shapes))
    return [jax.random.normal(k, (np.prod(shape),)).reshape(shape) for k, shape in zip(keys, shapes, strict=True)]


VARIANTS = {
    "mlp": tuple(f"{activation}, {scheme}" for activation in ACTIVATIONS for scheme in DEVIATIONS),
    "residual": ("plain blocks", "residual", "residual, branch / sqrt(L)", "residual, pre-norm"),
    "cnn": ("CNN, relu", "CNN, relu, BN", "CNN, sigmoid", "CNN, sigmoid, BN"),
    "rnn": tuple(CELLS),
}
DRAWS = {"mlp": draw_mlp, "residual": draw_residual, "cnn": draw_cnn, "rnn": draw_rnn}


# --- What is exact, in float64, and what the programs say; both the same for every seed.


@functools.cache
def measure_exact() -> Mapping[str, float]:
    with jax.enable_x64(True):
        return measure_sigmoid() | measure_residual_jacobian() | measure_norms() | measure_linear_rnn()


def measure_sigmoid():
    """The sigmoid's derivative against its formula, and what a gradient is multiplied by on its way through."""
    z = np.concatenate([np.linspace(-30, 30, 6001), [0.0]])
    gradient = np.where(np.arange(z.size) % 2, -3.0, 2.0)
    value, backward = jax.vjp(jax.nn.sigmoid, z)
    factor = np.asarray(backward(gradient)[0]) / gradient
    value = np.asarray(value)
    return {
        "sigmoid_error": np.abs(factor - value * (1 - value)).max(),
        "sigmoid_greatest": factor.max(),
        "sigmoid_least": factor.min(),
    }


def measure_residual_jacobian():
    """The Jacobian of h3 = h1 + h2, h2 = relu(z2), z2 = h1 W + b against I + (dh2/dz2)(dz2/dh1)."""
    generator = np.random.default_rng(0)
    W, b, h1 = generator.normal(size=(6, 6)), generator.normal(size=6), generator.normal(size=6)
    params = {"layer_0": {"kernel": W, "bias": b}}
    block = ResidualBlock(MLP((6,), output_activation="relu", dtype="float64"))
    measured = jax.jacobian(lambda h1: block.apply({"params": {"body": params}}, h1))(h1)
    formula = np.eye(6) + np.diag(h1 @ W + b > 0).astype(float) @ W.T
    return {"residual_jacobian_error": np.abs(np.asarray(measured) - formula).max()}


def measure_norms():
    """LayerNorm on constant rows with and without its epsilon, and which axes the norms look along."""
    constant = np.repeat([[-2.0], [0.0], [0.5], [3.0]], 8, axis=1)
    with_epsilon, without = (layer_norm(constant, epsilon) for epsilon in (1e-6, 0.0))
    generator = np.random.default_rng(0)
    x = generator.normal(size=(4, 8))
    others = np.concatenate([x[:1], generator.normal(size=(3, 8))])
    batch_norm = nn.BatchNorm(use_running_average=False, use_bias=False, use_scale=False)
    of_batch = [
        batch_norm.apply({"batch_stats": {"mean": np.zeros(8), "var": np.ones(8)}}, rows, mutable=["batch_stats"])[0]
        for rows in (x, others)
    ]
    return {
        "layernorm_without_epsilon_fails": np.mean(~np.isfinite(without)),
        "layernorm_with_epsilon": np.abs(with_epsilon).max(),
        "layernorm_reads_other_rows": np.abs(layer_norm(x, 1e-6)[0] - layer_norm(others, 1e-6)[0]).max(),
        "batchnorm_reads_other_rows": np.abs(np.asarray(of_batch[0] - of_batch[1])[0]).max(),
    }


def layer_norm(x, epsilon):
    return np.asarray(nn.LayerNorm(epsilon=epsilon, use_bias=False, use_scale=False).apply({}, x))


def measure_linear_rnn():
    """Growth a step of gradients in h_t = h_{t-1} W, far back in time, against the log of W's spectral radius."""
    generator, errors, slopes = np.random.default_rng(0), [], []
    W, gradient = generator.normal(size=(32, 32)), generator.normal(size=32)
    W /= np.abs(np.linalg.eigvals(W)).max()
    for radius in RADII:
        g, log_norms = gradient, [0.0]
        for _ in range(1000):
            g = radius * W @ g
            log_norms.append(log_norms[-1] + np.log(np.linalg.norm(g)))
            g = g / np.linalg.norm(g)
        slopes.append(fit_line(np.arange(200, 1001), log_norms[200:])[0])
        errors.append(abs(slopes[-1] - np.log(radius)))
    return {"linear_rnn_error": max(errors), "linear_rnn_slopes": np.array(slopes)}


@functools.cache
def measure_programs() -> Mapping[str, np.ndarray]:
    """Memory of the backward pass against depth, traced and compiled, and the longest chain of matrix products."""
    layer, found = memory_layer(), {}
    ways = {
        "scan": lambda weights, h: run_scan(layer, weights, h),
        "scan, remat": lambda weights, h: run_scan(jax.checkpoint(layer), weights, h),
        "scan, segments": lambda weights, h: in_segments(layer, weights, h, round(len(weights["first"]) ** 0.5)),
        "unrolled": lambda weights, h: run_unrolled(layer, weights, h),
        "unrolled, remat": lambda weights, h: run_unrolled(jax.checkpoint(layer), weights, h),
    }
    for way, run in ways.items():
        depths = SCANNED_DEPTHS if way.startswith("scan") else UNROLLED_DEPTHS
        loss = lambda weights, h, run=run: jnp.sum(jnp.square(run(weights, h)))  # noqa: E731
        inputs = [memory_inputs(depth) for depth in depths]
        sizes = [sum(leaf.size * leaf.dtype.itemsize for leaf in weights.values()) for weights, _ in inputs]
        found[f"compiled/{way}"] = [compiled_temporary_bytes(loss, *one) for one in inputs]
        found[f"saved/{way}"] = [saved_bytes(loss, *one) - size for one, size in zip(inputs, sizes, strict=True)]

    for name, batch in (("one", 1), ("batch", MEMORY_BATCH)):
        loss = lambda W, x: jnp.sum(run_unrolled(mlp_layer(8, "relu"), W, x))  # noqa: E731
        over_batch = jax.vmap(loss, (None, 0))
        depths = [
            (np.zeros((depth, 8, 8), np.float32), np.zeros((batch, 1, 8), np.float32)) for depth in SCANNED_DEPTHS
        ]
        backward = jax.grad(lambda W, x, f=over_batch: jnp.sum(f(W, x)))
        found[f"forward_chain/{name}"] = [longest_chain(over_batch, *one) for one in depths]
        found[f"backward_chain/{name}"] = [longest_chain(backward, *one) for one in depths]
    return {name: np.array(values, np.float64) for name, values in found.items()}


def memory_layer():
    """A residual block whose body is four times as wide: (weights, h) -> h."""
    block = ResidualBlock(MLP((4 * MEMORY_WIDTH, MEMORY_WIDTH), activation="tanh", use_bias=False))

    def layer(weights, h):
        body = {"layer_0": {"kernel": weights["first"]}, "layer_1": {"kernel": weights["second"]}}
        return block.apply({"params": {"body": body}}, h)

    return layer


def memory_inputs(depth):
    D = MEMORY_WIDTH
    shapes = {"first": (depth, D, 4 * D), "second": (depth, 4 * D, D)}
    weights = {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()}
    return weights, jax.ShapeDtypeStruct((MEMORY_BATCH, D), jnp.float32)


def run_scan(layer, weights, h):
    return jax.lax.scan(lambda h, w: (layer(w, h), None), h, weights)[0]


def run_unrolled(layer, weights, h):
    for number in range(len(jax.tree.leaves(weights)[0])):
        h = layer(jax.tree.map(lambda w, n=number: w[n], weights), h)
    return h


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
        depths = SCANNED_DEPTHS if way.startswith("scan") else UNROLLED_DEPTHS
        return np.array([fit_line(depths, values)[0] for values in result.examined[f"{kind}/{way}"]])

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


def stated(id, statement, arm, measure, **bounds):
    return Stated(id, statement, (arm,), measure, bounds)


STATED = [
    stated(
        "1a",
        "the sigmoid's derivative is s (1 - s): error in float64",
        "exact",
        examined("sigmoid_error"),
        at_most=EXACT,
    ),
    stated(
        "1b",
        "a gradient through it is multiplied by 1/4 at most: greatest factor",
        "exact",
        examined("sigmoid_greatest"),
        at_most=0.25,
    ),
    stated("1c", "and keeps its sign: least factor", "exact", examined("sigmoid_least"), above=0.0),
    stated(
        "1d",
        "dh3/dh1 = I + (dh2/dz2)(dz2/dh1) in the residual block: error in float64",
        "exact",
        examined("residual_jacobian_error"),
        at_most=EXACT,
    ),
    stated(
        "1e",
        "LayerNorm without epsilon fails on constant inputs: share of outputs that are no numbers",
        "exact",
        examined("layernorm_without_epsilon_fails"),
        at_least=1.0,
    ),
    stated(
        "1f",
        "with epsilon it gives zeros: greatest output",
        "exact",
        examined("layernorm_with_epsilon"),
        at_most=0.0,
    ),
    stated(
        "1g",
        "LayerNorm does not normalise over the batch: change of a row by other rows",
        "exact",
        examined("layernorm_reads_other_rows"),
        at_most=0.0,
    ),
    stated("1h", "BatchNorm does: the same change", "exact", examined("batchnorm_reads_other_rows"), above=0.0),
    stated(
        "1i",
        "a linear RNN's gradients grow as the spectral radius says, at .8, 1 and 1.25: error of the log-slope a step",
        "exact",
        examined("linear_rnn_error"),
        at_most=0.01,
    ),
    stated(
        "2a",
        "deep sigmoid net, Xavier: the gradient falls towards the input: log-norm a layer",
        "mlp",
        slope("sigmoid, Xavier"),
        at_least=1.3,
    ),
    stated("2b", "and falls linearly: R^2 of the line", "mlp", straightness("sigmoid, Xavier"), at_least=0.99),
    stated("2c", "sigmoid, He: log-norm a layer", "mlp", slope("sigmoid, He"), at_least=1.0),
    stated("2d", "tanh, Xavier: log-norm a layer", "mlp", slope("tanh, Xavier"), at_least=0.0, at_most=0.13),
    stated("2e", "tanh, He: log-norm a layer", "mlp", slope("tanh, He")),
    stated(
        "2f",
        "ReLU, Xavier: log(2) / 2 = .347 a layer",
        "mlp",
        slope("relu, Xavier"),
        at_least=0.3,
        at_most=0.39,
    ),
    stated("2g", "ReLU, He: no slope", "mlp", slope("relu, He"), at_least=-0.02, at_most=0.02),
    stated(
        "3a",
        "weights times 1000 saturate tanh: share of |tanh| > .999",
        "mlp",
        lambda result: result.examined["saturated"].mean(1),
        at_least=0.99,
    ),
    stated(
        "3b",
        "the gradients of the first half of the layers are exactly zero: share of them",
        "mlp",
        early_zeros,
        at_least=1.0,
    ),
    stated(
        "3c",
        "the last layer's is heavy-tailed: kurtosis, 3 for a normal distribution",
        "mlp",
        last_kurtosis,
        at_least=10.0,
    ),
    stated("3d", "the same weights overflow a ReLU net: share of draws", "mlp", overflow, at_least=1.0),
    stated(
        "4a",
        "under vanishing gradients earlier layers learn more slowly, not later: rank correlation of movement and layer",
        "mlp",
        movement_order,
        at_least=0.99,
    ),
    stated(
        "4b",
        "the first layer's movement over the last one's, relative to their weights",
        "mlp",
        first_over_last,
        at_most=1e-3,
    ),
    stated(
        "4c",
        "in float32 it is rounded away: share of the first layer's weights that change",
        "mlp",
        lambda result: result.examined["weights_changed"][..., 0].mean(1),
        at_most=1e-3,
    ),
    stated(
        "5a",
        "plain blocks, ReLU and He, 50 of them: no slope",
        "residual",
        slope("plain blocks"),
        at_least=-0.02,
        at_most=0.02,
    ),
    stated(
        "5b",
        "residual blocks explode towards the input: -log(2) / 2 = -.347 a block",
        "residual",
        slope("residual"),
        at_least=-0.39,
        at_most=-0.31,
    ),
    stated(
        "5c",
        "with the branch divided by sqrt(L): no slope",
        "residual",
        slope("residual, branch / sqrt(L)"),
        at_least=-0.02,
        at_most=0.02,
    ),
    stated(
        "5d",
        "with pre-norm: no slope",
        "residual",
        slope("residual, pre-norm"),
        at_least=-0.02,
        at_most=0.02,
    ),
    stated(
        "5e",
        "with pre-norm the growth is a power of depth, (1 + l)^(-1/2): the power",
        "residual",
        power_of_depth,
        at_least=-0.6,
        at_most=-0.4,
    ),
    stated("6a", "CNN, ReLU and He: no slope", "cnn", slope("CNN, relu"), at_least=-0.05, at_most=0.05),
    stated(
        "6b",
        "BN makes it explode towards the input: log-norm a layer, -.19 in theory",
        "cnn",
        slope("CNN, relu, BN"),
        at_most=-0.1,
    ),
    stated("6c", "CNN, sigmoid: log-norm a layer", "cnn", slope("CNN, sigmoid"), at_least=1.0),
    stated(
        "6d",
        "BN takes the sigmoid's slope away: log-norm a layer, -.017 in theory",
        "cnn",
        slope("CNN, sigmoid, BN"),
        at_least=-0.1,
        at_most=0.1,
    ),
    stated(
        "7a",
        "of the recurrent cells the sigmoid Elman cell vanishes fastest: lead in log-norm a step",
        "rnn",
        most_vanishing,
        above=0.0,
    ),
    stated(
        "7b",
        "LSTM: forget bias 0 vanishes faster than 1: difference of slopes",
        "rnn",
        difference("LSTM, forget bias 0", "LSTM, forget bias 1"),
        at_least=0.1,
    ),
    stated(
        "7c",
        "and 1 faster than 3: difference of slopes",
        "rnn",
        difference("LSTM, forget bias 1", "LSTM, forget bias 3"),
        at_least=0.1,
    ),
    stated(
        "7d",
        "LSTM, forget bias 3: log-norm a step",
        "rnn",
        slope("LSTM, forget bias 3"),
        at_least=-0.1,
        at_most=0.1,
    ),
    stated(
        "7e",
        "an LSTM with forget bias 0 vanishes faster than tanh: difference of slopes",
        "rnn",
        difference("LSTM, forget bias 0", "Elman, tanh"),
        above=0.0,
    ),
    stated(
        "8a",
        "memory of the backward pass is linear in depth: R^2, compiled, layers in a scan",
        "program",
        linearity("compiled", "scan"),
        at_least=0.999,
    ),
    stated(
        "8b",
        "rematerialisation cuts what is saved a layer: ratio, traced, layers in a scan",
        "program",
        growth_ratio("saved", "scan, remat", "scan"),
        at_most=0.25,
    ),
    stated(
        "8c",
        "and the compiled program's memory a layer: ratio, layers in a scan",
        "program",
        growth_ratio("compiled", "scan, remat", "scan"),
        at_most=0.25,
    ),
    stated(
        "8d",
        "segments of sqrt(L) layers: power of the depth with which compiled memory grows",
        "program",
        segment_exponent,
        at_most=0.75,
    ),
    stated(
        "8e",
        "layers one after the other in the program: ratio of what is saved, traced",
        "program",
        growth_ratio("saved", "unrolled, remat", "unrolled"),
        at_most=0.25,
    ),
    stated(
        "8f",
        "the same, compiled: ratio of memory a layer, 1 where the compiler undoes it",
        "program",
        growth_ratio("compiled", "unrolled, remat", "unrolled"),
    ),
    stated(
        "9a",
        "layers are a sequence: least chain of products over depth, forward, for one input and for a batch",
        "program",
        chain_over_depth("forward", 1, np.min),
        at_least=1.0,
    ),
    stated(
        "9b",
        "no longer for a batch than for one: greatest chain over depth, forward",
        "program",
        chain_over_depth("forward", 1, np.max),
        at_most=1.0,
    ),
    stated(
        "9c",
        "forward and backward: least chain over twice the depth",
        "program",
        chain_over_depth("backward", 2, np.min),
        at_least=1.0,
    ),
    stated(
        "9d",
        "forward and backward: greatest chain over twice the depth",
        "program",
        chain_over_depth("backward", 2, np.max),
        at_most=1.0,
    ),
]


def claims(results):
    return judge_all(STATED, results)


# --- Figures.

PANELS = {"mlp": "MLPs", "residual": "residual networks", "cnn": "CNNs", "rnn": "recurrent networks"}


def figures(results):
    found = []
    drawn = {arm: results[arm] for arm in DRAWS if arm in results}
    for pair in (("mlp", "residual"), ("cnn", "rnn")):
        if shown := {arm: drawn[arm] for arm in pair if arm in drawn}:
            found.append(norms_by_layer(shown))
    if drawn:
        found.append(slope_table(drawn))
    if "mlp" in results:
        found.append(movement_by_layer(results["mlp"]))
    if "program" in results:
        found.append(memory_against_depth(results["program"]))
    return found or [exact_table(results)]


def norms_by_layer(results):
    """The gradient's norm at each layer over that at the output, one panel an arm."""
    panels = []
    for arm, result in results.items():
        series = {}
        for variant in VARIANTS[arm]:
            norms = log_norms(result, variant).mean(1)
            if np.isfinite(norms).all():
                relative = np.exp(np.clip(norms - norms[:, -1:], -80, 80))
                series[variant] = (np.arange(norms.shape[-1]), relative)
        panels.append((f"gradient: {PANELS[arm]}", series))
    title = f"Gradients in {' and '.join(PANELS[arm] for arm in results)}"
    caption = (
        "Norm of the gradient in a layer's input over that in the output, geometric mean of the draws. A line that "
        "falls to the left vanishes towards the input, one that rises to the left explodes."
    )
    return curves(title, caption, "layer or time step, from the input", panels, log_y=True)


def slope_table(results):
    """Slopes of all variants with their interval over draws and seeds."""
    rows = []
    for arm, result in results.items():
        for variant in VARIANTS[arm]:
            of_states = slopes(result, variant).ravel()
            row = [variant, *slope_cells(of_states)]
            in_weights = slopes(result, variant, "of_weights").ravel() if "of_weights" in result.examined else [np.nan]
            rows.append([*row, slope_cells(in_weights)[0]])
    columns = ["network", "log-norm a layer", "95 % interval", "in the weights"]
    caption = (
        "Slope of the log of the gradient's norm against the layer's number from the input, mean over all draws: "
        "positive where gradients vanish towards the input. Left in the layers' inputs, right in their weights. "
        "Dashes: zero or not finite."
    )
    return table("Slopes", caption, columns, rows)


def slope_cells(values):
    """The mean and its interval as cells."""
    interval = interval_95(values)
    if not np.isfinite(values).all():
        return [None, ""]
    return [float(np.mean(values)), "[{:.3f}, {:.3f}]".format(*interval) if interval else ""]


def movement_by_layer(result):
    layers = np.arange(1, result.config.num_layers + 1)
    moved = np.exp(result.examined["movement"].mean(1))
    return curves(
        "What gradient descent moves in a deep sigmoid net",
        f"After {result.config.num_updates} steps, relative to the weights. The line is half a unit in the last place "
        "of float32: what lies far below it is rounded away.",
        "layer, from the input",
        [("movement over weights", {"sigmoid, Xavier": (layers, moved)})],
        log_y=True,
        references={"movement over weights": {"float32": 2.0**-24}},
    )


def memory_against_depth(result):
    panels = []
    for kind, label in (("saved", "saved, as traced (bytes)"), ("compiled", "scratch, compiled (bytes)")):
        series = {}
        for name, values in result.examined.items():
            if name.startswith(f"{kind}/"):
                way = name.removeprefix(f"{kind}/")
                series[way] = (np.array(SCANNED_DEPTHS if way.startswith("scan") else UNROLLED_DEPTHS), values)
        panels.append((label, series))
    caption = (
        "What the backward pass keeps, without weights: by the trace, and the scratch memory that the compiler "
        "assigned. Remat recomputes each layer; segments are of sqrt(L) layers."
    )
    return curves("Memory against depth", caption, "layers", panels, log_x=True, log_y=True)


def exact_table(results):
    rows = [
        [claim.statement, claim.measured, claim.expected] for claim in claims(results) if claim.measured is not None
    ]
    return table("Exact statements", "In float64.", ["statement", "measured", "threshold"], rows)


EXPERIMENT = Experiment(
    question=__doc__,
    config=Config(),
    arms=arms,
    default_arms=("exact", *DRAWS, "program"),
    task=task,
    claims=claims,
    figures=figures,
)
