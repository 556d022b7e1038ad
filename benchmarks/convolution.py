"""Training speed of the small convolutional network, side by side with the same network in eager PyTorch.

    python -m benchmarks.convolution --rounds=20 --steps=20

Both sides hold 10,000 images of 32 x 32 x 3 as bytes, draw batches of 128 from them, standardise, and take a step of
SGD with momentum on the cross-entropy. The sides, pinned to the same cores, take turns. PyTorch's side needs
PyTorch.
"""

import numpy as np
from absl import app, flags

from benchmarks import paired

SIDES = flags.DEFINE_list("sides", ["jax", "torch"], "jax, jax_batch_first, torch; the first is compared with others")

NUM_IMAGES, BATCH_SIZE, CLASSES = 10_000, 128, 10
LEARNING_RATE, MOMENTUM = 0.002, 0.9
MEAN, DEVIATION = 0.5, 0.25


def image_data():
    """Images of noise, their mean brightness telling the class, and labels."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, NUM_IMAGES)
    images = rng.integers(0, 56, (NUM_IMAGES, 32, 32, 3)) + 20 * labels[:, None, None, None]
    return images.astype(np.uint8), labels.astype(np.int32)


def jax_side(layout=None):
    """Makes steps -> loss of the last ones, by this project's model and engine."""
    import jax.numpy as jnp
    import optax

    from data.images import standardize
    from data.order import batch_rows
    from models.cnn import CNN
    from training.experiment import Loss, Task

    model = CNN(layout=layout)
    images, labels = image_data()

    def batch(seed, step, data):
        rows, _ = batch_rows(seed, step, BATCH_SIZE, NUM_IMAGES)
        return {"images": data["images"][rows], "labels": data["labels"][rows]}

    def loss(variables, batch, rngs):
        x = standardize(batch["images"], MEAN, DEVIATION)
        logits, collections = model.apply(variables, x, train=True, mutable=["batch_stats"])
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["labels"])
        return Loss(losses.sum(), jnp.float32(BATCH_SIZE), collections=collections)

    task = Task(
        model=model,
        init=lambda key: model.init(key, jnp.zeros((1, 32, 32, 3))),
        evaluate=None,
        batch=batch,
        loss=loss,
        optimizer=optax.sgd(LEARNING_RATE, MOMENTUM),
        data={"images": images, "labels": labels},
    )
    return paired.engine(task)[0]


def jax_side_batch_first():
    """The same with images laid out as they are given."""
    return jax_side("BHWC")


def torch_side():
    """Makes steps -> loss of the last one, as a PyTorch user would write it."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    torch.set_num_threads(paired.THREADS.value)
    torch.manual_seed(0)
    images, labels = image_data()
    images, labels = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(labels).long()
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.LeakyReLU(),
        nn.MaxPool2d(2),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.LeakyReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(1024, CLASSES),
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)

    def run(steps):
        for _ in range(steps):
            rows = torch.randint(0, NUM_IMAGES, (BATCH_SIZE,))
            x = (images[rows].float() / 255 - MEAN) / DEVIATION
            loss = F.cross_entropy(model(x), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return loss.item()

    return run


def main(_):
    makers = {"jax": jax_side, "jax_batch_first": jax_side_batch_first, "torch": torch_side}
    paired.compare({side: makers[side] for side in SIDES.value}, "images", BATCH_SIZE)


if __name__ == "__main__":
    app.run(main)
