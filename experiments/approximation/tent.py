"""The tent map and its compositions as ReLU networks, written down by hand: what depth saves.

The tent map is t(x) = 2 relu(x) - 4 relu(x - 1/2) on [0, 1]: up from 0 to 1 and down again. Composed k times it has
2^(k-1) teeth, that is 2^k linear pieces, each of slope +-2^k. All parameters are those of ``models.mlp.MLP`` for a
scalar input and output, and are numpy arrays.

Source: Telgarsky 2016, "Benefits of depth in neural networks", sections 1 and 3.
"""

import numpy as np


def composed_tent(x, k):
    """The k-fold composed tent map at x in [0, 1], from the definition."""
    for _ in range(k):
        x = 1 - abs(2 * x - 1)
    return x


def deep_widths(k):
    """Widths of the MLP that ``deep_params`` is for: k hidden layers of two ReLUs."""
    return (2,) * k + (1,)


def deep_params(k, dtype=np.float64):
    """Parameters of a ReLU network with 2k hidden units that computes the k-fold composed tent map on [0, 1]."""
    read, write = np.array([[1.0, 1.0]]), np.array([[2.0], [-4.0]])  # h -> (h, h - 1/2), and t from their ReLUs
    kernels = [read, *[write @ read] * (k - 1), write]
    biases = [np.array([0.0, -0.5])] * k + [np.zeros(1)]
    return {
        f"layer_{number}": {"kernel": kernel.astype(dtype), "bias": bias.astype(dtype)}
        for number, (kernel, bias) in enumerate(zip(kernels, biases, strict=True))
    }


def shallow_params(k):
    """Parameters of a ReLU network with one hidden layer of 2^k units that computes the k-fold tent map on [0, 1].

    Each of the 2^k - 1 places where the slope changes takes a unit. One more, here with its bend at 0, makes the slope
    of the first piece.
    """
    bends = np.arange(2**k) / 2**k
    changes = 2.0 ** (k + 1) * (-1.0) ** np.arange(2**k)
    changes[0] = 2.0**k
    return {
        "layer_0": {"kernel": np.ones((1, 2**k)), "bias": -bends},
        "layer_1": {"kernel": changes[:, None], "bias": np.zeros(1)},
    }
