"""Optimisers of images' networks: for several networks side by side, and that of cifar10-airbench94."""

import jax
import jax.numpy as jnp
import numpy as np
import optax


def by_member(optimizer):
    """An optax transformation of {group: leaves [members, ...]} that is ``optimizer`` for each member by itself.

    So what an optimiser takes over all leaves, such as the norm that a gradient is clipped by, is of one member.
    """

    def init(params):
        return {group: jax.vmap(optimizer.init)(leaves) for group, leaves in params.items()}

    def update(gradients, states, params):
        both = {group: jax.vmap(optimizer.update)(gradients[group], states[group], params[group]) for group in params}
        return tuple({group: pair[number] for group, pair in both.items()} for number in (0, 1))

    return optax.GradientTransformation(init, update)


def either(first, second, by_first):
    """An optax transformation of {group: leaves [members, ...]}: the first for marked members, the second for others.

    Args:
      first, second: optimisers of one member, see ``by_member``; None where no member has it.
      by_first: {group: booleans [members]} (numpy).
    """
    marked = np.concatenate(list(by_first.values()))
    if marked.all() or not marked.any():
        return by_member(first if marked.all() else second)
    transforms = by_member(first), by_member(second)

    def init(params):
        return tuple(transform.init(params) for transform in transforms)

    def update(gradients, states, params):
        (a, first_state), (b, second_state) = (
            transform.update(gradients, state, params) for transform, state in zip(transforms, states, strict=True)
        )
        chosen = {
            group: jax.tree.map(
                lambda x, y, mark=mark: jnp.where(mark.reshape(-1, *[1] * (x.ndim - 1)), x, y), a[group], b[group]
            )
            for group, mark in by_first.items()
        }
        return chosen, (first_state, second_state)

    return optax.GradientTransformation(init, update)


MOMENTUM = 0.85
SCALE = 1024 * (1 + 1 / (1 - MOMENTUM))  # steps of the decoupled rates below


def airbench(num_steps, batch_size, bias_steps, learning_rate=11.5, weight_decay=0.0153):
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
