"""The networks of the arms in which several are trained side by side: what the arms compare.

Axes: F hidden units of an MLP, K classes.
"""

import math
from dataclasses import dataclass, replace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from experiments.cnn.images import NUM_CLASSES, shift_distances
from models.cnn import CNN, ImageMLP, equal_width
from models.normalization import NORM_KINDS


@dataclass(frozen=True)
class Network:
    """A model, and what distinguishes its training from that of other networks of the same model.

    norm:         kind of norm, of NORM_KINDS, in place of the model's batch normalisations; None: as the model has them
    dropout_rate: probability with which each input of a CNN's linear layer is dropped in training
    max_shift:    pixels by which training images are moved at random along each axis, at most
    is_permuted:  whether the pixels of all its images are in another order
    width:        number of hidden units of an ImageMLP of one hidden layer, which must be given for it: the model may
                  have more units, and these do not reach its output
    optimizer:    name of its optimiser, see ``Ensemble.task``
    """

    model: nn.Module
    norm: str | None = None
    dropout_rate: float = 0.0
    max_shift: int = 0
    is_permuted: bool = False
    width: int | None = None
    optimizer: str = "sgd"

    def __post_init__(self):
        if isinstance(self.model, ImageMLP) != (self.width is not None):
            raise ValueError(
                f"width={self.width} of a {type(self.model).__name__}: an ImageMLP needs one, others have none"
            )


def count_parameters(network, shape):
    """A network's number of parameters, on images of this shape."""
    model = replace(network.model, hidden=(network.width,)) if network.width else network.model
    variables = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((2, *shape), np.float32))
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


# --- The arm space.

CNN_NAME = "CNN"
FACTORS = (1, 2, 4, 8, 16)  # the MLPs' parameters over the CNN's


def mlp_name(factor):
    """The name of the MLP with so many times the CNN's parameters."""
    return f"MLP x {factor}"


def permuted_name(name):
    """The name of the network like the one of this name, but on images with permuted pixels."""
    return f"{name}, permuted"


def space_networks(shape):
    """The table model and MLPs of one hidden layer with 1 to 16 times its parameters; two of them permuted too.

    Permuted pixels are what the CNN and the smallest MLP are trained on once more.
    """
    cnn = Network(CNN(NUM_CLASSES, shape), optimizer="adam")
    num_parameters, inputs = count_parameters(cnn, shape), math.prod(shape)
    widths = {factor: equal_width(factor * num_parameters, inputs, NUM_CLASSES) for factor in FACTORS}
    widest = ImageMLP(NUM_CLASSES, shape, hidden=(max(widths.values()),))
    mlps = {mlp_name(factor): Network(widest, width=width, optimizer="adam") for factor, width in widths.items()}
    smallest = mlp_name(FACTORS[0])
    return {
        CNN_NAME: cnn,
        permuted_name(CNN_NAME): replace(cnn, is_permuted=True),
        **mlps,
        permuted_name(smallest): replace(mlps[smallest], is_permuted=True),
    }


# --- The arms norms_128, norms_2 and shift.

SHIFT_CHANNELS = (8, 16, 16)  # numbers of channels of the convolutions in the arm shift


def norm_networks(shape):
    """The table model with each kind of norm after every convolution, and without a norm."""
    model = CNN(NUM_CLASSES, shape, norm_place="convolution")
    return {kind: Network(model, norm=kind) for kind in NORM_KINDS}


def shift_networks(shape):
    """A network of three convolutions, without a norm and with batch normalisation after every convolution."""
    model = CNN(NUM_CLASSES, shape, channels=SHIFT_CHANNELS, pool_after=(0, 2), norm_place="convolution")
    return {kind: Network(model, norm=kind) for kind in ("none", "batch")}


# --- The arm overfitting.

SGD_ALONE = "SGD alone"
AUGMENTATION, DROPOUT, BATCH_NORM, ADAM = "augmentation", "dropout", "batch normalisation", "Adam for SGD"


def overfitting_networks(shape):
    """The table model without its norm, and with each method that is said to hold off overfitting."""
    plain = Network(CNN(NUM_CLASSES, shape), norm="none")
    return {
        SGD_ALONE: plain,
        AUGMENTATION: replace(plain, max_shift=shift_distances(shape[0])[0]),
        DROPOUT: replace(plain, dropout_rate=0.5),
        BATCH_NORM: replace(plain, norm="batch"),
        ADAM: replace(plain, optimizer="adam"),
    }


# --- MLPs of several widths as one model: the parameters of a wide one in which only some hidden units count.


def narrow_mlp(params, width):
    """The parameters of an ImageMLP of one hidden layer of which only the first ``width`` units reach the output."""
    return _map_last_kernel(lambda kernel_FK: kernel_FK * (jnp.arange(len(kernel_FK)) < width)[:, None], params)


def rescale_mlp(params, width):
    """Initial parameters of an ImageMLP with the variance of its last kernel for ``width`` hidden units, 2 / width."""
    return _map_last_kernel(lambda kernel_FK: kernel_FK * jnp.sqrt(len(kernel_FK) / width), params)


def _map_last_kernel(function, params):
    last = params["mlp"]["layer_1"]
    return {"mlp": params["mlp"] | {"layer_1": last | {"kernel": function(last["kernel"])}}}
