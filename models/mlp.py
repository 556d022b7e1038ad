"""The multilayer perceptron: affine maps with an activation function between them.

Axes: rows of any leading shape, D inputs, F features of a layer. Rows are multiplied by weights from the right:
``x_D @ W_DF + b_F``.
"""

import math
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

ACTIVATIONS = {
    "identity": lambda x: x,
    "step": lambda x: (x > 0).astype(x.dtype),
    "square": jnp.square,
    "min": lambda x: jnp.minimum(x, x / 2),  # slope 1 on the left and 1/2 on the right: a leaky ReLU upside down
    "relu": jax.nn.relu,
    "leaky_relu": jax.nn.leaky_relu,  # slope 0.01 on the left
    "gelu": partial(jax.nn.gelu, approximate=False),
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "sin": jnp.sin,
    "constant": jnp.ones_like,
}

# The variance of an initial weight, given the numbers of inputs and of outputs of its layer.
VARIANCES = {
    "lecun": lambda inputs, outputs: 1 / inputs,  # LeCun et al. 1998, section 4.6
    "he": lambda inputs, outputs: 2 / inputs,  # He et al. 2015, equation 10
    "xavier": lambda inputs, outputs: 2 / (inputs + outputs),  # Glorot and Bengio 2010, equation 12
    "unit": lambda inputs, outputs: 1.0,
}


def gaussian_kernel(initialization, scale=1.0):
    """An initializer of Gaussian kernels [..., inputs, outputs]; the leading axes are a convolution's window.

    The variance is ``scale^2`` times what the scheme says, a key of ``VARIANCES``; raises ValueError for another name.
    """
    if initialization not in VARIANCES:
        raise ValueError(f"initialization={initialization!r} is not one of {', '.join(VARIANCES)}")

    def init(key, shape, dtype=jnp.float32):
        window = math.prod(shape[:-2])
        deviation = scale * VARIANCES[initialization](window * shape[-2], window * shape[-1]) ** 0.5
        # Drawn flat: XLA's CPU compiler is several times slower over more axes.
        return deviation * jax.random.normal(key, (math.prod(shape),), dtype).reshape(shape)

    return init


def activation_function(name):
    """The function of one of ``ACTIVATIONS``; raises ValueError for another name."""
    if name not in ACTIVATIONS:
        raise ValueError(f"activation={name!r} is not one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


class MLP(nn.Module):
    """Layers ``layer_0``, ``layer_1``, ... of the given widths; the last width is the number of outputs.

    x [..., D] -> [..., F of the last layer]. ``activation`` follows every layer but the last, ``output_activation``
    the last; both are names in ``ACTIVATIONS``. ``initialization`` and ``scale`` are those of ``gaussian_kernel``;
    biases start at zero. Raises ValueError for an unknown name.
    """

    widths: tuple[int, ...]
    activation: str = "relu"
    output_activation: str = "identity"
    initialization: str = "he"
    scale: float = 1.0
    use_bias: bool = True
    dtype: str = "float32"  # of the parameters

    @nn.compact
    def __call__(self, x):
        kernel_init = gaussian_kernel(self.initialization, self.scale)
        names = [self.activation] * (len(self.widths) - 1) + [self.output_activation]
        for number, (width, name) in enumerate(zip(self.widths, names, strict=True)):
            x = nn.Dense(
                width,
                use_bias=self.use_bias,
                kernel_init=kernel_init,
                param_dtype=self.dtype,
                name=f"layer_{number}",
            )(x)
            x = activation_function(name)(x)
        return x


def linear_map(params):
    """The one affine map that an MLP with identity activations computes.

    Args:
      params: the parameters of such an MLP, with biases.
    Returns:
      (W [D, F], b [F]): the product of the kernels in order, and the sum of the biases, each mapped through the kernels
      behind it. A deep linear network computes nothing that a single layer does not.
    """
    layers = [params[f"layer_{number}"] for number in range(len(params))]
    W, b = layers[0]["kernel"], layers[0]["bias"]
    for layer in layers[1:]:
        W, b = W @ layer["kernel"], b @ layer["kernel"] + layer["bias"]
    return W, b
