"""Curves of head scores: a panel for each score, a line for each head, and the level of uniform attention."""

import numpy as np

from reporting.heads import score_curves, spelled


def test_scores_are_spelled_as_running_text():
    assert spelled("previous_token_score") == "previous-token score"
    assert spelled("others_as_many_as_induction") == "others as many as induction"


def test_every_score_has_a_panel_and_every_head_a_line():
    values = np.linspace(0, 0.1, 12).reshape(3, 1, 2, 2)
    scores = {name: values for name in ("previous_token_score", "induction_score")}
    chance = {"previous_token_score": 0.06, "induction_score": 0.02}
    figure = score_curves("some_arm", np.arange(3), scores, chance, {})
    assert figure.title == "Head scores of some_arm over training"
    for text in ("previous-token score", "induction score", ">uniform<", ">attention<", "head 0.0", "head 1.1"):
        assert text in figure.markup
