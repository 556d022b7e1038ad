"""The figures of the report: perplexity, reach of gradients, own samples, clipping, costs.

Axes: S seeds, K steps back, T positions.
"""

import numpy as np

from experiments.rnn_lm.clipping import LEARNING_RATES
from experiments.rnn_lm.costs import LENGTHS
from experiments.rnn_lm.exposure import PREFIX
from experiments.rnn_lm.reach import UNTRAINED_CELLS
from experiments.rnn_lm.speed import TIMED_OUTPUTS
from reporting.figures import curves
from reporting.tables import table

CHARACTER_ARMS = ("elman_sigmoid", "elman_tanh", "gru", "lstm", "positions", "scheduled")
WORD_ARMS = ("words", "adaptive_words", "sampled_words")
# What a model reads after the true prefix: names of measurements, and how the figure calls them.
READINGS = {"forced": "true tokens", "own": "own samples", "unrelated": "tokens of another text"}


def figures(results):
    """The figures of the report, for whatever arms were run."""
    characters, words = ({arm: results[arm] for arm in arms if arm in results} for arms in (CHARACTER_ARMS, WORD_ARMS))
    trained = characters | words
    reaches = {arm: result.examined["reach"] for arm, result in trained.items() if "reach" in result.examined}
    exposures = {arm: trained[arm].examined for arm in ("lstm", "scheduled") if arm in trained}
    exposures = {arm: measured for arm, measured in exposures.items() if "own" in measured}
    all_figures = []
    if characters:
        all_figures.append(perplexity_curves("characters", characters))
    if words:
        all_figures.append(perplexity_curves("words", words))
    if "start" in results:
        all_figures.append(reach_before_training_figure(results["start"].examined))
    if reaches:
        all_figures.append(reach_after_training_figure(reaches))
    if exposures:
        all_figures.append(losses_by_position(exposures))
    if "start" in results:
        all_figures.append(clipping_curves(results["start"].examined))
    if "exact" in results:
        all_figures.append(operations_by_length_figure(results["exact"].examined))
    if "speed" in results:
        all_figures.append(speed_table(results["speed"].examined))
    return all_figures


def perplexity_curves(level, results):
    """Validation perplexity and training loss of arms {arm: its result}; ``level`` says what their tokens are."""
    perplexity = {arm: (r.evaluation.steps, r.evaluation["perplexity"].T) for arm, r in results.items()}
    loss = {arm: (r.train.steps, r.train["loss"].T) for arm, r in results.items()}
    return curves(
        f"Perplexity over training: {level}",
        "Held-out perplexity is exp(loss), exact also where training samples words. Training losses are means since "
        "the evaluation before; a sampled softmax and scheduled sampling minimise losses of their own kind, which do "
        "not compare with the others.",
        "training step",
        [("held-out perplexity", perplexity), ("training loss (nats a token)", loss)],
        log_y=["held-out perplexity"],
    )


def relative(norms_SK):
    """Norms over that at no steps back, from logarithms."""
    return np.exp(np.clip(norms_SK - norms_SK[:, :1], -80, 80))


def reach_before_training_figure(measured):
    """Norms and bounds of every cell before training."""
    panels = []
    for kind, label in (("reach", "gradient's norm"), ("bound", "bound by Jacobians")):
        norms = {cell: relative(measured[f"{kind}/{cell}"]) for cell in UNTRAINED_CELLS}
        panels.append((label, {cell: (np.arange(norms_SK.shape[-1]), norms_SK) for cell, norms_SK in norms.items()}))
    return curves(
        "Gradients back in time, before training",
        "Norm of dJ_t / dh_{t-k} over that of dJ_t / dh_t before training, on text, and its bound: the product of the "
        "Jacobians' largest singular values. For the LSTM h is the whole state.",
        "steps back k",
        panels,
        log_y=True,
    )


