"""Where the training step runs: one device, ``pmap`` over several, or a mesh. The only file that knows of devices.

A state is held in one of two forms. In checkpoints each leaf is one array of the model's own shape; in training
``pmap`` wants a leading axis of devices. Where nothing is said, a state is one of training.
"""

import math
from dataclasses import dataclass
from functools import partial

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec, SingleDeviceSharding

from training.experiment import UserError
from training.partition import AXES, BATCH_AXES, parse_sizes, partition, splits_parameters
from training.step import abstract_state, bind_data, init_state, key, leaves_by_path, repeat, train_step, variables


class Placement:
    """Where arrays lie and steps run: what `Single`, `Pmap` and `Mesh` have in common.

    kind:              the value of ``--parallelism`` that asks for it
    num_devices:       of all processes together
    num_batch_shards:  over how many devices the batch is split
    splits_parameters: whether a device holds a part of the parameters, and not a copy of all
    """

    kind = ""
    num_devices = 1
    num_batch_shards = 1
    splits_parameters = False

    def check_batch(self, task):
        """Raises UserError unless devices and microbatches divide the batch evenly, and the loss takes their parts."""

        def batch(data):
            return bind_data(task, data).batch(0, 0)

        rows = batch(None) if task.batch_on_host else jax.eval_shape(batch, task.data)
        size, shards, microbatches = jax.tree.leaves(rows)[0].shape[0], self.num_batch_shards, task.accumulate
        if size % shards:
            raise UserError(
                f"batch_size={size} is not divisible by the {shards} devices of --parallelism={self.kind}; "
                f"choose a multiple of {shards * microbatches}, or --parallelism=single"
            )
        if size % (shards * microbatches):
            per_device = " a device" if shards > 1 else ""
            raise UserError(
                f"batch_size={size} is not divisible by {microbatches} microbatches{per_device}; "
                f"choose a multiple of {shards * microbatches}, or a smaller optimizer.accumulate"
            )
        self.check_loss(task, rows)

    def check_loss(self, task, rows):
        """Raises UserError where the loss does not take the part of a global batch, ``rows``, that it is given."""

    def state_shardings(self, task, num_seeds):
        """Where each leaf of a checkpoint's state lies: a tree of shardings like the state."""
        raise NotImplementedError

    def init_state(self, task, seeds):
        """The state before the first step in the form of checkpoints, made where it will lie."""
        num_seeds = len(seeds)
        init = map_over_seeds(partial(init_state, task), num_seeds)
        init = jax.jit(init, out_shardings=self.state_shardings(task, num_seeds))
        return init(np.array(seeds if num_seeds > 1 else seeds[0], np.int32))

    def training_form(self, state):
        """The state in training, made from one in the form of checkpoints."""
        return state

    def checkpoint_form(self, state):
        """The state in the form of checkpoints, made from one in training."""
        return state

    def one_copy(self, tree):
        """One device's copy of replicated arrays that training or evaluation returned."""
        return tree

    def gather(self, state):
        """One device's copy of a whole state in training."""
        return self.one_copy(state)

    def place_data(self, data):
        """A task's resident arrays, on every device."""
        raise NotImplementedError

    def place_batch(self, batch, num_seeds):
        """A global batch that was made on the host, where the step wants it; each process takes its devices' rows.

        Args:
          batch: a pytree of numpy arrays [B, ...], or [S, B, ...] where there are several seeds.
        """
        raise NotImplementedError

    def compile_evaluation(self, function, num_seeds, data=None):
        """Compiles a function of one seed's (state, data) into a function of the state in training.

        Every device has all parameters, so one of them evaluates.

        Args:
          data: what ``place_data`` returned.
        """
        compiled, data = jax.jit(_over_seeds(function, num_seeds)), self.one_copy(data)
        return lambda state: compiled(self.one_copy(state), data)

    def compile_train_steps(self, task, num_seeds, data=None):
        """Compiles (state, count or placed batch) -> the same state later.

        Traceable batches are made within, ``count`` steps a dispatch; batches made on the host are arguments, one a
        step.

        Args:
          data: the task's data as ``place_data`` put it on the devices; where None it is put there now.
        """
        data = self.place_data(task.data) if data is None else data
        compiled = self.compile_steps(task, num_seeds)
        return lambda state, count_or_batch: compiled(state, count_or_batch, data)

    def compile_steps(self, task, num_seeds):
        """Compiles (state, count or placed batch, placed data) -> the same state later."""
        raise NotImplementedError


