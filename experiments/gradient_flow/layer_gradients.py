"""Gradients at each layer of random networks: MLPs, residual networks, CNNs and recurrent ones, in many variants.

A draw is {"of_states": log-norms [variants, L + 1] of the gradient in each layer's input and in the output,
"of_weights": log-norms [variants, L] of that in each layer's weights}, variants as in VARIANTS. All variants of a draw
use the same random numbers.

Axes: L layers or blocks, T time steps, B batch, D units, C channels.
"""

import jax
import jax.numpy as jnp
import numpy as np

from models.cnn import ConvolutionBlock
from models.mlp import MLP, VARIANCES
from models.recurrent import ElmanCell, GRUCell, LSTMCell
from models.residual import ResidualBlock
from probes.gradient_flow import log_norm, through_layers

ACTIVATIONS = ("sigmoid", "tanh", "relu")
LARGE_DEVIATION = "N(0,1) x 1000"
# The standard deviation of a weight of a square layer, given its width.
DEVIATIONS = {
    "Xavier": lambda width: VARIANCES["xavier"](width, width) ** 0.5,
    "He": lambda width: VARIANCES["he"](width, width) ** 0.5,
    LARGE_DEVIATION: lambda width: 1000.0,
}
CELLS = {
    "Elman, sigmoid": lambda width: ElmanCell(width, "sigmoid"),
    "Elman, tanh": lambda width: ElmanCell(width, "tanh"),
    "GRU": GRUCell,
    "LSTM, forget bias 0": lambda width: LSTMCell(width, 0.0),
    "LSTM, forget bias 1": lambda width: LSTMCell(width, 1.0),
    "LSTM, forget bias 3": lambda width: LSTMCell(width, 3.0),
}
# The variants of each arm whose networks are drawn at random.
VARIANTS = {
    "mlp": tuple(f"{activation}, {scheme}" for activation in ACTIVATIONS for scheme in DEVIATIONS),
    "residual": ("plain blocks", "residual", "residual, branch / sqrt(L)", "residual, pre-norm"),
    "cnn": ("CNN, relu", "CNN, relu, BN", "CNN, sigmoid", "CNN, sigmoid, BN"),
    "rnn": tuple(CELLS),
}
SATURATED = 0.999  # |tanh| above which a unit counts as saturated


def draw_mlp(key, num_layers, width, batch_size, num_updates, learning_rate):
    """Draws MLPs without biases: three activation functions, each with three initialisations.

    Returns:
      the draw, what ``draw_movement`` returns, and of the tanh network with the largest weights {"saturated": the share
      of units above SATURATED; "last_moments" [2]: mean square and mean fourth power of the last weights' gradient}.
    """
    L, D, B = num_layers, width, batch_size
    kernels, h, cotangent = normals(key, (L, D, D), (B, D), (B, D))
    deviations = jnp.array([deviation(D) for deviation in DEVIATIONS.values()])
    by_activation = []
    for activation in ACTIVATIONS:
        layer = mlp_layer(D, activation)
        run = jax.vmap(lambda deviation, layer=layer: through_layers(layer, deviation * kernels, h, cotangent))
        by_activation.append(run(deviations))
    of_states, of_weights, states = (jnp.stack(parts) for parts in zip(*by_activation, strict=True))
    num_variants = len(ACTIVATIONS) * len(DEVIATIONS)

    units_LBD = states[ACTIVATIONS.index("tanh"), -1]
    last = jax.grad(lambda w: jnp.sum(mlp_layer(D, "tanh")(w, units_LBD[-2]) * cotangent))(deviations[-1] * kernels[-1])
    return {
        "of_states": of_states.reshape(num_variants, -1),
        "of_weights": of_weights.reshape(num_variants, -1),
        "saturated": jnp.mean(jnp.abs(units_LBD[1:]) > SATURATED),
        "last_moments": jnp.stack([jnp.mean(last**2), jnp.mean(last**4)]),
        **draw_movement(DEVIATIONS["Xavier"](D) * kernels, h, cotangent[:, 0], num_updates, learning_rate),
    }


def mlp_layer(width, activation):
    """A layer without biases, (kernel, h) -> the next h."""
    module = MLP((width,), output_activation=activation, use_bias=False)
    return lambda kernel, h: module.apply({"params": {"layer_0": {"kernel": kernel}}}, h)


