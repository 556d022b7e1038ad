"""Convolutional networks: what does the spatial prior buy, what do norms do, and what holds off overfitting?"""

from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp
import numpy as np
import optax

from data.augmentation import alternately_mirrored, six_views, translated
from data.images import SAME
from data.order import batch_rows
from experiments.cnn import figures as drawn
from experiments.cnn.airbench import Airbench, whitening_kernel, with_whitening
from experiments.cnn.covariate_shift import internal_covariate_shift
from experiments.cnn.image_identities import NORMS, measure_exact
from experiments.cnn.networks import CLASSES, Network, cross_entropy, in_chunks, loaded, side_by_side, size_of
from experiments.cnn.optimizers import airbench
from experiments.cnn.receptive_fields import OTHERS, WIDENING, measure_fields, table
from models.cnn import CNN, ImageMLP, ResidualCNN, equal_width
from models.normalization import KINDS
from reporting.claims import Stated, by_id, judge_all, stated
from reporting.figures import curves
from training.config import setting
from training.experiment import Experiment, Loss, Preset, Task
from training.optimizer import OptimizerConfig, SGDConfig, adamw, sgd
from training.step import key

TABLE_SIZE = 32  # pixels of a side, of the table model's images
DIGITS_SIZE = 16  # the same of the other arms on digits, which are drawn on 8 x 8
AIRBENCH_WIDTH, AIRBENCH94_WIDTH = 16, 64  # channels of the first block: for two cores, and the original's


@dataclass(frozen=True)
class Config:
    part: str = setting("table", "what the arm is about: set by the arms")
    dataset: str = setting("digits", "digits, cifar10, or what TFDS has in --data_dir")
    image_size: int = setting(0, "pixels of a side; 0: 32, but 16 for digits in all arms except table")
    num_draws: int = setting(5, "small training sets, and initialisations, a seed of the arm overfitting")
    train_size: int = setting(0, "images of a small training set; 0: 200, but 500 of another data set than digits")
    test_size: int = setting(2000, "images, at most, on which all arms but table and airbench are tested")
    seed: int = setting(0, "of the first of the seeds")
    num_steps: int = setting(0, "training steps; 0: as many as the arm is meant to take on the data set")
    batch_size: int = setting(64, "images a step")
    eval_every: int = setting(0, "steps between evaluations; 0: 5 evaluations of table and shift, 1 of others")
    checkpoint_every: int = setting(0, "steps between checkpoints; 0: as often as evaluations, but 4 at most")
    airbench_width: int = setting(
        AIRBENCH_WIDTH, "channels of airbench's first block; a quarter of the others'. 64: the original"
    )
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(learning_rate=0.005, weight_decay=0.01, clip=1e6)
    )
    # Of norms, shift and overfitting. A rate of 0: .05 on digits, .01 on others, where .05 diverges without a norm.
    sgd: SGDConfig = field(default_factory=lambda: SGDConfig(learning_rate=0.0, momentum=0.9))


# --- Arms. How many steps each is meant to take, on digits and on any other data set.

STEPS = {
    "table": (300, 6250),
    "space": (300, 800),
    "norms_128": (60, 100),
    "norms_2": (3840, 6400),
    "shift": (100, 200),
    "overfitting": (150, 200),
    "residual": (300, 1600),
    "airbench": (100, 800),
}
EVALUATIONS = {"table": 5, "shift": 5}  # of a run; of other arms one
SETTINGS = {
    "norms_128": {"part": "norms", "batch_size": 128},
    "norms_2": {"part": "norms", "batch_size": 2},
    "overfitting": {"batch_size": 32},
}


