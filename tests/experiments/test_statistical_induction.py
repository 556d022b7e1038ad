"""What the claims measure, of runs made up for it; a small run in test_every_experiment.py covers the rest."""

from types import SimpleNamespace

import numpy as np

from experiments.statistical_induction import measures
from training.experiment import History

ARMS = ("two_states",)  # the others differ from it in data alone
SMALL = {
    "num_steps": 2,
    "batch_size": 4,
    "eval_batch_size": 4,
    "eval_every": 1,
    "checkpoint_every": 2,
    "context_length": 12,
    "num_layers": 1,
    "num_heads": 1,
    "d_model": 8,
    "d_mlp": 8,
}

STEPS = np.arange(0, 101, 10)


def passing(unigram_from, bigram_from):
    """One seed that is near uniform, from one step near unigram, and from another near bigram."""
    phase = (unigram_from <= STEPS).astype(int) + (bigram_from <= STEPS)
    closeness = np.where(phase == np.arange(3)[:, None], 0.01 + 1e-4 * STEPS[::-1], 0.3)
    values = {f"kl_to_{name}": closeness[i][:, None] for i, name in enumerate(measures.PREDICTORS)}
    values["loss"] = np.interp(STEPS, [unigram_from, bigram_from], [0.6, 0.5])[:, None]
    known = {"uniform": 0.7, "unigram": 0.6, "bigram": 0.5}
    final = {f"{name}_loss": np.array([x]) for name, x in known.items()} | {"loss": values["loss"][-1]}
    return SimpleNamespace(evaluation=History(STEPS, values), final=final)


def test_a_run_that_passes_its_predictors_in_order():
    result = passing(20, 60)
    np.testing.assert_array_equal(measures.closest_steps(result), [[10], [50], [100]])
    assert measures.steps_between("uniform", "unigram")(result) == [40]
    assert measures.steps_between("unigram", "bigram")(result) == [50]
    assert measures.plateau(result) == [40]
    np.testing.assert_allclose(measures.least_divergence("unigram")(result), 0.01 + 1e-4 * 50)
    np.testing.assert_allclose(measures.step_of_half_the_gain(result), [40])
    np.testing.assert_allclose(measures.loss_above_bigram(result), [0.0])


def test_a_run_that_skips_the_unigram_predictor_has_no_plateau():
    result = passing(30, 30.0)
    assert measures.plateau(result) == [0]
    assert measures.ratio_of_steps(measures.plateau)(result, passing(20, 60)) == [0]
    assert (
        measures.ratio_of_steps(measures.plateau)(passing(20, 60), result)
        == "there is nothing to compare with: it is 0 steps"
    )


def test_a_run_that_never_learns_the_transitions_does_not_arrive():
    result = passing(20, 60)
    result.evaluation.values["loss"][:] = 0.6
    assert np.isnan(measures.step_of_half_the_gain(result)).all()
