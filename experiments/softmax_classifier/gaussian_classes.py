"""Points of Gaussian classes with one covariance: the best classifier is linear, and known.

Axes: N points, D dimensions, K classes.
"""

import jax


def class_means(key, num_classes, num_dimensions, spread):
    """Means [K, D] of the classes: independent normals of deviation ``spread``, so that their norms differ."""
    return spread * jax.random.normal(key, (num_classes * num_dimensions,)).reshape(num_classes, num_dimensions)


def points(key, size, means_KD):
    """``size`` points around the means with unit covariance, classes equally likely.

    Returns:
      {"points" [N, D], "labels" [N]}.
    """
    label_key, noise_key = jax.random.split(key)
    labels_N = jax.random.randint(label_key, (size,), 0, len(means_KD))
    noise = jax.random.normal(noise_key, (size * means_KD.shape[1],))
    return {"points": means_KD[labels_N] + noise.reshape(size, -1), "labels": labels_N}


def bayes_logits(points_ND, means_KD):
    """Log-probabilities [N, K] of the classes given the point, up to a constant: x m^T - |m|^2 / 2.

    Linear in x, with a bias wherever the means' norms differ (Fisher 1936; Bishop 2006, section 4.2.1).
    """
    return points_ND @ means_KD.T - (means_KD**2).sum(1) / 2
