"""Where the training step runs: one device, ``pmap`` over several, or a mesh. The only file that knows of devices.

A mesh has three axes. The batch is split over ``data`` and ``fsdp``; parameters and the optimiser's state are split
over ``fsdp`` and ``model`` as the task's rules say. A state is held in one of two forms: at rest, as checkpoints store
it, each leaf one array of the model's own shape; and in training, where ``pmap`` wants a leading axis of devices.
"""

import math
import re
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

from training.experiment import UserError
from training.step import (
    abstract_state,
    init_state,
    key,
    leaves_by_path,
    repeat,
    train_step,
    variables,
    with_data,
)

KINDS = ("auto", "single", "pmap", "mesh")
AXES = ("data", "fsdp", "model")
BATCH_AXES = ("data", "fsdp")


@dataclass(frozen=True)
class Placement:
    kind: str
    num_devices: int
    mesh: Any = None  # of all devices; None on a single one

    @property
    def batch_shards(self):
        """Over how many devices the batch is split."""
        if self.kind == "mesh":
            return math.prod(self.mesh.shape[axis] for axis in BATCH_AXES)
        return self.num_devices

    @property
    def splits_parameters(self):
        return self.kind == "mesh" and self.mesh.shape["fsdp"] * self.mesh.shape["model"] > 1


SINGLE = Placement("single", 1)


def choose(kind="auto", mesh=""):
    """The placement that the flags ``--parallelism`` and ``--mesh`` ask for; raises UserError where it cannot be.

    ``auto`` takes one device where there is one, ``pmap`` where there are several, and a mesh when one is given.
    """
    available = len(jax.devices())
    if kind == "auto":
        kind = "mesh" if mesh else "pmap" if available > 1 else "single"
    if mesh and kind != "mesh":
        raise UserError(f"--mesh={mesh} goes with --parallelism=mesh, not with {kind}")
    if kind == "single":
        if jax.process_count() > 1:
            raise UserError(f"--parallelism=single is one process; there are {jax.process_count()}: use pmap or mesh")
        return SINGLE
    sizes = _axis_sizes(mesh) if mesh else {"data": available}
    count = math.prod(sizes.values())
    if count > available:
        raise UserError(f"--mesh={mesh} asks for {count} devices; there are {available}")
    if count < available and jax.process_count() > 1:
        raise UserError(f"--mesh={mesh} takes {count} of {available} devices; several processes must use all of them")
    shape = tuple(sizes.get(axis, 1) for axis in AXES)
    devices = jax.devices()[:count]
    return Placement(kind, count, jax.make_mesh(shape, AXES, (AxisType.Auto,) * 3, devices=devices))


def _axis_sizes(mesh):
    sizes = {}
    for part in mesh.split(","):
        name, _, size = part.partition("=")
        if name not in AXES or name in sizes or not size.isdecimal() or int(size) < 1:
            raise UserError(
                f"--mesh={mesh} is not of the form AXIS=SIZE,AXIS=SIZE; the axes are {', '.join(AXES)}, once each"
            )
        sizes[name] = int(size)
    return sizes


