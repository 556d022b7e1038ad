"""Searches at random and on grids: their values, and their trials at once and for themselves."""

import numpy as np

from experiments.optimizers import search
from experiments.optimizers.experiment import Config
from training.config import override


def test_shifted_grids_have_few_values_an_axis_and_fill_the_axes():
    config = override(Config(), {"search.num_trials": 64, "search.small_trials": 16})
    grids = search.shifted_grids(config, np.random.default_rng(0))
    for path, axis in search.AXES.items():
        for values in grids[path]:
            assert len(np.unique(values)) == 4
        logs = (np.log(grids[path]) - np.log(axis.numbers[0])) / np.diff(np.log(axis.numbers))
        assert grids[path].shape == (4, 16)
        np.testing.assert_array_equal(np.sort(np.floor(logs * 4), axis=1), np.tile(np.repeat(np.arange(4), 4), (4, 1)))


def test_a_trial_for_itself_is_the_trial_among_others():
    config = override(Config(), {"num_steps": 20, "eval_every": 20, "hidden": 4})
    values = {search.RELEVANT: np.array([0.01]), search.IRRELEVANT: np.array([1e-7])}
    train = search.trial_trainer(config, seed=3, num_at_once=2)
    at_once = train({path: np.repeat(x, 2) for path, x in values.items()}).final["loss"]
    np.testing.assert_allclose(at_once, search.train_alone(config, values, 3), rtol=1e-5)


def test_the_explained_share_is_one_where_an_axis_decides_and_chance_where_it_does_not():
    generator = np.random.default_rng(0)
    values, noise = generator.random(400), generator.random(400)
    assert search.explained_share(values, 3 * values) > 0.98
    assert search.explained_share(values, (values - 0.5) ** 2) > 0.9
    assert search.explained_share(values, noise) < 0.08
