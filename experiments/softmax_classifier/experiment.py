"""What does the scale of a linear softmax classifier's weights change, and what is the gradient of its loss?"""

from dataclasses import dataclass, field

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from experiments.softmax_classifier import gaussian_classes
from experiments.softmax_classifier.calibration import expected_calibration_error, reliability
from models.losses import token_losses
from reporting.claims import Stated, judge_all
from reporting.figures import curves, heatmap
from reporting.tables import table
from training.config import setting
from training.experiment import Experiment, Loss, Task
from training.optimizer import OptimizerConfig, adamw
from training.step import key

ARMS = ("without_bias", "with_bias")
SCALES = 2.0 ** np.arange(-6, 7)  # factors on the weights
HALF = int(np.argmin(np.abs(SCALES - 0.5)))
WHOLE = int(np.argmin(np.abs(SCALES - 1.0)))
KINDS = ("weights", "weights and bias")  # what is scaled
TEMPERATURES = (1e-9, 1e9)
LARGEST_LOGIT = 1e4
NUM_BINS = 15
SHOWN = 8  # points in a figure


@dataclass(frozen=True)
class Config:
    bias: bool = setting(True, "whether the classifier has a bias")
    num_classes: int = setting(5, "Gaussian classes")
    num_dimensions: int = setting(4, "of the points")
    spread: float = setting(1.0, "deviation of the class means; that of the points around them is 1")
    seed: int = setting(0, "of the first of the seeds")
    num_steps: int = setting(500, "training steps")
    batch_size: int = setting(256, "points a step")
    eval_batch_size: int = setting(4096, "points of an evaluation")
    eval_every: int = setting(25, "steps between evaluations")
    checkpoint_every: int = setting(500, "steps between checkpoints")
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(learning_rate=0.05, warmup_steps=0, weight_decay=0.0)
    )


def task(config):
    if config.num_classes < 2 or config.num_dimensions < 1:
        raise ValueError(f"num_classes={config.num_classes} must be at least 2, num_dimensions at least 1")
    means_KD = gaussian_classes.class_means(key(0, "classes"), config.num_classes, config.num_dimensions, config.spread)
    held_out = gaussian_classes.points(key(0, "evaluation"), config.eval_batch_size, means_KD)
    labels_N = held_out["labels"]
    model = nn.Dense(config.num_classes, use_bias=config.bias)

    def sums(logits_NK, prefix=""):
        found = {"loss": token_losses(logits_NK, labels_N), "accuracy": logits_NK.argmax(1) == labels_N}
        return {prefix + name: (x.sum(), jnp.float32(x.size)) for name, x in found.items()}

    bayes = sums(gaussian_classes.bayes_logits(held_out["points"], means_KD), "bayes_")

    def evaluate(variables):
        return sums(model.apply(variables, held_out["points"])) | bayes

    def loss(variables, batch, rngs):
        losses_N = token_losses(model.apply(variables, batch["points"]), batch["labels"])
        return Loss(losses_N.sum(), jnp.float32(losses_N.size))

    def scaled_logits(variables, kind, scale):
        params = variables["params"]
        scaled = {n: scale * x if n == "kernel" or kind == "weights and bias" else x for n, x in params.items()}
        return model.apply({"params": scaled}, held_out["points"])

    def examine(variables):
        logits_NK = model.apply(variables, held_out["points"])
        found = {"shown/whole": jax.nn.softmax(logits_NK[:SHOWN])}
        found["shown/halved"] = jax.nn.softmax(scaled_logits(variables, "weights", 0.5)[:SHOWN])
        for kind in KINDS:

            def at(scale, kind=kind):
                scaled_NK = scaled_logits(variables, kind, scale)
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

            found |= {f"{kind}/{name}": x for name, x in jax.lax.map(at, jnp.asarray(SCALES, jnp.float32)).items()}
        return found

    def measure(variables):
        points_ND, targets_N = (np.asarray(held_out[name][:64]) for name in ("points", "labels"))
        params = {name: np.asarray(x, np.float64) for name, x in variables["params"].items()}
        all_logits_NK = np.asarray(held_out["points"], np.float64) @ params["kernel"] + params.get("bias", 0.0)
        with jax.enable_x64(True):
            found = gradients(params, points_ND.astype(np.float64), targets_N) | limits(all_logits_NK)
        logits_NK = LARGEST_LOGIT * np.sign(all_logits_NK) * np.abs(all_logits_NK) / np.abs(all_logits_NK).max()
        found |= stability(logits_NK.astype(np.float32), np.asarray(labels_N))
        return {name: np.asarray(x) for name, x in found.items()}

    return Task(
        model=model,
        init=lambda key: model.init(key, held_out["points"][:1]),
        batch=lambda seed, step: gaussian_classes.points(key(seed, "batch", step), config.batch_size, means_KD),
        loss=loss,
        optimizer=adamw(config.optimizer, config.num_steps),
        evaluate=evaluate,
        examine=examine,
        measure=measure,
    )