@dataclass(frozen=True)
class Single(Placement):
    """One device, the process's first."""

    kind = "single"

    def state_shardings(self, task, num_seeds):
        sharding = SingleDeviceSharding(jax.local_devices()[0])
        return jax.tree.map(lambda _: sharding, abstract_state(task, num_seeds))

    def place_data(self, data):
        return jax.device_put(data, jax.local_devices()[0])

    def place_batch(self, batch, num_seeds):
        return jax.device_put(batch, jax.local_devices()[0])

    def compile_steps(self, task, num_seeds):
        return jax.jit(steps_function(task, num_seeds), donate_argnums=0)


SINGLE = Single()


@dataclass(frozen=True)
class Pmap(Placement):
    """All devices, each with a copy of the parameters and a part of the batch."""

    num_devices: int

    kind = "pmap"

    @property
    def num_batch_shards(self):
        return self.num_devices

    def check_loss(self, task, rows):
        def part_of_a_device(x):
            return jax.ShapeDtypeStruct((self.num_devices, x.shape[0] // self.num_devices, *x.shape[1:]), x.dtype)

        loss = jax.vmap(lambda *arguments: task.loss(*arguments).sum, (None, 0, None), axis_name="data")
        parts, rngs = jax.tree.map(part_of_a_device, rows), {"dropout": key(0, "dropout")}
        try:
            jax.eval_shape(loss, variables(abstract_state(task, 1)), parts, rngs)
        except ValueError as error:
            raise UserError(str(error)) from error

    def _replicated_sharding(self):
        return NamedSharding(jax.make_mesh((self.num_devices,), ("data",), (AxisType.Auto,)), PartitionSpec())

    def state_shardings(self, task, num_seeds):
        sharding = self._replicated_sharding()
        return jax.tree.map(lambda _: sharding, abstract_state(task, num_seeds))

    def training_form(self, state):
        return jax.tree.map(lambda x: _stack_copies(np.asarray(x.addressable_data(0))), state)

    def checkpoint_form(self, state):
        state = self.one_copy(state)
        return state if jax.process_count() == 1 else _distribute(state, self._replicated_sharding())

    def one_copy(self, tree):
        return jax.tree.map(lambda x: x.addressable_data(0).reshape(x.shape[1:]), tree)

    def place_data(self, data):
        return jax.tree.map(lambda x: _stack_copies(np.asarray(x)), data)

    def place_batch(self, batch, num_seeds):
        return jax.tree.map(partial(self._rows_of_process, int(num_seeds > 1)), batch)

    def _rows_of_process(self, seed_axes, x):
        """[B, ...] -> [local devices, rows of each, ...]."""
        rows = np.moveaxis(x, seed_axes, 0)
        rows = rows.reshape(self.num_devices, -1, *rows.shape[1:])
        here = [i for i, device in enumerate(jax.devices()) if device.process_index == jax.process_index()]
        return np.moveaxis(rows[here], 1, 1 + seed_axes)

    def _rows_of_device(self, batch):
        def rows(x):
            size = x.shape[0] // self.num_devices
            return jax.lax.dynamic_slice_in_dim(x, jax.lax.axis_index("data") * size, size)

        return jax.tree.map(rows, batch)

    def compile_steps(self, task, num_seeds):
        make_step = partial(
            train_step,
            shard=self._rows_of_device,
            add=partial(jax.lax.psum, axis_name="data"),
            average=partial(jax.lax.pmean, axis_name="data"),
            device_index=partial(jax.lax.axis_index, "data"),
        )
        steps, batch_axis = steps_function(task, num_seeds, make_step), 0 if task.batch_on_host else None
        return jax.pmap(steps, axis_name="data", in_axes=(0, batch_axis, 0), donate_argnums=0)


@dataclass(frozen=True)
class Mesh(Placement):
    """A mesh of devices with the axes AXES, which split the batch, and the state as the task's rules say."""

    mesh: jax.sharding.Mesh

    kind = "mesh"

    @property
    def num_devices(self):
        return self.mesh.size

    @property
    def num_batch_shards(self):
        return math.prod(self.mesh.shape[axis] for axis in BATCH_AXES)

    @property
    def splits_parameters(self):
        return splits_parameters(self.mesh)

    def _sharding(self, *axes):
        return NamedSharding(self.mesh, PartitionSpec(*axes))

    def state_shardings(self, task, num_seeds):
        state, seed_axes = abstract_state(task, num_seeds), int(num_seeds > 1)
        shardings = [
            self._sharding(*[None] * seed_axes, *partition(self.mesh, task.sharding, path, leaf.shape[seed_axes:]))
            for path, leaf in leaves_by_path(state, sort=False)
        ]
        return jax.tree.unflatten(jax.tree.structure(state), shardings)

    def one_copy(self, tree):
        return jax.tree.map(lambda x: x.addressable_data(0), tree)

    def gather(self, state):
        if self.splits_parameters:
            state = jax.jit(lambda x: x, out_shardings=self._sharding())(state)
        return self.one_copy(state)

    def place_data(self, data):
        return _distribute(data, self._sharding())

    def place_batch(self, batch, num_seeds):
        return _distribute(batch, self._sharding(*[None] * int(num_seeds > 1), BATCH_AXES))

    def compile_evaluation(self, function, num_seeds, data=None):
        if not self.splits_parameters:
            return super().compile_evaluation(function, num_seeds, data)
        compiled = jax.jit(_over_seeds(function, num_seeds), out_shardings=self._sharding())  # on the whole mesh
        return lambda state: self.one_copy(compiled(state, data))

    def compile_steps(self, task, num_seeds):
        by_row, shardings = self._sharding(BATCH_AXES), self.state_shardings(task, num_seeds)
        make_step = partial(train_step, shard=lambda batch: jax.lax.with_sharding_constraint(batch, by_row))
        return jax.jit(
            steps_function(task, num_seeds, make_step),
            in_shardings=(shardings, None, None),
            out_shardings=shardings,
            donate_argnums=0,
        )


def choose(parallelism="auto", mesh=""):
    """The placement that the flags ``--parallelism`` and ``--mesh`` ask for; raises UserError where it cannot be.

    ``auto`` takes one device where there is one, ``pmap`` where there are several, and a mesh when one is given.
    """
    available = len(jax.devices())
    if parallelism == "auto":
        parallelism = "mesh" if mesh else "pmap" if available > 1 else "single"
    if mesh and parallelism != "mesh":
        raise UserError(f"--mesh={mesh} goes with --parallelism=mesh, not with {parallelism}")
    if parallelism == "single":
        if jax.process_count() > 1:
            raise UserError(f"--parallelism=single is one process; there are {jax.process_count()}: use pmap or mesh")
        return SINGLE
    if parallelism == "pmap":
        return Pmap(available)
    sizes = parse_sizes(mesh) if mesh else {"data": available}
    count = math.prod(sizes.values())
    if count > available:
        raise UserError(f"--mesh={mesh} asks for {count} devices; there are {available}")
    if count < available and jax.process_count() > 1:
        raise UserError(f"--mesh={mesh} takes {count} of {available} devices; several processes must use all of them")
    shape = tuple(sizes.get(axis, 1) for axis in AXES)
    return Mesh(jax.make_mesh(shape, AXES, (AxisType.Auto,) * len(AXES), devices=jax.devices()[:count]))


def _distribute(tree, sharding):
    """The arrays, which every process has whole, laid out as ``sharding`` says."""
    return jax.tree.map(lambda x: jax.make_array_from_callback(x.shape, sharding, lambda index: x[index]), tree)


def _stack_copies(x):
    """[local devices, ...]: the array on every device, laid out as pmap returns it: else it would compile twice."""
    devices = jax.local_devices()
    sharding = NamedSharding(jax.sharding.Mesh(np.array(devices), ("data",)), PartitionSpec("data"))
    return jax.make_array_from_callback((len(devices), *x.shape), sharding, lambda _: x[None])


def map_over_seeds(function, num_seeds):
    """``function`` of one seed's arrays, mapped over a leading seed axis where there are several seeds.

    All seeds are one compiled program. An accelerator runs them side by side (``vmap``); a CPU is faster when they take
    turns within it (``lax.map``, see docs/performance.md).
    """
    if num_seeds == 1:
        return function
    if jax.default_backend() == "cpu":
        return lambda tree: jax.lax.map(function, tree)
    return jax.vmap(function)


def _over_seeds(function, num_seeds):
    """A function of one seed's (state, data) as one of (states of all seeds, data)."""
    return lambda state, data: map_over_seeds(lambda one: function(one, data), num_seeds)(state)


def steps_function(task, num_seeds, make_step=train_step):
    """(state, count or batch, data) -> the state later; ``make_step`` makes the step of a task that has its data."""

    def steps(state, count_or_batch, data):
        step = make_step(bind_data(task, data))
        if task.batch_on_host:
            return map_over_seeds(lambda arguments: step(*arguments), num_seeds)((state, count_or_batch))
        return repeat(map_over_seeds(step, num_seeds))(state, count_or_batch)

    return steps
