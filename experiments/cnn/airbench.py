"""The network of cifar10-airbench94 (Jordan 2024, "94% on CIFAR-10 in 3.29 seconds on a single GPU", section 3).

A frozen whitening convolution of 2 x 2, three blocks of two convolutions, one linear layer; any width.

Axes: B batch, the two axes of an image, C channels last.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from models.cnn import check_image
from models.convolution import (
    Activation,
    Convolution,
    Flatten,
    Pool,
    convolve,
    fastest_layout,
    per_channel,
    to_layout,
)
from models.normalization import Normalization

WHITENING_SIZE = 2
EPSILON = 5e-4


def uniform_kernel(key, shape, dtype=jnp.float32):
    """Uniform in +-1 / sqrt(fan-in), PyTorch's default for convolutions and linear layers."""
    bound = np.prod(shape[:-1]) ** -0.5
    return jax.random.uniform(key, (int(np.prod(shape)),), dtype, -bound, bound).reshape(shape)


def dirac_kernel(key, shape, dtype=jnp.float32):
    """A kernel [k, k, inputs, channels] whose first channels hand on the inputs; the rest are as ``uniform_kernel``."""
    kernel = uniform_kernel(key, shape, dtype)
    count, center = min(shape[2:]), (shape[0] - 1) // 2
    identity = jnp.zeros((*shape[:3], count), dtype)
    identity = identity.at[center, center, jnp.arange(count), jnp.arange(count)].set(1)
    return kernel.at[..., :count].set(identity)


def whitening_kernel(images, size=WHITENING_SIZE, epsilon=EPSILON):
    """A kernel [k, k, C, 2 k k C] that makes the patches of images uncorrelated and of variance one (numpy).

    Its channels are the eigenvectors of the patches' second moments over the root of their eigenvalue plus ``epsilon``,
    the largest first, and then their negatives.

    Args:
      images: [N, height, width, C], normalised as the network will see them.
    """
    rows, columns = (images.shape[axis] - size + 1 for axis in (1, 2))
    patches = np.concatenate(
        [images[:, p : p + rows, q : q + columns] for p in range(size) for q in range(size)], axis=-1
    ).reshape(-1, size * size * images.shape[-1])
    moments = patches.T.astype(np.float64) @ patches / len(patches)
    values, vectors = np.linalg.eigh(moments)
    kernel = (vectors / np.sqrt(values + epsilon))[:, ::-1]
    return np.concatenate([kernel, -kernel], axis=1).reshape(size, size, images.shape[-1], -1).astype(np.float32)


class Whitening(nn.Module):
    """A convolution whose kernel is not trained but given, in the collection ``frozen``; its bias is trained."""

    kernel_size: int = WHITENING_SIZE
    layout: str = "BHWC"

    @nn.compact
    def __call__(self, x):
        size, inputs = self.kernel_size, x.shape[self.layout.index("C")]
        channels = 2 * size * size * inputs
        kernel = self.variable("frozen", "kernel", jnp.zeros, (size, size, inputs, channels))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        y = convolve(x, kernel.value.astype(x.dtype), padding="VALID", layout=self.layout)
        return y + per_channel(bias.astype(x.dtype), self.layout)


class Airbench(nn.Module):
    """x [B, 32, 32, 3] -> logits [B, classes]; 1.97 million parameters at the default widths.

    Whitening, GELU; three blocks of convolution, max-pool 2, norm, GELU, convolution, norm, GELU; max-pool 3; a linear
    layer without bias, its output times ``scaling``. Batch normalisation has no scale, momentum .6 and epsilon 1e-12.
    The kernel of the whitening is zero until ``with_whitening`` puts one in.

    Attributes:
      widths: channels of the three blocks.
      dtype: of the activations.
      layout: of the images within; None: the device's fastest.
    """

    num_classes: int = 10
    image_shape: tuple[int, int, int] = (32, 32, 3)
    widths: tuple[int, ...] = (64, 256, 256)
    scaling: float = 1 / 9
    norm: str = "batch"
    momentum: float = 0.6
    dtype: str = "float32"
    layout: str | None = None

    @nn.compact
    def __call__(self, x, train=False):
        check_image(x, self.image_shape)
        layout = self.layout or fastest_layout()
        x = Whitening(layout=layout, name="whitening")(to_layout(x.astype(self.dtype), layout))
        x = Activation("gelu", name="whitening_activation")(x)
        for number, channels in enumerate(self.widths):
            for half in ("in", "out"):
                name = f"block_{number}_{half}"
                options = {"use_bias": False, "kernel_init": dirac_kernel, "layout": layout}
                x = Convolution(channels, **options, name=f"{name}_convolution")(x)
                x = Pool(2, name=f"{name}_pool")(x) if half == "in" else x
                options = {"momentum": self.momentum, "epsilon": 1e-12, "channels_first": layout == "CHWB"}
                x = Normalization(self.norm, **options, use_scale=False, name=f"{name}_norm")(x, train)
                x = Activation("gelu", name=f"{name}_activation")(x)
        x = Pool(min(3, *x.shape[1:3]), name="last_pool")(x)
        x = Flatten(layout, name="flatten")(x).astype(jnp.float32)
        x = nn.Dense(self.num_classes, use_bias=False, kernel_init=uniform_kernel, name="linear")(x)
        return self.scaling * x


def with_whitening(variables, kernel):
    """Variables of an Airbench with this kernel of its whitening, see ``whitening_kernel``."""
    return {**variables, "frozen": {"whitening": {"kernel": jnp.asarray(kernel)}}}