def gradients(params, points_ND, labels_N):
    """Errors of y_hat - y, and of what vjp says of a loss with one entry a point, against their definitions."""
    logits_NK = points_ND @ params["kernel"] + params.get("bias", 0.0)
    y_NK = np.eye(logits_NK.shape[1])[labels_N]

    def losses(kernel):
        return token_losses(points_ND @ kernel + params.get("bias", 0.0), labels_N)

    by_hand_NK = jax.nn.softmax(logits_NK) - y_NK
    autodiff_NK = jax.grad(lambda z: token_losses(z, labels_N).sum())(logits_NK)
    _, pull_back = jax.vjp(losses, params["kernel"])
    of_sum = jax.grad(lambda kernel: losses(kernel).sum())(params["kernel"])
    jacobian_NDK = points_ND[:, :, None] * np.asarray(by_hand_NK)[:, None, :]
    rows_NDK = jax.vmap(lambda cotangent: pull_back(cotangent)[0])(np.eye(len(labels_N)))
    try:
        jax.grad(losses)(params["kernel"])
        refused = 0.0
    except TypeError:
        refused = 1.0
    return {
        "logit_gradient_error": jnp.abs(by_hand_NK - autodiff_NK).max(),
        "grad_refuses_a_vector": refused,
        "cotangent_of_ones_error": jnp.abs(pull_back(np.ones(len(labels_N)))[0] - of_sum).max(),
        "jacobian_error": jnp.abs(rows_NDK - jacobian_NDK).max(),
        "jacobian_shape": np.array(rows_NDK.shape),
    }


def limits(logits_NK):
    """Largest total variation of softmax(z / T) from the argmax's one-hot at T -> 0, and from uniform at T -> inf."""
    cold_NK, hot_NK = (jax.nn.softmax(logits_NK / temperature) for temperature in TEMPERATURES)
    one_hot_NK = np.eye(logits_NK.shape[1])[logits_NK.argmax(1)]
    tied = jax.nn.softmax(jnp.array([1.0, 1.0, 0.0]) / TEMPERATURES[0])
    return {
        "cold_distance": jnp.abs(cold_NK - one_hot_NK).sum(1).max() / 2,
        "hot_distance": jnp.abs(hot_NK - 1 / logits_NK.shape[1]).sum(1).max() / 2,
        "tied_distance": jnp.abs(tied - jnp.array([0.5, 0.5, 0.0])).sum() / 2,
    }


def stability(logits_NK, labels_N):
    """How right loss and gradient are, in float32, where the largest logit is 1e4, and how often the definition is."""
    exact_NK = logits_NK.astype(np.float64)
    shifted_NK = exact_NK - exact_NK.max(1, keepdims=True)
    at = np.arange(len(labels_N)), labels_N
    exact_N = np.log(np.exp(shifted_NK).sum(1)) - shifted_NK[at]
    exact_p_NK = np.exp(shifted_NK) / np.exp(shifted_NK).sum(1, keepdims=True)
    exact_p_NK[at] -= 1
    losses_N = np.asarray(token_losses(logits_NK, labels_N), np.float64)
    gradient_NK = np.asarray(jax.grad(lambda z: token_losses(z, labels_N).sum())(logits_NK), np.float64)
    with np.errstate(all="ignore"):
        naive_N = -np.log((np.exp(logits_NK) / np.exp(logits_NK).sum(1, keepdims=True))[at])
    return {
        "stable_loss_error": np.max(np.abs(losses_N - exact_N)) / LARGEST_LOGIT,
        "stable_gradient_error": np.abs(gradient_NK - exact_p_NK).max(),
        "naive_not_finite": np.mean(~np.isfinite(naive_N)),
    }


