"""Sweeps: their grammar and samples, and that trials at once are the same trials as one by one."""

import itertools
from dataclasses import replace

import jax
import numpy as np
import optax
import pytest
from regression import experiment as regression

from training import sweep
from training.config import override
from training.experiment import UserError
from training.optimizer import OptimizerConfig, adamw
from training.step import init_state, repeat, train_step, variables

RATE = "optimizer.learning_rate"
CONFIG = replace(regression.Config(), num_steps=9, eval_every=3)


def task_of_adamw(config):
    return regression.task(config, adamw(config.optimizer, config.num_steps))


def sgd_task(config):
    return regression.task(config, optax.sgd(config.optimizer.learning_rate))


ADAMW = replace(CONFIG, optimizer=OptimizerConfig())


# --- The grammar.


def test_a_sweep_is_read_as_it_is_written():
    axes = sweep.parse(
        " optimizer.learning_rate=log(1e-4,1), optimizer.weight_decay=uniform(0,.1),b1=choice(.8, .9,.99)"
    )
    assert axes == {
        "optimizer.learning_rate": ("log", (1e-4, 1.0)),
        "optimizer.weight_decay": ("uniform", (0.0, 0.1)),
        "b1": ("choice", (0.8, 0.9, 0.99)),
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("noise", "'noise' is not of the form"),
        ("noise=1,2", "is not of the form"),
        ("noise=uniform(0,1),", "is not of the form"),
        ("noise=uniform(0,1) width=uniform(0,1)", "is not of the form"),
        ("noise=normal(0,1)", "is not of the form"),
        ("noise=uniform(0,1),noise=log(1,2)", "names noise twice"),
        ("noise=uniform(0,a)", "must list numbers"),
        ("noise=choice()", "must list numbers"),
        ("noise=choice(1,inf)", "finite numbers"),
        ("noise=uniform(1,0)", "the lower one first"),
        ("noise=uniform(1,2,3)", "needs two numbers"),
        ("noise=log(0,1)", "numbers above 0"),
    ],
)
def test_a_malformed_sweep_gets_one_clear_sentence(text, says):
    with pytest.raises(UserError, match=says.replace("(", r"\(")) as error:
        sweep.parse(text)
    assert "\n" not in str(error.value)


# --- Samples.


def test_random_samples_are_spread_as_their_axes_say():
    axes = sweep.parse("a=log(1e-4,1),b=uniform(-1,3),c=choice(5,6,7)")
    values = sweep.sample(axes, 6000, seed=1)
    decades = np.histogram(np.log10(values["a"]), bins=4, range=(-4, 0))[0]
    np.testing.assert_allclose(decades / 6000, 0.25, atol=0.03)
    assert values["a"].min() >= 1e-4
    assert values["a"].max() <= 1
    np.testing.assert_allclose(np.histogram(values["b"], bins=4, range=(-1, 3))[0] / 6000, 0.25, atol=0.03)
    assert {number: round(np.mean(values["c"] == number), 1) for number in (5, 6, 7)} == dict.fromkeys((5, 6, 7), 0.3)
    assert max(abs(np.corrcoef([values["a"], values["b"], values["c"]])[np.triu_indices(3, 1)])) < 0.05
    np.testing.assert_array_equal(sweep.sample(axes, 6000, seed=1)["a"], values["a"])
    assert (sweep.sample(axes, 6000, seed=2)["a"] != values["a"]).all()


def test_a_grid_has_every_combination_and_the_ends_of_each_axis():
    values = sweep.sample(sweep.parse("a=log(1e-4,1),b=uniform(0,1),c=choice(5,7)"), 20, method="grid")
    combinations = sorted(zip(*values.values(), strict=True))
    expected = itertools.product([1e-4, 1e-2, 1], [0, 0.5, 1], [5, 7])
    np.testing.assert_allclose(combinations, sorted(expected), rtol=1e-12)


