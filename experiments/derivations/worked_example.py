"""A ReLU network of two layers on two examples, small enough for pencil and paper; and the shapes of a large one."""

import jax
import jax.numpy as jnp
import numpy as np

from models import derivations

LEARNING_RATE = 0.01
# What the formulas must give, by pencil and paper.
BY_PENCIL = {
    "Z1": [[12, 4], [2, 16], [13, 2], [-16, 1]],
    "Z_out": [[64, 0], [-16, -80]],
    "dW_out": [[36, 6, 39, 0], [0, 0, 0, 0]],
    "db_out": [3, 0],
    "dW1": [[9, 36, 9, 27, 9, 18], [-3, -12, -3, -9, -3, -6], [6, 24, 6, 18, 6, 12], [0, 0, 0, 0, 0, 0]],
    "db1": [9, -3, 6, 0],
}
BY_PENCIL_AFTER_STEP = {
    "W_out (new)": [[2.64, -1.06, 1.61, -4], [1, -5, -1, 3]],
    "b_out (new)": [3.97, -5],
    "W1 (new)": [
        [2.91, 1.64, -1.09, -0.27, -3.09, 1.82],
        [4.03, -0.88, -1.97, 3.09, 5.03, -5.94],
        [1.94, -1.24, 2.94, 3.82, -3.06, 0.88],
        [6, -4, 2, -5, 1, 2],
    ],
    "b1 (new)": [0.91, 2.03, 0.94, 2],
}
# Every quantity, in the order in which one computes.
FORMULAS = {
    "A_in": "given: 6 features of 2 examples, the columns",
    "W1": "given",
    "b1": "given",
    "Z1": "W1 A_in + b1",
    "A1": "ReLU(Z1)",
    "W_out": "given",
    "b_out": "given",
    "Z_out": "W_out A1 + b_out",
    "A_out": "ReLU(Z_out)",
    "dA_out": "given",
    "dZ_out": "dA_out * 1[Z_out > 0]",
    "dW_out": "dZ_out A1^T",
    "db_out": "row sums of dZ_out",
    "dA1": "W_out^T dZ_out",
    "dZ1": "dA1 * 1[Z1 > 0]",
    "dW1": "dZ1 A_in^T",
    "db1": "row sums of dZ1",
    "dA_in": "W1^T dZ1",
    "W_out (new)": f"W_out - {LEARNING_RATE} dW_out",
    "b_out (new)": f"b_out - {LEARNING_RATE} db_out",
    "W1 (new)": f"W1 - {LEARNING_RATE} dW1",
    "b1 (new)": f"b1 - {LEARNING_RATE} db1",
}
LARGE_NETWORK = {"features": 5000, "hidden": 128, "outputs": 5000, "examples": 100}


def given_arrays():
    """{quantity: array} of what is given, in float64."""
    return {name: np.array(numbers, np.float64) for name, numbers in derivations.WORKED_EXAMPLE.items()}


def quantities():
    """{quantity: array} of all that FORMULAS names; in float64 where 64-bit types are enabled in jax."""
    given = given_arrays()
    arrays = with_gradients(given)
    new_params = derivations.descend(given, arrays, LEARNING_RATE)
    arrays |= {f"{name} (new)": parameter for name, parameter in new_params.items()}
    return {name: np.asarray(arrays[name]) for name in FORMULAS}


def with_gradients(given):
    """{quantity: array} of what is given, of the network's states and of its gradients."""
    states = derivations.two_layer_network(given, given["A_in"])
    return given | states | derivations.two_layer_gradients(given, given["A_in"], given["dA_out"])


def shapes(features, hidden, outputs, examples):
    """{quantity: shape} of the network at any size, without the step of gradient descent; nothing is computed."""
    given_shapes = {
        "A_in": (features, examples),
        "W1": (hidden, features),
        "b1": (hidden,),
        "W_out": (outputs, hidden),
        "b_out": (outputs,),
        "dA_out": (outputs, examples),
    }
    given = {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in given_shapes.items()}
    arrays = jax.eval_shape(with_gradients, given)
    return {name: arrays[name].shape for name in FORMULAS if name in arrays}


def count_misshapen(shapes):
    """How many derivatives of {quantity: shape} do not have the shape of the array they are taken with respect to."""
    return sum(shape != shapes[name.removeprefix("d")] for name, shape in shapes.items() if name.startswith("d"))
