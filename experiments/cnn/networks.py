"""Several networks of images, trained side by side as one program, and how they see the images.

Axes: M networks, N draws of initialisation and training set, B batch.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from data.augmentation import shifted
from data.images import balanced_rows, by_class, channel_moments, load, standardized
from experiments.cnn.chosen import choosing
from experiments.cnn.image_views import accuracy_by_shift, permuted, shifts_by
from experiments.cnn.optimizers import either
from models.cnn import ImageMLP
from models.normalization import KINDS
from training.experiment import Loss, Task
from training.step import key

CLASSES = 10
CHUNK = 250  # images that are evaluated at once


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


# --- Several networks side by side, trained on the same batches or each on draws of its own.

TRAIN_SIZE = 500  # training images on which the training accuracy is measured, where the training set has more


def side_by_side(config, seen, networks, adam, sgd, *, num_draws=1, subset=0, distances=(), probe=None):
    """A task of all networks, for N draws of initialisation and, where there are subsets, of training sets.

    Args:
      seen: the View.
      networks: {name: Network}.
      adam, sgd: optax transformations of the networks that are trained by them.
      subset: images of each draw's training set; 0: all there are.
      distances: by which test images are moved at last, in pixels.
      probe: (apply, params, data) -> {name: array}, during training; see ``apply``.
    """
    data = tested(config, seen.arrays)
    if subset:
        data |= {"classes": by_class(data["train_labels"], subset)}
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

    def of_subsets(data, positions, seed):
        """The examples at positions [., N] of each draw's training set."""
        return balanced_rows(data["classes"], positions, seed, jnp.arange(num_draws))

    def init(rng):
        # Networks of one model start from the same weights in each draw: what differs is then the network.
        keys = jax.random.split(rng, num_draws)
        variables = {"params": {}, "batch_stats": {}}
        if subset:
            variables["drawn"] = {"rows": of_subsets(data, jnp.arange(subset)[:, None], jax.random.bits(rng))}
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
        rows = of_subsets(data, rows, jax.random.bits(key(seed, "init"))) if subset else rows
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
                rows = variables["drawn"]["rows"][:, number % num_draws]
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


def size_of(network, shape):
    """A network's number of parameters."""
    model = replace(network.model, hidden=(network.width,)) if network.width else network.model
    variables = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((2, *shape), np.float32))
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
