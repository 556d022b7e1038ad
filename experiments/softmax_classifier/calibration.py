"""Whether a classifier's confidence is its accuracy.

Axes: N examples, K classes.
"""

import jax
import jax.numpy as jnp


def reliability(probabilities_NK, labels_N, num_bins=15):
    """Examples in bins of equal width by confidence, the probability of the predicted class.

    Returns:
      {"count", "confidence", "accuracy"}, each [num_bins]: how many examples, and their mean confidence and accuracy,
      NaN where there are none. The bin of a confidence on a boundary is the lower one. Source: Guo et al. 2017,
      section 2.
    """
    confidence_N, right_N = probabilities_NK.max(1), probabilities_NK.argmax(1) == labels_N
    bin_N = jnp.clip(jnp.ceil(confidence_N * num_bins).astype(int) - 1, 0, num_bins - 1)
    members = jax.nn.one_hot(bin_N, num_bins, dtype=confidence_N.dtype)
    count = members.sum(0)
    return {"count": count, "confidence": confidence_N @ members / count, "accuracy": right_N @ members / count}


def expected_calibration_error(probabilities_NK, labels_N, num_bins=15):
    """The mean over examples of |accuracy - confidence| of their bin (Guo et al. 2017, equation 3)."""
    bins = reliability(probabilities_NK, labels_N, num_bins)
    gap = jnp.where(bins["count"] > 0, jnp.abs(bins["accuracy"] - bins["confidence"]), 0.0)
    return (bins["count"] * gap).sum() / bins["count"].sum()