def draw_movement(kernels, x, y, num_updates, learning_rate):
    """How far plain gradient descent on a squared error moves each layer of a deep sigmoid network.

    What is added to the weights is kept apart from them: added in float32, most of it would be rounded away.

    Returns:
      {"movement" [L]: the log of the norm of what was added over that of the weights; "weights_changed" [L]: the share
      of weights that are other numbers after it, in float32}.
    """
    layer = mlp_layer(x.shape[1], "sigmoid")

    def loss(moved):
        h = jax.lax.scan(lambda h, w: (layer(w, h), None), x, kernels + moved)[0]
        return jnp.mean(jnp.square(h.mean(-1) * 2 - 1 - y)) / 2

    def step(moved, _):
        return moved - learning_rate * jax.grad(loss)(moved), None

    moved = jax.lax.scan(step, jnp.zeros_like(kernels), None, length=num_updates)[0]
    return {
        "movement": jax.vmap(log_norm)(moved) - jax.vmap(log_norm)(kernels),
        "weights_changed": jnp.mean(kernels + moved != kernels, axis=(1, 2)),
    }


def draw_residual(key, num_blocks, width, batch_size):
    """Draws blocks of two ReLU layers, plain and residual.

    Kernels have He's variance, then 1 / fan-in, so that a block's body keeps the mean square of what it reads.
    """
    L, D, B = num_blocks, width, batch_size
    first, second, h, cotangent = normals(key, (L, D, D), (L, D, D), (B, D), (B, D))
    body = MLP((D, D), use_bias=False)
    params = {"layer_0": {"kernel": (2 / D) ** 0.5 * first}, "layer_1": {"kernel": (1 / D) ** 0.5 * second}}
    norm = {"scale": jnp.ones((L, D)), "bias": jnp.zeros((L, D))}
    blocks = {
        "plain blocks": (body, params),
        "residual": (ResidualBlock(body), {"body": params}),
        "residual, branch / sqrt(L)": (ResidualBlock(body, branch_scale=L**-0.5), {"body": params}),
        "residual, pre-norm": (ResidualBlock(body, norm="layernorm"), {"body": params, "norm": norm}),
    }
    return stack_variants(
        through_layers(lambda p, h, block=block: block.apply({"params": p}, h), stacked, h, cotangent)
        for block, stacked in blocks.values()
    )


def draw_cnn(key, num_layers, num_channels, image_size, batch_size):
    """Draws convolutions on a torus: ReLU with He's and sigmoid with Xavier's initialisation, without and with BN."""
    L, C = num_layers, num_channels
    image = (batch_size, image_size, image_size, C)
    kernels, h, cotangent = normals(key, (L, 3, 3, C, C), image, image)
    ones, zeros = jnp.ones((L, C)), jnp.zeros((L, C))
    gradients = []
    for activation, gain in (("relu", 2.0), ("sigmoid", 1.0)):
        convolution = {"kernel": (gain / (9 * C)) ** 0.5 * kernels}
        for norm, variables in (
            ("none", {"params": {"convolution": convolution}}),
            (
                "batch",
                {
                    "params": {"convolution": convolution, "norm": {"scale": ones, "bias": zeros}},
                    "batch_stats": {"norm": {"mean": zeros, "var": ones}},
                },
            ),
        ):
            block = ConvolutionBlock(C, norm=norm, activation=activation, padding="CIRCULAR", use_bias=False)

            def layer(variables, h, block=block):
                return block.apply(variables, h, train=True, mutable=["batch_stats"])[0]

            gradients.append(through_layers(layer, variables, h, cotangent))
    return stack_variants(gradients)


def draw_rnn(key, num_time_steps, width, batch_size, input_scale):
    """Draws recurrent cells and inputs: the gradient of a linear function of the last output in each step's state.

    The state of an LSTM is (c, h). Gradients in weights are left out.
    """
    T, D, B = num_time_steps, width, batch_size
    x_TBD, cotangent = normals(key, (T, B, D), (B, D))
    x_TBD, gradients = input_scale * x_TBD, []
    for number, make in enumerate(CELLS.values()):
        cell = make(D)
        state = cell.initial_state((B,))
        params = cell.init(jax.random.fold_in(key, number), state, x_TBD[0])["params"]
        end = (jnp.zeros_like(cotangent), cotangent) if isinstance(cell, LSTMCell) else cotangent

        def step(x, state, cell=cell, params=params):
            return cell.apply({"params": params}, state, x)[0]

        gradients.append(through_layers(step, x_TBD, state, end))
    return {"of_states": stack_variants(gradients)["of_states"]}


def stack_variants(gradients):
    """A draw, from what ``through_layers`` returns for each variant."""
    of_states, of_weights = zip(*((states, weights) for states, weights, _ in gradients), strict=True)
    return {"of_states": jnp.stack(of_states), "of_weights": jnp.stack(of_weights)}


def normals(key, *shapes):
    """Independent standard normal numbers in arrays of these shapes, each drawn flat, which compiles faster."""
    keys = jax.random.split(key, len(shapes))
    return [jax.random.normal(k, (np.prod(shape),)).reshape(shape) for k, shape in zip(keys, shapes, strict=True)]
