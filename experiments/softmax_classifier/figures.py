"""The figures of the report, for whatever arms were run."""

import numpy as np

from experiments.softmax_classifier.scaling import HALF, NUM_BINS, NUM_EXAMPLES, SCALES, WHOLE
from reporting.figures import curves, heatmap
from reporting.tables import table


def figures(results):
    """What the scale of the weights changes; probabilities; calibration; derivatives of a vector; training."""
    arm, result = next(iter(results.items()))
    return [
        scale_figure(results),
        probabilities_figure(arm, result),
        reliability_figure(arm, result),
        derivatives_table(result),
        training_figure(results),
    ]


def scale_figure(results):
    """Accuracy, confidence and loss against the factor on the weights."""
    series = {
        "without bias": ("without_bias", "weights"),
        "with bias, weights scaled": ("with_bias", "weights"),
        "with bias, both scaled": ("with_bias", "weights and bias"),
    }
    series = {label: (results[arm].examined, group) for label, (arm, group) in series.items() if arm in results}
    panels = []
    for y_label, name in (("accuracy", "accuracy"), ("mean confidence", "confidence"), ("loss (nats)", "loss")):
        lines = {label: (SCALES, examined[f"{group}/{name}"]) for label, (examined, group) in series.items()}
        panels.append((y_label, lines))
    num_classes = next(iter(results.values())).config.num_classes
    return curves(
        "The scale of the weights",
        "Predictions stay where all logits are scaled alike: without a bias, or where the bias is scaled, too. "
        "Confidence and loss always change: the factor is one over the temperature.",
        "factor on the weights",
        panels,
        marks={"halved": 0.5},
        references={
            "mean confidence": {"uniform": 1 / num_classes},
            "loss (nats)": {"uniform": float(np.log(num_classes))},
        },
        log_x=True,
        log_y=["loss (nats)"],
    )


def probabilities_figure(arm, result):
    """Probabilities of some points, with the weights as trained and halved."""
    return heatmap(
        f"Probabilities of {NUM_EXAMPLES} points, {arm}, first seed",
        "Halved weights give other probabilities. Without a bias, the most likely class stays the same in every row.",
        {
            "weights as trained": result.examined["shown/whole"][0],
            "weights halved": result.examined["shown/halved"][0],
        },
        range(NUM_EXAMPLES),
        range(result.config.num_classes),
        "point",
        "class",
        "probability",
        limits=(0.0, 1.0),
    )


def reliability_figure(arm, result):
    """Accuracy against confidence, for halved, trained and doubled weights."""
    centres = (np.arange(NUM_BINS) + 0.5) / NUM_BINS
    accuracies = result.examined["weights/reliability"]
    series = {f"weights x {SCALES[index]:g}": (centres, accuracies[:, index]) for index in (HALF, WHOLE, WHOLE + 1)}
    series["calibrated"] = (centres, centres)
    return curves(
        f"Calibration, {arm}",
        "Accuracy of the points whose confidence lies in a bin. Halved weights are right more often than they claim, "
        "doubled weights less often.",
        "confidence",
        [("accuracy", series)],
    )


def derivatives_table(result):
    """What jax.grad, jax.vjp and a Jacobian make of a vector of losses."""
    N, D, K = (int(size) for size in result.examined["jacobian_shape"][0])
    rows = [
        ["grad of the sum of the losses", "the losses are one number", f"{D} x {K}", "sum over n of x_n^T (p_n - y_n)"],
        ["grad of the losses", "refused: TypeError, a vector has no gradient", None, None],
        ["vjp, cotangent of ones", "the same as the first row", f"{D} x {K}", "sum over n of x_n^T (p_n - y_n)"],
        ["vjp, cotangent v", "a weighted sum", f"{D} x {K}", "sum over n of v_n x_n^T (p_n - y_n)"],
        ["Jacobian of the losses", "one gradient a point", f"{N} x {D} x {K}", "x_n^T (p_n - y_n)"],
    ]
    return table(
        "What a vector of losses has for a derivative",
        f"{N} points of {D} dimensions, one loss each; derivatives with respect to the weights, p = y_hat.",
        ["call", "meaning", "shape", "formula"],
        rows,
    )


def training_figure(results):
    """Loss and accuracy over training, beside the Bayes classifier's."""
    bayes = next(iter(results.values())).final
    panels, references = [], {}
    for y_label, name in (("loss (nats)", "loss"), ("accuracy", "accuracy")):
        evaluations = {arm: result.evaluation for arm, result in results.items()}
        panels.append((y_label, {arm: (history.steps, history[name].T) for arm, history in evaluations.items()}))
        references[y_label] = {"Bayes": float(bayes[f"bayes_{name}"].mean())}
    return curves(
        "Training",
        "Loss and accuracy on held-out points. Only the classifier with a bias can reach the Bayes classifier.",
        "training step",
        panels,
        references=references,
    )
