"""The functions that networks are trained to approximate, and the points at which they are given and tested.

Axes: B training points, G test points, D inputs, M targets.
"""

from dataclasses import dataclass

import numpy as np

from experiments.approximation.tent import composed_tent

FOLDS = 4  # folds of the composed tent map that networks are trained on

# Functions on [-1, 1], approximated by one hidden layer of many widths.
TARGETS = {
    "sine": lambda x: np.sin(2 * np.pi * x),
    "two sines": lambda x: np.sin(2 * np.pi * x) + 0.5 * np.sin(6 * np.pi * x),
    "root": lambda x: np.sqrt(np.abs(x)),
    "jump": lambda x: (x > 0).astype(float),
}
CONTINUOUS_TARGETS = ("sine", "two sines", "root")


def teeth(x):
    """The composed tent map, moved from [0, 1] to [-1, 1]."""
    return composed_tent((x + 1) / 2, FOLDS)


def wave(x):
    """A smooth function on [-1, 1] that is neither even nor odd."""
    return np.sin(np.pi * x) + 0.5 * np.cos(np.pi * x)


def curved_plane(x):
    """A plane, a sine and a product of four inputs: x [N, 4] -> [N, 1]."""
    return (x.sum(1) + np.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2])[:, None]


@dataclass(frozen=True)
class Points:
    """Where targets are given and where they are tested, and their values there.

    Each target is moved and scaled to mean 0 and variance 1 over the training points, so that a mean square error is
    the share of the variance that stays unexplained.
    """

    x: np.ndarray  # [B, D]
    y: np.ndarray  # [B, M]
    x_test: np.ndarray  # [G, D]
    y_test: np.ndarray  # [G, M]
    mean: np.ndarray  # of the targets before they were moved [M]
    deviation: np.ndarray  # of the targets before they were scaled [M]


def points_on_interval(num_points, functions):
    """Points of [-1, 1], four times as many for the test, with the values of M functions.

    Raises ValueError where a function has the same value at all points.
    """
    return standardise(interval(num_points), interval(4 * num_points), functions)


def points_in_four_dimensions(num_points):
    """Gaussian points with four coordinates, as many for the test, with the values of ``curved_plane``."""
    x, x_test = np.random.default_rng(0).normal(size=(2, num_points, 4))
    return standardise(x, x_test, [curved_plane])


def interval(num_points):
    """Equally spaced points [num_points, 1] of [-1, 1], the first and the last half a spacing from its ends."""
    return np.linspace(-1, 1, num_points, endpoint=False)[:, None] + 1 / num_points


def standardise(x, x_test, functions):
    """The functions' values at the training points x and the test points; raises ValueError for a constant one."""
    y, y_test = (np.hstack([function(points) for function in functions]) for points in (x, x_test))
    mean, deviation = y.mean(0), y.std(0)
    if not deviation.all():
        raise ValueError(f"batch_size={len(x)} points are too few to tell a target from a constant")
    return Points(x, (y - mean) / deviation, x_test, (y_test - mean) / deviation, mean, deviation)
