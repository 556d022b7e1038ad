"""Convolutional networks: what does the spatial prior buy, what do norms do, and what holds off overfitting?"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from data.augmentation import alternately_mirrored, shifted, six_views, translated
from data.images import balanced_subset, channel_moments, load, standardized
from data.order import batch_rows
from models.airbench import Airbench, whitening_kernel, with_whitening
from models.chosen import choosing
from models.cnn import CNN, ImageMLP, equal_width
from models.normalization import KINDS
from probes.covariate_shift import internal_covariate_shift
from probes.image_identities import NORMS, measure_exact
from probes.image_views import accuracy_by_shift, permuted, shifts_by
from probes.receptive_fields import OTHERS, WIDENING, measure_fields, table
from reporting import images as drawn
from reporting.claims import Stated, by_id, judge_all, stated
from reporting.figures import curves
from training.config import setting
from training.experiment import Experiment, Loss, Preset, Task
from training.optimizer import OptimizerConfig, SGDConfig, adamw, sgd
from training.step import key

CLASSES = 10
TABLE_SIZE = 32  # pixels of a side, of the table model's images
DIGITS_SIZE = 16  # the same of the other arms on digits, which are drawn on 8 x 8
CHUNK = 250  # images that are evaluated at once
SUBSETS = 64  # small training sets that are kept at hand


@dataclass(frozen=True)
class Config:
    part: str = setting("table", "exact, table, space, norms, shift, overfitting or airbench: set by the arms")
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
    airbench_width: int = setting(16, "channels of airbench's first block; a quarter of the others'. 64: the original")
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
    "airbench": (100, 1000),
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


@dataclass(frozen=True)
class Network:
    """A model, and what distinguishes its training from that of others of the same model beside it.

    All of that are numbers of a program, so that one compiled program trains all networks of a model.
    """

    model: nn.Module
    norm: str | None = None  # another kind for the model's batch normalisations
    dropout: float = 0.0  # rate of units dropped before the linear layer
    moves: int = 0  # pixels by which training images are moved at random, at most
    is_permuted: bool = False  # whether the pixels of all images are in another order
    width: int | None = None  # of an MLP's hidden layer: the units beyond are zero
    by_adam: bool = True  # or by SGD


@dataclass(frozen=True)
class View:
    """Images as arrays on the device, and how models see them."""

    arrays: Mapping[str, Any]
    shape: tuple[int, int, int]
    moments: tuple[np.ndarray, np.ndarray]
    class_names: tuple[str, ...]
    facts: Mapping[str, Any]

    def seen(self, images_BHWC):
        """Numbers of mean 0 and deviation 1."""
        return standardized(images_BHWC, *self.moments)

    @property
    def orders(self):
        """[2, height x width]: the pixels in order, and in the other order."""
        in_order = np.arange(self.shape[0] * self.shape[1])
        return np.stack([in_order, np.random.default_rng(0).permutation(in_order)])


@functools.lru_cache(maxsize=2)
def loaded(dataset, size, channels):
    """The View of a data set in images of that size."""
    images = load(dataset, image_shape=(size, size, channels), num_classes=CLASSES)
    facts = {"dataset": images.source, "sha256": images.sha256}
    moments = channel_moments(images.train_images)
    return View(images.arrays(), (size, size, channels), moments, images.class_names, facts)


def view(config):
    is_scaled = config.dataset == "digits" and config.part not in ("table", "airbench")
    size = config.image_size or (DIGITS_SIZE if is_scaled else TABLE_SIZE)
    return loaded(config.dataset, size, 1 if is_scaled else 3)


def tested(config, arrays):
    """The arrays with at most config.test_size test images, evenly spaced: they may be in the order of the classes."""
    count = len(arrays["test_labels"])
    rows = np.linspace(0, count - 1, min(config.test_size, count)).astype(int)
    return arrays | {name: arrays[name][rows] for name in ("test_images", "test_labels")}


def in_chunks(function, images):
    """function([CHUNK, ...]) -> [CHUNK, ...] of all images [N, ...], a chunk at a time."""
    count = len(images)
    size = min(CHUNK, count)
    rows = jnp.arange(-(-count // size) * size).reshape(-1, size) % count
    found = jax.lax.map(lambda rows: function(images[rows]), rows)
    return found.reshape(-1, *found.shape[2:])[:count]


def cross_entropy(logits, labels):
    return -jnp.sum(jax.nn.log_softmax(logits) * jax.nn.one_hot(labels, logits.shape[-1]), axis=-1)


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
      views: images -> [(weight, images)], over which predictions are averaged in evaluation.
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

    def predictions(variables, images):
        def one(some):
            return sum(share * model.apply(variables, x) for share, x in views(seen.seen(some)))

        return in_chunks(one, images)

    def evaluate(variables, data):
        logits, labels = predictions(variables, data["test_images"]), data["test_labels"]
        weight = jnp.float32(len(labels))
        right = jnp.sum(logits.argmax(-1) == labels)
        return {"loss": (cross_entropy(logits, labels).sum(), weight), "accuracy": (right, weight)}

    return Task(
        model=model,
        init=init,
        batch=batch,
        loss=loss,
        optimizer=optimizer,
        evaluate=evaluate,
        examine=lambda variables, data: {"predicted": predictions(variables, data["test_images"]).argmax(-1)},
        data=seen.arrays,
        facts=seen.facts,
    )


def without_params(variables):
    return {collection: values for collection, values in variables.items() if collection != "params"}


def table_task(config):
    return one_model(config, CNN(CLASSES, view(config).shape), adamw(config.optimizer, config.num_steps))


def airbench_task(config):
    seen = view(config)
    if seen.shape[0] < 8:
        raise ValueError(f"image_size={seen.shape[0]} is too small for airbench: it needs at least 8")
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
        airbench_optimizer(config.num_steps, config.batch_size, bias_steps=3 * epoch),
        start=lambda variables: with_whitening(variables, kernel),
        augment=augment,
        smoothing=0.2,
        views=six_views,
    )


WHITENED = 5000  # images whose patches the whitening is made of
MOMENTUM = 0.85
SCALE = 1024 * (1 + 1 / (1 - MOMENTUM))  # steps of the decoupled rates below


def airbench_optimizer(num_steps, batch_size, bias_steps, learning_rate=11.5, weight_decay=0.0153):
    """Nesterov's SGD and lookahead as cifar10-airbench94 has them (Jordan 2024, section 3 and listing 4).

    The rate rises from .2 of its peak to the peak within 23 % of the run and falls to .07 of it; biases of norms have
    64 times the rate; the whitening's bias is trained for ``bias_steps``. Every fifth step the parameters go back to
    an average of themselves, whose decay is .95^5 t^3 at the share t of the run.
    """
    rate, decay = learning_rate / SCALE * batch_size, weight_decay / SCALE * batch_size

    def faster(path):
        names = [str(getattr(key, "key", key)) for key in path]
        return 64.0 if any("norm" in name for name in names) else 1.0

    def init(params):
        return jnp.int32(0), jax.tree.map(jnp.zeros_like, params), params

    def update(gradients, state, params):
        count, buffers, slow = state
        share = count / num_steps
        triangle = jnp.interp(share, jnp.array([0.0, 0.23, 1.0]), jnp.array([0.2, 1.0, 0.07]))
        steps = jax.tree_util.tree_map_with_path(
            lambda path, g, p: faster(path) * g + decay / rate * p, gradients, params
        )
        buffers = jax.tree.map(lambda b, s: MOMENTUM * b + s, buffers, steps)
        trained = {name: jnp.where(count < bias_steps, 1.0, 0.0) if name == "whitening" else 1.0 for name in params}
        new = {
            name: jax.tree.map(
                lambda p, s, b, name=name: p - trained[name] * rate * triangle * (s + MOMENTUM * b),
                params[name],
                steps[name],
                buffers[name],
            )
            for name in params
        }
        is_last = count + 1 >= num_steps
        kept = jnp.where(is_last, 1.0, 0.95**5 * share**3)
        due = is_last | ((count + 1) % 5 == 0)
        slow = jax.tree.map(lambda s, n: jnp.where(due, kept * s + (1 - kept) * n, s), slow, new)
        updates = jax.tree.map(lambda s, n, p: jnp.where(due, s, n) - p, slow, new, params)
        return updates, (count + 1, buffers, slow)

    return optax.GradientTransformation(init, update)


# --- Several networks side by side, trained on the same batches or each on draws of its own.

TRAIN_SIZE = 500  # training images on which the training accuracy is measured, where the training set has more


def side_by_side(config, networks, adam, sgd, *, num_draws=1, subset=0, distances=(), probe=None):
    """A task of all networks, for N draws of initialisation and, where there are subsets, of training sets.

    Args:
      networks: {name: Network}.
      adam, sgd: optax transformations of the networks that are trained by them.
      subset: images of each draw's training set; 0: all there are.
      distances: by which test images are moved at last, in pixels.
      probe: (apply, params, data) -> {name: array}, during training; see ``apply``.
    """
    seen = view(config)
    data = tested(config, seen.arrays)
    if subset:
        sets = [balanced_subset(data["train_labels"], subset, number) for number in range(SUBSETS)]
        data |= {"subsets": np.stack(sets).astype(np.int32)}
    # Networks of one model are one program; their variables have a leading axis of members, M networks x N draws.
    distinct = dict.fromkeys(network.model for network in networks.values())
    models = {model: f"model_{number}" for number, model in enumerate(distinct)}
    groups = {group: [n for n in networks.values() if models[n.model] == group] for group in models.values()}
    names = [name for group in groups for name, network in networks.items() if models[network.model] == group]
    size = {group: len(members) * num_draws for group, members in groups.items()}
    mixed = {
        what: any(getattr(n, what) != getattr(Network(n.model), what) for n in networks.values())
        for what in ("norm", "dropout", "moves", "is_permuted", "width")
    }

    def settings(group):
        """{what: [members]} of a group, as numbers."""
        numbers = {
            "norm": [KINDS.index(n.norm or "batch") for n in groups[group]],
            "dropout": [n.dropout for n in groups[group]],
            "moves": [n.moves for n in groups[group]],
            "is_permuted": [int(n.is_permuted) for n in groups[group]],
            "width": [n.width or 0 for n in groups[group]],
        }
        return {what: jnp.repeat(jnp.array(values), num_draws) for what, values in numbers.items()}

    def apply(group, variables, images, of_member, rng=None, train=False):
        """(logits, new batch statistics) of one member, given its variables and settings."""
        x = seen.seen(images)
        if train and mixed["moves"]:
            moved = jax.random.randint(rng, (2, len(x)), -of_member["moves"], of_member["moves"] + 1)
            x = shifted(x, *moved)
        if mixed["is_permuted"]:
            x = permuted(x, jnp.asarray(seen.orders)[of_member["is_permuted"]])
        model = groups[group][0].model
        chosen = {
            "norm": of_member["norm"] if mixed["norm"] else None,
            "width": of_member["width"] if isinstance(model, ImageMLP) else None,
            "rng": rng if train and mixed["dropout"] else None,
        }
        with nn.intercept_methods(choosing(**chosen, dropout=of_member["dropout"])):
            logits, new = model.apply(variables, x, train, mutable=["batch_stats"])
        return logits, new.get("batch_stats", {})

    def subsets(rng):
        """Which training set each draw has [N]."""
        return (jax.random.randint(rng, (), 0, SUBSETS) + jnp.arange(num_draws)) % SUBSETS

    def init(rng):
        # Networks of one model start from the same weights in each draw: what differs is then the network.
        keys = jax.random.split(rng, num_draws)
        variables = {"params": {}, "batch_stats": {}, "drawn": {"subsets": subsets(rng)}}
        for group, members in groups.items():
            of_draws = jax.lax.map(lambda k, model=members[0].model: model.init(k, jnp.zeros((2, *seen.shape))), keys)

            def tiled(leaf, count=size[group]):
                return jnp.tile(leaf, (count // num_draws, *[1] * (leaf.ndim - 1)))

            for collection, values in of_draws.items():
                variables[collection][group] = jax.tree.map(tiled, values)
            if isinstance(members[0].model, ImageMLP):
                widest, widths = members[0].model.hidden[0], settings(group)["width"]
                last = variables["params"][group]["mlp"]["layer_1"]
                last["kernel"] *= jnp.sqrt(widest / widths)[:, None, None]  # the variance is 2 over the units there are
        return variables

    def of_group(variables, group):
        return {c: variables[c][group] for c in ("params", "batch_stats") if group in variables[c]}

    def batch(seed, step, data):
        # Drawn with replacement: an order for each epoch would take seconds to compile.
        count = subset or len(data["train_labels"])
        rows = jax.random.randint(key(seed, "batch", step), (config.batch_size, num_draws), 0, count)
        rows = data["subsets"][subsets(key(seed, "init")), rows] if subset else rows
        return {"images": data["train_images"][rows], "labels": data["train_labels"][rows]}

    def loss(variables, batch, rngs):
        images, labels = jnp.moveaxis(batch["images"], 1, 0), batch["labels"].T
        count, total, right, stats = jnp.float32(labels.shape[1]), 0.0, 0, {}
        for group, members in groups.items():

            def one(arguments, group=group):
                number, of_member, of_settings = arguments
                draw = number % num_draws
                rng = jax.random.fold_in(rngs["dropout"], draw)
                logits, new = apply(group, of_member, images[draw], of_settings, rng, train=True)
                right = jnp.sum(logits.argmax(-1) == labels[draw])
                return cross_entropy(logits, labels[draw]).sum(), right, new

            numbers = jnp.arange(len(members) * num_draws)
            losses, rights, stats[group] = jax.lax.map(one, (numbers, of_group(variables, group), settings(group)))
            total, right = total + losses.sum(), right + rights.sum()
        answers = count * sum(size.values())
        collections = {"batch_stats": {group: value for group, value in stats.items() if value}}
        return Loss(total, count, {"accuracy": (right, answers)}, collections)

    def of_members(function, variables):
        """function(group, a member's variables, its settings, its number) of all members: {group: [members, ...]}."""
        return {
            group: jax.lax.map(
                lambda arguments, group=group: function(group, *arguments),
                (of_group(variables, group), settings(group), jnp.arange(size[group])),
            )
            for group in groups
        }

    def evaluate(variables, data):
        labels = data["test_labels"]

        def one(group, of_member, of_settings, number):
            logits = in_chunks(lambda some: apply(group, of_member, some, of_settings)[0], data["test_images"])
            return cross_entropy(logits, labels).sum(), jnp.sum(logits.argmax(-1) == labels)

        found = of_members(one, variables).values()
        weight = jnp.float32(len(labels) * sum(size.values()))
        losses, right = (sum(sums.sum() for sums in kind) for kind in zip(*found, strict=True))
        return {"loss": (losses, weight), "accuracy": (right, weight)}

    def examine(variables, data):
        """{"train_accuracy" [networks, N], "test_accuracy" [networks, N, distances]} of the final networks."""
        shifts, test = shifts_by(distances), data["test_labels"]

        def one(group, of_member, of_settings, number):
            if subset:
                rows = data["subsets"][variables["drawn"]["subsets"][number % num_draws]]
            else:
                rows = np.arange(min(TRAIN_SIZE, len(data["train_labels"])))
            # Train and test images at once: two programs would take twice as long to compile.
            images = jnp.concatenate([data["train_images"][rows], data["test_images"]])
            labels = jnp.concatenate([data["train_labels"][rows], test])

            def right(shift):
                def predicted(some):
                    moved = shifted(some, *jnp.broadcast_to(shift[:, None], (2, len(some)))) if distances else some
                    return apply(group, of_member, moved, of_settings)[0].argmax(-1)

                return in_chunks(predicted, images) == labels

            views = jax.lax.map(right, jnp.asarray(shifts))
            return {
                "train_accuracy": views[0, : len(rows)].mean(),
                "test_accuracy": accuracy_by_shift(views[:, len(rows) :].mean(1), shifts),
            }

        found = [jax.tree.map(lambda x: x.reshape(-1, num_draws, *x.shape[1:]), of_models)
                 for of_models in of_members(one, variables).values()]  # fmt: skip
        return jax.tree.map(lambda *x: jnp.concatenate(x), *found)

    def probed(variables, data):
        return probe(apply, settings, variables["params"], data) if probe else {}

    by_adam = {group: np.repeat([n.by_adam for n in members], num_draws) for group, members in groups.items()}
    return Task(
        model={name: networks[name].model for name in names},
        init=init,
        batch=batch,
        loss=loss,
        optimizer=either(adam, sgd, by_adam),
        evaluate=evaluate,
        probe=probed,
        examine=examine,
        measure=lambda variables: {"num_parameters": np.array([size_of(networks[n], seen.shape) for n in names])},
        data=data,
        facts=seen.facts,
    )


def either(first, second, by_first):
    """An optax transformation of {group: leaves [members, ...]}: the first for marked ones, the second for others."""
    marked = np.concatenate(list(by_first.values()))
    if marked.all() or not marked.any():
        return first if marked.all() else second

    def update(gradients, states, params=None):
        (a, first_state), (b, second_state) = (
            transform.update(gradients, state, params) for transform, state in zip((first, second), states, strict=True)
        )
        chosen = {
            group: jax.tree.map(
                lambda x, y, mark=mark: jnp.where(mark.reshape(-1, *[1] * (x.ndim - 1)), x, y), a[group], b[group]
            )
            for group, mark in by_first.items()
        }
        return chosen, (first_state, second_state)

    return optax.GradientTransformation(lambda params: (first.init(params), second.init(params)), update)


# --- space: what a CNN knows of an image that an MLP does not.

FACTORS = (1, 2, 4, 8, 16)  # the MLPs' parameters over the CNN's


def size_of(network, shape):
    """A network's number of parameters."""
    model = replace(network.model, hidden=(network.width,)) if network.width else network.model
    variables = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((2, *shape), np.float32))
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


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
    return side_by_side(config, networks, adam, None, distances=distances(shape[0]))


