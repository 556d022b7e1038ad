"""The claims. All thresholds were written down before the first run."""

from experiments.softmax_classifier.scaling import HALF, WHOLE
from reporting.claims import EXACT, claim, examined, greatest, least

BOTH_ARMS = ("without_bias", "with_bias")


def increase_by_halving(name):
    """Makes a measure: how much something grows [S] when the weights are halved."""

    def measure(result):
        by_scale = result.examined[f"weights/{name}"]
        return by_scale[:, HALF] - by_scale[:, WHOLE]

    return measure


def decrease_by_halving(name):
    """Makes a measure: how much something falls [S] when the weights are halved."""
    return lambda result: -increase_by_halving(name)(result)


def accuracy_below_bayes(result):
    """The accuracy of the Bayes classifier minus that of the trained one [S]."""
    return result.final["bayes_accuracy"] - result.final["accuracy"]


CLAIMS = [
    claim(
        "1",
        "The gradient of the softmax classifier's loss with respect to the logits is y_hat - y: "
        "largest error in float64",
        greatest(examined("logit_gradient_error")),
        of=BOTH_ARMS,
        at_most=EXACT,
    ),
    claim(
        "2a",
        "The loss of logits up to 1e4 is right in float32 if the maximum is subtracted first: largest error over 1e4",
        greatest(examined("stable_loss_error")),
        of=BOTH_ARMS,
        at_most=1e-6,
    ),
    claim(
        "2b",
        "The gradient of the loss of logits up to 1e4 is right in float32 if the maximum is subtracted first: "
        "largest error",
        greatest(examined("stable_gradient_error")),
        of=BOTH_ARMS,
        at_most=1e-6,
    ),
    claim(
        "2c",
        "The loss by its definition, log of exp over a sum of exp, fails for logits up to 1e4 in float32: "
        "share of losses that are not finite",
        least(examined("naive_not_finite")),
        of=BOTH_ARMS,
        above=0.5,
    ),
    claim(
        "3a",
        "Halving the weights of a classifier without a bias changes no prediction: share of predictions that change",
        examined("weights/predictions_changed", HALF),
        of="without_bias",
        at_most=0.0,
    ),
    claim(
        "3b",
        "Halving the weights of a classifier without a bias changes its probabilities: largest change of a probability",
        examined("weights/largest_probability_change", HALF),
        of="without_bias",
        at_least=0.1,
    ),
    claim(
        "3c",
        "Halving the weights of a classifier without a bias lowers its mean confidence: decrease",
        decrease_by_halving("confidence"),
        of="without_bias",
        at_least=0.05,
    ),
    claim(
        "3d",
        "Halving the weights of a classifier without a bias raises its loss: increase in nats",
        increase_by_halving("loss"),
        of="without_bias",
        at_least=0.01,
    ),
    claim(
        "3e",
        "Halving the weights of a classifier without a bias raises its calibration error: increase",
        increase_by_halving("calibration_error"),
        of="without_bias",
        at_least=0.05,
    ),
    claim(
        "4a",
        "Halving the weights but not the bias of a classifier changes predictions: share of predictions that change",
        examined("weights/predictions_changed", HALF),
        of="with_bias",
        at_least=0.01,
    ),
    claim(
        "4b",
        "Halving both the weights and the bias of a classifier changes no prediction: share of predictions that change",
        examined("weights and bias/predictions_changed", HALF),
        of="with_bias",
        at_most=0.0,
    ),
    claim(
        "5a",
        "At temperature 1e-9 softmax is the one-hot vector of the largest logit: largest total variation distance",
        greatest(examined("cold_distance")),
        of=BOTH_ARMS,
        at_most=EXACT,
    ),
    claim(
        "5b",
        "At temperature 1e9 softmax is the uniform distribution: largest total variation distance",
        greatest(examined("hot_distance")),
        of=BOTH_ARMS,
        at_most=1e-6,
    ),
    claim(
        "5c",
        "At temperature 1e-9 tied logits share the probability: total variation distance from (1/2, 1/2, 0)",
        greatest(examined("tied_distance")),
        of=BOTH_ARMS,
        at_most=EXACT,
    ),
    claim(
        "6a",
        "jax.grad refuses a loss that is a vector: 1 if it does",
        least(examined("grad_refuses_a_vector")),
        of=BOTH_ARMS,
        at_least=1.0,
    ),
    claim(
        "6b",
        "jax.vjp of a vector of losses, with a cotangent of ones, is the gradient of their sum: largest error",
        greatest(examined("cotangent_of_ones_error")),
        of=BOTH_ARMS,
        at_most=EXACT,
    ),
    claim(
        "6c",
        "jax.vjp of a vector of losses, with unit cotangents, is the Jacobian x_n^T (y_hat_n - y_n): largest error",
        greatest(examined("jacobian_error")),
        of=BOTH_ARMS,
        at_most=EXACT,
    ),
    claim(
        "7",
        "A trained classifier with a bias is as accurate as the Bayes classifier: "
        "accuracy of the Bayes classifier minus that of the trained one",
        accuracy_below_bayes,
        of="with_bias",
        at_most=0.01,
    ),
]
