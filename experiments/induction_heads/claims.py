"""The claims. Which thresholds were planned, and which came after a first look, README.md says."""

from dataclasses import replace

from experiments.induction_heads.measures import (
    FORMED,
    accuracy_without,
    best_score_over_chance,
    correlation_with_induction_head,
    key_composition,
    lead_of_key_composition,
    needs_both_roles,
    needs_repeats,
    previous_token_decoded,
    previous_token_decoded_in_first_block,
    relative_rise,
)
from probes.induction import INDUCTION_OVER_CHANCE, PREVIOUS_OVER_CHANCE
from reporting.claims import claim, examined, final

UNFORMED = 0.25  # accuracy on determined positions of a model that does not complete repeats
KEPT_ACCURACY = 0.9  # accuracy after an ablation that should not matter
DEVIATIONS = 2.0  # standard deviations above random matrices
ROUNDING = 1e-12  # greatest error of what is exact, in float64

CLAIMS_ON_REPEATS = [
    claim(
        "1",
        "Two layers complete repeats: accuracy on determined positions",
        final("induction_accuracy"),
        of="two_layer",
        at_least=FORMED,
    ),
    claim(
        "2a",
        "One layer, trained for as many steps as two layers, does not complete repeats: accuracy on determined "
        "positions",
        final("induction_accuracy"),
        of="one_layer",
        at_most=UNFORMED,
    ),
    claim(
        "2b",
        "One wider layer, with more parameters than the two layers and as many steps, does not complete repeats: "
        "accuracy on determined positions",
        final("induction_accuracy"),
        of="one_layer_wide",
        at_most=UNFORMED,
    ),
    claim(
        "3a",
        "Two layers learn to complete repeats at once: steps from 10 to 90 % of the rise of accuracy, over the step "
        "of 50 %",
        relative_rise,
        of="two_layer",
        below=0.6,
    ),
    claim(
        "3b",
        "An induction head forms as accuracy rises: correlation of accuracy and the best second-layer induction score",
        correlation_with_induction_head,
        of="two_layer",
        at_least=0.95,
    ),
    claim(
        "4a",
        "A first-layer head attends to the previous token: best previous-token score, over that of uniform attention",
        best_score_over_chance("previous_token_score", layer=0),
        of="two_layer",
        at_least=PREVIOUS_OVER_CHANCE,
    ),
    claim(
        "4b",
        "A second-layer head attends to the token after the earlier occurrence of its own token: best induction "
        "score, over that of uniform attention",
        best_score_over_chance("induction_score", layer=1),
        of="two_layer",
        at_least=INDUCTION_OVER_CHANCE,
    ),
    claim(
        "5a",
        "Without previous-token heads, two layers do not complete repeats: accuracy with these heads zero-ablated",
        accuracy_without("previous_token"),
        of="two_layer",
        at_most=UNFORMED,
    ),
    claim(
        "5b",
        "Without induction heads, two layers do not complete repeats: accuracy with these heads zero-ablated",
        accuracy_without("induction"),
        of="two_layer",
        at_most=UNFORMED,
    ),
    claim(
        "5c",
        "Two layers still complete repeats when as many other heads are zero-ablated as there are previous-token "
        "heads: accuracy",
        accuracy_without("others_as_many_as_previous_token"),
        of="two_layer",
        at_least=KEPT_ACCURACY,
    ),
    claim(
        "5d",
        "Two layers still complete repeats when as many other heads are zero-ablated as there are induction heads: "
        "accuracy",
        accuracy_without("others_as_many_as_induction"),
        of="two_layer",
        at_least=KEPT_ACCURACY,
    ),
    claim(
        "5e",
        "Previous-token heads act through the patterns of later heads: accuracy without their output, all patterns "
        "kept",
        accuracy_without("previous_token", ablation="pattern_preserving"),
        of="two_layer",
        at_least=KEPT_ACCURACY,
    ),
    claim(
        "5f",
        "Induction heads act by what they write: accuracy without their output, all patterns kept",
        accuracy_without("induction", ablation="pattern_preserving"),
        of="two_layer",
        at_most=UNFORMED,
    ),
    claim(
        "5g",
        "The keys of later heads need previous-token heads: accuracy with these heads removed from later keys only",
        needs_both_roles(examined("accuracy_without_path/key")),
        of="two_layer",
        at_most=UNFORMED,
    ),
    claim(
        "5h",
        "The queries and values of later heads do not need previous-token heads: accuracy with these heads removed "
        "from later queries and values only",
        needs_both_roles(examined("accuracy_without_path/query_value")),
        of="two_layer",
        at_least=KEPT_ACCURACY,
    ),
    claim(
        "6a",
        "Previous-token heads K-compose with induction heads: mean score, in standard deviations above random matrices",
        needs_both_roles(key_composition),
        of="two_layer",
        at_least=DEVIATIONS,
    ),
    claim(
        "6b",
        "Previous-token heads K-compose with induction heads more than they Q- or V-compose: lead over the larger, in "
        "standard deviations of random matrices",
        needs_both_roles(lead_of_key_composition),
        of="two_layer",
        at_least=DEVIATIONS,
    ),
    claim(
        "7c",
        "What two layers without positions reach in training: accuracy on determined positions",
        final("induction_accuracy"),
        of="no_positions",
    ),
    claim(
        "8a",
        "Hand-wired weights complete every repeat: accuracy on determined positions",
        final("induction_accuracy"),
        of="hand_wired",
        at_least=1.0,
    ),
    claim(
        "8b",
        "The hand-wired first-layer head attends to the previous token: mean attention",
        examined("previous_token_score", 0, 0),
        of="hand_wired",
        at_least=0.99,
    ),
    claim(
        "8c",
        "The hand-wired second-layer head attends to the token after the earlier occurrence of its own token: mean "
        "attention",
        examined("induction_score", 1, 0),
        of="hand_wired",
        at_least=0.99,
    ),
    claim(
        "10a",
        "A linear probe reads the previous token in the stream after the first layer: accuracy over all positions",
        previous_token_decoded(depth=1),
        of="two_layer",
        at_least=0.95,
    ),
    claim(
        "10b",
        "A linear probe reads the previous token in the stream after the first layer where a first block can lie: "
        "accuracy (stated after 10a had failed)",
        previous_token_decoded_in_first_block(depth=1),
        of="two_layer",
        at_least=0.95,
    ),
    claim(
        "10c",
        "A linear probe does not read the previous token in the embedding: accuracy, where chance is one in the "
        "vocabulary",
        previous_token_decoded(depth=0),
        of="two_layer",
        at_most=0.04,
    ),
]