# --- norms: five of them, with the learning rate scaled by the batch (Wu and He 2018, section 4.1).

SCALED_BATCH = 128  # of which sgd.learning_rate is the rate


def sgd_rate(config):
    """The learning rate of SGD."""
    return config.sgd.learning_rate or (0.05 if config.dataset == "digits" else 0.01)


def norms_task(config):
    model = CNN(CLASSES, view(config).shape, norm_place="convolution")
    networks = {kind: Network(model, norm=kind, by_adam=False) for kind in KINDS}
    rate = sgd_rate(config) * config.batch_size / SCALED_BATCH
    return side_by_side(config, networks, None, sgd(replace(config.sgd, learning_rate=rate)))


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

    return side_by_side(config, networks, None, sgd(replace(config.sgd, learning_rate=rate, momentum=0.0)), probe=probe)


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
    return side_by_side(config, networks, adam, sgd(replace(config.sgd, learning_rate=sgd_rate(config))), **draws)


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


def on(dataset):
    """Measures the final accuracy [S] on this data set, and says so on another."""

    def measure(result):
        ran = result.config.dataset
        return result.final["accuracy"] if ran == dataset else f"this run is on {ran}"

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
    stated("airbench", "10a", "airbench on CIFAR-10: test accuracy", on("cifar10"), at_least=0.85),
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
            {"batch_size": 512},
            ("airbench",),
            "a strong small network after cifar10-airbench94, for --config.dataset=cifar10 on two cores",
        ),
        "airbench94": Preset(
            {"batch_size": 1024, "airbench_width": 64, "num_steps": 484},
            ("airbench",),
            "cifar10-airbench94 at its own width and length, for --config.dataset=cifar10 on a GPU",
        ),
    },
)