def reach_after_training_figure(reaches):
    """Norms of trained models {arm: their logarithms [S, K]}."""
    series = {arm: (np.arange(norms.shape[-1]), relative(norms)) for arm, norms in reaches.items()}
    return curves(
        "Gradients back in time, after training",
        "Norm of dJ_t / dh_{t-k} over that of dJ_t / dh_t after training, mean of log-norms over held-out passages.",
        "steps back k",
        [("gradient's norm", series)],
        log_y=True,
    )


def losses_by_position(measured_by_arm):
    """What models {arm: measurements} lose on the true text, and what a judge says of their samples."""
    panels, judged = [], {}
    for arm, measured in measured_by_arm.items():
        steps = np.arange(measured["own"].shape[-1]) - PREFIX
        lines = {label: (steps, smooth(measured[name])) for name, label in READINGS.items()}
        panels.append((f"loss on true text: {arm}", lines))
        judged[f"samples of {arm}"] = (steps, smooth(measured["judged/own"]))
        judged["true text"] = (steps, smooth(measured["judged/text"]))
    panels.append(("nats under a 5-gram judge", judged))
    return curves(
        "Fed true tokens or its own samples",
        "Up to position 0 a model reads true text, from there on what the legend says. Left, the loss of the true next "
        "token. Right, how unlikely the tokens that were read are under a Kneser-Ney 5-gram model of the training "
        "text. Means over passages, smoothed over 5 positions.",
        "position after the true prefix",
        panels,
    )


def smooth(values_ST, width=5):
    """A running mean over ``width`` positions, over fewer at the ends."""
    kernel, ones = np.ones(width), np.ones(values_ST.shape[-1])
    return np.array([np.convolve(v, kernel, "same") / np.convolve(ones, kernel, "same") for v in values_ST])


def clipping_curves(measured):
    """Loss of the exploding network with and without clipping, a panel a rate, and its gradient's norm at the first."""
    kinds = ("not clipped", "clipped at 1")
    losses, norms = measured["clipping/losses"], measured["clipping/norms"]
    steps = np.arange(losses.shape[-1])
    panels = [
        (f"loss (nats) at rate {rate:g}", {kind: (steps, losses[:, r, i]) for i, kind in enumerate(kinds)})
        for r, rate in enumerate(LEARNING_RATES)
    ]
    norm = f"norm before clipping, rate {LEARNING_RATES[0]:g}"
    panels.append((norm, {kind: (steps, norms[:, 0, i]) for i, kind in enumerate(kinds)}))
    return curves(
        "What clipping does",
        "Plain SGD on a tanh network whose recurrent weights start at twice their usual size: the same start and text.",
        "training step",
        panels,
        log_y=[norm],
    )


def operations_by_length_figure(measured):
    """Operations of backpropagation through T steps, of all losses at once and one by one."""
    series = {
        "all losses in one pass": (np.array(LENGTHS), measured["at_once"]),
        "each loss by itself": (np.array(LENGTHS), measured["one_by_one"]),
    }
    return curves(
        "What backpropagation through time costs",
        "Floating-point operations counted from the program, scan bodies times their length: O(T) and O(T^2).",
        "steps T",
        [("operations", series)],
        log_x=True,
        log_y=True,
    )


def speed_table(measured):
    """Tokens a second by vocabulary and output layer, and how many times the full softmax's they are."""
    rows = []
    for size, outputs in TIMED_OUTPUTS.items():
        speeds = {output: measured[f"tokens_per_second/{size}/{output}"].mean() for output in outputs}
        rows += [[size, output, round(float(s)), float(s / speeds["full"])] for output, s in speeds.items()]
    return table(
        "Training speed by output layer",
        "Training steps of an LSTM of 2 layers of 200, batch 20, 35 steps, with clipping and SGD, on words that follow "
        "Zipf's law; the fastest of several rounds in which the kinds of softmax took turns. None: a loss without an "
        "output layer.",
        ["words", "softmax", "tokens/s", "over the full one"],
        rows,
    )
