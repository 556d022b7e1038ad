"""Convolutional networks: what does the spatial prior buy, what do norms do, and what holds off overfitting?"""

from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import optax

from data.augmentation import mirror_alternately, six_views, translate_images
from experiments.cnn.airbench import (
    ORIGINAL_WIDTH,
    SMALLEST_IMAGE,
    Airbench,
    airbench_optimizer,
    set_whitening,
    whitening_kernel,
)
from experiments.cnn.claims import CLAIMS
from experiments.cnn.classifier import classifier_task
from experiments.cnn.covariate_shift import measure_shift
from experiments.cnn.ensemble import Ensemble
from experiments.cnn.figures import figures
from experiments.cnn.image_identities import measure_exact
from experiments.cnn.images import NUM_CLASSES, load_images, shift_distances
from experiments.cnn.networks import norm_networks, overfitting_networks, shift_networks, space_networks
from experiments.cnn.receptive_fields import measure_fields
from models.cnn import CNN, ResidualCNN
from training.config import fill_in, setting
from training.experiment import Arm, Experiment, Measurement, Preset, UserError
from training.optimizer import OptimizerConfig, SGDConfig, adamw, sgd

RATE_BATCH = 128  # images a step at which norms_128 and norms_2 would use sgd.learning_rate itself
NUM_WHITENED = 5000  # images from whose patches the whitening is made


@dataclass(frozen=True)
class ImageSGDConfig(SGDConfig):
    """SGD of the arms norms_128, norms_2, shift and overfitting."""

    learning_rate: float | None = setting(
        None, "learning rate; default: 0.05 on digits, 0.01 on other data sets, where 0.05 diverges without a norm"
    )
    momentum: float = setting(0.9, "share of the buffer that is kept each step; the arm shift uses none")


