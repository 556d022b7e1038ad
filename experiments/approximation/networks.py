"""The networks of each arm, {name: network}. All have one output."""

import jax
import numpy as np

from experiments.approximation import tent
from experiments.approximation.targets import FOLDS
from models.mlp import MLP

LINEAR_DEPTHS = (1, 2, 6)  # layers of the networks without activation functions
WIDTHS = (1, 2, 4, 8, 16, 32, 64)  # hidden units of the networks that differ in their width
DEEP_WIDTH = 16  # units of a hidden layer of the deep networks, with activation functions and without
UNITS = 32  # hidden units of the networks that differ in their activation function

# What becomes of a network with each activation function, and why.
EFFECTS = {
    "identity": "the network is one linear map",
    "step": "its derivative is zero: the first layer gets no gradient, the last fits random steps",
    "square": "one layer of squares is a quadratic polynomial, whatever its width",
    "min": "min(x, x/2): bends, and its slopes are 1 and 1/2",
    "relu": "bends, and half of its units pass a gradient",
    "sigmoid": "smooth and no polynomial",
    "sin": "smooth and no polynomial",
    "constant": "no input reaches the output, which can only be the mean",
}
TRAINABLE = ("min", "relu", "sigmoid", "sin")  # activation functions with which both layers train

# Names of the networks that are trained on the tent.
WIDE_LAYER = "one layer, wide"
WIDE_DEEP = "deep, wide"
SMALL_DEEP = f"deep, {2 * FOLDS} units"
SMALL_DEEP_STARTED_NEAR = f"{SMALL_DEEP}, started near"


def one_layer(width, activation="relu"):
    """A network with one hidden layer."""
    return MLP((width, 1), activation=activation)


def linear_networks():
    """Networks of LINEAR_DEPTHS layers without activation functions."""
    return {
        f"linear {depth}": MLP((DEEP_WIDTH,) * (depth - 1) + (1,), activation="identity", initialization="lecun")
        for depth in LINEAR_DEPTHS
    }


def relu_networks():
    """Networks of the same shapes with ReLUs between their layers, where there is more than one layer."""
    return {f"ReLU {depth}": MLP((DEEP_WIDTH,) * (depth - 1) + (1,)) for depth in LINEAR_DEPTHS[1:]}


def networks_of_widths():
    """Networks with one hidden layer of each of WIDTHS."""
    return {str(width): one_layer(width) for width in WIDTHS}


def networks_for_teeth():
    """Networks of one layer and of FOLDS layers, small and wide; the two wide ones have as many parameters."""
    num_parameters = 2 * DEEP_WIDTH + (FOLDS - 1) * (DEEP_WIDTH + 1) * DEEP_WIDTH + DEEP_WIDTH + 1
    return {
        f"one layer, {2 * FOLDS} units": one_layer(2 * FOLDS),
        f"one layer, {2**FOLDS} units": one_layer(2**FOLDS),
        WIDE_LAYER: one_layer((num_parameters - 1) // 3),
        WIDE_DEEP: MLP((DEEP_WIDTH,) * FOLDS + (1,)),
        SMALL_DEEP: MLP(tent.deep_widths(FOLDS)),
        SMALL_DEEP_STARTED_NEAR: MLP(tent.deep_widths(FOLDS)),
    }


def params_near_teeth(points, normal):
    """Parameters that compute the target ``teeth`` but for 5 % of noise on each.

    Args:
      points: where the target is given, for its mean and its deviation.
      normal: shape -> standard normal numbers.
    """
    params = tent.deep_params(FOLDS, np.float32)
    first, last = params["layer_0"], params[f"layer_{FOLDS}"]
    # The construction is for inputs in [0, 1] and for a target as it is; points lie in [-1, 1], targets are scaled.
    first["kernel"], first["bias"] = first["kernel"] / 2, first["bias"] + first["kernel"][0] / 2
    scale, shift = 1 / points.deviation[0], points.mean[0]
    last["kernel"], last["bias"] = last["kernel"] * scale, (last["bias"] - shift) * scale
    return jax.tree.map(lambda leaf: leaf * (1 + 0.05 * normal(leaf.shape)), params)


def networks_of_activations():
    """Networks with one hidden layer of UNITS, with each of the activation functions."""
    return {name: one_layer(UNITS, name) for name in EFFECTS}
