"""Networks that are trained side by side, each for itself, by one compiled program.

Networks of one model are a group: their variables lie along a leading axis of members, and what distinguishes them
(``MemberSettings``) are numbers of the program. So few programs are compiled, which takes longer than training.

Axes: M members of a group (its networks, each in N draws), N draws of initialisation and training set, B batch,
E images that are examined, V views of an image.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from data.augmentation import shift_images, translate_images
from data.images import balanced_rows, group_by_class
from experiments.cnn.classifier import cross_entropy
from experiments.cnn.images import (
    ImageData,
    limit_test_images,
    map_in_chunks,
    mean_by_distance,
    permute_pixels,
    shifts_by,
)
from experiments.cnn.member_optimizers import optimize_by_name
from experiments.cnn.networks import Network, count_parameters, narrow_mlp, rescale_mlp
from models.cnn import ImageMLP
from models.normalization import NORM_KINDS
from training.experiment import Loss, Task, measure_nothing
from training.step import key

TRAIN_SIZE = 500  # training images on which the training accuracy is measured, where the training set has more


class MemberSettings(NamedTuple):
    """What distinguishes the members of a group, as numbers [M]; of one member, as scalars."""

    norm: Any  # an index into NORM_KINDS
    dropout_rate: Any
    max_shift: Any
    is_permuted: Any
    width: Any
    draw: Any  # number of the member's draw, 0 ... N - 1


@dataclass(frozen=True)
class Ensemble:
    """Networks of images, each in several draws, and the Task that trains them all.

    images:      the ImageData of all
    networks:    {name: Network}; networks of one model that stand one after another are trained by one program
    batch_size:  number of images that each network sees in a step
    test_size:   number of test images, at most
    num_draws:   number of initialisations of each network, and of training sets where these are subsets
    subset_size: number of images in each draw's training set; None: all training images
    distances:   pixels by which test images are moved for ``examine``
    """

    images: ImageData
    networks: Mapping[str, Network]
    batch_size: int
    test_size: int
    num_draws: int = 1
    subset_size: int | None = None
    distances: tuple[int, ...] = ()

    @cached_property
    def groups(self):
        """{"model_0": [the Networks of the first model], "model_1": [those of the second], ...}."""
        by_model = itertools.groupby(self.networks.values(), key=lambda network: network.model)
        return {f"model_{number}": list(networks) for number, (_, networks) in enumerate(by_model)}

    @cached_property
    def num_members(self):
        """The number of members of all groups together."""
        return len(self.networks) * self.num_draws

    @cached_property
    def data(self):
        """The arrays that stay on the device."""
        arrays = limit_test_images(self.images.arrays, self.test_size)
        if self.subset_size is None:
            return arrays
        return arrays | {"classes": group_by_class(arrays["train_labels"], self.subset_size)}

    def task(self, optimizers, probe=measure_nothing):
        """The Task that trains all networks.

        Args:
          optimizers: {name: optax transformation}; each network is trained by that of its ``optimizer``.
          probe: see ``training.experiment.Task``.
        """
        names = {
            group: np.repeat([network.optimizer for network in networks], self.num_draws)
            for group, networks in self.groups.items()
        }
        return Task(
            model={name: network.model for name, network in self.networks.items()},
            init=self.init,
            batch=self.batch,
            loss=self.loss,
            optimizer=optimize_by_name(optimizers, names),
            evaluate=self.evaluate,
            probe=probe,
            examine=self.examine,
            measure=self.measure,
            data=self.data,
            facts=self.images.facts,
        )

    # --- Members.

    def settings(self, group):
        """The MemberSettings of a group's members."""
        networks = self.groups[group]

        def repeat(values, dtype=np.int32):
            return np.repeat(np.array(values, dtype), self.num_draws)

        return MemberSettings(
            norm=repeat([NORM_KINDS.index(network.norm or "batch") for network in networks]),
            dropout_rate=repeat([network.dropout_rate for network in networks], np.float32),
            max_shift=repeat([network.max_shift for network in networks]),
            is_permuted=repeat([network.is_permuted for network in networks]),
            width=repeat([network.width or 0 for network in networks]),
            draw=np.tile(np.arange(self.num_draws, dtype=np.int32), len(networks)),
        )

    def uses(self, setting):
        """Whether any network has another value of this setting than the default; if not, no program computes it."""
        return any(getattr(network, setting) != getattr(Network, setting) for network in self.networks.values())

    def map_members(self, function, variables):
        """{group: function(model, a member's variables, its settings), stacked [M, ...]}."""
        stacked = {}
        for group, networks in self.groups.items():

            def apply_to_member(member, model=networks[0].model):
                return function(model, *member)

            of_group = {name: variables[name][group] for name in ("params", "batch_stats") if group in variables[name]}
            stacked[group] = jax.lax.map(apply_to_member, (of_group, self.settings(group)))
        return stacked

    def apply(self, model, variables, images, settings, train=False, random_key=None):
        """(logits [B, classes], new batch statistics) of one member on images of bytes.

        Args:
          random_key: key of the random changes of training, where any network has some.
        """
        x = self.images.standardize(images)
        if train and self.uses("max_shift"):
            x = translate_images(random_key, x, settings.max_shift)
        if self.uses("is_permuted"):
            x = permute_pixels(x, jnp.asarray(self.images.pixel_orders())[settings.is_permuted])
        if isinstance(model, ImageMLP):
            return model.apply(variables | {"params": narrow_mlp(variables["params"], settings.width)}, x), {}
        logits, new = model.apply(
            variables,
            x,
            train,
            norm_number=settings.norm if self.uses("norm") else None,
            dropout_rate=settings.dropout_rate,
            dropout_key=random_key if train and self.uses("dropout_rate") else None,
            mutable=["batch_stats"],
        )
        return logits, new.get("batch_stats", {})

    # --- What a Task is made of.

    def init(self, random_key):
        """Variables {"params": {group: leaves [M, ...]}, ...}; "drawn" are the examples of each draw's training set.

        Networks of one model start from the same weights in each draw: what differs is then the network.
        """
        variables = {"params": {}, "batch_stats": {}}
        if self.subset_size is not None:
            positions = jnp.arange(self.subset_size)[:, None]
            variables["drawn"] = {"rows": self.subset_rows(self.data, positions, jax.random.bits(random_key))}
        draw_keys = jax.random.split(random_key, self.num_draws)
        for group, networks in self.groups.items():
            model = networks[0].model
            for collection, leaves in initialize_draws(model, draw_keys, self.images.shape).items():
                variables[collection][group] = repeat_draws(leaves, len(networks))
            if isinstance(model, ImageMLP):
                params, widths = variables["params"][group], self.settings(group).width
                variables["params"][group] = jax.vmap(rescale_mlp)(params, widths)
        return variables

    def subset_rows(self, data, positions, seed):
        """The examples [., N] at positions [., N] of each draw's training set."""
        return balanced_rows(data["classes"], positions, seed, jnp.arange(self.num_draws))

    def batch(self, seed, step, data):
        """Images [B, N, ...] and labels [B, N] for each draw."""
        # Drawn with replacement: an order for each epoch would take seconds to compile.
        count = len(data["train_labels"]) if self.subset_size is None else self.subset_size
        rows = jax.random.randint(key(seed, "batch", step), (self.batch_size, self.num_draws), 0, count)
        if self.subset_size is not None:
            rows = self.subset_rows(data, rows, jax.random.bits(key(seed, "init")))
        return {"images": data["train_images"][rows], "labels": data["train_labels"][rows]}

    def loss(self, variables, batch, rngs):
        """The sum of all members' losses.

        Its weight is the number of images of one member: each member gets the gradient of its own mean loss.
        """
        images_NB, labels_NB = jnp.moveaxis(batch["images"], 1, 0), batch["labels"].T

        def loss_of_member(model, variables, settings):
            images, labels = images_NB[settings.draw], labels_NB[settings.draw]
            random_key = jax.random.fold_in(rngs["dropout"], settings.draw)
            logits, statistics = self.apply(model, variables, images, settings, train=True, random_key=random_key)
            return cross_entropy(logits, labels).sum(), jnp.sum(logits.argmax(-1) == labels), statistics

        by_group = self.map_members(loss_of_member, variables)
        total = sum(losses.sum() for losses, _, _ in by_group.values())
        num_right = sum(right.sum() for _, right, _ in by_group.values())
        weight = jnp.float32(labels_NB.shape[1])
        statistics = {group: new for group, (_, _, new) in by_group.items() if new}
        return Loss(total, weight, {"accuracy": (num_right, weight * self.num_members)}, {"batch_stats": statistics})

    def evaluate(self, variables, data):
        """Loss and accuracy on the test images, means over all members."""
        labels = data["test_labels"]

        def evaluate_member(model, variables, settings):
            logits = map_in_chunks(
                lambda images: self.apply(model, variables, images, settings)[0], data["test_images"]
            )
            return cross_entropy(logits, labels).sum(), jnp.sum(logits.argmax(-1) == labels)

        by_group = self.map_members(evaluate_member, variables).values()
        weight = jnp.float32(len(labels) * self.num_members)
        return {
            "loss": (sum(losses.sum() for losses, _ in by_group), weight),
            "accuracy": (sum(right.sum() for _, right in by_group), weight),
        }

    def examine(self, variables, data):
        """{"train_accuracy" [networks, N], "test_accuracy" [networks, N, no shift and distances]}."""
        shifts_V2, drawn = shifts_by(self.distances), variables.get("drawn")

        def examine_member(model, variables, settings):
            rows = np.arange(min(TRAIN_SIZE, len(data["train_labels"])))
            if drawn is not None:
                rows = drawn["rows"][:, settings.draw]
            # Train and test images at once: two programs would take twice as long to compile.
            images = jnp.concatenate([data["train_images"][rows], data["test_images"]])
            labels = jnp.concatenate([data["train_labels"][rows], data["test_labels"]])
            right_VE = jax.lax.map(
                lambda shift: self.predict_shifted(model, variables, images, settings, shift) == labels,
                jnp.asarray(shifts_V2),
            )
            return {
                "train_accuracy": right_VE[0, : len(rows)].mean(),
                "test_accuracy": mean_by_distance(right_VE[:, len(rows) :].mean(1), shifts_V2),
            }

        by_group = self.map_members(examine_member, variables).values()
        by_group = [jax.tree.map(lambda x: x.reshape(-1, self.num_draws, *x.shape[1:]), group) for group in by_group]
        return jax.tree.map(lambda *groups: jnp.concatenate(groups), *by_group)

    def predict_shifted(self, model, variables, images, settings, shift):
        """The classes [E] that one member predicts for images of bytes, which are first moved by (down, right)."""

        def predict(some):
            if self.distances:
                some = shift_images(some, *jnp.broadcast_to(shift[:, None], (2, len(some))))
            return self.apply(model, variables, some, settings)[0].argmax(-1)

        return map_in_chunks(predict, images)

    def measure(self, variables):
        """{"num_parameters" [networks]}."""
        networks = self.networks.values()
        return {"num_parameters": np.array([count_parameters(network, self.images.shape) for network in networks])}


def initialize_draws(model, draw_keys, image_shape):
    """A model's initial variables for each of N keys, leaves [N, ...]."""
    return jax.lax.map(lambda draw_key: model.init(draw_key, jnp.zeros((2, *image_shape))), draw_keys)


def repeat_draws(leaves, num_networks):
    """Leaves [N, ...] as those of the members of several networks, [networks x N, ...]."""
    return jax.tree.map(lambda leaf: jnp.tile(leaf, (num_networks, *[1] * (leaf.ndim - 1))), leaves)
