"""The figures of the report."""

from experiments.statistical_induction.measures import PREDICTORS
from reporting.figures import curves

HEAD_SCORES = {"previous token": "previous_token_score", "after the same token": "prefix_matching_sum"}


def figures(results):
    """One figure for each arm that was run."""
    return [passage(arm, result) for arm, result in results.items()]


def passage(arm, result):
    """The predictors that an arm passes: divergences, loss and attention over training."""
    steps = result.evaluation.steps
    divergences = {name: (steps, result.evaluation[f"kl_to_{name}"].T) for name in PREDICTORS}
    attention = {
        f"{label}, layer {layer}": (steps, result.probes[score][:, :, layer].max(-1).T)
        for label, score in HEAD_SCORES.items()
        for layer in range(result.config.num_layers)
    }
    return curves(
        f"{arm}: the predictors it passes",
        "Left: how far the model's predictions are from each predictor's. Middle: the model's loss, beside those of "
        "the predictors. Right: the greatest attention of a head to the previous token, and to tokens that followed an "
        "earlier occurrence of the current one.",
        "training step",
        [
            ("KL divergence (nats)", divergences),
            ("loss (nats)", {"model": (steps, result.evaluation["loss"].T)}),
            ("attention", attention),
        ],
        references={"loss (nats)": {name: result.final[f"{name}_loss"].mean() for name in (*PREDICTORS, "true")}},
        log_x=True,
        log_y=["KL divergence (nats)"],
    )
