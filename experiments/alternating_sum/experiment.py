"""Can a recurrent net of one linear unit and no biases compare the sums at even and odd steps, and does it learn to?"""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np

from experiments.alternating_sum import sequences as alternating
from experiments.alternating_sum.scalar_rnn import ScalarRNN, alternating_sum_params
from reporting.claims import Stated, judge_all, number_text
from reporting.figures import curves
from reporting.tables import table
from training.config import setting
from training.experiment import Experiment, Loss, Task
from training.optimizer import OptimizerConfig, adamw
from training.step import key

LENGTHS = (2, 4, 6, 8, 10, 14, 20, 30, 40, 60, 80, 100)
LONGER = 40
RESCALING = 8.0  # a power of two: exact in floating point
NUM_CHECKED = 10_000  # sequences on which the weights set by hand must be right
WORKED = ((2, 3, 1, 4), (1, 4, 5, 2), (3, 0, 2, 1))  # more at even steps, a tie, more at odd steps


@dataclass(frozen=True)
class Config:
    activation: str = setting("linear", "of the hidden unit: linear or sigmoid")
    biases: bool = setting(False, "whether hidden unit and output have one")
    weights: str = setting("trained", "trained, or hand_set: w_in 1, w_rec -1, w_out 10")
    context_length: int = setting(10, "longest sequence in training; even")
    max_input: int = setting(3, "inputs are integers from minus this to this")
    seed: int = setting(0, "of the first of the seeds")
    num_steps: int = setting(2000, "training steps")
    batch_size: int = setting(256, "sequences a step")
    eval_batch_size: int = setting(2048, "sequences of an evaluation, and for each length")
    eval_every: int = setting(50, "steps between evaluations")
    checkpoint_every: int = setting(1000, "steps between checkpoints")
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(learning_rate=0.03, warmup_steps=0, weight_decay=0.0)
    )


def task(config):
    alternating.check(config.context_length, config.max_input)
    if config.weights not in ("trained", "hand_set"):
        raise ValueError(f"weights={config.weights!r} is not one of trained, hand_set")
    trained = config.weights == "trained"
    model = ScalarRNN(config.activation, config.biases)
    held_out = alternating.sequences(
        key(0, "evaluation"), config.eval_batch_size, config.context_length, config.max_input
    )

    def logits(variables, batch):
        return model.apply(variables, batch["inputs"], batch["started"])

    def loss_sum(logits_B, targets_B):
        """Cross-entropy in nats, of targets that may be 1/2."""
        return jnp.sum(jax.nn.softplus(logits_B) - targets_B * logits_B)

    def accuracy(logits_B, targets_B):
        """Sum and weight over the sequences that are no ties."""
        decided_B = targets_B != 0.5
        right_B = (logits_B > 0) == (targets_B > 0.5)
        return jnp.sum(right_B & decided_B), jnp.sum(decided_B)

    def evaluate(variables):
        logits_B, targets_B = logits(variables, held_out), held_out["targets"]
        found = {"loss": (loss_sum(logits_B, targets_B), jnp.float32(targets_B.size))}
        return found | {"accuracy": accuracy(logits_B, targets_B)}

    def loss(variables, batch, rngs):
        logits_B = logits(variables, batch)
        return Loss(loss_sum(logits_B, batch["targets"]), jnp.float32(logits_B.size))

    def probe(variables):
        params = variables["params"]
        return {"w_rec": params["w_rec"], "w_in_w_out": params["w_in"] * params["w_out"]}

    def examine(variables):
        longest = max(LENGTHS)
        long = alternating.sequences(key(0, "lengths"), config.eval_batch_size, longest, config.max_input, longest)

        def at_length(length):
            batch = alternating.last(long["inputs"], length)
            right, decided = accuracy(logits(variables, batch), batch["targets"])
            return right / decided

        checked = alternating.sequences(key(0, "checked"), NUM_CHECKED, longest, config.max_input)
        params, targets_B = variables["params"], checked["targets"]

        def outputs(scale):
            rescaled = params | {"w_in": scale * params["w_in"], "w_out": params["w_out"] / scale}
            return jax.nn.sigmoid(logits({"params": rescaled}, checked))

        # One compiled function for both, so that a bitwise comparison compares nothing but the weights.
        outputs_B, rescaled_B = jax.lax.map(outputs, jnp.array([1.0, RESCALING]))
        return {
            "accuracy_by_length": jax.lax.map(at_length, jnp.array(LENGTHS)),
            "rounds_to_target": (jnp.sign(outputs_B - 0.5) == jnp.sign(targets_B - 0.5)).mean(),
            "least_output_above": jnp.where(targets_B == 1, outputs_B, 1.0).min(),
            "greatest_output_below": jnp.where(targets_B == 0, outputs_B, 0.0).max(),
            "largest_distance_of_ties": jnp.where(targets_B == 0.5, jnp.abs(outputs_B - 0.5), 0.0).max(),
            "share_of_ties": (targets_B == 0.5).mean(),
            "range": outputs_B.max() - outputs_B.min(),
            "smaller_side": jnp.minimum((outputs_B > 0.5).mean(), (outputs_B < 0.5).mean()),
            "change_when_rescaled": jnp.abs(rescaled_B - outputs_B).max(),
        }

    return Task(
        model=model,
        init=lambda key: (
            model.init(key, held_out["inputs"][:1], held_out["started"][:1])
            if trained
            else {"params": alternating_sum_params()}
        ),
        batch=lambda seed, step: alternating.sequences(
            key(seed, "batch", step), config.batch_size, config.context_length, config.max_input
        ),
        loss=loss,
        optimizer=adamw(config.optimizer, config.num_steps) if trained else None,
        evaluate=evaluate,
        probe=probe,
        examine=examine,
    )