# --- Claims. All thresholds were written down before the first run.

EXACT = 1e-10


def examined(name):
    return lambda result: result.examined[name]


def at_half(kind, name):
    return lambda result: result.examined[f"{kind}/{name}"][:, HALF]


def change_at_half(name):
    """What halving the weights adds."""
    return lambda result: result.examined[f"weights/{name}"][:, HALF] - result.examined[f"weights/{name}"][:, WHOLE]


def worst(name):
    """The largest over both arms, of each seed."""
    return lambda *results: np.max([result.examined[name] for result in results], axis=0)


def shortfall(result):
    return result.final["bayes_accuracy"] - result.final["accuracy"]


WITHOUT, WITH = ("without_bias",), ("with_bias",)
STATED = [
    Stated("1", "dJ/dz = y_hat - y: error in float64", ARMS, worst("logit_gradient_error"), {"at_most": EXACT}),
    Stated(
        "2a",
        "logits up to 1e4, float32: error of the loss over 1e4",
        ARMS,
        worst("stable_loss_error"),
        {"at_most": 1e-6},
    ),
    Stated("2b", "the same: error of the gradient", ARMS, worst("stable_gradient_error"), {"at_most": 1e-6}),
    Stated(
        "2c",
        "the definition, log of exp over a sum of exp: share of losses that are not finite",
        ARMS,
        lambda *results: np.min([result.examined["naive_not_finite"] for result in results], axis=0),
        {"above": 0.5},
    ),
    Stated(
        "3a",
        "no bias, weights halved: share of predictions that change",
        WITHOUT,
        at_half("weights", "predictions_changed"),
        {"at_most": 0.0},
    ),
    Stated(
        "3b",
        "the probabilities do not stay: largest change of one",
        WITHOUT,
        at_half("weights", "largest_probability_change"),
        {"at_least": 0.1},
    ),
    Stated("3c", "mean confidence falls by", WITHOUT, lambda r: -change_at_half("confidence")(r), {"at_least": 0.05}),
    Stated("3d", "loss rises, nats", WITHOUT, change_at_half("loss"), {"at_least": 0.01}),
    Stated("3e", "calibration error rises by", WITHOUT, change_at_half("calibration_error"), {"at_least": 0.05}),
    Stated(
        "4a",
        "with a bias, weights alone halved: share of predictions that change",
        WITH,
        at_half("weights", "predictions_changed"),
        {"at_least": 0.01},
    ),
    Stated(
        "4b",
        "weights and bias halved: the same share",
        WITH,
        at_half("weights and bias", "predictions_changed"),
        {"at_most": 0.0},
    ),
    Stated(
        "5a", "temperature 1e-9: largest distance from the argmax", ARMS, worst("cold_distance"), {"at_most": EXACT}
    ),
    Stated("5b", "temperature 1e9: largest distance from uniform", ARMS, worst("hot_distance"), {"at_most": 1e-6}),
    Stated(
        "5c", "tied logits share: distance from (1/2, 1/2, 0) at 1e-9", ARMS, worst("tied_distance"), {"at_most": EXACT}
    ),
    Stated(
        "6a",
        "grad refuses a loss that is a vector (1: it does)",
        ARMS,
        lambda *results: np.min([result.examined["grad_refuses_a_vector"] for result in results], axis=0),
        {"at_least": 1.0},
    ),
    Stated(
        "6b",
        "vjp with a cotangent of ones is grad of the sum: error",
        ARMS,
        worst("cotangent_of_ones_error"),
        {"at_most": EXACT},
    ),
    Stated(
        "6c",
        "vjp with unit cotangents is the Jacobian, x_n^T (y_hat_n - y_n): error",
        ARMS,
        worst("jacobian_error"),
        {"at_most": EXACT},
    ),
    Stated("7", "with a bias it is as good as Bayes: accuracy missing", WITH, shortfall, {"at_most": 0.01}),
]


def claims(results):
    """Claims 1 to 7 of experiments/softmax_classifier/README.md."""
    return judge_all(STATED, results)


