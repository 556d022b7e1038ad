"""The training step: a pure function from state to state, the same on one device and on many.

Random numbers come from named streams, ``key(seed, stream, step)``: there is no key to carry, so a step can be redone
by anyone who knows the seed and its number.
"""

import zlib
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


class State(NamedTuple):
    """All that training carries from step to step: arrays only."""

    step: Any
    seed: Any
    params: Any
    collections: Any
    optimizer: Any
    sums: Any = ()  # of metrics {name: (sum, weight)} since they were last logged


def key(seed, stream, step=0):
    """The PRNG key of a named stream of random numbers at a step."""
    stream_key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(stream.encode()))
    return jax.random.fold_in(stream_key, step)


def variables(state):
    """What a Linen module's ``apply`` takes."""
    return {"params": state.params, **state.collections}


def bind_data(task, data):
    """The task whose functions have its resident arrays at hand and take no argument for them."""
    if task.data is None:
        return task

    def bind(function):
        return lambda *arguments: function(*arguments, data)

    task = replace(task, data=None, evaluate=bind(task.evaluate), probe=bind(task.probe), examine=bind(task.examine))
    return task if task.batch is None or task.batch_on_host else replace(task, batch=bind(task.batch))


def init_state(task, seed):
    """The state before the first step."""
    collections = dict(task.init(key(seed, "init")))
    params = collections.pop("params")
    optimizer = task.optimizer.init(params) if task.optimizer else ()
    state = State(jnp.int32(0), jnp.int32(seed), params, collections, optimizer)
    return state._replace(sums=_zero_sums(task, state)) if task.optimizer else state


def _zero_sums(task, state):
    def metrics(data):
        batch = task.batch(0, 0) if task.batch_on_host else bind_data(task, data).batch(state.seed, state.step)
        # As a step sees it, so that a model that cannot train on so few examples says so before any step.
        batch = jax.tree.map(lambda x: x[: max(1, x.shape[0] // task.accumulate)], batch)
        loss = task.loss(variables(state), batch, {"dropout": key(0, "dropout")})
        return _metrics(loss, optax.tree.norm(state.params))

    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(metrics, task.data))


def reset_sums(state):
    """The state with its sums at zero, after they were logged; every array stays where it lies."""
    return state._replace(sums=jax.tree.map(lambda x: x * 0, state.sums))


def _metrics(loss, gradient_norm):
    """{name: (sum, weight)} of a step."""
    steps = jnp.ones_like(gradient_norm)
    return {"loss": (loss.sum, loss.weight), **loss.metrics, "gradient_norm": (gradient_norm, steps)}


def abstract_state(task, num_seeds):
    """Shapes and dtypes of an arm's state; a leading seed axis where there are several seeds."""
    init = jax.vmap(lambda seed: init_state(task, seed)) if num_seeds > 1 else lambda seed: init_state(task, seed)
    return jax.eval_shape(init, jax.ShapeDtypeStruct((num_seeds,) if num_seeds > 1 else (), jnp.int32))


def leaves_by_path(tree, sort=True):
    """(path, leaf) pairs, sorted by path or in the tree's order; names and indices alike joined with slashes."""
    pairs = [
        ("/".join(str(getattr(k, "key", getattr(k, "name", getattr(k, "idx", k)))) for k in path), leaf)
        for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]
        if hasattr(leaf, "shape")
    ]
    return sorted(pairs, key=lambda pair: pair[0]) if sort else pairs


def identity(x):
    """Returns x: one device has nothing to share."""
    return x


def train_step(task, shard=identity, add=identity, average=identity, device_index=lambda: 0):
    """Makes (state, batch or None) -> state.

    A step whose loss or gradient is not finite changes nothing, its own number included: the state stays at the last
    good step, and neighbours under ``vmap`` go on. Metrics are added to the state's sums one step at a time, so that
    what is logged does not depend on how steps are dispatched.

    Args:
      shard: takes a device's part of the global batch.
      add: adds a pytree of sums over devices.
      average: takes the mean of an array over devices, for collections: each has seen its own rows.
      device_index: tells devices apart where each draws random numbers of its own.
    """

    def loss_sum(params, collections, batch, rngs):
        loss = task.loss({"params": params, **collections}, batch, rngs)
        return loss.sum, loss

    def sum_gradients(state, collections, batch, dropout_key):
        """((gradients, Loss), new collections) of a batch or microbatch: sums, not yet divided."""
        gradient = jax.value_and_grad(loss_sum, has_aux=True)
        (_, loss), gradients = gradient(state.params, collections, batch, {"dropout": dropout_key})
        return (gradients, loss._replace(collections={})), {**collections, **loss.collections}

    def accumulate_gradients(state, batch, dropout_key):
        """The same, summed over ``task.accumulate`` microbatches, one in memory at a time."""
        count = task.accumulate
        if count == 1:
            return sum_gradients(state, state.collections, batch, dropout_key)
        # Microbatch i has rows i, i + count, ...: each device keeps the rows that it has.
        microbatches = jax.tree.map(lambda x: x.reshape(-1, count, *x.shape[1:]).swapaxes(0, 1), batch)

        def body(carry, indexed):
            sums, collections = carry
            index, microbatch = indexed
            new, collections = sum_gradients(state, collections, microbatch, jax.random.fold_in(dropout_key, index))
            return (jax.tree.map(jnp.add, sums, new), collections), None

        one = jax.tree.map(lambda x: x[0], microbatches)
        shapes, _ = jax.eval_shape(sum_gradients, state, state.collections, one, dropout_key)
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        carry, _ = jax.lax.scan(body, (zeros, state.collections), (jnp.arange(count), microbatches))
        return carry

    def step(state, batch=None):
        batch = shard(task.batch(state.seed, state.step)) if batch is None else batch
        dropout_key = jax.random.fold_in(key(state.seed, "dropout", state.step), device_index())
        sums, collections = accumulate_gradients(state, batch, dropout_key)
        gradients, loss = add(sums)
        collections = jax.tree.map(lambda x: average(x) if jnp.issubdtype(x.dtype, jnp.floating) else x, collections)
        gradients = jax.tree.map(lambda g: g / loss.weight, gradients)
        norm = optax.tree.norm(gradients)
        updates, optimizer = task.optimizer.update(gradients, state.optimizer, state.params)
        new = State(
            step=state.step + 1,
            seed=state.seed,
            params=optax.apply_updates(state.params, updates),
            collections=collections,
            optimizer=optimizer,
            sums=jax.tree.map(jnp.add, state.sums, _metrics(loss, norm)),
        )
        if jax.config.jax_debug_nans:  # which looks at results alone
            return new
        finite = jnp.isfinite(loss.sum) & jnp.isfinite(norm)
        return jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, state)

    return step


def repeat(step):
    """Makes (state, count) -> state, ``count`` steps later, in one dispatch.

    The count is traced, so any number of steps shares one compilation.
    """

    def steps(state, count):
        return jax.lax.fori_loop(0, count, lambda _, state: step(state), state)

    return steps
