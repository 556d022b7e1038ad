"""Checkpoints: what is saved is what is restored, and what does not fit is refused by name.

Saves that are cut short and files that are damaged are tested in tests/reliability.
"""

import hashlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from regression.experiment import Config, task

from training import checkpoint
from training.experiment import RunFailed, UserError
from training.step import abstract_state, init_state


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """(a state, the folder of an arm that it was saved in at steps 0, 10, ... 50; step 20 is to be kept)."""
    state, folder = init_state(task(Config()), 0), tmp_path_factory.mktemp("saved")
    with checkpoint.Saver(folder) as saver:
        for step in range(0, 60, 10):
            saver.save(state._replace(step=jnp.int32(step)), keep=step == 20)
    return state, folder


def test_a_state_is_restored_bit_for_bit(saved):
    state, folder = saved
    restored = checkpoint.restore_state(folder, 50, abstract_state(task(Config()), 1))
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    jax.tree.map(np.testing.assert_array_equal, restored, state._replace(step=jnp.int32(50)))


def test_the_latest_two_and_the_kept_ones_stay(saved):
    _, folder = saved
    assert checkpoint.steps(folder) == [20, 40, 50]
    assert checkpoint.newest(folder) == 50
    with pytest.raises(UserError, match="no checkpoint of step 30; there are: 20, 40, 50"):
        checkpoint.newest(folder, 30)


def test_a_checkpoint_of_another_model_is_refused_by_leaf(saved):
    _, folder = saved
    with pytest.raises(UserError, match=r"params/w is float32\[3\] there, float32\[4\] in this config"):
        checkpoint.restore_variables(folder, 50, abstract_state(task(Config(width=4)), 1))
    expected = abstract_state(task(Config()), 1)
    weights = expected.params["w"]
    with pytest.raises(UserError, match=r"params/bias is absent there, float32\[3\] in this config"):
        checkpoint.restore_variables(folder, 50, expected._replace(params=expected.params | {"bias": weights}))
    with pytest.raises(UserError, match=r"params/w is float32\[3\] there, absent in this config"):
        checkpoint.restore_variables(folder, 50, expected._replace(params={}))
    halves = jax.ShapeDtypeStruct(weights.shape, jnp.bfloat16)
    with pytest.raises(UserError, match=r"params/w is float32\[3\] there, bfloat16\[3\] in this config"):
        checkpoint.restore_variables(folder, 50, expected._replace(params={"w": halves}))


def test_variables_are_restored_in_the_shapes_that_they_have(saved):
    state, folder = saved
    variables = checkpoint.restore_as_saved(folder, 50)
    np.testing.assert_array_equal(variables["params"]["w"], state.params["w"])


def test_a_damaged_checkpoint_ends_in_one_clear_error(saved, tmp_path):
    folder = shutil.copytree(saved[1], tmp_path / "damaged")
    for path in (folder / "checkpoints/50/params").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    with pytest.raises(RunFailed, match="cannot be read as a checkpoint") as error:
        checkpoint.restore_variables(folder, 50, abstract_state(task(Config()), 1))
    assert len(str(error.value)) < 300


def test_the_hash_is_of_path_type_shape_and_bytes():
    params = {"b": np.arange(3, dtype=np.float32), "a": {"w": np.ones((2, 1), np.int32)}}
    by_hand = hashlib.sha256()
    by_hand.update(b"a/w int32 [2, 1]" + np.ones(2, "<i4").tobytes())
    by_hand.update(b"b float32 [3]" + np.arange(3, dtype="<f4").tobytes())
    assert checkpoint.params_sha256(params) == by_hand.hexdigest()
    params["b"][0] = np.float32(1e-45)
    assert checkpoint.params_sha256(params) != by_hand.hexdigest()


def test_locate_tells_workdir_arm_and_step_apart(tmp_path):
    step = tmp_path / "run" / "arm" / "checkpoints" / "30"
    step.mkdir(parents=True)
    (tmp_path / "run" / "config.json").write_text("{}")
    run = tmp_path / "run"
    assert checkpoint.locate(run) == (run, None, None)
    assert checkpoint.locate(run / "arm") == (run, "arm", None)
    assert checkpoint.locate(step) == (run, "arm", 30)
    with pytest.raises(UserError, match="holds no run"):
        checkpoint.locate(tmp_path)
    with pytest.raises(UserError, match="is not a folder"):
        checkpoint.locate(tmp_path / "absent")