EXACT_CLAIMS = [
    claim(
        "7a",
        "Attention without positions and mask is permutation-equivariant: greatest error in float64, random weights",
        examined("permutation_error"),
        of="exact",
        at_most=ROUNDING,
    ),
    claim(
        "7b",
        "With a causal mask and no positions, first-layer scores depend on their two tokens alone: greatest error in "
        "float64, random weights",
        examined("first_layer_order_error"),
        of="exact",
        at_most=ROUNDING,
    ),
    claim(
        "8d",
        "Hand-wired weights complete every repeat at two more vocabularies and lengths: least accuracy on determined "
        "positions",
        examined("hand_wired_accuracy"),
        of="exact",
        at_least=1.0,
    ),
    claim(
        "9a",
        "In one layer, replacing the token at k, equal to that at n, changes no score from n or n+1 to k+1: greatest "
        "change over five position schemes",
        examined("one_layer_score_change"),
        of="exact",
        at_most=0.0,
    ),
    claim(
        "9b",
        "In two layers, replacing the token at k, equal to that at n, changes scores from n or n+1 to k+1: least "
        "change over five position schemes",
        examined("two_layer_score_change"),
        of="exact",
        above=0.0,
    ),
    claim(
        "10d",
        "Heads of one layer cannot read each other: greatest change of the other heads by new weights of one",
        examined("same_layer_change"),
        of="exact",
        at_most=0.0,
    ),
    claim(
        "10e",
        "Heads of the next layer can read a first-layer head: least change of the next layer's heads by its new "
        "weights",
        examined("next_layer_change"),
        of="exact",
        above=0.0,
    ),
]

CLAIMS = [
    *(replace(stated, measure=needs_repeats(stated.measure)) for stated in CLAIMS_ON_REPEATS),
    *EXACT_CLAIMS,
]
