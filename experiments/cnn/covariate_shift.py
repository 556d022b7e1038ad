"""Internal covariate shift: how much a layer's gradient changes because the layers before it have moved.

Measured as Santurkar et al. 2018 define it ("How does batch normalization help optimization?", definition 2.1).
"""

import jax
import jax.numpy as jnp


def internal_covariate_shift(loss, params, depths, layers, learning_rate):
    """What one step of gradient descent in the earlier layers does to each layer's gradient.

    G is the gradient of the loss in a layer's parameters, and G' the same after all that lies earlier has taken its
    step of gradient descent; the layer itself and later ones stay where they are.

    Args:
      loss: params {name: pytree} -> the loss of one batch, the same for G and G'.
      depths: {name: depth} of all of ``params``, from the input on; what lies at a lesser depth is earlier.
      layers: the names whose gradients are compared.
      learning_rate: of the step.
    Returns:
      {"shift": |G - G'|, "relative_shift": that over |G|, "cosine": of the angle between G and G'}, each [layers], and
      "loss" before the step.
      Of a layer before which nothing lies they are 0, 0 and 1.
    """
    gradient = jax.value_and_grad(loss)

    def compared(before, numbers):
        # One compiled gradient for all: how deep the step has reached is an argument. First comes G itself, by no step.
        number, depth = numbers
        mixed = {
            name: jax.tree.map(
                lambda p, g, here=depths[name] < depth: jnp.where(here, p - learning_rate * g, p),
                params[name],
                before[name],
            )
            for name in params
        }
        value, after = gradient(mixed)
        products = []
        for layer in layers:
            a, b = (jnp.concatenate([x.ravel() for x in jax.tree.leaves(tree[layer])]) for tree in (before, after))
            products.append(jnp.stack([a @ a, a @ b, b @ b, (a - b) @ (a - b)]))
        before = jax.tree.map(lambda g, new: jnp.where(depth < 0, new, g), before, after)
        return before, (value, jnp.stack(products)[number])

    reached = jnp.array([-1, *(depths[layer] for layer in layers)])
    numbers = jnp.array([0, *range(len(layers))])
    _, (values, products) = jax.lax.scan(compared, jax.tree.map(jnp.zeros_like, params), (numbers, reached))
    aa, ab, bb, difference = products[1:].T
    return {
        "shift": jnp.sqrt(difference),
        "relative_shift": jnp.sqrt(difference / aa),
        "cosine": ab / jnp.sqrt(aa * bb),
        "loss": values[0],
    }
