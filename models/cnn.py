"""Networks of images: the convolutional network, a residual one, an MLP of as many parameters, and their block.

All map x [B, height, width, C] to logits [B, classes], and take ``train``: whether batch normalisation uses this
batch's statistics, in which case the collection batch_stats must be mutable.

Within, images are laid out as the device likes it best (``models.convolution``); parameters do not depend on that.

Axes: B batch, the two axes of an image, C channels last.
"""

import flax.linen as nn
import jax

from models.convolution import Activation, Add, Convolution, Flatten, GlobalAverage, Pool, fastest_layout, to_layout
from models.mlp import MLP, gaussian_kernel
from models.normalization import NORM_KINDS, Normalization, NumberedNormalization


class ConvolutionBlock(nn.Module):
    """A convolution of stride 1, a normalisation and an activation function.

    x [B, height, width, inputs] -> [B, height, width, channels] with padding SAME or CIRCULAR. ``activation`` and
    ``initialization`` are names in ``models.mlp``, ``norm`` one of ``models.normalization``. Raises ValueError for an
    unknown name.
    """

    channels: int
    kernel_size: int = 3
    norm: str = "none"
    activation: str = "relu"
    initialization: str = "he"
    padding: str = "SAME"
    use_bias: bool = True

    @nn.compact
    def __call__(self, x, train=False):
        check_norm(self.norm)
        x = Convolution(
            self.channels,
            self.kernel_size,
            padding=self.padding,
            use_bias=self.use_bias,
            initialization=self.initialization,
            name="convolution",
        )(x)
        x = Normalization(self.norm, name="norm")(x, train) if self.norm != "none" else x
        return Activation(self.activation, name="activation")(x)


def check_norm(norm):
    """Raises ValueError where no normalisation has this name."""
    if norm not in NORM_KINDS:
        raise ValueError(f"norm={norm!r} is not one of {', '.join(NORM_KINDS)}")


def check_image(x, image_shape):
    """Raises ValueError where images [B, height, width, C] are not of the shape that a model is made for."""
    if x.shape[1:] != tuple(image_shape):
        given, wanted = (" x ".join(map(str, shape)) for shape in (x.shape[1:], image_shape))
        raise ValueError(f"images are {given} (height, width, channels), and the model is made for {wanted}")


NORM_PLACES = ("between", "convolution")


class CNN(nn.Module):
    """Blocks of convolution, activation and max-pooling, then one linear layer.

    The defaults are the small network of textbooks: CONV3-8, LeakyReLU, POOL-2, BatchNorm, CONV3-16, LeakyReLU, POOL-2,
    flatten, FC-10; 11,658 parameters for images of 32 x 32 x 3.

    Attributes:
      channels: number of channels of each block's convolution.
      kernel_size, stride, padding: those of every convolution; the padding is SAME, VALID or CIRCULAR.
      pool: the pooling's window and stride, after every block in ``pool_after`` (numbers from 0; None: all).
        1 pools nothing.
      norm: one of NORM_KINDS; ``norm_place`` says whether it stands after each block but the last ("between") or after
        each convolution ("convolution").
      activation, initialization: names in ``models.mlp``.
      layout: layout of the images within; None: the device's fastest.
    Raises:
      ValueError: an unknown name, images of another shape than ``image_shape``, or so much pooling that none is left.
    """

    num_classes: int = 10
    image_shape: tuple[int, int, int] = (32, 32, 3)
    channels: tuple[int, ...] = (8, 16)
    kernel_size: int = 3
    stride: int = 1
    padding: str = "SAME"
    pool: int = 2
    pool_after: tuple[int, ...] | None = None
    norm: str = "batch"
    norm_place: str = "between"
    num_groups: int = 4
    activation: str = "leaky_relu"
    initialization: str = "he"
    layout: str | None = None

    @nn.compact
    def __call__(self, x, train=False, norm_number=None, dropout_rate=0.0, dropout_key=None):
        """Logits [B, classes] of images x.

        The arguments may be numbers of a compiled program, so that one program serves networks that differ in them.

        Args:
          norm_number: an index into NORM_KINDS, the kind of norm to use in place of the model's own; the model needs
            norm="batch", whose variables serve every kind.
          dropout_rate: probability with which ``dropout_key`` drops each input of the linear layer (Srivastava et al.
            2014); without a key none is dropped.
        """
        check_norm(self.norm)
        check_image(x, self.image_shape)
        layout = self.layout or fastest_layout()
        if self.norm_place not in NORM_PLACES:
            raise ValueError(f"norm_place={self.norm_place!r} is not one of {', '.join(NORM_PLACES)}")
        if norm_number is not None and self.norm != "batch":
            raise ValueError(f"norm_number={norm_number} needs norm='batch', whose variables serve every kind of norm")

        def normalize(number, x):
            name, first = f"norm_{number}", layout == "CHWB"
            if norm_number is None:
                norm = Normalization(self.norm, num_groups=self.num_groups, channels_first=first, name=name)
                return norm(x, train)
            norm = NumberedNormalization(num_groups=self.num_groups, channels_first=first, name=name)
            return norm(x, norm_number, train)

        x = to_layout(x, layout)
        for number, channels in enumerate(self.channels):
            x = Convolution(
                channels,
                self.kernel_size,
                self.stride,
                padding=self.padding,
                initialization=self.initialization,
                layout=layout,
                name=f"convolution_{number}",
            )(x)
            if self.norm != "none" and self.norm_place == "convolution":
                x = normalize(number, x)
            x = Activation(self.activation, name=f"activation_{number}")(x)
            if self.pool > 1 and (self.pool_after is None or number in self.pool_after):
                if min(x.shape[1:3]) < self.pool:
                    raise ValueError(
                        f"block {number} leaves an image of {x.shape[1]} x {x.shape[2]}, too small to pool by "
                        f"{self.pool}: take fewer blocks, or set pool_after"
                    )
                x = Pool(self.pool, name=f"pool_{number}")(x)
            if self.norm != "none" and self.norm_place == "between" and number < len(self.channels) - 1:
                x = normalize(number, x)
        x = Flatten(layout, name="flatten")(x)
        if dropout_key is not None:
            x = x * jax.random.bernoulli(dropout_key, 1 - dropout_rate, x.shape) / (1 - dropout_rate)
        return nn.Dense(self.num_classes, kernel_init=gaussian_kernel("lecun"), name="linear")(x)


