"""Networks packed into one program against the same networks one by one."""

import numpy as np

from experiments.approximation.parallel_networks import (
    first_layer_changes,
    first_layers,
    gaussian_params,
    outputs,
    pack,
)
from models.mlp import MLP

NETWORKS = {
    "a": MLP((3, 1), activation="sin"),
    "deep": MLP((2, 2, 1)),
    "b": MLP((1, 1), activation="sin"),
    "c": MLP((4, 1), activation="square"),
    "line": MLP((1,)),
}


def random_params(seed):
    normal = np.random.default_rng(seed).standard_normal
    return {name: gaussian_params(network, 1, normal) for name, network in NETWORKS.items()}


def test_packed_networks_are_those_networks():
    params = random_params(0)
    x = np.linspace(-1, 1, 5)[:, None].astype(np.float32)
    outputs_KB, layers = outputs(NETWORKS, pack(params), x), first_layers(NETWORKS, pack(params))
    for (name, network), outputs_B in zip(NETWORKS.items(), outputs_KB, strict=True):
        np.testing.assert_allclose(outputs_B, network.apply({"params": params[name]}, x)[:, 0], atol=1e-5)
        np.testing.assert_allclose(layers[name][0], params[name]["layer_0"]["kernel"], rtol=1e-6)
        np.testing.assert_allclose(layers[name][1], params[name]["layer_0"]["bias"], rtol=1e-6)


def test_the_change_of_a_first_layer_is_its_own_and_its_largest():
    params, changed = random_params(0), random_params(0)
    changed["deep"]["layer_0"]["bias"][1] -= 2
    changed["c"]["layer_0"]["kernel"][0, 3] += 3
    changed["c"]["layer_0"]["bias"][0] += 1
    changed["a"]["layer_1"]["bias"][0] += 4  # no first layer
    changes = first_layer_changes(NETWORKS, pack(changed), pack(params))
    np.testing.assert_allclose(changes, [0, 2, 0, 3, 0], atol=1e-6)
