"""The claims, and what they measure. Thresholds were fixed before the first run; 1a and 1b have the peers' own losses.

Axes: N evaluations, S seeds, T positions, L layers, H heads.
"""

from dataclasses import asdict

import numpy as np

from data.tokens import read_corpus
from experiments.transformer_lm.presets import NANOGPT_CPU, NANOGPT_GPU
from probes.attention_scores import (
    in_context_learning_positions,
    in_context_learning_score,
    in_context_learning_slope,
)
from probes.induction import INDUCTION_OVER_CHANCE, score_over_chance
from reporting.claims import claim, examined, final, ratio
from training.config import override

# Of tiny_shakespeare as data.corpora splits it.
TINY_SHAKESPEARE_SHA256 = "502cfa9a8c4992feca8653b4595bcff88ebb5640bedfacb07f0abaf6a9a5e690"
# Validation losses of nanoGPT's README at its two settings.
NANOGPT_CPU_LOSS, NANOGPT_GPU_LOSS = 1.88, 1.4697
# Fields that a peer's setting leaves open.
OPEN_FIELDS = ("seed", "corpus", "eval_every", "eval_batch_size", "position_windows", "checkpoint_every")


def at_setting_of_peer(setting, measure):
    """The measure of a run at a peer's setting on its text, or as text why the run is another.

    Args:
      setting: {field: value} of what the peer changes in the default config.
    """

    def measure_or_reason(result):
        defaults = type(result.config)()
        asked, ran = asdict(override(defaults, setting)), asdict(result.config)
        if any(ran[name] != value for name, value in asked.items() if name not in OPEN_FIELDS):
            return "another setting than the peer's"
        if read_corpus(result.config, result.config.context_length).sha256 != TINY_SHAKESPEARE_SHA256:
            return "the corpus is not tiny_shakespeare"
        return measure(result)

    return measure_or_reason


def least_loss(result):
    """The least validation loss over training [S], in nats a token."""
    return result.evaluation["loss"].min(0)


def learning_in_context(result):
    """The loss late in the context minus the loss early in it [S], in nats."""
    position_loss_ST = result.examined["position_loss"]
    late, early = in_context_learning_positions(position_loss_ST.shape[-1])
    return in_context_learning_score(position_loss_ST, late, early)


def slope_of_learning_in_context(result):
    """The slope of the loss on the logarithm of the tokens seen [S], in nats."""
    return np.asarray(in_context_learning_slope(result.examined["position_loss"]))


def best_score_over_chance(score, first_layer=0):
    """Makes a measure: the best head's score on repeated tokens [S], over that of uniform attention.

    Args:
      first_layer: heads of earlier layers do not count.
    """

    def measure(result):
        scores_SLH = result.probes[score][-1][:, first_layer:]
        return score_over_chance(scores_SLH, score, result.config.context_length)

    return measure


def gain_of_second_copy(result):
    """How much lower the loss is on the second copy of a block of random tokens than on the first [S], in nats."""
    return (result.probes["first_copy_loss"] - result.probes["second_copy_loss"])[-1]


CLAIMS = [
    claim(
        "1a",
        "At nanoGPT's CPU setting the model reaches nanoGPT's loss on tiny_shakespeare: validation loss (nats a "
        "character)",
        at_setting_of_peer(NANOGPT_CPU, final("loss")),
        of="deep",
        at_most=NANOGPT_CPU_LOSS,
    ),
    claim(
        "1b",
        "At nanoGPT's GPU setting the model reaches nanoGPT's loss on tiny_shakespeare: least validation loss over "
        "training (nats a character)",
        at_setting_of_peer(NANOGPT_GPU, least_loss),
        of="deep",
        at_most=NANOGPT_GPU_LOSS,
    ),
    claim(
        "2a",
        "Context helps: validation loss late in the context minus validation loss early in it (nats)",
        learning_in_context,
        of="deep",
        below=0.0,
    ),
    claim(
        "2b",
        "Context helps over all positions: slope of the validation loss on the logarithm of the tokens seen (nats; "
        "stated after 2a had failed)",
        slope_of_learning_in_context,
        of="deep",
        below=0.0,
    ),
    claim(
        "3a",
        "Two layers grow an induction head on text: best induction score of the second layer on repeated tokens, over "
        "that of uniform attention",
        best_score_over_chance("induction_score", first_layer=1),
        of="two_layer",
        at_least=INDUCTION_OVER_CHANCE,
    ),
    claim(
        "3b",
        "One layer grows no induction head on text: best induction score on repeated tokens, over that of uniform "
        "attention",
        best_score_over_chance("induction_score"),
        of="one_layer",
        below=INDUCTION_OVER_CHANCE,
    ),
    claim(
        "3c",
        "Two layers complete random blocks: loss on the first copy of a block minus loss on the second (nats)",
        gain_of_second_copy,
        of="two_layer",
        at_least=0.5,
    ),
    claim(
        "3d",
        "One layer does not complete random blocks: its gain on the second copy of a block, over that of two layers",
        ratio(gain_of_second_copy),
        of=("one_layer", "two_layer"),
        at_most=0.5,
    ),
    claim(
        "4a",
        "Reading token by token through the cache gives the logits of a whole pass: greatest difference",
        examined("cache_error"),
        of="deep",
        at_most=1e-4,
    ),
    claim(
        "4b",
        "Greedy generation through the cache writes what full recomputation writes: share of equal tokens",
        examined("greedy_agreement"),
        of="deep",
        at_least=1.0,
    ),
]
