"""What claims and figures read off the results of arms.

Some functions take a result and return a quantity; others make such a function, a measure, and say so.

Axes: S seeds, N draws of a seed, E evaluations over training.
"""

import numpy as np

from data.images import ALIASES
from experiments.cnn.image_identities import NORMS
from experiments.cnn.images import load_images
from experiments.cnn.networks import CNN_NAME, FACTORS, SGD_ALONE, mlp_name
from experiments.cnn.receptive_fields import OTHER_CHANGES, WIDENING_CHANGES

# The table model as textbooks state it.
TABLE_PARAMETERS = (224, 0, 0, 16, 1168, 0, 0, 0, 10250)  # numbers of parameters, layer by layer
TABLE_FIELDS = (3, 4, 8, 10)  # pixels of a side that units of the convolutions and poolings see
TABLE_MACS = 526336  # multiply-adds of all layers, for one image


# --- The arm exact.


def distance_from(name, expected):
    """Makes a measure: the largest distance [S] of what is examined under this name from the expected numbers."""
    return lambda result: np.abs(result.examined[name] - np.array(expected)).max(1)


def formula_error(networks):
    """Makes a measure: the largest difference [S] between measured receptive fields and the formula, in pixels."""

    def measure(result):
        measured, formula = (result.examined[f"{networks}/{by}"] for by in ("measured", "formula"))
        return np.abs(measured - formula).max(1)

    return measure


def field_ratio(changes, reduce):
    """Makes a measure: measured receptive fields with these changes over that without, reduced over them to [S]."""

    def measure(result):
        base, *changed = result.examined["variants/measured"].T
        names = [*WIDENING_CHANGES, *OTHER_CHANGES]
        return reduce([changed[names.index(name)] / base for name in changes], axis=0)

    return measure


# --- Arms of one network.


def accuracy_on(dataset, widths=None, needs_original_pixels=False):
    """Makes a measure: the final test accuracy [S] on this data set, in any copy of it; a text on another data set.

    Args:
      widths: (least, greatest) width of airbench that counts.
      needs_original_pixels: whether a copy with other pixels, compressed as JPEG, does not count.
    """

    def measure(result):
        config, source = result.config, load_images(result.config).facts["dataset"]
        if source not in ALIASES.get(dataset, (dataset,)):
            return f"this run is on {config.dataset}"
        if widths and not widths[0] <= config.airbench_width <= widths[1]:
            return f"this run has airbench_width={config.airbench_width}"
        if needs_original_pixels and source.endswith("jpeg"):
            return f"on a JPEG copy there is no threshold: {result.examined['accuracy'].mean():.4f}"
        return result.examined["accuracy"]

    return measure


# --- Arms of several networks side by side.


def of_network(result, quantity, name):
    """[S, N] or [S, N, distances]: what was examined of one of the networks."""
    return result.examined[quantity][:, list(result.model).index(name)]


def accuracy(result, name, distance=0):
    """The test accuracy [S] of a network, mean over draws, on images moved by one of the distances (0: not moved)."""
    return of_network(result, "test_accuracy", name)[:, :, distance].mean(1)


def accuracy_lead(name, other):
    """Makes a measure: the test accuracy [S] of one network minus that of another."""
    return lambda result: accuracy(result, name) - accuracy(result, other)


def parameters_to_match(result):
    """The parameters [S] of the smallest MLP as accurate as the CNN over the CNN's; a text where there is none."""
    names = [mlp_name(factor) for factor in FACTORS]
    is_match = np.array([accuracy(result, name) >= accuracy(result, CNN_NAME) for name in names])  # [MLPs, S]
    if not is_match.any(0).all():
        return f"no MLP of at most {FACTORS[-1]} times the parameters is as accurate in every seed"
    counts = [of_network(result, "num_parameters", name) for name in names]
    ratios = np.array(counts) / of_network(result, "num_parameters", CNN_NAME)
    return np.take_along_axis(ratios, is_match.argmax(0)[None], 0)[0]


def share_kept(name):
    """Makes a measure: the share [S] of a network's accuracy that it keeps on images moved by the larger distance."""
    return lambda result: accuracy(result, name, 2) / accuracy(result, name)


def share_kept_lead(name, other):
    """Makes a measure: the share [S] of its accuracy that one network keeps minus the share that another keeps."""
    return lambda result: share_kept(name)(result) - share_kept(other)(result)


def accuracy_loss_lead(kind, other):
    """Makes a measure of two arms: how much more accuracy [S] one norm loses than another from the first to the second.

    The arms are that of large batches and that of small ones.
    """

    def measure(large, small):
        losses = [accuracy(large, norm) - accuracy(small, norm) for norm in (kind, other)]
        return losses[0] - losses[1]

    return measure


def spread_of_norms(result):
    """The highest minus the lowest test accuracy [S] among networks with a norm."""
    accuracies = [accuracy(result, kind) for kind in NORMS]
    return np.max(accuracies, 0) - np.min(accuracies, 0)


def shift_ratio(quantity):
    """Makes a measure: a covariate shift with batch normalisation over that without it [S].

    It is the geometric mean over time and over all layers but the first, before which nothing moves.
    """

    def measure(result):
        with_norm, without = (result.probes[f"{kind}/{quantity}"][:, :, 1:] for kind in ("batch", "none"))
        return np.exp(np.mean(np.log(with_norm) - np.log(without), axis=(0, 2)))

    return measure


def cosine_lead(result):
    """The mean cosine [S] of G and G' without batch normalisation minus that with it, over time and later layers."""
    without, with_norm = (result.probes[f"{kind}/cosine"][:, :, 1:].mean((0, 2)) for kind in ("none", "batch"))
    return without - with_norm


def final_loss_ratio(result):
    """The last training loss [S] with batch normalisation over that without it."""
    return result.probes["batch/loss"][-1] / result.probes["none/loss"][-1]


def gaps(result, name):
    """A network's training accuracy minus its test accuracy [S, N]."""
    return of_network(result, "train_accuracy", name) - of_network(result, "test_accuracy", name)[:, :, 0]


def mean_gap(name):
    """Makes a measure: a network's training accuracy minus its test accuracy [S], mean over draws."""
    return lambda result: gaps(result, name).mean(1)


def gap_reduction(name):
    """Makes a measure: the gap of SGD alone minus that of another method [S], mean over draws."""
    return lambda result: (gaps(result, SGD_ALONE) - gaps(result, name)).mean(1)
