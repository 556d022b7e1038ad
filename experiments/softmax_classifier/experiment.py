"""What does the scale of a linear softmax classifier's weights change, and what is the gradient of its loss?"""

from dataclasses import dataclass, field

import flax.linen as nn
import jax.numpy as jnp

from experiments.softmax_classifier import gaussian_classes, scaling, softmax_loss
from experiments.softmax_classifier.claims import CLAIMS
from experiments.softmax_classifier.figures import figures
from models.losses import token_losses
from training.config import setting
from training.experiment import Arm, Experiment, Loss, Task
from training.optimizer import OptimizerConfig, adamw
from training.step import key


@dataclass(frozen=True)
class Config:
    num_classes: int = setting(5, "number of Gaussian classes")
    num_dimensions: int = setting(4, "dimensions of the points")
    spread: float = setting(1.0, "deviation of the class means; that of the points around them is 1")
    seed: int = setting(0, "seed of the first run; --num_seeds=N trains seed, seed+1, ...")
    num_steps: int = setting(500, "training steps")
    batch_size: int = setting(256, "points a step")
    eval_batch_size: int = setting(4096, "points of an evaluation")
    eval_every: int = setting(25, "steps between evaluations")
    checkpoint_every: int = setting(500, "steps between checkpoints")
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(learning_rate=0.05, warmup_steps=0, weight_decay=0.0)
    )


def linear_task(config):
    """The Task of a classifier without a bias."""
    return classifier_task(config, use_bias=False)


def affine_task(config):
    """The Task of a classifier with a bias."""
    return classifier_task(config, use_bias=True)


def classifier_task(config, use_bias):
    """The Task of softmax(x W), or softmax(x W + b), on fresh points of Gaussian classes in every step."""
    if config.num_classes < 2 or config.num_dimensions < 1:
        raise ValueError(f"num_classes={config.num_classes} must be at least 2, num_dimensions at least 1")
    means_KD = gaussian_classes.class_means(key(0, "classes"), config.num_classes, config.num_dimensions, config.spread)
    held_out = gaussian_classes.points(key(0, "evaluation"), config.eval_batch_size, means_KD)
    points_ND, labels_N = held_out["points"], held_out["labels"]
    model = nn.Dense(config.num_classes, use_bias=use_bias)

    def batch(seed, step):
        return gaussian_classes.points(key(seed, "batch", step), config.batch_size, means_KD)

    def loss(variables, batch, rngs):
        losses_N = token_losses(model.apply(variables, batch["points"]), batch["labels"])
        return Loss(losses_N.sum(), jnp.float32(losses_N.size))

    bayes_metrics = metric_sums(gaussian_classes.bayes_logits(points_ND, means_KD), labels_N, prefix="bayes_")

    def evaluate(variables):
        return metric_sums(model.apply(variables, points_ND), labels_N) | bayes_metrics

    return Task(
        model=model,
        init=lambda key: model.init(key, points_ND[:1]),
        batch=batch,
        loss=loss,
        optimizer=adamw(config.optimizer, config.num_steps),
        evaluate=evaluate,
        examine=lambda variables: scaling.effects(model, variables["params"], points_ND, labels_N),
        measure=lambda variables: softmax_loss.properties(variables["params"], points_ND, labels_N),
    )


def metric_sums(logits_NK, labels_N, prefix=""):
    """{metric: (sum, weight)} of loss and accuracy."""
    values = {"loss": token_losses(logits_NK, labels_N), "accuracy": logits_NK.argmax(1) == labels_N}
    return {prefix + name: (x.sum(), jnp.float32(x.size)) for name, x in values.items()}


EXPERIMENT = Experiment(
    question=__doc__,
    config=Config(),
    arms=lambda config: {"without_bias": Arm(linear_task), "with_bias": Arm(affine_task)},
    default_arms=("without_bias", "with_bias"),
    claims=CLAIMS,
    figures=figures,
)
