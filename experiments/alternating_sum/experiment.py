"""Can a recurrent net of one linear unit and no biases compare the sums at even and odd steps, and does it learn to?"""

from dataclasses import dataclass, field, replace

import jax.numpy as jnp

from experiments.alternating_sum.claims import CLAIMS
from experiments.alternating_sum.figures import figures
from experiments.alternating_sum.measures import accuracy_by_length, accuracy_sums, loss_sum, output_checks
from experiments.alternating_sum.scalar_rnn import ScalarRNN, alternating_sum_params
from experiments.alternating_sum.sequences import check_sizes, random_sequences
from training.config import setting
from training.experiment import Arm, Experiment, Loss, Task
from training.optimizer import OptimizerConfig, adamw
from training.step import key


@dataclass(frozen=True)
class Config:
    context_length: int = setting(10, "longest sequence in training; even")
    max_input: int = setting(3, "inputs are integers from minus this number to this number")
    seed: int = setting(0, "seed of the first run; --num_seeds=N trains seed, seed+1, ...")
    num_steps: int = setting(2000, "training steps")
    batch_size: int = setting(256, "sequences a step")
    eval_batch_size: int = setting(2048, "sequences of an evaluation, and for each length")
    eval_every: int = setting(50, "steps between evaluations")
    checkpoint_every: int = setting(1000, "steps between checkpoints")
    optimizer: OptimizerConfig = field(
        default_factory=lambda: OptimizerConfig(learning_rate=0.03, warmup_steps=0, weight_decay=0.0)
    )


def hand_set_task(config):
    """A linear unit without biases whose weights are set by hand and not trained: w_in 1, w_rec -1, w_out 10."""
    return replace(linear_task(config), init=lambda key: {"params": alternating_sum_params()}, optimizer=None)


def linear_task(config):
    """The Task of a linear unit without biases."""
    return recurrent_task(config, ScalarRNN("linear", biases=False))


def sigmoid_task(config):
    """The Task of a sigmoid unit without biases."""
    return recurrent_task(config, ScalarRNN("sigmoid", biases=False))


def sigmoid_biased_task(config):
    """The Task of a sigmoid unit with biases of the hidden unit and of the output."""
    return recurrent_task(config, ScalarRNN("sigmoid", biases=True))


def recurrent_task(config, model):
    """The Task of a recurrent net of one hidden unit that says which sum is larger; every step has fresh sequences."""
    check_sizes(config.context_length, config.max_input)
    size, longest, max_input = config.eval_batch_size, config.context_length, config.max_input
    held_out = random_sequences(key(0, "evaluation"), size, longest, max_input)

    def logits(params, batch):
        return model.apply({"params": params}, batch["inputs"], batch["started"])

    def loss(variables, batch, rngs):
        logits_B = logits(variables["params"], batch)
        return Loss(loss_sum(logits_B, batch["targets"]), jnp.float32(logits_B.size))

    def evaluate(variables):
        logits_B, targets_B = logits(variables["params"], held_out), held_out["targets"]
        return {
            "loss": (loss_sum(logits_B, targets_B), jnp.float32(targets_B.size)),
            "accuracy": accuracy_sums(logits_B, targets_B),
        }

    def probe(variables):
        params = variables["params"]
        return {"w_rec": params["w_rec"], "w_in_w_out": params["w_in"] * params["w_out"]}

    def examine(variables):
        params = variables["params"]
        return {
            "accuracy_by_length": accuracy_by_length(logits, params, key(0, "lengths"), size, max_input),
            **output_checks(logits, params, key(0, "checked"), max_input),
        }

    return Task(
        model=model,
        init=lambda key: model.init(key, held_out["inputs"][:1], held_out["started"][:1]),
        batch=lambda seed, step: random_sequences(key(seed, "batch", step), config.batch_size, longest, max_input),
        loss=loss,
        optimizer=adamw(config.optimizer, config.num_steps),
        evaluate=evaluate,
        probe=probe,
        examine=examine,
    )


EXPERIMENT = Experiment(
    question=__doc__,
    config=Config(),
    arms=lambda config: {
        "hand_set": Arm(hand_set_task),
        "linear": Arm(linear_task),
        "sigmoid": Arm(sigmoid_task),
        "sigmoid_biased": Arm(sigmoid_biased_task),
    },
    default_arms=("hand_set", "linear", "sigmoid", "sigmoid_biased"),
    claims=CLAIMS,
    figures=figures,
)