# --- Claims. All thresholds were written down before the first run.


def examined(name):
    return lambda result: result.examined[name]


def final_accuracy(result):
    return result.final["accuracy"]


def longer_accuracy(result):
    return result.examined["accuracy_by_length"][:, LENGTHS.index(LONGER)]


def distance_from_minus_one(result):
    return np.abs(result.variables["params"]["w_rec"] + 1)


HAND_SET, LINEAR, SIGMOID, BIASED = ("hand_set",), ("linear",), ("sigmoid",), ("sigmoid_biased",)
STATED = [
    Stated(
        "1a",
        "set by hand: share of 10,000 sequences of even lengths to 100 that are right, ties included",
        HAND_SET,
        examined("rounds_to_target"),
        {"at_least": 1.0},
    ),
    Stated(
        "1b", "least output where even steps have more", HAND_SET, examined("least_output_above"), {"at_least": 0.9999}
    ),
    Stated(
        "1c",
        "greatest output where odd steps have more",
        HAND_SET,
        examined("greatest_output_below"),
        {"at_most": 1e-4},
    ),
    Stated("1d", "ties: largest distance from 1/2", HAND_SET, examined("largest_distance_of_ties"), {"at_most": 0.0}),
    Stated(
        "1e", "without biases it is no constant: range of its outputs", HAND_SET, examined("range"), {"at_least": 0.999}
    ),
    Stated("2a", "trained, it finds w_rec = -1: distance", LINEAR, distance_from_minus_one, {"at_most": 0.01}),
    Stated("2b", "its accuracy at lengths to 10, as in training", LINEAR, final_accuracy, {"at_least": 0.99}),
    Stated("2c", "its accuracy at length 40", LINEAR, longer_accuracy, {"at_least": 0.95}),
    Stated(
        "3",
        "only w_in w_out counts: change of outputs by w_in x 8, w_out / 8",
        LINEAR,
        examined("change_when_rescaled"),
        {"at_most": 0.0},
    ),
    Stated(
        "4a",
        "a sigmoid unit without biases: share of outputs on the rarer side of 1/2",
        SIGMOID,
        examined("smaller_side"),
        {"at_most": 0.0},
    ),
    Stated("4b", "so its accuracy is chance, at lengths to 10", SIGMOID, final_accuracy, {"at_most": 0.6}),
    Stated("4c", "and at length 40", SIGMOID, longer_accuracy, {"at_most": 0.6}),
    Stated("5a", "a sigmoid unit with biases: accuracy at lengths to 10", BIASED, final_accuracy, {}),
    Stated("5b", "its accuracy at length 40", BIASED, longer_accuracy, {}),
]


def claims(results):
    """Claims 1 to 5 of experiments/alternating_sum/README.md."""
    return judge_all(STATED, results)


# --- Figures.


def figures(results):
    """The figures of the report, for whatever arms were run."""
    found = [length_figure(results), worked_figure()]
    trained = {arm: r for arm, r in results.items() if r.config.weights == "trained"}
    return [*found, weights_figure(trained)] if trained else found


def length_figure(results):
    series = {arm: (LENGTHS, r.examined["accuracy_by_length"]) for arm, r in results.items()}
    longest = max(r.config.context_length for r in results.values())
    return curves(
        "Accuracy by length",
        "On sequences without ties. A linear unit trained on short sequences goes on to long ones as far as its "
        "w_rec is -1; a sigmoid unit without biases is never on both sides of 1/2.",
        "length of the sequence",
        [("accuracy", series)],
        marks={"lengths in training": (2, longest)},
        references={"accuracy": {"chance": 0.5}},
    )


def worked_figure():
    rows = []
    for inputs in WORKED:
        h = 0
        for t, x in enumerate(inputs, start=1):
            previous, h = h, x - h
            first, last = t == 1, t == len(inputs)
            computed = f"{x} - {previous} = {h}".replace("- -", "+ ")
            output = number_text(float(jax.nn.sigmoid(10.0 * h))) if last else ""
            rows.append([", ".join(map(str, inputs)) if first else "", t, x, computed, output])
    return table(
        "Three sequences, step by step",
        "h_t = x_t - h_{t-1} from h_0 = 0, output sigmoid(10 h_T): h_4 = x_4 - x_3 + x_2 - x_1, the sum at even steps "
        "less that at odd steps.",
        ["inputs", "step t", "x_t", "h_t", "output"],
        rows,
    )


def weights_figure(trained):
    panels = [
        (label, {arm: (r.probes.steps, r.probes[name].T) for arm, r in trained.items()})
        for label, name in (("w_rec", "w_rec"), ("w_in w_out", "w_in_w_out"))
    ]
    panels.append(("loss (nats)", {arm: (r.evaluation.steps, r.evaluation["loss"].T) for arm, r in trained.items()}))
    return curves(
        "Weights over training",
        "From random weights the linear unit's w_rec goes to -1; the product of the other two, its scale, goes on "
        "growing.",
        "training step",
        panels,
        references={"w_rec": {"-1": -1.0}},
        log_y=["loss (nats)"],
    )


EXPERIMENT = Experiment(
    question=__doc__,
    config=Config(),
    arms=lambda config: {
        "hand_set": {"weights": "hand_set", "activation": "linear", "biases": False},
        "linear": {"activation": "linear", "biases": False},
        "sigmoid": {"activation": "sigmoid", "biases": False},
        "sigmoid_biased": {"activation": "sigmoid", "biases": True},
    },
    default_arms=("hand_set", "linear", "sigmoid", "sigmoid_biased"),
    task=task,
    claims=claims,
    figures=figures,
)