def arms(config):
    found = {"exact": {"part": "exact"}}
    for arm, steps in STEPS.items():
        steps = config.num_steps or steps[config.dataset != "digits"]
        often = -(-steps // EVALUATIONS.get(arm, 1))
        defaults = {"num_steps": steps, "eval_every": often, "checkpoint_every": max(often, -(-steps // 4))}
        found[arm] = {"part": arm} | SETTINGS.get(arm, {})
        found[arm] |= {name: value for name, value in defaults.items() if not getattr(config, name)}
    return found


# --- Networks and how they see images.


def view(config):
    is_scaled = config.dataset == "digits" and config.part not in ("table", "airbench")
    size = config.image_size or (DIGITS_SIZE if is_scaled else TABLE_SIZE)
    return loaded(config.dataset, size, 1 if is_scaled else 3)


def task(config):
    if config.part not in PARTS:
        raise ValueError(f"part={config.part!r} is not one of {', '.join(PARTS)}")
    for name in ("num_draws", "test_size"):
        if getattr(config, name) < 1:
            raise ValueError(f"{name}={getattr(config, name)} must be at least 1")
    if min(config.image_size, config.train_size, config.num_steps) < 0:
        raise ValueError("image_size, train_size and num_steps must not be negative")
    return PARTS[config.part](config)


# --- table and airbench: one model, on all images.


def one_model(config, model, optimizer, *, start=lambda v: v, augment=None, smoothing=0.0, views=lambda x: [(1.0, x)]):
    """A task of one model on all training images, epoch by epoch, tested on all test images.

    Args:
      start: changes the initial variables.
      augment: (key, images, seed, rows, epochs) -> images.
      smoothing: share of the labels that is spread over all classes.
      views: images -> [(weight, images)], over which the predictions of the final variables are averaged. Evaluations
        on the way take the images as they are, which costs less.
    """
    seen = view(config)

    def init(rng):
        return start(model.init(rng, jnp.zeros((2, *seen.shape))))

    def batch(seed, step, data):
        rows, epochs = batch_rows(seed, step, config.batch_size, len(data["train_labels"]))
        images = data["train_images"][rows]
        images = augment(key(seed, "augmentation", step), images, seed, rows, epochs) if augment else images
        return {"images": images, "labels": data["train_labels"][rows]}

    def loss(variables, batch, rngs):
        labels, weight = batch["labels"], jnp.float32(len(batch["labels"]))
        logits, new = model.apply(variables, seen.seen(batch["images"]), True, mutable=["batch_stats"])
        uniform = -jax.nn.log_softmax(logits).mean(-1).sum()
        total = (1 - smoothing) * cross_entropy(logits, labels).sum() + smoothing * uniform
        right = jnp.sum(logits.argmax(-1) == labels)
        return Loss(total, weight, {"accuracy": (right, weight)}, {**without_params(variables), **new})

    def evaluate(variables, data):
        logits = in_chunks(lambda some: model.apply(variables, seen.seen(some)), data["test_images"])
        labels = data["test_labels"]
        weight = jnp.float32(len(labels))
        right = jnp.sum(logits.argmax(-1) == labels)
        return {"loss": (cross_entropy(logits, labels).sum(), weight), "accuracy": (right, weight)}

    def examine(variables, data):
        def averaged(some):
            return sum(share * model.apply(variables, x) for share, x in views(seen.seen(some)))

        predicted = in_chunks(averaged, data["test_images"]).argmax(-1)
        return {"predicted": predicted, "accuracy": (predicted == data["test_labels"]).mean()}

    return Task(
        model=model,
        init=init,
        batch=batch,
        loss=loss,
        optimizer=optimizer,
        evaluate=evaluate,
        examine=examine,
        data=seen.arrays,
        facts=seen.facts,
    )


def without_params(variables):
    return {collection: values for collection, values in variables.items() if collection != "params"}


def table_task(config):
    return one_model(config, CNN(CLASSES, view(config).shape), adamw(config.optimizer, config.num_steps))


def residual_task(config):
    return one_model(config, ResidualCNN(CLASSES, view(config).shape), adamw(config.optimizer, config.num_steps))


def airbench_task(config):
    seen = view(config)
    if seen.shape[0] < 9:  # the whitening takes one, and each of three blocks half
        raise ValueError(f"image_size={seen.shape[0]} is too small for airbench: it needs at least 9")
    width = config.airbench_width
    if width < 1:
        raise ValueError(f"airbench_width={width} must be at least 1")
    model = Airbench(CLASSES, seen.shape, widths=(width, 4 * width, 4 * width))
    kernel = whitening_kernel(np.asarray(seen.seen(seen.arrays["train_images"][:WHITENED])))

    def augment(rng, images, seed, rows, epochs):
        return alternately_mirrored(translated(rng, images, 2), seed, rows, epochs)

    epoch = len(seen.arrays["train_labels"]) / config.batch_size
    return one_model(
        config,
        model,
        airbench(config.num_steps, config.batch_size, bias_steps=3 * epoch),
        start=lambda variables: with_whitening(variables, kernel),
        augment=augment,
        smoothing=0.2,
        views=six_views,
    )


WHITENED = 5000  # images whose patches the whitening is made of

# --- space: what a CNN knows of an image that an MLP does not.

FACTORS = (1, 2, 4, 8, 16)  # the MLPs' parameters over the CNN's


def mlp_name(factor):
    return f"MLP x {factor}"


def distances(size):
    """Pixels by which test images are moved: a sixteenth and an eighth of their side."""
    return max(size // 16, 1), max(size // 8, 2)


def space_task(config):
    shape = view(config).shape
    cnn = CNN(CLASSES, shape)
    parameters, inputs = size_of(Network(cnn), shape), int(np.prod(shape))
    widths = {mlp_name(factor): equal_width(factor * parameters, inputs, CLASSES) for factor in FACTORS}
    mlp = ImageMLP(CLASSES, shape, hidden=(max(widths.values()),))
    networks = {"CNN": Network(cnn), "CNN, permuted": Network(cnn, is_permuted=True)}
    networks |= {name: Network(mlp, width=width) for name, width in widths.items()}
    networks[f"{mlp_name(1)}, permuted"] = replace(networks[mlp_name(1)], is_permuted=True)
    adam = adamw(config.optimizer, config.num_steps)
    return side_by_side(config, view(config), networks, adam, None, distances=distances(shape[0]))


# --- norms: five of them, with the learning rate scaled by the batch (Wu and He 2018, section 4.1).

SCALED_BATCH = 128  # of which sgd.learning_rate is the rate


def sgd_rate(config):
    """The learning rate of SGD."""
    return config.sgd.learning_rate or (0.05 if config.dataset == "digits" else 0.01)


def norms_task(config):
    model = CNN(CLASSES, view(config).shape, norm_place="convolution")
    networks = {kind: Network(model, norm=kind, by_adam=False) for kind in KINDS}
    rate = sgd_rate(config) * config.batch_size / SCALED_BATCH
    return side_by_side(config, view(config), networks, None, sgd(replace(config.sgd, learning_rate=rate)))


# --- shift: internal covariate shift in a deeper network.

DEPTH = 3  # convolutions
PROBED = 100  # training images by which the shift is measured
LAYERS = (*(f"convolution_{number}" for number in range(DEPTH)), "linear")
DEPTHS = {"linear": DEPTH} | {f"{kind}_{number}": number for kind in ("convolution", "norm") for number in range(DEPTH)}


def shift_task(config):
    shape = view(config).shape
    model = CNN(CLASSES, shape, channels=(8, 16, 16), pool_after=(0, 2), norm_place="convolution")
    networks = {kind: Network(model, norm=kind, by_adam=False) for kind in ("none", "batch")}
    rate = sgd_rate(config)

    def probe(apply, settings, params, data):
        """Of the step of training that these images would be: plain gradient descent has no other state."""
        images, labels = data["train_images"][:PROBED], data["train_labels"][:PROBED]
        (group,) = params
        stats = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((2, *shape), np.float32))
        stats = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), stats["batch_stats"])

        def one(arguments):
            of_member, of_settings = arguments

            def loss(params):
                variables = {"params": params, "batch_stats": stats}
                logits, _ = apply(group, variables, images, of_settings, train=True)
                return cross_entropy(logits, labels).mean()

            return internal_covariate_shift(loss, of_member, DEPTHS, LAYERS, rate)

        found = jax.lax.map(one, (params[group], settings(group)))
        return {f"{kind}/{what}": x[i] for i, kind in enumerate(networks) for what, x in found.items()}

    return side_by_side(
        config, view(config), networks, None, sgd(replace(config.sgd, learning_rate=rate, momentum=0.0)), probe=probe
    )


# --- overfitting: methods against it, on small training sets.

ALONE = "SGD alone"


def overfitting_task(config):
    shape = view(config).shape
    plain = Network(CNN(CLASSES, shape), norm="none", by_adam=False)
    networks = {
        ALONE: plain,
        "augmentation": replace(plain, moves=distances(shape[0])[0]),
        "dropout": replace(plain, dropout=0.5),
        "batch normalisation": replace(plain, norm="batch"),
        "Adam for SGD": replace(plain, by_adam=True),
    }
    adam = optax.adam(config.optimizer.learning_rate)
    draws = {"num_draws": config.num_draws, "subset": small_size(config)}
    return side_by_side(
        config, view(config), networks, adam, sgd(replace(config.sgd, learning_rate=sgd_rate(config))), **draws
    )


def small_size(config):
    """Images of a small training set."""
    return config.train_size or (200 if config.dataset == "digits" else 500)


# --- exact: what needs no training.

TABLE = (224, 0, 0, 16, 1168, 0, 0, 0, 10250)  # parameters of the table model's layers
TABLE_FIELDS = (3, 4, 8, 10)  # pixels that units of its convolutions and poolings see
TABLE_MACS = 526336


def exact_task(config):
    return Task(
        model=None,
        init=lambda rng: {"params": {"key": jax.random.key_data(rng)}},
        evaluate=lambda variables: {"measured": (jnp.float32(1), jnp.float32(1))},
        measure=lambda variables: {**measure_exact(), **measure_fields()},
    )


PARTS = {
    "exact": exact_task,
    "table": table_task,
    "space": space_task,
    "norms": norms_task,
    "shift": shift_task,
    "overfitting": overfitting_task,
    "residual": residual_task,
    "airbench": airbench_task,
}


# --- Claims. All thresholds were written down before the first run.

EXACT = 1e-10  # rounding in float64


def examined(name):
    return lambda result: result.examined[name]


def widened(result, changes, reduce):
    """How much larger [S] the receptive fields are of networks with these changes, reduced over them."""
    base, *changed = result.examined["variants/measured"].T
    names = [*WIDENING, *OTHERS]
    return reduce([changed[names.index(name)] / base for name in changes], axis=0)


def of_network(result, name, what="test_accuracy"):
    """[S, N] or [S, N, distances] of one of the networks side by side."""
    return result.examined[what][:, list(result.model).index(name)]


def accuracy(result, name, distance=0):
    """The test accuracy [S] of a network, mean over draws, of images moved by one of the distances (0: none)."""
    return of_network(result, name)[:, :, distance].mean(1)


def less(name, other):
    """Measures the accuracy [S] of a network less that of another."""
    return lambda result: accuracy(result, name) - accuracy(result, other)


def parameters_to_match(result):
    """The parameters [S] of the smallest MLP as accurate as the CNN over the CNN's, or that there is none."""
    names = [mlp_name(factor) for factor in FACTORS]
    counts = {name: of_network(result, name, "num_parameters") for name in ("CNN", *names)}
    matching = np.array([accuracy(result, name) >= accuracy(result, "CNN") for name in names])  # [MLPs, S]
    if not matching.any(0).all():
        return f"no MLP of at most {FACTORS[-1]} times the parameters is as accurate in every seed"
    ratios = np.array([counts[name] / counts["CNN"] for name in names])
    return np.take_along_axis(ratios, matching.argmax(0)[None], 0)[0]


def kept(result, name):
    """The share [S] of a network's accuracy that is left of images moved by the larger distance."""
    return accuracy(result, name, 2) / accuracy(result, name)


def kept_more(result):
    return kept(result, "CNN") - kept(result, mlp_name(1))


def lost(kind):
    """Measures how much accuracy [S] a norm loses from batches of 128 to batches of 2."""
    return lambda large, small: accuracy(large, kind) - accuracy(small, kind)


def lost_more(large, small):
    return lost("batch")(large, small) - lost("group")(large, small)


def spread_of_norms(result):
    found = [accuracy(result, kind) for kind in NORMS]
    return np.max(found, 0) - np.min(found, 0)


def shift_ratio(result):
    """How much larger [S] the shift is with batch normalisation: geometric mean over later layers and time."""
    shifts = [result.probes[f"{kind}/relative_shift"][:, :, 1:] for kind in ("batch", "none")]
    return np.exp(np.mean(np.log(shifts[0]) - np.log(shifts[1]), axis=(0, 2)))


def absolute_shift_ratio(result):
    shifts = [result.probes[f"{kind}/shift"][:, :, 1:] for kind in ("batch", "none")]
    return np.exp(np.mean(np.log(shifts[0]) - np.log(shifts[1]), axis=(0, 2)))


def cosine_lead(result):
    """The mean cosine [S] of G and G' without batch normalisation less that with it."""
    none, batch = (result.probes[f"{kind}/cosine"][:, :, 1:].mean((0, 2)) for kind in ("none", "batch"))
    return none - batch


def final_loss_ratio(result):
    return result.probes["batch/loss"][-1] / result.probes["none/loss"][-1]


def gaps(result, name):
    """Train accuracy less test accuracy [S, N]."""
    return of_network(result, name, "train_accuracy") - of_network(result, name)[:, :, 0]


def narrowed(name):
    """Measures by how much [S] a method narrows the gap, mean over draws."""
    return lambda result: (gaps(result, ALONE) - gaps(result, name)).mean(1)


def gained(name):
    return less(name, ALONE)


def on(dataset, widths=None, is_original=False):
    """Measures the final accuracy [S] on this data set, in any copy of it, and says so on another.

    Args:
      widths: (least, most) of airbench that the claim is about.
      is_original: whether a copy with other pixels, compressed as JPEG, does not count.
    """

    def measure(result):
        config, source = result.config, view(result.config).facts["dataset"]
        if source not in SAME.get(dataset, (dataset,)):
            return f"this run is on {config.dataset}"
        if widths and not widths[0] <= config.airbench_width <= widths[1]:
            return f"this run has airbench_width={config.airbench_width}"
        if is_original and source.endswith("jpeg"):
            return f"on a JPEG copy there is no threshold: {result.examined['accuracy'].mean():.4f}"
        return result.examined["accuracy"]

    return measure


# A claim in a line or two: the statement, then the measure and its bounds.
# fmt: off
STATED = [
    stated("exact", "1a", "layers of the table model, computed from the module: largest difference of parameters",
        lambda result: np.abs(result.examined["parameters"] - TABLE).max(1), at_most=0.0),
    stated("exact", "1b", "all its parameters",
        lambda result: result.examined["parameters"].sum(1), at_least=sum(TABLE), at_most=sum(TABLE)),
    stated("exact", "1c", "its multiply-adds for an image",
        lambda result: result.examined["macs"].sum(1), at_least=TABLE_MACS, at_most=TABLE_MACS),
    stated("exact", "1d", "its receptive fields are 3, 4, 8, 10: largest difference of the formula",
        lambda result: np.abs(result.examined["table/formula"] - TABLE_FIELDS).max(1), at_most=0.0),
    stated("exact", "1e", "and as input gradients of 100 random images show them: largest difference from the formula",
        lambda result: np.abs(result.examined["table/measured"] - result.examined["table/formula"]).max(1),
        at_most=0.0),
    stated("exact", "2a", "convolution is linear in its image and in its kernel: error in float64",
        examined("linearity_error"), at_most=EXACT),
    stated("exact", "2b", "its weight gradient is dW[p,q] = sum of x[i+p,j+q] dy[i,j] over image and batch: error",
        examined("weight_gradient_error"), at_most=EXACT),
    stated("exact", "2c", "it moves with its image: error, the image's edges joined",
        examined("shift_error"), at_most=EXACT),
    stated("exact", "3a",
        "kernel size, depth, stride and pooling widen a receptive field: least ratio to that without, measured",
        lambda result: widened(result, WIDENING, np.min), above=1.0),
    stated("exact", "3b", "channels, activation and batch normalisation do not: largest ratio",
        lambda result: widened(result, OTHERS, np.max), at_most=1.0),
    stated("exact", "3c", "formula and measurement agree on all of them: largest difference",
        lambda result: np.abs(result.examined["variants/measured"] - result.examined["variants/formula"]).max(1),
        at_most=0.0),
    stated("exact", "4a",
        "BN, LN, IN and GN each read exactly their own axes: share of inputs in which gradient and definition differ",
        examined("norm_mismatch"), at_most=0.0),
    stated("exact", "4b", "and leave mean 0 and variance 1 over them: largest error",
        examined("norm_moments_error"), at_most=1e-4),
    stated("exact", "4c", "BN in evaluation reads no other image: change of an output by other images",
        examined("evaluation_reads_others"), at_most=EXACT),
    stated("table", "5a", "the table model on digits: test accuracy", on("digits"), at_least=0.95),
    stated("table", "5b", "the table model on CIFAR-10: test accuracy", on("cifar10"), at_least=0.62),
    stated("residual", "5c", "a residual network of three blocks: test accuracy",
        examined("accuracy")),
    stated("space", "6a", "the CNN beats the MLP of equal parameters: difference of test accuracies",
        less("CNN", mlp_name(1)), above=0.0),
    stated("space", "6b", "and one of four times the parameters: difference", less("CNN", mlp_name(4)), above=0.0),
    stated("space", "6c", "parameters of the smallest MLP that is as accurate, over the CNN's", parameters_to_match),
    stated("exact", "6d",
        "pixels in another order are nothing to an MLP whose first weights are in that order: difference of losses "
        "over 10 steps of training",
        examined("permuted_mlp_error"), at_most=EXACT),
    stated("space", "6e", "so it learns the permuted images as well: difference of test accuracies",
        less(f"{mlp_name(1)}, permuted", mlp_name(1)), at_least=-0.03, at_most=0.03),
    stated("space", "6f", "the CNN does not: difference of test accuracies",
        less("CNN", "CNN, permuted"), at_least=0.01),
    stated("space", "6g",
        "the CNN keeps more of its accuracy than the MLP when images move by an eighth of their side: difference of "
        "the shares kept",
        kept_more, above=0.0),
    stated("space", "6h", "yet it is not invariant: share kept by the CNN",
        lambda result: kept(result, "CNN"), at_most=0.95),
    Stated("7a", "from batches of 128 to batches of 2 BN loses more accuracy than GroupNorm: difference of the losses",
        ("norms_128", "norms_2"), lost_more, {"above": 0.0}),
    stated("norms_2", "7b", "at batch 2 GroupNorm beats BN: difference of test accuracies",
        less("group", "batch"), above=0.0),
    stated("norms_128", "7c", "at batch 128 BN beats no norm after equal steps: difference of test accuracies",
        less("batch", "none"), above=0.0),
    stated("norms_128", "7d", "at batch 128 the four norms lie close together: most accurate less least",
        spread_of_norms),
    stated("shift", "8a",
        "BN does not reduce internal covariate shift: norm of G - G' over that of G, with BN over without",
        shift_ratio, at_least=1.0),
    stated("shift", "8b", "nor turn it: mean cosine of G and G' without BN less that with it",
        cosine_lead, at_least=0.0),
    stated("shift", "8c", "yet it trains faster: training loss with BN over that without, after equal steps",
        final_loss_ratio, below=1.0),
    stated("shift", "8d", "the norm of G - G' by itself, with BN over without", absolute_shift_ratio),
    stated("overfitting", "9a", "a CNN overfits a small training set: train less test accuracy, SGD alone",
        lambda result: gaps(result, ALONE).mean(1), at_least=0.05),
    stated("overfitting", "9b", "augmentation narrows that gap: by", narrowed("augmentation"), above=0.0),
    stated("overfitting", "9c", "dropout narrows it: by", narrowed("dropout"), above=0.0),
    stated("overfitting", "9d", "batch normalisation narrows it: by", narrowed("batch normalisation"), above=0.0),
    stated("overfitting", "9e", "Adam in place of SGD does not: it narrows it by",
        narrowed("Adam for SGD"), at_most=0.01),
    stated("overfitting", "9f", "what counts is the test accuracy: gained by augmentation",
        gained("augmentation"), above=0.0),
    stated("overfitting", "9g", "gained by dropout", gained("dropout")),
    stated("overfitting", "9h", "gained by batch normalisation", gained("batch normalisation")),
    stated("overfitting", "9i", "gained by Adam in place of SGD", gained("Adam for SGD")),
    stated("airbench", "10a", "airbench, narrower than the original, on CIFAR-10: test accuracy",
        on("cifar10", widths=(1, AIRBENCH94_WIDTH - 1)), at_least=0.85),
    stated("airbench", "10b", "airbench94 at its own width, on the original pixels: test accuracy",
        on("cifar10", widths=(AIRBENCH94_WIDTH, AIRBENCH94_WIDTH), is_original=True), at_least=0.94),
]
# fmt: on


def claims(results):
    return sorted(judge_all(STATED, results), key=by_id)


# --- Figures.


def figures(results):
    found = []
    if "exact" in results:
        measured = results["exact"].examined
        found.append(drawn.norm_axes({kind: measured[f"reach/{kind}"][0] for kind in NORMS}))
    if "table" in results:
        found += table_figures(results["table"])
    if "space" in results:
        found += space_figures(results["space"])
    if norms := {arm: results[arm] for arm in ("norms_128", "norms_2") if arm in results}:
        rows = {
            kind: {f"batch {result.config.batch_size}": accuracy(result, kind) for result in norms.values()}
            for kind in ("none", *NORMS)
        }
        caption = "Trained on as many images, with the learning rate scaled by the batch."
        found.append(drawn.intervals("Norms at large and small batches", caption, "test accuracy", rows))
    if "shift" in results:
        found.append(shift_figure(results["shift"]))
    if "overfitting" in results:
        found += overfitting_figures(results["overfitting"])
    return found


def table_figures(result):
    seen = view(result.config)
    labels, predicted = seen.arrays["test_labels"], result.examined["predicted"][0]
    kernels = result.variables["params"]["convolution_0"]["kernel"][0]
    of = f"Of the test images of {seen.facts['dataset']}, first seed."
    rows = [
        (layer.path, " x ".join(map(str, layer.shape[1:])), layer.parameters, layer.macs, sees(layer.receptive_field))
        for layer in table(result.model)
    ]
    summed = [sum(row[column] for row in rows) for column in (2, 3)]
    return [
        drawn.layers("The table model", "Computed from the module.", [*rows, ("total", "", *summed, "")]),
        drawn.filters("First-layer filters", "Kernels of the first convolution, each on its own scale.", kernels),
        drawn.confusion("What is taken for what", of, labels, predicted, seen.class_names),
        drawn.mistakes("Misclassified", of, seen.arrays["test_images"], labels, predicted, seen.class_names),
    ]


def sees(receptive_field):
    """A receptive field as text."""
    return f"{receptive_field:.0f}" if np.isfinite(receptive_field) else "the image"


def space_figures(result):
    mlps = {
        int(of_network(result, name, "num_parameters")[0]): accuracy(result, name) for name in map(mlp_name, FACTORS)
    }
    cnn = int(of_network(result, "CNN", "num_parameters")[0]), accuracy(result, "CNN")
    size = view(result.config).shape[0]
    moved = np.array([0, *distances(size)])
    series = {name: (moved, of_network(result, name).mean(1)) for name in ("CNN", mlp_name(1), mlp_name(FACTORS[-1]))}
    order = {
        name: {"in order": accuracy(result, name), "permuted": accuracy(result, f"{name}, permuted")}
        for name in ("CNN", mlp_name(1))
    }
    caption = f"Mean over four directions, of {size} pixels a side; what comes in is the edge, reflected."
    return [
        drawn.accuracy_against_parameters(mlps, cnn),
        curves("Images moved", caption, "pixels moved", [("test accuracy", series)]),
        drawn.intervals("Pixels in another order", "The same for all images.", "test accuracy", order),
    ]


def shift_figure(result):
    steps, probes = result.probes.steps, result.probes
    names = {"none": "no norm", "batch": "BN"}
    panels = []
    for what, label in (("relative_shift", "|G - G'| / |G|"), ("cosine", "cosine of G and G'")):
        panels.append((label, {n: (steps, probes[f"{kind}/{what}"][:, :, 1:].mean(2).T) for kind, n in names.items()}))
    panels.append(("training loss (nats)", {n: (steps, probes[f"{kind}/loss"].T) for kind, n in names.items()}))
    caption = (
        "How a layer's gradient changes when the layers before it take their step; mean over all layers but the first."
    )
    return curves("Internal covariate shift", caption, "training step", panels, log_y=("|G - G'| / |G|",))


def overfitting_figures(result):
    sizes = f"training sets of {small_size(result.config)} images; {result.config.num_draws} draws a seed."
    gap = {name: {"gap": gaps(result, name)} for name in result.model}
    both = {
        name: {"train": of_network(result, name, "train_accuracy"), "test": of_network(result, name)[:, :, 0]}
        for name in result.model
    }
    return [
        drawn.intervals("The gap, by method", f"On {sizes}", "train less test accuracy", gap),
        drawn.intervals("Train and test accuracy, by method", f"On {sizes}", "accuracy", both),
    ]


EXPERIMENT = Experiment(
    question=__doc__,
    config=Config(),
    arms=arms,
    default_arms=("exact", "table", "space", "norms_128", "norms_2", "shift", "overfitting"),
    task=task,
    claims=claims,
    figures=figures,
    presets={
        # Without the data set, which is a flag: not every machine has it.
        "airbench": Preset(
            {"batch_size": 256},
            ("airbench",),
            "a strong small network after cifar10-airbench94, for --config.dataset=cifar10 on two cores",
        ),
        "airbench94": Preset(
            {"batch_size": 1024, "airbench_width": AIRBENCH94_WIDTH, "num_steps": 484},
            ("airbench",),
            "cifar10-airbench94 at its own width and length, for --config.dataset=cifar10 on a GPU",
        ),
    },
)