class ImageMLP(nn.Module):
    """An MLP of the image's numbers, to which neighbouring pixels are like any others.

    ``hidden`` holds the widths of its hidden layers; see ``equal_width``.
    """

    num_classes: int = 10
    image_shape: tuple[int, int, int] = (32, 32, 3)
    hidden: tuple[int, ...] = (4,)
    activation: str = "leaky_relu"
    initialization: str = "he"

    @nn.compact
    def __call__(self, x, train=False):
        check_image(x, self.image_shape)
        x = Flatten(name="flatten")(x)
        widths = (*self.hidden, self.num_classes)
        return MLP(widths, self.activation, initialization=self.initialization, name="mlp")(x)


def equal_width(num_parameters, inputs, num_classes):
    """The smallest width with which an MLP of one hidden layer has at least ``num_parameters`` parameters."""
    return max(1, -(-(num_parameters - num_classes) // (inputs + 1 + num_classes)))


class ResidualCNN(nn.Module):
    """A residual network of images (He et al. 2016, section 4.2): stages of basic blocks, each stage of half the size.

    A block is convolution, norm, activation, convolution, norm, added to its input, activation; where the shape changes
    the input goes through a convolution of 1 x 1. The mean over the image goes into one linear layer.

    Attributes:
      channels: number of channels of each stage; the convolution before the stages has as many as the first.
      num_blocks: number of blocks of each stage.
      norm, activation, layout: as in CNN.
    """

    num_classes: int = 10
    image_shape: tuple[int, int, int] = (32, 32, 3)
    channels: tuple[int, ...] = (16, 32, 64)
    num_blocks: int = 1
    norm: str = "batch"
    num_groups: int = 4
    activation: str = "relu"
    layout: str | None = None

    @nn.compact
    def __call__(self, x, train=False):
        check_norm(self.norm)
        check_image(x, self.image_shape)
        layout, has_norm = self.layout or fastest_layout(), self.norm != "none"

        def convolve_and_normalize(x, channels, name, kernel_size=3, stride=1):
            x = Convolution(
                channels,
                kernel_size,
                stride,
                use_bias=not has_norm,
                layout=layout,
                name=f"{name}_convolution",
            )(x)
            if not has_norm:
                return x
            return Normalization(
                self.norm,
                num_groups=self.num_groups,
                channels_first=layout == "CHWB",
                name=f"{name}_norm",
            )(x, train)

        x = convolve_and_normalize(to_layout(x, layout), self.channels[0], "first")
        x = Activation(self.activation, name="first_activation")(x)
        for stage, channels in enumerate(self.channels):
            for block in range(self.num_blocks):
                stride, prefix = 2 if stage and not block else 1, f"stage_{stage}_block_{block}"
                y = convolve_and_normalize(x, channels, f"{prefix}_in", stride=stride)
                y = Activation(self.activation, name=f"{prefix}_in_activation")(y)
                y = convolve_and_normalize(y, channels, f"{prefix}_out")
                if x.shape != y.shape:
                    x = convolve_and_normalize(x, channels, f"{prefix}_shortcut", kernel_size=1, stride=stride)
                x = Add(name=f"{prefix}_add")(x, y)
                x = Activation(self.activation, name=f"{prefix}_out_activation")(x)
        x = GlobalAverage(layout, name="average")(x)
        return nn.Dense(self.num_classes, kernel_init=gaussian_kernel("lecun"), name="linear")(x)
