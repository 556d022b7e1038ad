"""The figures of the report, for whatever arms were run."""

import jax

from experiments.alternating_sum.measures import LENGTHS
from reporting.figures import curves
from reporting.tables import table
from reporting.verdict_text import number_text

WORKED_SEQUENCES = ((2, 3, 1, 4), (1, 4, 5, 2), (3, 0, 2, 1))  # more at even steps, a tie, more at odd steps


def figures(results):
    """Accuracy by length; three sequences step by step; and the weights over training of the arms that are trained."""
    trained = {arm: result for arm, result in results.items() if arm != "hand_set"}
    of_all_arms = [length_figure(results), worked_table()]
    return [*of_all_arms, weights_figure(trained)] if trained else of_all_arms


def length_figure(results):
    """Accuracy against the length of the sequence."""
    longest = max(result.config.context_length for result in results.values())
    return curves(
        "Accuracy by length",
        "On sequences without ties. A linear unit trained on short sequences is right on long ones as far as its "
        "w_rec is -1; a sigmoid unit without biases has all its outputs on one side of 1/2.",
        "length of the sequence",
        [("accuracy", {arm: (LENGTHS, result.examined["accuracy_by_length"]) for arm, result in results.items()})],
        marks={"lengths in training": (2, longest)},
        references={"accuracy": {"chance": 0.5}},
    )


def worked_table():
    """Three sequences and the state of the net with weights set by hand after each of their steps."""
    rows = []
    for inputs in WORKED_SEQUENCES:
        h = 0
        for t, x in enumerate(inputs, start=1):
            previous, h = h, x - h
            equation = f"{x} - {previous} = {h}".replace("- -", "+ ")
            sequence = ", ".join(map(str, inputs)) if t == 1 else ""
            output = number_text(float(jax.nn.sigmoid(10.0 * h))) if t == len(inputs) else ""
            rows.append([sequence, t, x, equation, output])
    return table(
        "Three sequences, step by step",
        "h_t = x_t - h_{t-1} from h_0 = 0, output sigmoid(10 h_T): h_4 = x_4 - x_3 + x_2 - x_1, the sum at even steps "
        "minus the sum at odd steps.",
        ["inputs", "step t", "x_t", "h_t", "output"],
        rows,
    )


def weights_figure(trained):
    """The recurrent weight, the product of the other two, and the loss over training."""
    return curves(
        "Weights over training",
        "From random weights the linear unit's w_rec goes to -1; the product of the other two weights keeps growing.",
        "training step",
        [
            ("w_rec", {arm: (result.probes.steps, result.probes["w_rec"].T) for arm, result in trained.items()}),
            (
                "w_in w_out",
                {arm: (result.probes.steps, result.probes["w_in_w_out"].T) for arm, result in trained.items()},
            ),
            (
                "loss (nats)",
                {arm: (result.evaluation.steps, result.evaluation["loss"].T) for arm, result in trained.items()},
            ),
        ],
        references={"w_rec": {"-1": -1.0}},
        log_y=["loss (nats)"],
    )
