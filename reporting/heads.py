"""Scores of attention heads, drawn and named.

Axes: N evaluations, S seeds, L layers, H heads.
"""

import numpy as np

from reporting.figures import curves


def spelled(name):
    """A score's name as running text."""
    return name.replace("_", " ").replace("previous token", "previous-token")


def score_curves(model, steps_N, scores, chance, marks):
    """Every head's scores over training, a panel a score, with the level of uniform attention.

    Args:
      model: its name in the title.
      steps_N: steps of the evaluations.
      scores: {score: [N, S, L, H]}.
      chance: {score: number}, of uniform attention.
      marks: as ``reporting.figures.curves`` takes them.
    """
    panels = []
    for name, scores_NSLH in scores.items():
        by_head = {
            f"head {layer}.{head}": (steps_N, scores_NSLH[:, :, layer, head].T)
            for layer, head in np.ndindex(scores_NSLH.shape[2:])
        }
        panels.append((spelled(name), by_head))
    return curves(
        f"Head scores of {model} over training",
        "Mean attention to the previous token, and to the token after the earlier occurrence of one's own, on random "
        "blocks that stand twice. Heads are named layer.head.",
        "training step",
        panels,
        marks=marks,
        references={spelled(name): {"uniform attention": chance[name]} for name in scores},
    )
