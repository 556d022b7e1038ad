"""Convolutional networks: the block of which they are made.

Axes: B batch, the two axes of an image, C channels last.
"""

import flax.linen as nn

from models.mlp import activation_function, gaussian_kernel

NORMS = ("none", "batch")


class ConvolutionBlock(nn.Module):
    """A convolution of stride 1, a normalisation and an activation function.

    x [B, height, width, inputs] -> [B, height, width, channels] with padding SAME or CIRCULAR. ``activation`` and
    ``initialization`` are names in ``models.mlp``. With ``norm="batch"`` each channel is normalised over the batch and
    the image (Ioffe and Szegedy 2015); ``train`` says whether by this batch's own statistics, in which case the
    collection batch_stats must be mutable. Raises ValueError for an unknown name.
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
        if self.norm not in NORMS:
            raise ValueError(f"norm={self.norm!r} is not one of {', '.join(NORMS)}")
        x = nn.Conv(
            self.channels,
            (self.kernel_size, self.kernel_size),
            padding=self.padding,
            use_bias=self.use_bias,
            kernel_init=gaussian_kernel(self.initialization),
            name="convolution",
        )(x)
        if self.norm == "batch":
            x = nn.BatchNorm(use_running_average=not train, momentum=0.9, name="norm")(x)
        return activation_function(self.activation)(x)