def test_a_grid_takes_as_many_values_as_fit():
    axes = sweep.parse("a=uniform(0,1),b=uniform(0,1)")
    sizes = {n: len(sweep.sample(axes, n, method="grid")["a"]) for n in (1, 2, 4, 7, 12, 256)}
    assert sizes == {1: 1, 2: 2, 4: 4, 7: 6, 12: 12, 256: 256}
    assert sweep.sample(axes, 1, method="grid")["a"].tolist() == [0.5]
    with pytest.raises(UserError, match="has 3 trials; ask for at least as many"):
        sweep.sample(sweep.parse("c=choice(1,2,3)"), 2, method="grid")
    with pytest.raises(UserError, match="unknown method 'gird'; did you mean grid"):
        sweep.sample(axes, 4, method="gird")
    with pytest.raises(UserError, match="at least 1"):
        sweep.sample(axes, 0)


# --- Training.


def train_alone(make_task, config, trial, seed):
    """A trial's losses, trained on its own with plain numbers in its config."""
    task = make_task(override(config, trial | {"num_steps": 7}))
    steps, state, losses = jax.jit(repeat(train_step(task))), init_state(task, seed), []
    for count in (0, 3, 3, 1):
        state = steps(state, count)
        total, weight = task.evaluate(variables(state))["loss"]
        losses.append(float(total / weight))
    return losses


@pytest.mark.parametrize(
    ("make_task", "config", "text"),
    [
        (regression.task, CONFIG, f"{RATE}=log(1e-3,1),noise=uniform(0,1)"),
        (
            task_of_adamw,
            ADAMW,
            f"{RATE}=log(1e-3,1),optimizer.weight_decay=uniform(0,.1),optimizer.b1=choice(.5,.9),optimizer.b2=choice(.9,.99),"
            "optimizer.clip=log(.1,10),optimizer.final_fraction=uniform(0,1)",
        ),
    ],
    ids=["adam", "adamw"],
)
def test_trials_at_once_equal_trials_one_by_one(make_task, config, text):
    values = sweep.sample(sweep.parse(text), 2, seed=3)
    seeds = [0, 1]
    trials = sweep.train_trials(make_task, config, values, 7, seeds)
    assert trials.steps.tolist() == [0, 3, 6, 7]  # of the argument: the config has num_steps=9
    assert not trials.diverged.any()
    for n, seed in enumerate(seeds):
        one = train_alone(make_task, config, {path: float(x[n]) for path, x in values.items()}, seed)
        np.testing.assert_allclose(trials.history["loss"][:, n], one, rtol=1e-4)
        assert trials.final["loss"][n] == trials.history["loss"][-1, n]


def test_how_many_run_at_once_does_not_matter():
    values = sweep.sample({RATE: sweep.Axis("log", (1e-3, 1.0))}, 3)
    in_turn, at_once = (
        sweep.compile_trials(sgd_task, CONFIG, values, 7, num_at_once)(values, np.zeros(3, int))
        for num_at_once in (1, 3)
    )
    np.testing.assert_allclose(in_turn.history["loss"], at_once.history["loss"], rtol=1e-4)


def test_a_trial_that_diverges_is_named_and_harms_no_neighbour():
    rates = np.array([0.01, 1e38, 0.02, 0.03])
    train = sweep.compile_trials(sgd_task, CONFIG, [RATE], 7)
    together = train({RATE: rates}, np.zeros(4, int))
    calm = train({RATE: np.where(rates > 1, 0.05, rates)}, np.zeros(4, int))
    assert together.diverged.tolist() == [False, True, False, False]
    assert not calm.diverged.any()
    good = ~together.diverged
    np.testing.assert_array_equal(together.history["loss"][:, good], calm.history["loss"][:, good])
    assert np.isfinite(together.history["loss"][0]).all()
    assert np.isnan(together.final["loss"][1])


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"optimizer.learning_rat": [0.1]}, "did you mean optimizer.learning_rate"),
        ({"width": [3, 4]}, "width cannot be swept at once: it is no float field"),
        ({RATE: [0.1, 0.2], "noise": [0.1]}, "one value a trial"),
    ],
)
def test_fields_that_cannot_be_swept_are_refused(values, says):
    with pytest.raises(UserError, match=says):
        sweep.train_trials(regression.task, CONFIG, values, 2)


