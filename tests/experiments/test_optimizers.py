"""What the claims about optimisers are made of."""

from types import SimpleNamespace

import numpy as np
import pytest

from experiments.optimizers import experiment as optimizers
from training import run
from training.config import override
from training.experiment import UserError

SMALL = {
    "quadratic_steps": 300,
    "dimension": 4,
    "adam_steps": 200,
    "dropout_masks": 50,
    "hidden": 2,
    "num_steps": 3,
    "eval_every": 3,
    "checkpoint_every": 3,
    "search.num_trials": 8,
    "search.small_trials": 4,
    "search.num_one_by_one": 2,
    "search.num_compiled": 1,
}


def test_the_recorded_steps_are_pytorchs_and_the_misreadings_are_not():
    found = optimizers.against_torch()
    assert found["torch_error"] < 1e-12
    assert found["flipped_error_without_decay"] < 1e-12
    assert found["misread_dampening_error"] > 1e-2
    assert found["flipped_error_with_decay"] > 1e-2
    assert found["decaying"][-1] < 1 < found["growing"][-1]


def test_shifted_grids_have_few_values_an_axis_and_fill_the_axes():
    config = override(optimizers.Config(), {"search.num_trials": 64, "search.small_trials": 16})
    grids = optimizers.shifted_grids(config, np.random.default_rng(0))
    for path, axis in optimizers.AXES.items():
        for values in grids[path]:
            assert len(np.unique(values)) == 4
        logs = (np.log(grids[path]) - np.log(axis.numbers[0])) / np.diff(np.log(axis.numbers))
        assert grids[path].shape == (4, 16)
        np.testing.assert_array_equal(np.sort(np.floor(logs * 4), axis=1), np.tile(np.repeat(np.arange(4), 4), (4, 1)))


def test_a_trial_for_itself_is_the_trial_among_others():
    config = override(optimizers.Config(), SMALL | {"num_steps": 20, "hidden": 4})
    values = {path: np.array([x]) for path, x in zip(optimizers.AXES, (0.01, 1e-7), strict=True)}
    together = optimizers.exactly(config, {path: np.repeat(x, 2) for path, x in values.items()}, 3, at_once=2)
    np.testing.assert_allclose(together, optimizers.one_run(config, values, 3), rtol=1e-5)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ({"topic": "search", "search.small_trials": 15}, "must be a square number"),
        ({"topic": "search", "hidden": 0}, "hidden=0 must be at least 1"),
        ({"topic": "quadratics", "dimension": 1}, "dimension must be at least 2"),
        ({"topic": "adam", "adam_steps": 9}, "adam_steps=9 must be at least 100"),
    ],
)
def test_settings_that_do_not_fit_are_refused(overrides, says):
    config = override(optimizers.Config(), overrides)
    with pytest.raises(UserError, match=says):
        run.make_task(optimizers.EXPERIMENT, "arm", config)


def test_claims_need_divergence_to_decide_isolation():
    examined = {"diverged_share": np.array([0.0, 0.2]), "neighbours_change": np.zeros(2)}
    assert optimizers.neighbours(SimpleNamespace(examined=examined)) == "no trial diverged"
