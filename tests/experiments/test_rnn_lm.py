"""The recurrent experiment: carried states, its own probes, and what it refuses."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.rnn_lm import experiment as rnn_lm
from experiments.rnn_lm import exposure
from experiments.rnn_lm.costs import OUTPUTS, exponent, operations, operations_of_a_step, zipf_cutoffs
from experiments.rnn_lm.gradients import errors_of_hand_derived
from experiments.rnn_lm.perplexity import perplexity_identities
from experiments.rnn_lm.reach import clipping, gradient_reach
from models.rnn_lm import RecurrentConfig, RecurrentLM, last_outputs
from training.config import override
from training.experiment import UserError
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
    return override(rnn_lm.Config(), SMALL | {"corpus": str(path), "eval_tokens": 0})


@pytest.fixture(scope="module")
def task(config):
    return rnn_lm.task(override(config, {"cell": "elman_tanh"}))


def test_windows_go_on_where_the_one_before_ended_and_begin_again(task, config):
    rows_BN = task.data["train"]
    windows = (rows_BN.shape[1] - 1) // config.context_length
    for step in (0, 1, windows - 1, windows):
        batch = task.batch(0, step, task.data)
        at = step % windows * config.context_length
        np.testing.assert_array_equal(batch["tokens"], rows_BN[:, at : at + config.context_length + 1])
        assert (batch["begins"] == (at == 0)).all()


def test_the_carry_is_the_state_at_the_end_of_the_window_and_forgotten_at_the_beginning(task):
    state = init_state(task, 0)
    variables = {"params": state.params, **state.collections}
    after = []
    for step in (0, 1):
        batch = task.batch(0, step, task.data)
        found = task.loss(variables, batch, {"dropout": jax.random.key(0)})
        variables |= found.collections
        after.append(np.asarray(variables["carry"]["layer_0"]))
    rows = task.data["train"][:, :32].astype(np.int32)
    _, expected = task.model.apply({"params": state.params}, rows)
    np.testing.assert_allclose(after[1], expected[0], atol=1e-5)
    again = task.loss(variables, task.batch(0, 0, task.data), {"dropout": jax.random.key(0)})
    np.testing.assert_allclose(again.collections["carry"]["layer_0"], after[0], atol=1e-6)


def test_layers_get_their_own_states_also_beyond_the_tenth(config):
    task = rnn_lm.task(override(config, {"cell": "elman_tanh", "num_layers": 12}))
    state = init_state(task, 0)
    carry = {f"layer_{i}": jnp.full((4, 8), i / 10) for i in range(12)}
    batch = task.batch(0, 1, task.data)
    found = task.loss({"params": state.params, "carry": carry}, batch, {"dropout": jax.random.key(0)})
    states = tuple(carry[f"layer_{i}"] for i in range(12))
    _, expected = task.model.apply({"params": state.params}, batch["tokens"][:, :-1], states)
    for i in range(12):
        np.testing.assert_allclose(found.collections["carry"][f"layer_{i}"], expected[i], atol=1e-6)


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
    task = rnn_lm.task(override(config, {"cell": "elman_sigmoid"} | overrides))
    found = task.measure({"params": init_state(task, 0).params})
    assert ("hand/now" in found) == compared

    measured = rnn_lm.hand("now")(SimpleNamespace(examined=found))
    assert measured < 1e-12 if compared else "without positions" in measured


def test_gradients_stop_at_the_carried_state(task):
    state = init_state(task, 0)
    batch = task.batch(0, 1, task.data)

    def loss(carry):
        return task.loss({"params": state.params, "carry": carry}, batch, {"dropout": jax.random.key(0)}).sum

    gradient = jax.grad(loss)(state.collections["carry"])
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
    total, weight = task.evaluate({"params": state.params}, task.data)["loss"]
    rows_BN = task.data["held_out"]
    length = (rows_BN.shape[1] - 1) // 16 * 16
    tokens = rows_BN[:, : length + 1].astype(np.int32)
    losses_BT, _ = task.model.apply({"params": state.params}, tokens[:, :-1], tokens[:, 1:], method="losses")
    assert float(weight) == losses_BT.size
    assert float(total / weight) == pytest.approx(float(losses_BT.mean()), rel=1e-5)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"part": "every"}, "part="),
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
        rnn_lm.task(override(config, overrides))


def test_rates_out_of_range_are_refused(config):
    with pytest.raises(UserError, match="clip"):
        override(config, {"optimizer.clip": 0.0})


def test_the_quartered_schedule_divides_by_four():
    settings = {"optimizer.algorithm": "sgd", "optimizer.learning_rate": 8.0, "optimizer.schedule": "quartered"}
    config = override(rnn_lm.Config(), settings | {"num_steps": 12, "optimizer.clip": 100.0})
    optimizer, params = rnn_lm.optimizer(config), {"w": jnp.float32(0)}
    state, steps = optimizer.init(params), []
    for _ in range(12):
        update, state = optimizer.update({"w": jnp.float32(1)}, state)
        steps.append(-float(update["w"]))
    np.testing.assert_allclose(steps, [8] * 6 + [2] * 2 + [0.5] * 2 + [0.125] * 2)


def test_a_model_is_rebuilt_without_its_corpus(config):
    config = override(config, {"output": "adaptive", "tokenizer": "word", "tokenizer_size": 14, "split": "spaces"})
    task = rnn_lm.task(config)
    model, decoder = rnn_lm.language_model(config, task.facts["vocab_size"])
    assert model.config == task.model.config
    assert model.config.cutoffs == zipf_cutoffs(task.facts["vocab_size"], config.width)
    assert decoder.context_length is None


# --- Probes.


def test_perplexity_identities():
    found = perplexity_identities(vocab_size=100, num_models=5, num_predictions=9)
    assert float(found["uniform_perplexity"]) == pytest.approx(100, rel=1e-12)
    assert float(found["uniform_nats"]) == pytest.approx(np.log(100), rel=1e-12)
    assert found["identity_error"] < 1e-12
    assert found["direction_error"] < 1e-12
    assert found["order"] == 1


def test_hand_derived_gradients_are_those_of_the_model_and_no_other():
    config = RecurrentConfig(7, "elman_sigmoid", width=5, d_embedding=3)
    variables = RecurrentLM(config).init(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))
    errors = errors_of_hand_derived(config, variables, [1, 2, 3, 4])
    assert max(errors["now"], errors["back"], errors["both"]) < 1e-12
    assert errors["largest"] > 0.1
    tanh = RecurrentConfig(7, "elman_tanh", width=5, d_embedding=3)
    assert errors_of_hand_derived(tanh, variables, [1, 2, 3, 4])["now"] > 1e-3


def test_reach_of_a_linear_recurrence_is_a_power_and_meets_its_bound():
    """h' = h W with W orthogonal times .8: every Jacobian has one singular value, .8."""
    W = 0.8 * np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0].astype(np.float32)
    norms, bounds = gradient_reach(
        lambda h, x: h @ W + x, jnp.ones(3), jnp.zeros((5, 3)), lambda h: 2 * h[0], bounds=True
    )
    np.testing.assert_allclose(norms, np.log(2) + np.arange(6) * np.log(0.8), atol=1e-5)
    np.testing.assert_allclose(bounds, norms, atol=1e-5)


