"""What the claims about models trained on repeats measure, each from an arm's result to one number a seed.

Axes: S seeds, N evaluations, L layers, H heads, T positions.
"""

import numpy as np

from experiments.induction_heads.sequences import context_length, longest_period
from probes.induction import HEAD_SETS, score_over_chance

FORMED = 0.99  # accuracy on determined positions of a model that completes repeats
HEAD_INPUTS = ("query", "key", "value")  # the kinds of composition, by what the later head reads


def needs_repeats(measure):
    """The measure, or as text why it cannot be taken of a model that was trained on other data."""
    return lambda result: measure(result) if result.config.data == "repeats" else "needs --config.data=repeats"


def needs_both_roles(measure):
    """The measure, or as text why it cannot be taken where no head has one of the two roles."""
    return lambda result: missing_role(result, "previous_token", "induction") or measure(result)


def missing_role(result, *roles):
    """Why some seed has no heads of one of these roles, as text; None where all seeds have."""
    if "is_other_head" not in result.examined:
        return "needs a model of two layers"
    for role in roles:
        if not result.examined[f"is_{role}_head"].sum((1, 2)).all():
            return f"no head counts as {role.replace('_', '-')} head"
    return None


def rise_steps(result):
    """Steps [S, 3], interpolated, at which accuracy first was 10, 50 and 90 % of the way to its last value."""
    steps_N, crossings = result.evaluation.steps, []
    for accuracy_N in result.evaluation["induction_accuracy"].T:
        way_N = (accuracy_N - accuracy_N[0]) / ((accuracy_N[-1] - accuracy_N[0]) or np.nan)
        for share in (0.1, 0.5, 0.9):
            i = max(int(np.argmax(way_N >= share)), 1)
            crossings.append(np.interp(share, way_N[i - 1 : i + 1], steps_N[i - 1 : i + 1]))
    return np.array(crossings).reshape(-1, 3)


def relative_rise(result):
    """Steps [S] that accuracy took from 10 to 90 % of its rise, over the step at which it was at 50 %."""
    low, middle, high = rise_steps(result).T
    return (high - low) / middle


def correlation_with_induction_head(result):
    """Correlation [S] over evaluations of accuracy and of the best second-layer induction score."""
    best_NS = result.probes["induction_score"][:, :, 1].max(-1)
    pairs = zip(result.evaluation["induction_accuracy"].T, best_NS.T, strict=True)
    return [np.corrcoef(accuracy_N, best_N)[0, 1] for accuracy_N, best_N in pairs]


def best_score_over_chance(score, layer):
    """Makes a measure: the best head's score in a layer [S], over that of uniform attention."""

    def measure(result):
        scores_SLH = result.examined[score][:, layer : layer + 1]
        return score_over_chance(scores_SLH, score, context_length(result.config))

    return measure


def accuracy_without(head_set, ablation="zero"):
    """Makes a measure: accuracy [S] with one of ``HEAD_SETS`` ablated; a text where a seed has no such heads."""
    role = head_set.removeprefix("others_as_many_as_")

    def measure(result):
        if reason := missing_role(result, role):
            return reason
        needed_S = result.examined[f"is_{role}_head"].sum((1, 2))
        others_S = result.examined["is_other_head"].sum((1, 2))
        if head_set != role and (others_S < needed_S).any():
            return f"all but {others_S.min():.0f} heads have a role; {needed_S.max():.0f} others would be needed"
        return result.examined[f"accuracy_without_set/{ablation}"][:, HEAD_SETS.index(head_set)]

    return measure


def composition(result):
    """{kind: mean composition [S] of previous-token heads with induction heads, in SDs above random matrices}."""
    pairs_SLHLH = np.einsum(
        "slh,smg->slhmg", result.examined["is_previous_token_head"], result.examined["is_induction_head"]
    )
    mean_S = result.examined["composition_baseline_mean"]
    deviation_S = result.examined["composition_baseline_deviation"]
    by_kind = {}
    for kind in HEAD_INPUTS:
        scores_SLHLH = np.nan_to_num(result.examined[f"{kind}_composition"])
        of_pairs_S = (scores_SLHLH * pairs_SLHLH).sum((1, 2, 3, 4)) / pairs_SLHLH.sum((1, 2, 3, 4))
        by_kind[kind] = (of_pairs_S - mean_S) / deviation_S
    return by_kind


def key_composition(result):
    """K-composition [S] of previous-token heads with induction heads, in SDs above random matrices."""
    return composition(result)["key"]


def lead_of_key_composition(result):
    """How much more [S] they K-compose than they Q- or V-compose, in the same SDs."""
    by_kind = composition(result)
    return by_kind["key"] - np.maximum(by_kind["query"], by_kind["value"])


def previous_token_decoded(depth):
    """Makes a measure: the linear probe's accuracy [S] over positions 2 ... T-1, at a depth (0: the embedding)."""
    return lambda result: result.examined["previous_token_decoded"][:, depth].mean(-1)


def previous_token_decoded_in_first_block(depth):
    """Makes a measure: the same [S] over the positions that a first block can reach, 2 ... its greatest length."""

    def measure(result):
        num_positions = longest_period(result.config) - 1
        return result.examined["previous_token_decoded"][:, depth, :num_positions].mean(-1)

    return measure
