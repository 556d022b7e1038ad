"""The experiment on optimisers: what its config refuses, and its claims."""

from types import SimpleNamespace

import numpy as np
import pytest

from experiments.optimizers.claims import CLAIMS, SAMPLING_ERROR, neighbours_change
from experiments.optimizers.experiment import EXPERIMENT
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
    "search.num_trials": 8,
    "search.small_trials": 4,
    "search.num_one_by_one": 2,
    "search.num_compiled": 1,
}


@pytest.mark.parametrize(
    ("arm", "overrides", "says"),
    [
        ("search", {"search.small_trials": 15}, "must be a square number"),
        ("search", {"search.num_compiled": 0}, "must be at least 1"),
        ("search", {"hidden": 0}, "hidden=0 must be at least 1"),
        ("quadratics", {"dimension": 1}, "dimension must be at least 2"),
        ("adam", {"adam_steps": 9}, "adam_steps=9 must be at least 100"),
    ],
)
def test_settings_that_do_not_fit_are_refused(arm, overrides, says):
    with pytest.raises(UserError, match=says):
        run.make_task(EXPERIMENT, arm, override(EXPERIMENT.config, overrides))


def test_isolation_is_decided_only_where_trials_diverge():
    examined = {"diverged_share": np.array([0.0, 0.2]), "neighbours_change": np.zeros(2)}
    assert neighbours_change(SimpleNamespace(examined=examined)) == "no trial diverged"


@pytest.mark.parametrize(
    ("id", "expected"),
    [
        ("5f", np.sqrt((1 - 0.9) / (1 + 0.9))),
        ("6a", 2 * 784 / (784 + 10)),
        ("6b", 2 * 50 / (50 + 1000)),
        ("6c", 1.0),
        ("6d", 2 * 10 / (784 + 10)),
    ],
)
def test_bounds_lie_around_what_theory_expects(id, expected):
    (claim,) = (claim for claim in CLAIMS if claim.id == id)
    bounds = [expected * (1 - SAMPLING_ERROR), expected * (1 + SAMPLING_ERROR)]
    np.testing.assert_allclose([claim.lowest, claim.highest], bounds, rtol=5e-4)
