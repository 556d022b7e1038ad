"""MLPs of several shapes in one program: those with one hidden layer are laid side by side in one row of units."""

import math
from functools import partial
from itertools import pairwise

import jax.numpy as jnp

from models.mlp import ACTIVATIONS, VARIANCES


def gaussian_params(network, inputs, normal):
    """Parameters of a network from standard normal numbers ``normal(shape)``.

    Kernels have the network's own variance. Biases have deviation 1 / sqrt(fan-in), so that units bend in different
    places.
    """
    params, widths = {}, (inputs, *network.widths)
    for number, (rows, columns) in enumerate(pairwise(widths)):
        kernel = VARIANCES[network.initialization](rows, columns) ** 0.5 * normal((rows, columns))
        params[f"layer_{number}"] = {"kernel": kernel, "bias": rows**-0.5 * normal((columns,))}
    return params


def num_parameters(networks, inputs):
    """How many parameters all networks have together, so how many numbers ``initial_params`` takes."""
    return sum(size * (rows + 1) for network in networks.values() for rows, size in pairwise((inputs, *network.widths)))


def initial_params(networks, inputs, numbers, own):
    """Packed parameters of all networks, made of independent standard normal numbers.

    Args:
      numbers: [num_parameters(networks, inputs)].
      own: {name: normal(shape) -> params} of networks that do not start from ``gaussian_params``.
    """
    taken = 0

    def normal(shape):
        nonlocal taken
        taken += math.prod(shape)
        return numbers[taken - math.prod(shape) : taken].reshape(shape)

    return pack(
        {name: own.get(name, partial(gaussian_params, network, inputs))(normal) for name, network in networks.items()}
    )


def shallow(networks):
    """{name: its hidden units, a slice} of the networks with one hidden layer, laid side by side in a row of units."""
    found, end = {}, 0
    for name, network in networks.items():
        if len(network.widths) == 2:
            found[name] = slice(end, end + network.widths[0])
            end += network.widths[0]
    return found


def pack(params):
    """Parameters {network: params} with those of one hidden layer in one row: one program part instead of many."""
    row = [p for p in params.values() if len(p) == 2]
    deep = {name: p for name, p in params.items() if len(p) != 2}
    if not row:
        return deep
    return deep | {
        "row": {
            "kernel": jnp.concatenate([p["layer_0"]["kernel"] for p in row], axis=1),
            "bias": jnp.concatenate([p["layer_0"]["bias"] for p in row]),
            "output": jnp.concatenate([p["layer_1"]["kernel"][:, 0] for p in row]),
            "output_bias": jnp.concatenate([p["layer_1"]["bias"] for p in row]),
        }
    }


def outputs(networks, params, x):
    """{name: its output [B]} of all networks, from packed parameters."""
    units, found = shallow(networks), {}
    if units:
        row = params["row"]
        z = x @ row["kernel"] + row["bias"]
        for number, (name, u) in enumerate(units.items()):
            h = ACTIVATIONS[networks[name].activation](z[:, u])
            found[name] = h @ row["output"][u] + row["output_bias"][number]
    return {
        name: found[name] if name in found else network.apply({"params": params[name]}, x)[:, 0]
        for name, network in networks.items()
    }


def first_layers(networks, params):
    """{name: (kernel, bias)} of every network's first layer, from packed parameters with leading axes."""
    units, row = shallow(networks), params.get("row")
    found = {name: (row["kernel"][..., unit], row["bias"][..., unit]) for name, unit in units.items()}
    deep = {name: params[name]["layer_0"] for name in networks if name not in units}
    return found | {name: (layer["kernel"], layer["bias"]) for name, layer in deep.items()}
