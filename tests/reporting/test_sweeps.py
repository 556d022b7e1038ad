"""Figures of a search: every trial is drawn, diverged ones apart, and the curve falls to the best."""

import re
from xml.etree import ElementTree

import numpy as np

from reporting import sweeps
from training.sweep import parse, sample

AXES = parse("optimizer.learning_rate=log(1e-4,1),optimizer.b1=choice(.8,.9)")


def test_slices_show_every_trial_in_every_panel():
    values = sample(AXES, 20)
    losses = np.linspace(0.1, 2, 20)
    losses[3:6] = np.nan
    figure = sweeps.slices(AXES, values, losses, "loss")
    ElementTree.fromstring(figure.markup)
    assert len(re.findall("<use ", figure.markup)) >= 2 * 20
    for text in ("optimizer.learning_rate", "optimizer.b1", "0.001"):
        assert text in figure.markup
    assert "3 that diverged" in figure.caption
    assert "diverged" not in sweeps.slices(AXES, values, np.ones(20), "loss").caption


def test_best_so_far_has_a_line_a_search():
    figure = sweeps.best_so_far({"random": np.arange(1, 9), "grid": np.arange(1, 17).reshape(2, 8)}, "loss (nats)")
    ElementTree.fromstring(figure.markup)
    assert "random" in figure.markup
    assert "loss (nats)" in figure.markup
    assert "2 seeds" in figure.caption