def test_a_field_that_decides_what_is_computed_is_named():
    def make_task(config):
        quiet = config.noise == 0
        return regression.task(replace(config, noise=0.0) if quiet else config)

    with pytest.raises(UserError, match="noise cannot be swept at once: its value decides what is computed"):
        sweep.train_trials(make_task, CONFIG, {RATE: [0.1], "noise": [0.5]}, 2)


@pytest.mark.parametrize(
    ("change", "says"), [({"batch_on_host": True}, "made by the host"), ({"optimizer": None}, "trains nothing")]
)
def test_arms_that_cannot_be_swept_are_refused(change, says):
    with pytest.raises(UserError, match=f"this arm cannot be swept at once: .*{says}"):
        sweep.train_trials(lambda config: replace(regression.task(config), **change), CONFIG, {RATE: [0.1]}, 2)


def test_each_trials_config_is_checked_as_plain_numbers():
    with pytest.raises(UserError, match=r"optimizer.learning_rate=-0.1 must lie in \(0, inf\)"):
        sweep.train_trials(task_of_adamw, ADAMW, {RATE: [0.1, -0.1]}, 2)


def test_large_trials_take_turns_on_a_cpu():
    assert sweep.choose_num_at_once(regression.task, CONFIG) == np.inf
    large = sweep.choose_num_at_once(regression.task, replace(CONFIG, batch_size=4096))
    assert large == (1 if jax.default_backend() == "cpu" else np.inf)


# --- The curve of the best so far.


def test_best_so_far_is_the_mean_over_all_orders():
    losses = [3.0, 1.0, np.nan, 2.0, 5.0]
    as_counted = [3.0, 1.0, 5.0, 2.0, 5.0]
    orders = np.array(list(itertools.permutations(as_counted)))
    np.testing.assert_allclose(sweep.best_so_far(losses), np.minimum.accumulate(orders, axis=1).mean(0), rtol=1e-12)


def test_best_so_far_of_many_trials_agrees_with_draws():
    generator = np.random.default_rng(0)
    losses = generator.exponential(size=300)
    draws = np.array([np.minimum.accumulate(generator.permutation(losses)) for _ in range(4000)])
    np.testing.assert_allclose(sweep.best_so_far(losses), draws.mean(0), rtol=0.05, atol=0.001)


def test_best_so_far_of_no_success_is_unknown():
    assert np.isnan(sweep.best_so_far([np.inf, np.nan])).all()


def test_trials_share_the_arrays_of_their_task():
    values = {RATE: np.array([0.01, 0.1])}
    config = regression.Config(noise=0.0, num_steps=4)
    resident, constant = (
        sweep.train_trials(make_task, config, values, 4)
        for make_task in (regression.resident_task, regression.constant_task)
    )
    np.testing.assert_allclose(resident.final["loss"], constant.final["loss"], rtol=1e-6)


def test_an_experiments_arm_can_be_swept(tiny):
    """An arm of the flagship: rates can be traced, what shapes its program cannot."""
    experiment, _, arm_configs, _ = tiny(("one_layer",))
    config = arm_configs["one_layer"]
    make_task = experiment.arms(config)["one_layer"].make
    values = {RATE: [1e-3, 1e-2], "optimizer.weight_decay": [0.0, 0.1]}
    trials = sweep.train_trials(make_task, config, values, 4)
    assert trials.history["loss"].shape == (3, 2)
    assert np.isfinite(trials.final["induction_loss"]).all()
    with pytest.raises(UserError, match="num_layers cannot be swept at once"):
        sweep.train_trials(make_task, config, {"num_layers": [1, 2]}, 4)
    with pytest.raises(UserError, match="dropout cannot be swept at once: its value decides"):
        sweep.train_trials(make_task, config, {"dropout": [0.1, 0.2]}, 4)