def test_reach_is_the_gradient_by_each_state_and_below_its_bound():
    """Against one differentiation for each state that the loss is restarted from."""
    model = RecurrentLM(RecurrentConfig(6, "lstm", width=4, d_embedding=3))
    variables = model.init(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))
    tokens = [0, 3, 1, 5]

    def step(states, token):
        return model.apply(variables, token[None], states, method="read")[1]

    def loss(states):
        return jnp.sin(last_outputs(model.config, states)).sum()

    reach = jax.jit(lambda: gradient_reach(step, model.initial_states(1), jnp.array(tokens), loss, bounds=True))
    norms, bounds = reach()

    @jax.jit
    def one_by_one():
        states, found = [model.initial_states(1)], []
        for token in tokens:
            states.append(step(states[-1], jnp.int32(token)))
        for k in range(5):

            def from_there(state, k=k):
                for token in tokens[4 - k :]:
                    state = step(state, jnp.int32(token))
                return loss(state)

            leaves = jax.tree.leaves(jax.grad(from_there)(states[4 - k]))
            found.append(jnp.log(jnp.sqrt(sum((g**2).sum() for g in leaves))))
        return jnp.stack(found)

    np.testing.assert_allclose(norms, one_by_one(), atol=1e-4)
    assert (norms <= bounds + 1e-5).all()
    assert bounds[0] == norms[0]