@dataclass(frozen=True)
class Config:
    """A field that is None has a default of its own in each arm; see its help."""

    dataset: str = setting("digits", "digits, cifar10, or any data set of labelled images that TFDS has in --data_dir")
    image_size: int | None = setting(
        None, "side of an image in pixels; default: 32, but 16 for digits in all arms except table and airbench"
    )
    num_draws: int = setting(
        5, "small training sets per seed in the arm overfitting, each with its own initial weights"
    )
    train_size: int | None = setting(
        None, "images of a small training set of the arm overfitting; default: 200 on digits, 500 on other data sets"
    )
    test_size: int = setting(2000, "images, at most, that all arms but table, residual and airbench are tested on")
    seed: int = setting(0, "seed of the first run; --num_seeds=N trains seed, seed+1, ...")
    num_steps: int | None = setting(
        None, "number of training steps; default: as many as the arm is meant to take on the data set"
    )
    batch_size: int = setting(64, "images in a training step")
    eval_every: int | None = setting(
        None, "steps between evaluations; default: 5 evaluations of the arms table and shift, 1 of the others"
    )
    checkpoint_every: int | None = setting(
        None, "steps between checkpoints; default: as many checkpoints as evaluations, but 4 at most"
    )
    airbench_width: int = setting(
        16, "channels of airbench's first block; the other blocks have four times as many. The original has 64"
    )
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(learning_rate=0.005, weight_decay=0.01, clip=1e6)
    )
    sgd: ImageSGDConfig = field(default_factory=ImageSGDConfig)

    def __post_init__(self):
        for name in ("image_size", "num_draws", "train_size", "test_size", "airbench_width"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise UserError(f"{name}={value} must be at least 1")

    @property
    def is_digits(self):
        """Whether the data set is the small one that every machine has."""
        return self.dataset == "digits"


# --- Arms.


def arms(config):
    """What each arm trains, and how long: training steps on digits and on any other data set."""
    small = 16 if config.is_digits else 32
    return {
        "exact": Arm(exact_measurement),
        "table": Arm(table_task, settings_of_run(config, steps=(300, 6250), evaluations=5)),
        "space": Arm(space_task, settings_of_run(config, steps=(300, 800), image_size=small)),
        "norms_128": Arm(norms_task, {"batch_size": 128} | settings_of_run(config, steps=(60, 100), image_size=small)),
        "norms_2": Arm(norms_task, {"batch_size": 2} | settings_of_run(config, steps=(3840, 6400), image_size=small)),
        "shift": Arm(shift_task, settings_of_run(config, steps=(100, 200), evaluations=5, image_size=small)),
        "overfitting": Arm(
            overfitting_task,
            {"batch_size": 32}
            | settings_of_run(config, steps=(150, 200), image_size=small, train_size=200 if config.is_digits else 500),
        ),
        "residual": Arm(residual_task, settings_of_run(config, steps=(300, 1600), image_size=small)),
        "airbench": Arm(airbench_task, settings_of_run(config, steps=(100, 800))),
    }


def settings_of_run(config, steps, evaluations=1, image_size=32, train_size=None):
    """{field: value} of those fields that the config leaves open.

    Args:
      steps: training steps that the arm is meant to take (on digits, on any other data set).
      evaluations: number of evaluations in a run.
    """
    num_steps = config.num_steps
    if num_steps is None:
        num_steps = steps[0] if config.is_digits else steps[1]
    eval_every = max(-(-num_steps // evaluations), 1)
    meant = {
        "num_steps": num_steps,
        "eval_every": eval_every,
        "checkpoint_every": max(eval_every, -(-num_steps // 4)),
        "image_size": image_size,
        "train_size": train_size,
    }
    return fill_in(config, meant)


def exact_measurement(config):
    """What holds without training: identities in float64, receptive fields, and the table model's layers."""
    return Measurement(lambda key: {**measure_exact(), **measure_fields()})


# --- Arms of one network, on all training images.


def table_task(config):
    """The small CNN of textbooks."""
    images = load_images(config)
    return classifier_task(
        images,
        CNN(NUM_CLASSES, images.shape),
        adamw(config.optimizer, config.num_steps),
        config.batch_size,
    )


def residual_task(config):
    """A residual network of three stages of one block."""
    images = load_images(config, digit_channels=1)
    return classifier_task(
        images,
        ResidualCNN(NUM_CLASSES, images.shape),
        adamw(config.optimizer, config.num_steps),
        config.batch_size,
    )


def airbench_task(config):
    """The network, optimiser and augmentation of cifar10-airbench94, of any width."""
    if config.image_size < SMALLEST_IMAGE:
        raise ValueError(
            f"image_size={config.image_size} is too small for airbench: it needs at least {SMALLEST_IMAGE}"
        )
    images = load_images(config)
    arrays, width = images.arrays, config.airbench_width
    kernel = whitening_kernel(np.asarray(images.standardize(arrays["train_images"][:NUM_WHITENED])))

    def augment(key, x, seed, rows, epochs):
        return mirror_alternately(translate_images(key, x, 2), seed, rows, epochs)

    steps_an_epoch = len(arrays["train_labels"]) / config.batch_size
    return classifier_task(
        images,
        Airbench(NUM_CLASSES, images.shape, widths=(width, 4 * width, 4 * width)),
        airbench_optimizer(config.num_steps, config.batch_size, bias_steps=3 * steps_an_epoch),
        config.batch_size,
        prepare=partial(set_whitening, kernel=kernel),
        augment=augment,
        label_smoothing=0.2,
        views=six_views,
    )


# --- Arms of several networks side by side, see networks.py. To add an optimiser, add it to the dict of a task here,
# and name it as `optimizer` of a Network in networks.py.


def space_task(config):
    """A CNN against MLPs, on images in order and on permuted pixels: what a CNN knows of an image beforehand."""
    images = load_images(config, digit_channels=1)
    ensemble = Ensemble(
        images,
        space_networks(images.shape),
        config.batch_size,
        config.test_size,
        distances=shift_distances(config.image_size),
    )
    return ensemble.task({"adam": adamw(config.optimizer, config.num_steps)})


def norms_task(config):
    """Five kinds of norm, with the learning rate scaled by the batch (Wu and He 2018, section 4.1)."""
    images = load_images(config, digit_channels=1)
    ensemble = Ensemble(images, norm_networks(images.shape), config.batch_size, config.test_size)
    rate = sgd_rate(config) * config.batch_size / RATE_BATCH
    return ensemble.task({"sgd": sgd(replace(config.sgd, learning_rate=rate))})


def shift_task(config):
    """A deeper network with and without batch normalisation, whose internal covariate shift is measured."""
    images = load_images(config, digit_channels=1)
    ensemble = Ensemble(images, shift_networks(images.shape), config.batch_size, config.test_size)
    rate = sgd_rate(config)
    plain_sgd = sgd(replace(config.sgd, learning_rate=rate, momentum=0.0))
    return ensemble.task({"sgd": plain_sgd}, probe=partial(measure_shift, ensemble, rate))


def overfitting_task(config):
    """Methods that are said to hold off overfitting, on small training sets of which every draw has its own."""
    images = load_images(config, digit_channels=1)
    ensemble = Ensemble(
        images,
        overfitting_networks(images.shape),
        config.batch_size,
        config.test_size,
        num_draws=config.num_draws,
        subset_size=config.train_size,
    )
    return ensemble.task(
        {
            "adam": optax.adam(config.optimizer.learning_rate),
            "sgd": sgd(replace(config.sgd, learning_rate=sgd_rate(config))),
        }
    )


def sgd_rate(config):
    """The learning rate of SGD."""
    if config.sgd.learning_rate is not None:
        return config.sgd.learning_rate
    return 0.05 if config.is_digits else 0.01


EXPERIMENT = Experiment(
    question=__doc__,
    config=Config(),
    arms=arms,
    default_arms=("exact", "table", "space", "norms_128", "norms_2", "shift", "overfitting"),
    claims=CLAIMS,
    figures=figures,
    presets={
        # Without the data set, which is a flag: not every machine has it.
        "airbench": Preset(
            overrides={"batch_size": 256},
            arms=("airbench",),
            about="a strong small network after cifar10-airbench94, for --config.dataset=cifar10 on two cores",
        ),
        "airbench94": Preset(
            overrides={"batch_size": 1024, "airbench_width": ORIGINAL_WIDTH, "num_steps": 484},
            arms=("airbench",),
            about="cifar10-airbench94 at its own width and length, for --config.dataset=cifar10 on a GPU",
        ),
    },
)
