"""The figures of the report. Those of one model show the first seed.

Axes: S seeds, T positions.
"""

import numpy as np

from data.tokens import read_corpus
from experiments.transformer_lm.generation import TEMPERATURE
from probes.attention_scores import stripe_chance
from probes.induction import block_length
from reporting.figures import curves
from reporting.heads import score_curves
from reporting.tables import table


def figures(results):
    """The figures of the report, for whatever arms were run."""
    return [
        training_curves(results),
        loss_by_position(results),
        *(head_scores(arm, result) for arm, result in results.items()),
        written_texts(results),
    ]


def training_curves(results):
    """Validation loss and perplexity of every arm over training."""
    panels = []
    for label, metric in (("loss (nats a token)", "loss"), ("perplexity", "perplexity")):
        by_arm = {arm: (result.evaluation.steps, result.evaluation[metric].T) for arm, result in results.items()}
        panels.append((label, by_arm))
    return curves(
        "Validation loss and perplexity over training",
        "Perplexity is exp(loss). Both are for a token of this run's tokeniser: compare only runs with the same "
        "tokeniser and text.",
        "training step",
        panels,
        log_y=["perplexity"],
    )


def loss_by_position(results):
    """The loss of every arm by the number of tokens that it has seen."""
    by_arm = {}
    for arm, result in results.items():
        loss_ST = result.examined["position_loss"]
        by_arm[arm] = (np.arange(1, loss_ST.shape[-1] + 1), loss_ST)
    return curves(
        "Loss by position in the context",
        "How well a model predicts what comes next after so many tokens of the text.",
        "tokens seen",
        [("loss (nats a token)", by_arm)],
        log_x=True,
    )


def head_scores(arm, result):
    """Every head's scores on repeated tokens over training."""
    chance = stripe_chance(block_length(result.config.context_length))
    scores = {name: result.probes[name] for name in ("previous_token_score", "induction_score")}
    return score_curves(arm, result.probes.steps, scores, chance, {})


def written_texts(results):
    """A table of prompts and of what each arm writes after them."""
    rows = []
    for arm, result in results.items():
        tokenizer = read_corpus(result.config, result.config.context_length).tokenizer
        texts = zip(result.examined["prompts"][0], result.examined["drawn"][0], strict=True)
        rows += [(arm, tokenizer.decode(prompt_T), tokenizer.decode(drawn_T)) for prompt_T, drawn_T in texts]
    caption = f"Drawn at temperature {TEMPERATURE}. The prompts are from the validation text."
    return table("What the models write", caption, ["arm", "prompt", "goes on"], rows)