def check_batch(placement, task):
    """Raises UserError unless devices and microbatches divide the batch evenly, and the loss takes a device's part."""

    def batch(data):
        return with_data(task, data).batch(0, 0)

    rows = batch(None) if task.batch_on_host else jax.eval_shape(batch, task.data)
    size = jax.tree.leaves(rows)[0].shape[0]
    shards, microbatches = placement.batch_shards, task.accumulate
    if size % (shards * microbatches):
        by = (
            f"the {shards} devices of --parallelism={placement.kind}"
            if size % shards
            else f"{microbatches} microbatches"
        )
        by += "" if size % shards else " a device" if shards > 1 else ""
        hint = ", or --parallelism=single" if size % shards else ", or a smaller optimizer.accumulate"
        raise UserError(
            f"batch_size={size} is not divisible by {by}; choose a multiple of {shards * microbatches}{hint}"
        )
    if placement.kind != "pmap":
        return
    state = abstract_state(task, 1)
    parts = jax.tree.map(lambda x: jax.ShapeDtypeStruct((shards, size // shards, *x.shape[1:]), x.dtype), rows)
    loss = jax.vmap(lambda *arguments: task.loss(*arguments).sum, (None, 0, None), axis_name="data")
    try:
        jax.eval_shape(loss, variables(state), parts, {"dropout": key(0, "dropout")})
    except ValueError as error:
        raise UserError(str(error)) from error


def state_shardings(placement, task, num_seeds):
    """Where each leaf of the state lies at rest: a tree of shardings like the state."""
    state = abstract_state(task, num_seeds)
    if placement.kind == "single":
        return jax.tree.map(lambda _: SingleDeviceSharding(jax.local_devices()[0]), state)
    paths = [path for path, _ in leaves_by_path(state, sort=False)]
    seed_axes = int(num_seeds > 1)
    specs = [
        partition(placement, task.sharding, path, leaf.shape[seed_axes:])
        for path, leaf in zip(paths, jax.tree.leaves(state), strict=True)
    ]
    shardings = [NamedSharding(placement.mesh, PartitionSpec(*[None] * seed_axes, *spec)) for spec in specs]
    return jax.tree.unflatten(jax.tree.structure(state), shardings)


def partition(placement, rules, path, shape):
    """The mesh axes, one or None for each axis of an array, over which a leaf of the state is split.

    The first of the rules (pattern, mesh axes) decides whose pattern is found in the path and whose axes are as many as
    the array's; where none is, ``fsdp`` splits the longest axis of a matrix. A mesh axis that does not divide the
    array's axis evenly is left out.
    """
    if not placement.splits_parameters:
        return ()
    longest = int(np.argmax(shape)) if len(shape) > 1 else None
    axes = tuple("fsdp" if i == longest else None for i in range(len(shape)))
    axes = next((a for pattern, a in rules if len(a) == len(shape) and re.search(pattern, path)), axes)
    pairs = zip(axes, shape, strict=True)
    return tuple(axis if axis and size % placement.mesh.shape[axis] == 0 else None for axis, size in pairs)


def initial(placement, task, seeds):
    """The state at rest before the first step, made where it will lie."""
    init = over_seeds(partial(init_state, task), len(seeds))
    init = jax.jit(init, out_shardings=state_shardings(placement, task, len(seeds)))
    return init(np.array(seeds if len(seeds) > 1 else seeds[0], np.int32))


def place(placement, state):
    """Makes the form that trains from the state at rest."""
    if placement.kind != "pmap":
        return state
    return jax.tree.map(lambda x: _a_copy_each(np.asarray(x.addressable_data(0))), state)


def _a_copy_each(x):
    """[local devices, ...]: the array on every device, laid out as pmap returns it: else it would compile twice."""
    sharding = NamedSharding(Mesh(np.array(jax.local_devices()), ("data",)), PartitionSpec("data"))
    return jax.make_array_from_callback((len(jax.local_devices()), *x.shape), sharding, lambda _: x[None])


def place_data(placement, data):
    """Puts a task's resident arrays on every device."""
    if placement.kind == "single":
        return jax.device_put(data, jax.local_devices()[0])
    if placement.kind == "pmap":
        return jax.tree.map(lambda x: _a_copy_each(np.asarray(x)), data)
    everywhere = NamedSharding(placement.mesh, PartitionSpec())
    return jax.tree.map(lambda x: jax.make_array_from_callback(x.shape, everywhere, lambda i: x[i]), data)


def at_rest(placement, state):
    """Makes the form that checkpoints store from the state in training."""
    if placement.kind != "pmap":
        return state
    state = local(placement, state)
    if jax.process_count() == 1:
        return state
    everywhere = NamedSharding(placement.mesh, PartitionSpec())
    return jax.tree.map(lambda x: jax.make_array_from_callback(x.shape, everywhere, lambda i, x=x: x[i]), state)


def local(placement, tree):
    """One device's copy of replicated arrays that training or evaluation returned."""
    if placement.kind == "pmap":
        return jax.tree.map(lambda x: x.addressable_data(0).reshape(x.shape[1:]), tree)
    if placement.kind == "mesh":
        return jax.tree.map(lambda x: x.addressable_data(0), tree)
    return tree


def gathered(placement, state):
    """One device's copy of a whole state in training."""
    if placement.splits_parameters:
        state = jax.jit(lambda x: x, out_shardings=NamedSharding(placement.mesh, PartitionSpec()))(state)
    return local(placement, state)


def measuring(placement, function, num_seeds, data=None):
    """Compiles a function of one seed's (state, data) so that it takes the state in training.

    Where every device has all parameters, one of them evaluates; where they are split, the whole mesh does.

    Args:
      data: what ``place_data`` returned.
    """

    def measure(state, data):
        return over_seeds(lambda state: function(state, data), num_seeds)(state)

    if placement.splits_parameters:
        compiled = jax.jit(measure, out_shardings=NamedSharding(placement.mesh, PartitionSpec()))
        return lambda state: local(placement, compiled(state, data))
    compiled, data = jax.jit(measure), local(placement, data)
    return lambda state: compiled(local(placement, state), data)


def over_seeds(function, num_seeds):
    """``function`` of one seed's arrays, mapped over a leading seed axis where there are several seeds.

    All seeds are one compiled program. An accelerator runs them side by side (``vmap``); a CPU is faster when they take
    turns within it (``lax.map``, see docs/performance.md).
    """
    if num_seeds == 1:
        return function
    if jax.default_backend() == "cpu":
        return lambda tree: jax.lax.map(function, tree)
    return jax.vmap(function)


def train_steps(placement, task, num_seeds, data=None):
    """Compiles (state in training, count or placed batch) -> the same state later.

    Traceable batches are made within, ``count`` steps a dispatch; batches made on the host are arguments, one a step.

    Args:
      data: the task's data as ``place_data`` put it on the devices; where None it is put there now.
    """
    data = place_data(placement, task.data) if data is None else data
    if placement.kind == "pmap":
        add, mean = (partial(f, axis_name="data") for f in (jax.lax.psum, jax.lax.pmean))
        rows = partial(_rows_of_device, placement)
        options = {"shard": rows, "reduce": add, "mean": mean, "device_index": partial(jax.lax.axis_index, "data")}
    elif placement.kind == "mesh":
        by_row = NamedSharding(placement.mesh, PartitionSpec(BATCH_AXES))
        options = {"shard": lambda batch: jax.lax.with_sharding_constraint(batch, by_row)}
    else:
        options = {}

    def steps(state, count_or_batch, data):
        step = train_step(with_data(task, data), **options)
        if task.batch_on_host:
            return over_seeds(lambda arguments: step(*arguments), num_seeds)((state, count_or_batch))
        return repeat(over_seeds(step, num_seeds))(state, count_or_batch)

    if placement.kind == "single":
        compiled = jax.jit(steps, donate_argnums=0)
    elif placement.kind == "pmap":
        axes = (0, 0 if task.batch_on_host else None, 0)
        compiled = jax.pmap(steps, axis_name="data", in_axes=axes, donate_argnums=0)
    else:
        shardings = state_shardings(placement, task, num_seeds)
        compiled = jax.jit(steps, in_shardings=(shardings, None, None), out_shardings=shardings, donate_argnums=0)
    return lambda state, count_or_batch: compiled(state, count_or_batch, data)


def _rows_of_device(placement, batch):
    def rows(x):
        size = x.shape[0] // placement.num_devices
        return jax.lax.dynamic_slice_in_dim(x, jax.lax.axis_index("data") * size, size)

    return jax.tree.map(rows, batch)


def place_batch(placement, batch, num_seeds):
    """Puts a global batch that was made on the host where the step wants it; each process takes its devices' rows.

    Args:
      batch: a pytree of numpy arrays [B, ...], or [S, B, ...] where there are several seeds.
    """
    seed_axes = int(num_seeds > 1)
    if placement.kind == "pmap":
        return jax.tree.map(partial(_rows_of_process, placement, seed_axes), batch)
    if placement.kind == "mesh":
        by_row = NamedSharding(placement.mesh, PartitionSpec(*[None] * seed_axes, BATCH_AXES))
        return jax.tree.map(lambda x: jax.make_array_from_callback(x.shape, by_row, lambda i: x[i]), batch)
    return jax.device_put(batch, jax.local_devices()[0])


def _rows_of_process(placement, seed_axes, x):
    """[B, ...] -> [local devices, rows of each, ...]."""
    rows = np.moveaxis(x, seed_axes, 0)
    rows = rows.reshape(placement.num_devices, -1, *rows.shape[1:])
    here = [i for i, device in enumerate(jax.devices()) if device.process_index == jax.process_index()]
    return np.moveaxis(rows[here], 1, 1 + seed_axes)
