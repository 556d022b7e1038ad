"""What the flags of SGD mean: ours and two misreadings of them, against trajectories recorded from PyTorch.

Axes: C combinations of flags, K recorded steps, P parameters.
"""

from dataclasses import replace
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.optimizers.measures import trajectory
from training.optimizer import SGDConfig, momentum_buffer, sgd

RECORDED = Path(__file__).with_name("torch_sgd.npz")  # made by tests/fixtures/make_torch_sgd.py
NUM_STEPS = 100
DECAYING = SGDConfig(learning_rate=0.1, weight_decay=0.05, maximize=True)


def sgd_with_misread_dampening(config):
    """SGD as if dampening scaled the old momentum: b = (1 - dampening) momentum b + g."""
    return optax.chain(
        optax.scale(-1.0) if config.maximize else optax.identity(),
        optax.add_decayed_weights(config.weight_decay),
        momentum_buffer((1.0 - config.dampening) * config.momentum),
        optax.scale_by_learning_rate(config.learning_rate),
    )


def sgd_with_flipped_sign(config):
    """SGD as if maximize only flipped the last sign."""
    return optax.chain(sgd(replace(config, maximize=False)), optax.scale(-1.0 if config.maximize else 1.0))


@cache
def compare_with_torch():
    """What the claims about SGD's flags are made of; no random number is in it.

    Returns:
      largest differences of a parameter from PyTorch's: "torch_error" of ``sgd``, "torch_error_dampened" where momentum
      is dampened; least over combinations of flags of such a difference: "misread_dampening_error", and
      "flipped_error_with_decay" of the flipped sign; "flipped_error_without_decay" is a largest one. Of a weight of 1
      without gradient: "decaying" [steps + 1] under maximize, "growing" with the last sign flipped instead, and
      "decay_error": the largest difference of these two from 0.995^t and 1.005^t.
    """
    recorded = dict(np.load(RECORDED))
    with jax.enable_x64(True):
        ours_C = errors_from_recorded(recorded, sgd)
        misread_C = errors_from_recorded(recorded, sgd_with_misread_dampening)
        flipped_C = errors_from_recorded(recorded, sgd_with_flipped_sign)
        decaying, growing = weight_without_gradient(sgd), weight_without_gradient(sgd_with_flipped_sign)
    momentum, dampening, decay, _, maximize = recorded["flags_C5"].T > 0
    powers = np.arange(NUM_STEPS + 1)
    return {
        "torch_error": ours_C.max(),
        "torch_error_dampened": ours_C[momentum & dampening].max(),
        "misread_dampening_error": misread_C[momentum & dampening].min(),
        "flipped_error_without_decay": flipped_C[maximize & ~decay].max(),
        "flipped_error_with_decay": flipped_C[maximize & decay].min(),
        "decay_error": max(np.abs(decaying - 0.995**powers).max(), np.abs(growing - 1.005**powers).max()),
        "decaying": decaying,
        "growing": growing,
    }


def errors_from_recorded(recorded, make):
    """The largest difference [C] of parameters from the recorded trajectories, over all recorded steps.

    Args:
      recorded: {"matrix", "offset": of the loss sum(log cosh(matrix @ x - offset)); "start_P"; "learning_rate";
        "flags_C5": momentum, dampening, weight decay, nesterov, maximize; "trajectories_CKP" at steps "steps_K"}.
      make: SGDConfig -> optimizer.
    """
    matrix, offset = recorded["matrix"], recorded["offset"]
    flags_C5, steps_K, recorded_CKP = recorded["flags_C5"], recorded["steps_K"], recorded["trajectories_CKP"]
    errors_C = np.zeros(len(flags_C5))
    # One program for each pair of these two flags, which decide what is computed; the others are numbers in it.
    for nesterov, maximize in ((False, False), (False, True), (True, False), (True, True)):
        rows = np.flatnonzero((flags_C5[:, 3:] == (nesterov, maximize)).all(-1))

        def run(momentum, dampening, weight_decay, nesterov=nesterov, maximize=maximize):
            config = SGDConfig(
                learning_rate=recorded["learning_rate"],
                momentum=momentum,
                dampening=dampening,
                weight_decay=weight_decay,
                nesterov=nesterov,
                maximize=maximize,
            )
            start = jnp.asarray(recorded["start_P"])
            return trajectory(make(config), lambda x, _: matrix.T @ jnp.tanh(matrix @ x - offset), start, NUM_STEPS)

        ours = jax.jit(jax.vmap(run))(*jnp.asarray(flags_C5[rows, :3].T))
        errors_C[rows] = np.abs(np.asarray(ours)[:, steps_K] - recorded_CKP[rows]).max((1, 2))
    return errors_C


def weight_without_gradient(make):
    """A weight [steps + 1] that starts at 1 and has no gradient, by the optimizer that ``make`` makes of DECAYING."""
    return np.asarray(trajectory(make(DECAYING), lambda x, _: jnp.zeros_like(x), jnp.ones(1), NUM_STEPS)[:, 0])
