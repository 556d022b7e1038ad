"""Statements that hold exactly, measured: those about any weights on random ones, the others on hand-wired weights."""

from dataclasses import replace
from functools import cache

import jax

from experiments.induction_heads import invariance, repeats
from experiments.induction_heads.hand_wired import induction_config, induction_params
from models.transformer import POSITIONS, Transformer
from probes.induction import determined_scores
from training.step import key

WIRED_SIZES = ((9, 18), (200, 24))  # (tokens without BOS, context length) besides those of the arm hand_wired
WIRED_SEQUENCES = 64


@cache
def measure_exact_statements():
    """What the claims about exact statements are made of, {name: number}; nothing in it depends on a seed.

    Errors and changes are of attention's scores, patterns and outputs: see invariance.py for what each one is.
    """
    small = invariance.SMALL
    without_order = replace(small, positions="none", causal=False)
    first_layer_error, _ = invariance.order_in_scores(replace(small, positions="none"), key(0, "mask"))
    same_layer_change, next_layer_change = invariance.changes_by_a_new_head(small, key(0, "independence"))
    return {
        "permutation_error": invariance.permutation_error(without_order, key(0, "permutation")),
        "first_layer_order_error": first_layer_error,
        "one_layer_score_change": max(score_changes(num_layers=1)),
        "two_layer_score_change": min(score_changes(num_layers=2)),
        "same_layer_change": same_layer_change,
        "next_layer_change": next_layer_change,
        "hand_wired_accuracy": min(hand_wired_accuracy(*size) for size in WIRED_SIZES),
    }


def score_changes(num_layers):
    """How much a replaced token changes scores of the last layer, for each position scheme."""
    return [
        invariance.score_change(
            replace(invariance.SMALL, num_layers=num_layers, positions=scheme), key(0, f"change {scheme}")
        )
        for scheme in POSITIONS
    ]


def hand_wired_accuracy(vocab_size, length):
    """Accuracy on determined positions of weights wired for this vocabulary and context, blocks of any period."""
    model = Transformer(induction_config(vocab_size + 1, length))
    longest = min(length // 2, vocab_size)

    @jax.jit
    def measure(params):
        batch = repeats.repeats(key(0, "hand-wired"), WIRED_SEQUENCES, length, vocab_size, 2, longest)
        return determined_scores(model.apply({"params": params}, batch["tokens"]), batch)["accuracy"]

    return float(measure(induction_params(model.config)))
