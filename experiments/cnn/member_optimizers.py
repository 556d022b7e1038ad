"""Optimisers of networks that are trained side by side: each member of an ensemble is optimised by itself.

Parameters and gradients are {group: pytree of leaves [M, ...]}, M members of the group.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax


def optimize_each(optimizer):
    """An optax transformation of parameters of members that is ``optimizer`` for each member by itself.

    So what an optimiser takes over all leaves, such as the norm that a gradient is clipped by, is of one member.
    """

    def init(params):
        return {group: jax.vmap(optimizer.init)(leaves) for group, leaves in params.items()}

    def update(gradients, states, params):
        pairs = {group: jax.vmap(optimizer.update)(gradients[group], states[group], params[group]) for group in params}
        updates = {group: pair[0] for group, pair in pairs.items()}
        return updates, {group: pair[1] for group, pair in pairs.items()}

    return optax.GradientTransformation(init, update)


def optimize_by_name(optimizers, names):
    """An optax transformation of parameters of members that optimises each member by the optimiser of its name.

    Every optimiser computes its updates of all members, and those of other members are thrown away: one program, and
    no member's leaves have to be taken apart from the others'.

    Args:
      optimizers: {name: optimiser of one member}.
      names: {group: the names [M] of its members' optimisers}.
    Raises:
      ValueError: a name that is not among those of ``optimizers``.
    """
    for name in np.concatenate(list(names.values())):
        if name not in optimizers:
            raise ValueError(f"no optimiser named {name}: the task has {', '.join(optimizers)}")
    used = [name for name in optimizers if any(name in of_group for of_group in names.values())]
    transforms = [optimize_each(optimizers[name]) for name in used]
    if len(used) == 1:
        return transforms[0]

    def init(params):
        return tuple(transform.init(params) for transform in transforms)

    def update(gradients, states, params):
        updates, new_states = zip(
            *(transform.update(gradients, state, params) for transform, state in zip(transforms, states, strict=True)),
            strict=True,
        )
        selected = updates[0]
        for name, updates_of_name in zip(used[1:], updates[1:], strict=True):
            selected = {
                group: select_members(np.array(names[group]) == name, updates_of_name[group], selected[group])
                for group in params
            }
        return selected, new_states

    return optax.GradientTransformation(init, update)


def select_members(mask_M, marked, others):
    """A pytree of leaves [M, ...]: those of ``marked`` where the mask is true, of ``others`` elsewhere."""
    return jax.tree.map(
        lambda x, y: jnp.where(mask_M.reshape(-1, *[1] * (x.ndim - 1)), x, y),
        marked,
        others,
    )
