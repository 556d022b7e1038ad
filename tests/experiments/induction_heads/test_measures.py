"""What the claims measure, on results made up for it."""

from types import SimpleNamespace

import numpy as np
import pytest

from experiments.induction_heads import measures
from training.experiment import History

STEPS = np.arange(0, 401, 10)


@pytest.fixture
def ramp():
    """An arm whose accuracy rises along a straight line from step 100 to step 200, in two seeds 50 steps apart."""
    accuracy_NS = np.stack([np.clip((STEPS - start) / 100, 0, 1) for start in (100, 150)], axis=1)
    return SimpleNamespace(evaluation=History(STEPS, {"induction_accuracy": accuracy_NS}))


@pytest.fixture
def no_others():
    """An arm of one seed in which both heads have both roles."""
    examined = {
        "is_previous_token_head": np.ones((1, 1, 2)),
        "is_induction_head": np.ones((1, 1, 2)),
        "is_other_head": np.zeros((1, 1, 2)),
        "accuracy_without_set/zero": np.array([[0.1, 0.2, 1.0, 1.0]]),
    }
    return SimpleNamespace(examined=examined)


def test_rise_steps_of_a_straight_line(ramp):
    np.testing.assert_allclose(measures.rise_steps(ramp), [[110, 150, 190], [160, 200, 240]])
    np.testing.assert_allclose(measures.relative_rise(ramp), [80 / 150, 80 / 200])


def test_without_others_the_control_is_not_decided(no_others):
    assert measures.accuracy_without("induction")(no_others) == 0.2
    assert "others would be needed" in measures.accuracy_without("others_as_many_as_induction")(no_others)


def test_without_heads_of_a_role_nothing_is_measured_of_it(no_others):
    no_others.examined["is_induction_head"] = np.zeros((1, 1, 2))
    reason = "no head counts as induction head"
    assert measures.accuracy_without("induction")(no_others) == reason
    assert measures.needs_both_roles(measures.key_composition)(no_others) == reason
    assert measures.accuracy_without("previous_token")(no_others) == 0.1


def test_one_layer_has_no_roles():
    assert measures.accuracy_without("induction")(SimpleNamespace(examined={})) == "needs a model of two layers"


def test_composition_is_a_mean_over_pairs_of_the_two_roles():
    """Of 2 x 2 heads, one has each role: head 0.1 and head 1.0."""
    first, second = np.zeros((1, 2, 2)), np.zeros((1, 2, 2))
    first[0, 0, 1] = second[0, 1, 0] = 1
    scores = {f"{kind}_composition": np.full((1, 2, 2, 2, 2), np.nan) for kind in measures.HEAD_INPUTS}
    for kind, score in (("query", 0.3), ("key", 0.7), ("value", 0.2)):
        scores[f"{kind}_composition"][0, 0, :, 1, :] = 9.0
        scores[f"{kind}_composition"][0, 0, 1, 1, 0] = score
    examined = {
        "is_previous_token_head": first,
        "is_induction_head": second,
        "composition_baseline_mean": np.array([0.1]),
        "composition_baseline_deviation": np.array([0.1]),
        **scores,
    }
    result = SimpleNamespace(examined=examined)
    np.testing.assert_allclose(measures.key_composition(result), [6.0])
    np.testing.assert_allclose(measures.lead_of_key_composition(result), [4.0])
