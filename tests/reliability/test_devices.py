"""Checkpoints that other devices go on from."""

import jax
import numpy as np
import optax
import pytest
from regression.experiment import Config, network_task

from training import checkpoint, parallel
from training.step import abstract_state

TASK = network_task(Config(width=4), optax.adamw(1e-2))


def train_thirty_steps(placement, state):
    """The mean loss of 30 steps from a state in the form of checkpoints."""
    state = placement.compile_train_steps(TASK, 1)(placement.training_form(state), 30)
    return np.divide(*placement.one_copy(state.sums)["loss"])


@pytest.fixture(scope="module")
def saved_on_eight(tmp_path_factory):
    """(an arm's folder, the state that eight devices saved there, their loss 30 steps later)."""
    folder, eight = tmp_path_factory.mktemp("eight"), parallel.choose("pmap")
    state = eight.init_state(TASK, [0])
    with checkpoint.Saver(folder) as saver:
        saver.save(eight.checkpoint_form(eight.training_form(state)))
    return folder, jax.device_get(state), train_thirty_steps(eight, state)


@pytest.mark.parametrize(
    ("parallelism", "mesh"), [("single", ""), ("mesh", "data=2,fsdp=2,model=2"), ("mesh", "data=4")]
)
def test_what_eight_devices_saved_any_number_restores(saved_on_eight, parallelism, mesh):
    """Identical parameters after the restore; the loss 30 steps later within 1e-4."""
    folder, state, expected = saved_on_eight
    placement = parallel.choose(parallelism, mesh)
    shardings = placement.state_shardings(TASK, 1)
    restored = checkpoint.restore_state(folder, 0, abstract_state(TASK, 1), shardings)
    assert jax.tree.map(lambda x: x.sharding, restored) == shardings
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(restored), state)
    np.testing.assert_allclose(train_thirty_steps(placement, restored), expected, rtol=1e-4)
