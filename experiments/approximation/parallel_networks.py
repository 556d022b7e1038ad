"""Many small MLPs in one program, trained in parallel on several targets and from several initialisations.

XLA takes long to compile a program of many small parts, so the networks with one hidden layer are packed into one row
of hidden units. Packed parameters are {"row": of all those networks, name: of each other network}.

Axes: K networks, M targets, N draws of initial parameters, B points, D inputs.
"""

import math
from functools import partial
from itertools import pairwise

import jax
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


def draw_params(key, networks, inputs, num_targets, num_draws, starts):
    """Packed random parameters of all networks, with leading axes [M, N].

    Args:
      starts: {name: normal(shape) -> params} of networks that do not start from ``gaussian_params``.
    """
    shape = (num_targets, num_draws, num_parameters(networks, inputs))
    # One draw for all: XLA's CPU compiler takes long over each.
    numbers = jax.random.normal(key, (math.prod(shape),)).reshape(shape)
    return jax.vmap(jax.vmap(partial(params_from_numbers, networks, inputs, starts)))(numbers)


def num_parameters(networks, inputs):
    """How many parameters all networks have together."""
    return sum(size * (rows + 1) for network in networks.values() for rows, size in pairwise((inputs, *network.widths)))


def params_from_numbers(networks, inputs, starts, numbers):
    """Packed parameters made of ``num_parameters`` independent standard normal numbers."""
    taken = 0

    def normal(shape):
        nonlocal taken
        taken += math.prod(shape)
        return numbers[taken - math.prod(shape) : taken].reshape(shape)

    return pack(
        {
            name: starts.get(name, partial(gaussian_params, network, inputs))(normal)
            for name, network in networks.items()
        }
    )


def pack(params):
    """Packed parameters from {name: params} of every network."""
    row = [layers for layers in params.values() if len(layers) == 2]
    others = {name: layers for name, layers in params.items() if len(layers) != 2}
    if not row:
        return others
    return others | {
        "row": {
            "kernel": jnp.concatenate([layers["layer_0"]["kernel"] for layers in row], axis=1),
            "bias": jnp.concatenate([layers["layer_0"]["bias"] for layers in row]),
            "output": jnp.concatenate([layers["layer_1"]["kernel"][:, 0] for layers in row]),
            "output_bias": jnp.concatenate([layers["layer_1"]["bias"] for layers in row]),
        }
    }


def units_in_row(networks):
    """{name: the slice of hidden units that is its own} of the networks with one hidden layer."""
    units, end = {}, 0
    for name, network in networks.items():
        if len(network.widths) == 2:
            units[name] = slice(end, end + network.widths[0])
            end += network.widths[0]
    return units


def outputs(networks, params, x):
    """The outputs [K, B] of all networks at x [B, D], from packed parameters of one target and one draw."""
    units = units_in_row(networks)
    outputs_of_row = {}
    if units:
        row = params["row"]
        z = x @ row["kernel"] + row["bias"]
        for number, (name, own) in enumerate(units.items()):
            h = ACTIVATIONS[networks[name].activation](z[:, own])
            outputs_of_row[name] = h @ row["output"][own] + row["output_bias"][number]
    return jnp.stack(
        [
            outputs_of_row[name] if name in units else network.apply({"params": params[name]}, x)[:, 0]
            for name, network in networks.items()
        ]
    )


def predict(networks, params, x):
    """The outputs [K, M, N, B] of all networks at x [B, D], from packed parameters with leading axes [M, N]."""
    outputs_MNKB = jax.vmap(jax.vmap(lambda one: outputs(networks, one, x)))(params)
    return jnp.moveaxis(outputs_MNKB, 2, 0)


def first_layers(networks, params):
    """{name: (kernel, bias)} of every network's first layer, from packed parameters with any leading axes."""
    units = units_in_row(networks)
    layers = {}
    for name in networks:
        if name in units:
            layers[name] = (params["row"]["kernel"][..., units[name]], params["row"]["bias"][..., units[name]])
        else:
            layers[name] = (params[name]["layer_0"]["kernel"], params[name]["layer_0"]["bias"])
    return layers


def first_layer_changes(networks, params, initial):
    """The largest change [K] of a weight or bias in each network's first layer, between packed parameters."""
    after, before = first_layers(networks, params), first_layers(networks, initial)
    return jnp.stack(
        [
            jnp.max(jnp.stack([jnp.abs(a - b).max() for a, b in zip(after[name], before[name], strict=True)]))
            for name in networks
        ]
    )
