"""The optimisers that experiments share: AdamW with warm-up, cosine decay and clipping; SGD as PyTorch defines it.

Every rate may be a tracer, so that ``training.sweep`` can train many trials in one program.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from training.config import setting
from training.experiment import UserError


def check_range(name, value, low, high, *, low_included=True):
    """Raises UserError unless ``low <= value < high``, or ``low < value`` with ``low_included=False``.

    A tracer, whose value is not known yet, passes.
    """
    if not isinstance(value, (int, float)):
        return
    if not (low <= value < high) or (value == low and not low_included):
        bounds = f"{'[' if low_included else '('}{low:g}, {high:g})"
        raise UserError(f"optimizer.{name}={value:g} must lie in {bounds}")


@dataclass(frozen=True)
class OptimizerConfig:
    """Settings of ``adamw``; raises UserError for a rate that is out of range."""

    learning_rate: float = setting(3e-3, "learning rate at the end of the warm-up")
    warmup_steps: int = setting(100, "steps of linear warm-up from 0; at most a tenth of the run")
    final_fraction: float = setting(0.0, "share of the learning rate that is left where the cosine decay ends")
    weight_decay: float = setting(0.01, "weight decay, decoupled from the gradient")
    decay_vectors: bool = setting(True, "whether biases and the norms' scales decay, too")
    b1: float = setting(0.9, "decay of the gradient's running mean")
    b2: float = setting(0.999, "decay of the squared gradient's running mean")
    clip: float = setting(1.0, "largest global norm of the gradient; a longer gradient is scaled down to it")
    accumulate: int = setting(1, "microbatches that a device's rows are split into, their gradients added up")

    def __post_init__(self):
        for name in ("learning_rate", "clip"):
            check_range(name, getattr(self, name), 0.0, float("inf"), low_included=False)
        for name in ("b1", "b2"):
            check_range(name, getattr(self, name), 0.0, 1.0)
        check_range("accumulate", self.accumulate, 1, float("inf"))


def adamw(config, num_steps):
    """AdamW for a run of ``num_steps``, as an optax chain: linear warm-up, cosine decay, gradients clipped by norm.

    Source: Loshchilov and Hutter 2019, "Decoupled weight decay regularization", algorithm 2.
    """
    warmup_steps = min(config.warmup_steps, num_steps // 10)
    # Not optax.warmup_cosine_decay_schedule, which compares its peak with 0 and so refuses a tracer.
    schedule = optax.join_schedules(
        [
            optax.linear_schedule(0.0, config.learning_rate, warmup_steps),
            optax.cosine_decay_schedule(
                config.learning_rate, max(num_steps, 1) - warmup_steps, alpha=config.final_fraction
            ),
        ],
        [warmup_steps],
    )
    mask = None if config.decay_vectors else decay_mask
    return optax.chain(
        optax.clip_by_global_norm(config.clip),
        optax.adamw(schedule, b1=config.b1, b2=config.b2, weight_decay=config.weight_decay, mask=mask),
    )


def decay_mask(params):
    """Whether each leaf is neither a bias nor the scale of a norm, and so decays: a tree like the parameters."""
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key not in ("bias", "scale"), params)


@dataclass(frozen=True)
class SGDConfig:
    """Settings of ``sgd``, with PyTorch's names and meanings; raises UserError for values that PyTorch refuses, too."""

    learning_rate: float = setting(0.1, "learning rate of every step")
    momentum: float = setting(0.0, "share of the buffer of gradients that is kept each step")
    dampening: float = setting(0.0, "share of each new gradient, but the first, that the buffer does not take")
    weight_decay: float = setting(0.0, "weight decay: this times the parameters is added to the gradient")
    nesterov: bool = setting(False, "whether to step along the gradient plus momentum times the buffer")
    maximize: bool = setting(False, "whether to ascend: the gradient is negated before all else")

    def __post_init__(self):
        for name in ("learning_rate", "momentum", "weight_decay"):
            check_range(name, getattr(self, name), 0.0, float("inf"))
        momentum, dampening = (x if isinstance(x, (int, float)) else None for x in (self.momentum, self.dampening))
        if self.nesterov and (momentum == 0 or dampening not in (0, None)):
            raise UserError("optimizer.nesterov needs a momentum above 0 and no dampening")


def sgd(config):
    """SGD as torch.optim.SGD does it, as an optax chain.

    With gradient g, parameters x and buffer b: g is negated where ``maximize``; weight decay times x is added to it;
    then b = g at the first step and momentum b + (1 - dampening) g at later ones; the step is -learning_rate times b,
    or with ``nesterov`` times g + momentum b. Without momentum the step is along g, whatever the dampening. Source:
    PyTorch's documentation of torch.optim.SGD, the algorithm.
    """
    return optax.chain(
        optax.scale(-1.0) if config.maximize else optax.identity(),
        optax.add_decayed_weights(config.weight_decay),
        momentum_buffer(config.momentum, config.dampening, config.nesterov),
        optax.scale_by_learning_rate(config.learning_rate),
    )


class MomentumState(NamedTuple):
    count: Any  # of steps taken
    buffer: Any  # a tree like the parameters


def momentum_buffer(momentum, dampening=0.0, nesterov=False):
    """PyTorch's momentum as a gradient transformation; ``optax.trace`` is the case without dampening."""

    def init(params):
        return MomentumState(jnp.int32(0), jax.tree.map(jnp.zeros_like, params))

    def update(gradients, state, params=None):
        taken = jnp.where((state.count == 0) | (momentum == 0), 1.0, 1.0 - dampening)
        buffer = jax.tree.map(lambda b, g: momentum * b + taken.astype(g.dtype) * g, state.buffer, gradients)
        steps = jax.tree.map(lambda b, g: g + momentum * b, buffer, gradients) if nesterov else buffer
        return steps, MomentumState(state.count + 1, buffer)

    return optax.GradientTransformation(init, update)
