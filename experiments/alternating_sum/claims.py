"""The claims. All thresholds were written down before the first run."""

import numpy as np

from experiments.alternating_sum.measures import LENGTHS
from reporting.claims import claim, examined, final

accuracy_at_40 = examined("accuracy_by_length", LENGTHS.index(40))


def distance_from_minus_one(result):
    """The distance of w_rec from -1 [S]."""
    return np.abs(result.variables["params"]["w_rec"] + 1)


CLAIMS = [
    claim(
        "1a",
        "Weights set by hand are right on 10,000 sequences of even lengths up to 100, ties included: "
        "share of sequences that are right",
        examined("rounds_to_target"),
        of="hand_set",
        at_least=1.0,
    ),
    claim(
        "1b",
        "With weights set by hand the output is near 1 where even steps have the larger sum: least such output",
        examined("least_output_above"),
        of="hand_set",
        at_least=0.9999,
    ),
    claim(
        "1c",
        "With weights set by hand the output is near 0 where odd steps have the larger sum: greatest such output",
        examined("greatest_output_below"),
        of="hand_set",
        at_most=1e-4,
    ),
    claim(
        "1d",
        "With weights set by hand the output is exactly 1/2 where the sums are equal: largest distance from 1/2",
        examined("largest_distance_of_ties"),
        of="hand_set",
        at_most=0.0,
    ),
    claim(
        "1e",
        "A recurrent net without biases can compute more than a constant: range of outputs with weights set by hand",
        examined("range"),
        of="hand_set",
        at_least=0.999,
    ),
    claim(
        "2a",
        "A trained linear unit finds w_rec = -1: distance of w_rec from -1",
        distance_from_minus_one,
        of="linear",
        at_most=0.01,
    ),
    claim(
        "2b",
        "A trained linear unit is right at the lengths of its training: accuracy",
        final("accuracy"),
        of="linear",
        at_least=0.99,
    ),
    claim(
        "2c",
        "A linear unit trained on short sequences is right at length 40: accuracy",
        accuracy_at_40,
        of="linear",
        at_least=0.95,
    ),
    claim(
        "3",
        "Of w_in and w_out only the product counts: largest change of an output when w_in is multiplied and w_out "
        "divided by 8",
        examined("change_when_rescaled"),
        of="linear",
        at_most=0.0,
    ),
    claim(
        "4a",
        "A sigmoid unit without biases puts all outputs on one side of 1/2: share of outputs on the rarer side",
        examined("smaller_side"),
        of="sigmoid",
        at_most=0.0,
    ),
    claim(
        "4b",
        "A trained sigmoid unit without biases is at chance at the lengths of its training: accuracy",
        final("accuracy"),
        of="sigmoid",
        at_most=0.6,
    ),
    claim(
        "4c",
        "A sigmoid unit without biases trained on short sequences is at chance at length 40: accuracy",
        accuracy_at_40,
        of="sigmoid",
        at_most=0.6,
    ),
    claim(
        "5a",
        "How often a trained sigmoid unit with biases is right at the lengths of its training: accuracy",
        final("accuracy"),
        of="sigmoid_biased",
    ),
    claim(
        "5b",
        "How often a sigmoid unit with biases trained on short sequences is right at length 40: accuracy",
        accuracy_at_40,
        of="sigmoid_biased",
    ),
]