def test_clipping_changes_steps_with_large_gradients_only():
    tokens_BN = jnp.asarray(np.random.default_rng(0).integers(0, 5, (2, 30)), jnp.int32)
    settings = {"width": 6, "length": 10, "num_steps": 4, "gain": 1.0, "learning_rates": (0.0, 0.1)}
    (still, losses), (_, norms) = clipping(jax.random.key(0), 5, tokens_BN, clips=(jnp.inf, 1e3, 1e-3), **settings)
    np.testing.assert_array_equal(still[0], still[2])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)
    np.testing.assert_allclose(losses[2], losses[2, 0], rtol=0.1)
    assert norms[0, 0] == norms[2, 0] > 1e-3
    assert losses[0, 3] < losses[2, 3]


def test_costs_of_a_step_are_its_products():
    """At widths where products are all that counts: 6 operations for each weight."""
    config = RecurrentConfig(4000, "elman_sigmoid", width=300, d_embedding=200)
    weights = 4000 * 300 + 300 * 300 + 300 * 200
    assert operations_of_a_step(config) == pytest.approx(6 * weights, rel=0.02)


def test_operations_grow_with_length_as_a_line():
    config = RecurrentConfig(20, "elman_sigmoid", width=8, d_embedding=8)
    costs = [operations(config, T) for T in (4, 8, 12)]
    assert costs[2] - costs[1] == costs[1] - costs[0] == 4 * operations_of_a_step(config)
    assert exponent([1, 2, 4], [3, 12, 48]) == pytest.approx(2)
    assert set(OUTPUTS) == {"full", "adaptive", "sampled", "none"}


def test_a_model_that_ignores_its_input_loses_the_same_whatever_it_reads():
    model = RecurrentLM(RecurrentConfig(5, width=4, d_embedding=3))
    variables = model.init(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))
    deaf = {"params": variables["params"] | {"embed": jnp.zeros((5, 3))}}
    columns_BN = np.random.default_rng(0).integers(0, 5, (3, 40))
    rows_RT = exposure.rows_of_text(columns_BN, 12, 2)
    np.testing.assert_array_equal(rows_RT[3], columns_BN[0, 27:40])
    feed = jax.jit(lambda variables: exposure.losses_by_input(model, variables, rows_RT, 4, jax.random.key(0)))
    found = feed(deaf)
    for name in ("own", "unrelated"):
        np.testing.assert_allclose(found[name], found["forced"], atol=1e-5)
    np.testing.assert_array_equal(found["own_tokens"][:, :4], rows_RT[:, :4])
    hears = feed(variables)
    np.testing.assert_allclose(hears["own"][:4], hears["forced"][:4], atol=1e-5)
    assert (hears["own_tokens"] != rows_RT[:, :-1]).any()


def test_the_judge_prefers_its_own_text():
    text = np.array([ord(c) - 96 if c.isalpha() else 0 for c in TEXT[:2000]])
    judge = exposure.make_judge(text, 27)
    rows_RT = text[:400].reshape(4, 100)
    shuffled = np.random.default_rng(0).permuted(rows_RT, axis=1)
    assert exposure.likelihoods(judge, rows_RT)[5:].mean() + 1 < exposure.likelihoods(judge, shuffled)[5:].mean()


def test_the_spread_needs_two_seeds():
    class Result:
        def __init__(self, *perplexity):
            self.final, self.num_seeds = {"perplexity": np.array(perplexity)}, len(perplexity)

    assert "two seeds" in rnn_lm.change_over_spread(Result(3.0), Result(3.1))
    assert rnn_lm.change_over_spread(Result(3.0, 3.2), Result(3.0, 3.4)) == pytest.approx(0.1 / 0.3)
    assert rnn_lm.change_over_spread(Result(3.0, 4.0), Result(3.0, 3.4)) == pytest.approx(0.3 / 0.7)
