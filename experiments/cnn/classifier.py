"""One network of images, trained on all training images epoch by epoch.

Axes: B batch, N images.
"""

import jax
import jax.numpy as jnp

from data.order import batch_rows
from experiments.cnn.images import map_in_chunks
from training.experiment import Loss, Task
from training.step import key


def cross_entropy(logits_BK, labels_B):
    """Cross-entropy [B] in nats of the labels under logits of K classes."""
    return -jnp.sum(jax.nn.log_softmax(logits_BK) * jax.nn.one_hot(labels_B, logits_BK.shape[-1]), axis=-1)


def one_view(images):
    """[(weight, images)]: the images as they are, with the whole weight."""
    return [(1.0, images)]


def classifier_task(
    images,
    model,
    optimizer,
    batch_size,
    *,
    prepare=lambda variables: variables,
    augment=None,
    label_smoothing=0.0,
    views=one_view,
):
    """A Task of one model on all training images, tested on all test images.

    Args:
      images: an ImageData.
      prepare: initial variables -> variables to start from.
      augment: (key, images [B, ...], seed, numbers of the examples [B], their epochs [B]) -> images.
      label_smoothing: share of the labels that is spread over all classes.
      views: images -> [(weight, images)], over which the predictions of the final variables are averaged. Evaluations
        on the way take the images as they are, which costs less.
    """

    def init(random_key):
        return prepare(model.init(random_key, jnp.zeros((2, *images.shape))))

    def batch(seed, step, data):
        rows_B, epochs_B = batch_rows(seed, step, batch_size, len(data["train_labels"]))
        x = data["train_images"][rows_B]
        if augment:
            x = augment(key(seed, "augmentation", step), x, seed, rows_B, epochs_B)
        return {"images": x, "labels": data["train_labels"][rows_B]}

    def loss(variables, batch, rngs):
        labels, weight = batch["labels"], jnp.float32(len(batch["labels"]))
        logits, new = model.apply(variables, images.standardize(batch["images"]), True, mutable=["batch_stats"])
        uniform = -jax.nn.log_softmax(logits).mean(-1).sum()
        total = (1 - label_smoothing) * cross_entropy(logits, labels).sum() + label_smoothing * uniform
        num_right = jnp.sum(logits.argmax(-1) == labels)
        collections = {name: values for name, values in variables.items() if name != "params"} | new
        return Loss(total, weight, {"accuracy": (num_right, weight)}, collections)

    def evaluate(variables, data):
        labels = data["test_labels"]
        logits = map_in_chunks(lambda some: model.apply(variables, images.standardize(some)), data["test_images"])
        weight = jnp.float32(len(labels))
        num_right = jnp.sum(logits.argmax(-1) == labels)
        return {"loss": (cross_entropy(logits, labels).sum(), weight), "accuracy": (num_right, weight)}

    def examine(variables, data):
        def mean_logits(some):
            return sum(weight * model.apply(variables, view) for weight, view in views(images.standardize(some)))

        predicted_N = map_in_chunks(mean_logits, data["test_images"]).argmax(-1)
        return {"predicted": predicted_N, "accuracy": (predicted_N == data["test_labels"]).mean()}

    return Task(
        model=model,
        init=init,
        batch=batch,
        loss=loss,
        optimizer=optimizer,
        evaluate=evaluate,
        examine=examine,
        data=images.arrays,
        facts=images.facts,
    )