def figures(results):
    """The figures of the report, for whatever arms were run."""
    return [
        scale_figure(results),
        probabilities_figure(results),
        reliability_figure(results),
        derivatives_figure(results),
        curves(
            "Training",
            "Loss and accuracy on held-out points. Only the classifier with a bias can be the best one.",
            "training step",
            [(name, {arm: (r.evaluation.steps, r.evaluation[key].T) for arm, r in results.items()})
             for name, key in (("loss (nats)", "loss"), ("accuracy", "accuracy"))],
            references={
                name: {"Bayes": float(next(iter(results.values())).final[f"bayes_{key}"].mean())}
                for name, key in (("loss (nats)", "loss"), ("accuracy", "accuracy"))
            },
        ),
    ]  # fmt: skip


def scale_figure(results):
    series = {"without bias": ("without_bias", "weights"), "with bias, weights scaled": ("with_bias", "weights")}
    series["with bias, both scaled"] = ("with_bias", "weights and bias")
    panels = [
        (label, {name: (SCALES, results[arm].examined[f"{kind}/{key}"]) for name, (arm, kind) in series.items()
                 if arm in results})
        for label, key in (("accuracy", "accuracy"), ("mean confidence", "confidence"), ("loss (nats)", "loss"))
    ]  # fmt: skip
    K = next(iter(results.values())).config.num_classes
    return curves(
        "The scale of the weights",
        "Predictions stay where all logits are scaled alike: without a bias, or with the bias scaled, too. Confidence "
        "and loss change in any case: the factor is one over the temperature.",
        "factor on the weights",
        panels,
        marks={"halved": 0.5},
        references={"mean confidence": {"uniform": 1 / K}, "loss (nats)": {"uniform": float(np.log(K))}},
        log_x=True,
        log_y=["loss (nats)"],
    )


def probabilities_figure(results):
    arm, result = next(iter(results.items()))
    shown = {"weights as trained": "shown/whole", "weights halved": "shown/halved"}
    K = result.config.num_classes
    return heatmap(
        f"Probabilities of {SHOWN} points, {arm}, first seed",
        "Halved weights give other probabilities. Without a bias, the most likely class stays the same in every row.",
        {name: result.examined[key][0] for name, key in shown.items()},
        range(SHOWN),
        range(K),
        "point",
        "class",
        "probability",
        limits=(0.0, 1.0),
    )


def reliability_figure(results):
    arm, result = next(iter(results.items()))
    centres = (np.arange(NUM_BINS) + 0.5) / NUM_BINS
    found = result.examined["weights/reliability"]
    series = {f"weights x {SCALES[i]:g}": (centres, found[:, i]) for i in (HALF, WHOLE, WHOLE + 1)}
    series["calibrated"] = (centres, centres)
    return curves(
        f"Calibration, {arm}",
        "Accuracy of the points whose confidence lies in a bin. Halved weights are right more often than they say, "
        "doubled ones less often.",
        "confidence",
        [("accuracy", series)],
    )


def derivatives_figure(results):
    config = next(iter(results.values())).config
    N, D, K = (int(n) for n in next(iter(results.values())).examined["jacobian_shape"][0])
    rows = [
        ["grad of the sum of the losses", "the losses are one number", f"{D} x {K}", "sum over n of x_n^T (p_n - y_n)"],
        ["grad of the losses", "refused: TypeError, a vector has no gradient", None, None],
        ["vjp, cotangent of ones", "the same as the first row", f"{D} x {K}", "sum over n of x_n^T (p_n - y_n)"],
        ["vjp, cotangent v", "a weighted sum", f"{D} x {K}", "sum over n of v_n x_n^T (p_n - y_n)"],
        ["jacobian of the losses", "one gradient a point", f"{N} x {D} x {K}", "x_n^T (p_n - y_n)"],
    ]
    return table(
        "What a vector of losses has for a derivative",
        f"{N} points of {config.num_dimensions} dimensions, one loss each; derivatives by the weights, p = y_hat.",
        ["call", "meaning", "shape", "formula"],
        rows,
    )


EXPERIMENT = Experiment(
    question=__doc__,
    config=Config(),
    arms=lambda config: {"without_bias": {"bias": False}, "with_bias": {"bias": True}},
    default_arms=ARMS,
    task=task,
    claims=claims,
    figures=figures,
)
