"""cifar10-airbench94 (Jordan 2024, "94% on CIFAR-10 in 3.29 seconds on a single GPU", section 3): network, optimiser.

The network is a frozen whitening convolution of 2 x 2, three blocks of two convolutions and one linear layer, of any
width.

Axes: B batch, the two axes of an image, C channels last.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

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

WHITENING_SIZE = 2  # pixels of a side of a patch
WHITENING_EPSILON = 5e-4
SMALLEST_IMAGE = 9  # pixels of a side: the whitening takes one, and each of three blocks halves the rest
ORIGINAL_WIDTH = 64  # channels of the first block of cifar10-airbench94
MOMENTUM = 0.85
DECOUPLING = 1024 * (1 + 1 / (1 - MOMENTUM))  # divides the learning rate and weight decay that the paper states


def uniform_kernel(key, shape, dtype=jnp.float32):
    """A kernel uniform in +-1 / sqrt(fan-in), PyTorch's default for convolutions and linear layers."""
    bound = np.prod(shape[:-1]) ** -0.5
    return jax.random.uniform(key, (int(np.prod(shape)),), dtype, -bound, bound).reshape(shape)


def dirac_kernel(key, shape, dtype=jnp.float32):
    """A kernel [k, k, inputs, channels] whose first channels hand on the inputs; the rest are as ``uniform_kernel``."""
    kernel = uniform_kernel(key, shape, dtype)
    count, center = min(shape[2:]), (shape[0] - 1) // 2
    identity = jnp.zeros((*shape[:3], count), dtype)
    identity = identity.at[center, center, jnp.arange(count), jnp.arange(count)].set(1)
    return kernel.at[..., :count].set(identity)


def whitening_kernel(images, size=WHITENING_SIZE, epsilon=WHITENING_EPSILON):
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
    """A convolution whose kernel, in the collection ``frozen``, is given and not trained; its bias is trained."""

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
    layer without bias, its output times ``scaling``. Batch normalisation has no scale, momentum 0.6 and epsilon 1e-12.
    The kernel of the whitening is zero until ``set_whitening`` puts one in.

    Attributes:
      widths: number of channels of each of the three blocks.
      dtype: dtype of the activations.
      layout: layout of the images within; None: the device's fastest.
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
                x = Convolution(
                    channels,
                    use_bias=False,
                    kernel_init=dirac_kernel,
                    layout=layout,
                    name=f"{name}_convolution",
                )(x)
                x = Pool(2, name=f"{name}_pool")(x) if half == "in" else x
                x = Normalization(
                    self.norm,
                    momentum=self.momentum,
                    epsilon=1e-12,
                    use_scale=False,
                    channels_first=layout == "CHWB",
                    name=f"{name}_norm",
                )(x, train)
                x = Activation("gelu", name=f"{name}_activation")(x)
        x = Pool(min(3, *x.shape[1:3]), name="last_pool")(x)
        x = Flatten(layout, name="flatten")(x).astype(jnp.float32)
        x = nn.Dense(self.num_classes, use_bias=False, kernel_init=uniform_kernel, name="linear")(x)
        return self.scaling * x


def set_whitening(variables, kernel):
    """The variables of an Airbench with this kernel of its whitening, see ``whitening_kernel``."""
    return {**variables, "frozen": {"whitening": {"kernel": jnp.asarray(kernel)}}}


def airbench_optimizer(num_steps, batch_size, bias_steps, learning_rate=11.5, weight_decay=0.0153):
    """Nesterov's SGD and lookahead as cifar10-airbench94 has them (Jordan 2024, section 3 and listing 4).

    The rate rises from 0.2 of its peak to the peak within 23 % of the run and falls to 0.07 of it; biases of norms have
    64 times the rate; the whitening's bias is trained for ``bias_steps``. Every fifth step the parameters go back to
    an average of themselves, whose decay is 0.95^5 t^3 at the share t of the run.
    """
    rate, decay = learning_rate / DECOUPLING * batch_size, weight_decay / DECOUPLING * batch_size

    def rate_factor(path):
        names = [str(getattr(key, "key", key)) for key in path]
        return 64.0 if any("norm" in name for name in names) else 1.0

    def init(params):
        return jnp.int32(0), jax.tree.map(jnp.zeros_like, params), params

    def update(gradients, state, params):
        count, buffers, averages = state
        share = count / num_steps
        schedule = jnp.interp(share, jnp.array([0.0, 0.23, 1.0]), jnp.array([0.2, 1.0, 0.07]))
        steps = jax.tree_util.tree_map_with_path(
            lambda path, g, p: rate_factor(path) * g + decay / rate * p, gradients, params
        )
        buffers = jax.tree.map(lambda b, s: MOMENTUM * b + s, buffers, steps)
        is_trained = {name: jnp.where(count < bias_steps, 1.0, 0.0) if name == "whitening" else 1.0 for name in params}
        new_params = {
            name: jax.tree.map(
                lambda p, s, b, name=name: p - is_trained[name] * rate * schedule * (s + MOMENTUM * b),
                params[name],
                steps[name],
                buffers[name],
            )
            for name in params
        }
        is_last = count + 1 >= num_steps
        average_decay = jnp.where(is_last, 1.0, 0.95**5 * share**3)
        goes_back = is_last | ((count + 1) % 5 == 0)
        averages = jax.tree.map(
            lambda a, n: jnp.where(goes_back, average_decay * a + (1 - average_decay) * n, a), averages, new_params
        )
        updates = jax.tree.map(lambda a, n, p: jnp.where(goes_back, a, n) - p, averages, new_params, params)
        return updates, (count + 1, buffers, averages)

    return optax.GradientTransformation(init, update)
