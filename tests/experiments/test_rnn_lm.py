"""The recurrent experiment: carried states, how it trains, and what it refuses.

Its figures and costs of a run are covered by test_every_experiment.py.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.rnn_lm.costs import zipf_cutoffs
from experiments.rnn_lm.experiment import Config, language_model, language_model_task, start_measurement
from training.config import override
from training.step import init_state, train_step

SMALL = {
    "max_characters": 20_000,
    "eval_tokens": 600,
    "width": 8,
    "d_embedding": 4,
    "context_length": 16,
    "num_steps": 2,
    "batch_size": 4,
    "eval_every": 1,
    "checkpoint_every": 2,
}
ARMS = ("elman_tanh",)
TEXT = "the cat sat on the mat and the dog sat on the log\n" * 120


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """A small config on a text of a few words."""
    path = tmp_path_factory.mktemp("text") / "input.txt"
    path.write_text(TEXT)
    return override(Config(), SMALL | {"corpus": str(path), "eval_tokens": 0})


@pytest.fixture(scope="module")
def task(config):
    return language_model_task(override(config, {"cell": "elman_tanh"}))


def test_windows_go_on_where_the_one_before_ended_and_begin_again(task, config):
    rows_BN = task.data["train"]
    windows = (rows_BN.shape[1] - 1) // config.context_length
    for step in (0, 1, windows - 1, windows):
        batch = task.batch(0, step, task.data)
        at = step % windows * config.context_length
        np.testing.assert_array_equal(batch["tokens"], rows_BN[:, at : at + config.context_length + 1])
        assert (batch["begins"] == (at == 0)).all()


def test_the_carry_is_the_state_at_the_end_of_the_window_and_forgotten_at_the_beginning(task):
    state, loss_of = init_state(task, 0), jax.jit(task.loss)
    variables = {"params": state.params, **state.collections}
    after = []
    for step in (0, 1):
        batch = task.batch(0, step, task.data)
        loss = loss_of(variables, batch, {"dropout": jax.random.key(0)})
        variables |= loss.collections
        after.append(np.asarray(variables["carry"]["layer_0"]))
    rows = task.data["train"][:, :32].astype(np.int32)
    _, expected = jax.jit(task.model.apply)({"params": state.params}, rows)
    np.testing.assert_allclose(after[1], expected[0], atol=1e-5)
    again = loss_of(variables, task.batch(0, 0, task.data), {"dropout": jax.random.key(0)})
    np.testing.assert_allclose(again.collections["carry"]["layer_0"], after[0], atol=1e-6)


def test_layers_get_their_own_states_also_beyond_the_tenth(config):
    task = language_model_task(override(config, {"cell": "elman_tanh", "num_layers": 12}))
    state = init_state(task, 0)
    carry = {f"layer_{i}": jnp.full((4, 8), i / 10) for i in range(12)}
    batch = task.batch(0, 1, task.data)
    loss = jax.jit(task.loss)({"params": state.params, "carry": carry}, batch, {"dropout": jax.random.key(0)})
    states = tuple(carry[f"layer_{i}"] for i in range(12))
    _, expected = jax.jit(task.model.apply)({"params": state.params}, batch["tokens"][:, :-1], states)
    for i in range(12):
        np.testing.assert_allclose(loss.collections["carry"][f"layer_{i}"], expected[i], atol=1e-6)


@pytest.mark.parametrize(
    ("overrides", "compared"),
    [
        ({}, True),
        ({"positions": True}, False),
        ({"num_layers": 2}, False),
        ({"output": "adaptive", "tokenizer": "word", "tokenizer_size": 14}, False),
    ],
)
def test_hand_derived_gradients_are_of_the_plain_model_alone(config, overrides, compared):
    task = language_model_task(override(config, {"cell": "elman_sigmoid"} | overrides))
    measured = task.measure({"params": init_state(task, 0).params})
    assert ("hand/now" in measured) == compared
    if compared:
        assert measured["hand/now"] < 1e-12


def test_gradients_stop_at_the_carried_state(task):
    state = init_state(task, 0)
    batch = task.batch(0, 1, task.data)

    def loss(carry):
        return task.loss({"params": state.params, "carry": carry}, batch, {"dropout": jax.random.key(0)}).sum

    gradient = jax.jit(jax.grad(loss))(state.collections["carry"])
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(gradient))


def test_the_engine_carries_the_state_from_step_to_step(task):
    batches = [task.batch(0, step, task.data) for step in (0, 1)]
    step = jax.jit(train_step(task))
    state = step(init_state(task, 0), batches[0])
    _, expected = task.model.apply({"params": init_state(task, 0).params}, batches[0]["tokens"][:, :-1])
    np.testing.assert_allclose(state.collections["carry"]["layer_0"], expected[0], atol=1e-6)
    state = step(state, batches[1])
    assert np.abs(state.collections["carry"]["layer_0"] - expected[0]).max() > 1e-3


def test_devices_that_share_rows_are_refused(task):
    batch = jax.tree.map(lambda x: x[:2], task.batch(0, 0, task.data))
    state = init_state(task, 0)
    with pytest.raises(ValueError, match="--parallelism=single or a mesh"):
        task.loss({"params": state.params, **state.collections}, batch, {"dropout": jax.random.key(0)})


def test_the_held_out_loss_is_that_of_one_pass_over_each_row(task):
    state = init_state(task, 0)
    total, weight = jax.jit(task.evaluate)({"params": state.params}, task.data)["loss"]
    rows_BN = task.data["held_out"]
    length = (rows_BN.shape[1] - 1) // 16 * 16
    tokens = rows_BN[:, : length + 1].astype(np.int32)
    losses_BT, _ = task.model.apply({"params": state.params}, tokens[:, :-1], tokens[:, 1:], method="losses")
    assert float(weight) == losses_BT.size
    assert float(total / weight) == pytest.approx(float(losses_BT.mean()), rel=1e-5)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"output": "half"}, "output="),
        ({"output": "adaptive"}, "tokenizer=word"),
        ({"own_samples": 0.5, "dropout": 0.1}, "dropout=0"),
        ({"own_samples": 1.5}, r"lie in \[0, 1\]"),
        ({"eval_tokens": -2}, "eval_tokens=-2 must be 0"),
        ({"output": "sampled", "num_sampled": 0}, "num_sampled=0 must be at least 1"),
        ({"batch_size": 4000}, "4000 rows of 17 need 68000"),
        ({"corpus": "/nowhere.txt"}, "no such file"),
        ({"optimizer.algorithm": "sgd"}, "must be given with sgd"),
        ({"optimizer.schedule": "linear"}, "cosine or quartered"),
    ],
)
def test_configs_that_make_no_task_are_refused(config, overrides, message):
    with pytest.raises(ValueError, match=message):
        language_model_task(override(config, overrides))


def test_a_model_is_rebuilt_without_its_corpus(config):
    config = override(config, {"output": "adaptive", "tokenizer": "word", "tokenizer_size": 14, "split": "spaces"})
    task = language_model_task(config)
    model, decoder = language_model(config, task.facts["vocab_size"])
    assert model.config == task.model.config
    assert model.config.cutoffs == zipf_cutoffs(task.facts["vocab_size"], config.width)
    assert decoder.context_length is None


def test_a_text_too_short_for_the_untrained_networks_is_refused(config):
    with pytest.raises(ValueError, match=r"the train split of .* 4000 rows of 51 need 204000"):
        start_measurement(override(config, {"batch_size": 4000}))
