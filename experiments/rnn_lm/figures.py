"""Figures of recurrent language models: perplexity, reach of gradients, own samples, clipping, costs.

Axis letters: S seeds, K steps back, T positions.
"""

import numpy as np

from reporting.figures import curves
from reporting.tables import table


def perplexity_curves(level, results):
    """Validation perplexity and training loss of arms {arm: its result}."""
    perplexity = {arm: (r.evaluation.steps, r.evaluation["perplexity"].T) for arm, r in results.items()}
    loss = {arm: (r.train.steps, r.train["loss"].T) for arm, r in results.items()}
    return curves(
        f"Perplexity over training: {level}",
        "Held-out perplexity is exp(loss), exact also where training samples words. Training losses are means since "
        "the evaluation before; those of a sampled softmax and of scheduled sampling are of their own kind.",
        "training step",
        [("held-out perplexity", perplexity), ("training loss (nats a token)", loss)],
        log_y=["held-out perplexity"],
    )


def relative(norms_SK):
    """Norms over that at no steps back, from logarithms."""
    return np.exp(np.clip(norms_SK - norms_SK[:, :1], -80, 80))


def reach_before_training(found, cells):
    """Norms and bounds of every cell before training."""
    steps = np.arange(found[f"reach/{cells[0]}"].shape[-1])
    panels = [
        (label, {cell: (steps, relative(found[f"{kind}/{cell}"])) for cell in cells})
        for kind, label in (("reach", "gradient's norm"), ("bound", "bound by Jacobians"))
    ]
    caption = (
        "Norm of dJ_t / dh_{t-k} over that of dJ_t / dh_t before training, on text, and its bound: the product of the "
        "Jacobians' largest singular values. For the LSTM h is the whole state."
    )
    return curves("Gradients back in time, before training", caption, "steps back k", panels, log_y=True)


def reach_after_training(reach):
    """Norms of trained models {arm: [S, K]}."""
    series = {arm: (np.arange(norms.shape[-1]), relative(norms)) for arm, norms in reach.items()}
    caption = "The same after training, mean of log-norms over held-out passages."
    title = "Gradients back in time, after training"
    return curves(title, caption, "steps back k", [("gradient's norm", series)], log_y=True)


def losses_by_position(found, prefix):
    """What models {arm: examined} lose on the true text, and what a judge says of their samples."""
    panels, judged = [], {}
    names = {"forced": "true tokens", "own": "own samples", "unrelated": "tokens of another text"}
    for arm, values in found.items():
        steps = np.arange(values["own"].shape[-1]) - prefix
        lines = {text: (steps, smoothed(values[name])) for name, text in names.items()}
        panels.append((f"loss on true text: {arm}", lines))
        judged[f"samples of {arm}"] = (steps, smoothed(values["judged/own"]))
        judged["true text"] = (steps, smoothed(values["judged/text"]))
    panels.append(("nats under a 5-gram judge", judged))
    caption = (
        "From position 0 on a model reads what the legend says; before, true text. Left, the loss of the true next "
        "token. Right, how unlikely the tokens that were read are under a Kneser-Ney 5-gram model of the training "
        "text. Means over passages, smoothed over 5 positions."
    )
    return curves("Fed true tokens or its own samples", caption, "position after the true prefix", panels)


def smoothed(values_ST, width=5):
    """A running mean over positions, of fewer at the ends."""
    kernel, ones = np.ones(width), np.ones(values_ST.shape[-1])
    return np.array([np.convolve(v, kernel, "same") / np.convolve(ones, kernel, "same") for v in values_ST])


def clipping_curves(found, rates):
    """Loss of the exploding network with and without clipping, a panel a rate, and its gradient's norm at the first."""
    kinds = ("not clipped", "clipped at 1")
    losses, norms = found["clipping/losses"], found["clipping/norms"]
    steps = np.arange(losses.shape[-1])
    panels = [
        (f"loss (nats) at rate {rate:g}", {kind: (steps, losses[:, r, i]) for i, kind in enumerate(kinds)})
        for r, rate in enumerate(rates)
    ]
    norm = f"norm before clipping, rate {rates[0]:g}"
    panels.append((norm, {kind: (steps, norms[:, 0, i]) for i, kind in enumerate(kinds)}))
    caption = (
        "Plain SGD on a tanh network whose recurrent weights start at twice their usual size: the same start and text."
    )
    return curves("What clipping does", caption, "training step", panels, log_y=[norm])


def operations_by_length(found, lengths):
    """Operations of backpropagation through T steps, of all losses at once and one by one."""
    series = {
        "all losses in one pass": (np.array(lengths), found["at_once"]),
        "each loss by itself": (np.array(lengths), found["one_by_one"]),
    }
    caption = "Floating-point operations counted from the program, scan bodies times their length: O(T) and O(T^2)."
    title = "What backpropagation through time costs"
    return curves(title, caption, "steps T", [("operations", series)], log_x=True, log_y=True)


def speed_table(found, outputs_by_size):
    """Tokens a second by vocabulary and output layer, {size: outputs}, and how many times the full softmax's."""
    rows = []
    for size, outputs in outputs_by_size.items():
        speeds = {output: found[f"tokens_per_second/{size}/{output}"].mean() for output in outputs}
        rows += [[size, output, round(float(s)), float(s / speeds["full"])] for output, s in speeds.items()]
    caption = (
        "Training steps of an LSTM of 2 layers of 200, batch 20, 35 steps, with clipping and SGD, on words that follow "
        "Zipf's law; the fastest of several rounds that took turns. None: a loss without an output layer."
    )
    return table("Training speed by output layer", caption, ["words", "softmax", "tokens/s", "over the full one"], rows)


def claims_table(claims):
    """The claims as a table, where no arm that was run has a figure of its own."""
    rows = [[claim.id, claim.statement, claim.measured, claim.expected] for claim in claims]
    return table("Claims", "All claims of the experiment.", ["id", "claim", "measured", "threshold"], rows)
