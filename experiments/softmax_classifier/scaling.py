"""What the scale of a classifier's weights changes: predictions, confidence, loss and calibration.

Axes: N examples, D dimensions, K classes.
"""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.softmax_classifier.calibration import expected_calibration_error, reliability
from models.losses import token_losses

SCALES = 2.0 ** np.arange(-6, 7)  # factors on the weights
HALF = int(np.argmin(np.abs(SCALES - 0.5)))
WHOLE = int(np.argmin(np.abs(SCALES - 1.0)))
PARAMETER_GROUPS = ("weights", "weights and bias")  # what is scaled
NUM_BINS = 15
NUM_EXAMPLES = 8  # points whose probabilities are kept for a figure


def scaled_logits(model, params, points_ND, group, factor):
    """Logits [N, K] with the parameters of a group, one of PARAMETER_GROUPS, times the factor."""
    params = {name: factor * x if name == "kernel" or group == "weights and bias" else x for name, x in params.items()}
    return model.apply({"params": params}, points_ND)


def effects(model, params, points_ND, labels_N):
    """What each of SCALES makes of a trained classifier.

    Returns:
      {"GROUP/MEASURE": one value for each of SCALES}, where GROUP is one of PARAMETER_GROUPS; and the probabilities
      [NUM_EXAMPLES, K] of some points as "shown/whole", and as "shown/halved" with half the weights.
    """
    logits_NK = model.apply({"params": params}, points_ND)
    halved_NK = scaled_logits(model, params, points_ND, "weights", 0.5)
    measured = {
        "shown/whole": jax.nn.softmax(logits_NK[:NUM_EXAMPLES]),
        "shown/halved": jax.nn.softmax(halved_NK[:NUM_EXAMPLES]),
    }
    for group in PARAMETER_GROUPS:

        def at_scale(factor, group=group):
            scaled_NK = scaled_logits(model, params, points_ND, group, factor)
            p_NK = jax.nn.softmax(scaled_NK)
            return {
                "accuracy": (scaled_NK.argmax(1) == labels_N).mean(),
                "confidence": p_NK.max(1).mean(),
                "loss": token_losses(scaled_NK, labels_N).mean(),
                "calibration_error": expected_calibration_error(p_NK, labels_N, NUM_BINS),
                "reliability": reliability(p_NK, labels_N, NUM_BINS)["accuracy"],
                "predictions_changed": (scaled_NK.argmax(1) != logits_NK.argmax(1)).mean(),
                "largest_probability_change": jnp.abs(p_NK - jax.nn.softmax(logits_NK)).max(),
            }

        by_scale = jax.lax.map(at_scale, jnp.asarray(SCALES, jnp.float32))
        measured |= {f"{group}/{name}": values for name, values in by_scale.items()}
    return measured
