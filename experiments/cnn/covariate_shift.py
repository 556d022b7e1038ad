"""Internal covariate shift: how much a layer's gradient changes because the layers before it have moved.

Measured as Santurkar et al. 2018 define it ("How does batch normalization help optimization?", definition 2.1).
"""

import jax
import jax.numpy as jnp

from experiments.cnn.classifier import cross_entropy
from experiments.cnn.networks import SHIFT_CHANNELS

NUM_IMAGES = 100  # training images by which the shift is measured
NUM_CONVOLUTIONS = len(SHIFT_CHANNELS)
LAYERS = (*(f"convolution_{number}" for number in range(NUM_CONVOLUTIONS)), "linear")  # whose gradients are compared
DEPTHS = {"linear": NUM_CONVOLUTIONS} | {
    f"{kind}_{number}": number for kind in ("convolution", "norm") for number in range(NUM_CONVOLUTIONS)
}


def measure_shift(ensemble, learning_rate, variables, data):
    """The covariate shift of an Ensemble's networks, of ``networks.shift_networks``, in one draw.

    It is that of the step of training that NUM_IMAGES training images would be: plain gradient descent, which carries
    nothing from step to step but the parameters.

    Returns:
      {"NETWORK/QUANTITY": array}, the quantities of ``internal_covariate_shift``.
    """
    images, labels = data["train_images"][:NUM_IMAGES], data["train_labels"][:NUM_IMAGES]

    def of_member(model, member_variables, settings):
        def loss(params):
            logits, _ = ensemble.apply(model, member_variables | {"params": params}, images, settings, train=True)
            return cross_entropy(logits, labels).mean()

        return internal_covariate_shift(loss, member_variables["params"], DEPTHS, LAYERS, learning_rate)

    (by_quantity,) = ensemble.map_members(of_member, variables).values()
    return {
        f"{name}/{quantity}": values[number]
        for number, name in enumerate(ensemble.networks)
        for quantity, values in by_quantity.items()
    }


def internal_covariate_shift(loss, params, depths, layers, learning_rate):
    """What one step of gradient descent in the earlier layers does to each layer's gradient.

    G is the gradient of the loss in a layer's parameters, and G' the same after all that lies earlier has taken its
    step of gradient descent; the layer itself and later ones stay where they are.

    Args:
      loss: params {name: pytree} -> the loss of one batch, the same for G and G'.
      depths: {name: depth} of all of ``params``, counted from the input on; what lies at a lesser depth is earlier.
      layers: the names whose gradients are compared.
      learning_rate: learning rate of the step.
    Returns:
      {"shift": |G - G'|, "relative_shift": |G - G'| / |G|, "cosine": cosine of the angle between G and G'}, each
      [layers], and the "loss" before the step. In a layer before which nothing lies they are 0, 0 and 1.
    """
    gradient = jax.value_and_grad(loss)

    def compare(before, layer):
        # One compiled gradient for all: how deep the step has reached is an argument. First comes G itself, by no step.
        number, depth = layer
        mixed = {
            name: jax.tree.map(
                lambda p, g, is_earlier=depths[name] < depth: jnp.where(is_earlier, p - learning_rate * g, p),
                params[name],
                before[name],
            )
            for name in params
        }
        value, after = gradient(mixed)
        products = []
        for name in layers:
            a, b = (jnp.concatenate([x.ravel() for x in jax.tree.leaves(tree[name])]) for tree in (before, after))
            products.append(jnp.stack([a @ a, a @ b, b @ b, (a - b) @ (a - b)]))
        before = jax.tree.map(lambda g, new: jnp.where(depth < 0, new, g), before, after)
        return before, (value, jnp.stack(products)[number])

    numbers = jnp.array([0, *range(len(layers))])
    reached_depths = jnp.array([-1, *(depths[layer] for layer in layers)])
    zeros = jax.tree.map(jnp.zeros_like, params)
    _, (values, products) = jax.lax.scan(compare, zeros, (numbers, reached_depths))
    aa, ab, bb, difference = products[1:].T
    return {
        "shift": jnp.sqrt(difference),
        "relative_shift": jnp.sqrt(difference / aa),
        "cosine": ab / jnp.sqrt(aa * bb),
        "loss": values[0],
    }
