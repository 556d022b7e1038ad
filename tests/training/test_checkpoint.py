"""Checkpoints: what is saved is what is restored, and what does not fit is refused by name."""

import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import regression

from training import checkpoint
from training.experiment import RunFailed, UserError
from training.step import abstract_state, init_state


@pytest.fixture
def saved(tmp_path):
    task = regression.task(regression.Config())
    state = init_state(task, 0)
    with checkpoint.Saver(tmp_path) as saver:
        for step in range(0, 60, 10):
            saver.save(state._replace(step=jnp.int32(step)), keep=step == 20)
    return task, state, tmp_path


def test_a_state_is_restored_bit_for_bit(saved):
    task, state, folder = saved
    restored = checkpoint.restore_state(folder, 50, abstract_state(task, 1))
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    jax.tree.map(np.testing.assert_array_equal, restored, state._replace(step=jnp.int32(50)))


def test_the_latest_two_and_the_kept_ones_stay(saved):
    _, _, folder = saved
    assert checkpoint.steps(folder) == [20, 40, 50]
    assert checkpoint.newest(folder) == 50
    with pytest.raises(UserError, match="no checkpoint of step 30; there are: 20, 40, 50"):
        checkpoint.newest(folder, 30)


def test_a_checkpoint_of_another_model_is_refused_by_leaf(saved):
    task, _, folder = saved
    wider = regression.task(regression.Config(width=4))
    with pytest.raises(UserError, match=r"params/w is float32\[3\] there, float32\[4\] in this config"):
        checkpoint.restore_variables(folder, 50, abstract_state(wider, 1))
    expected = abstract_state(task, 1)
    more = expected._replace(params=expected.params | {"bias": expected.params["w"]})
    with pytest.raises(UserError, match=r"params/bias is absent there, float32\[3\] in this config"):
        checkpoint.restore_variables(folder, 50, more)


def test_a_damaged_checkpoint_ends_in_one_clear_error(saved):
    task, _, folder = saved
    for path in (folder / "checkpoints/50/params").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    with pytest.raises(RunFailed, match="cannot be read as a checkpoint") as error:
        checkpoint.restore_variables(folder, 50, abstract_state(task, 1))
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
