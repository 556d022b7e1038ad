"""Induction heads: what a Transformer needs in order to complete [A][B] ... [A] -> [B], and when it learns to."""

import math
from dataclasses import dataclass, field
from functools import partial

import jax.numpy as jnp

from data import markov
from experiments.induction_heads import sequences
from experiments.induction_heads.claims import CLAIMS
from experiments.induction_heads.exact_statements import measure_exact_statements
from experiments.induction_heads.figures import figures
from experiments.induction_heads.hand_wired import induction_config, induction_params, stream_width
from models.losses import token_losses
from models.transformer import SHARDING, Transformer, TransformerConfig
from probes.attention_scores import (
    in_context_learning_positions,
    in_context_learning_score,
    prefix_matching_score,
    stripe_scores,
)
from probes.induction import block_length, examine_circuits, examine_heads, two_copies
from training.config import setting
from training.experiment import Arm, Experiment, Loss, Measurement, Preset, Task
from training.optimizer import OptimizerConfig, adamw
from training.step import key

SCORED_SEQUENCES = 16  # [BOS, r, r] on which heads are scored at every evaluation
SCORED_CHAINS = 64  # the same for Markov chains, of the held-out ones
EXAMINED_SEQUENCES = 384  # on which the trained model is taken apart at the end


@dataclass(frozen=True)
class RepeatsConfig:
    vocab_size: int = setting(64, "number of tokens, BOS not counted")
    min_period: int = setting(8, "tokens in the shortest block")
    max_period: int | None = setting(None, "tokens in the longest block; default: half the context, at most vocab_size")


@dataclass(frozen=True)
class MarkovConfig:
    num_states: int = setting(2, "number of states of the chain, which are the tokens")


@dataclass(frozen=True)
class Config:
    data: str = setting("repeats", "repeats: a block of distinct tokens, repeated; markov: each sequence a new chain")
    repeats: RepeatsConfig = field(default_factory=RepeatsConfig)
    markov: MarkovConfig = field(default_factory=MarkovConfig)
    context_length: int | None = setting(None, "tokens in a sequence; default: 64 for repeats, 100 for markov")
    num_layers: int = setting(2, "number of attention layers")
    num_heads: int = setting(4, "number of heads in a layer")
    d_model: int = setting(64, "width of the residual stream")
    d_mlp: int = setting(0, "hidden width of the MLPs; 0: attention only")
    positions: str = setting("learned", "position scheme: none, learned, sinusoidal, rotary or alibi")
    norm: str = setting("none", "normalization before each part of a layer: none or layernorm")
    tied_unembedding: bool = setting(False, "whether the unembedding is the token embedding")
    dropout: float = setting(0.0, "share of values dropped from the embedding and from what layers write")
    dtype: str = setting("float32", "number format of the computation; parameters stay in float32")
    seed: int = setting(0, "seed of the first run; --num_seeds=N trains seed, seed+1, ...")
    num_steps: int = setting(1000, "number of training steps")
    batch_size: int = setting(64, "sequences in a training step")
    eval_batch_size: int = setting(128, "sequences in an evaluation")
    eval_every: int = setting(25, "steps between evaluations")
    checkpoint_every: int = setting(250, "steps between checkpoints")
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)


def arms(config):
    """Every arm. `one_layer_wide` is wide enough to have more parameters than `two_layer`."""
    num_heads = max(config.num_heads, 1)  # the model refuses 0
    wide = math.ceil(1.5 * config.d_model / num_heads) * num_heads
    wired = stream_width(sequences.vocab_size(config), sequences.context_length(config))
    return {
        "two_layer": Arm(transformer_task, {"num_layers": 2}),
        "one_layer": Arm(transformer_task, {"num_layers": 1}),
        "one_layer_wide": Arm(transformer_task, {"num_layers": 1, "d_model": wide}),
        "hand_wired": Arm(
            hand_wired_task,
            {"num_layers": 2, "num_heads": 1, "d_model": wired, "positions": "learned"},
        ),
        "exact": Arm(exact_measurement),
        "with_mlp": Arm(transformer_task, {"num_layers": 2, "d_mlp": 4 * config.d_model}),
        "no_positions": Arm(transformer_task, {"num_layers": 2, "positions": "none"}),
        "learned": Arm(transformer_task, {"num_layers": 2, "positions": "learned"}),
        "sinusoidal": Arm(transformer_task, {"num_layers": 2, "positions": "sinusoidal"}),
        "rotary": Arm(transformer_task, {"num_layers": 2, "positions": "rotary"}),
        "alibi": Arm(transformer_task, {"num_layers": 2, "positions": "alibi"}),
    }


def transformer_task(config):
    """A Transformer, trained on the config's sequences and taken apart at the end."""
    model = Transformer(
        TransformerConfig(
            vocab_size=sequences.vocab_size(config),
            context_length=sequences.context_length(config),
            num_layers=config.num_layers,
            num_heads=config.num_heads,
            d_model=config.d_model,
            d_mlp=config.d_mlp,
            positions=config.positions,
            norm=config.norm,
            bias=config.norm != "none",
            tied_unembedding=config.tied_unembedding,
            dropout=config.dropout,
            dtype=config.dtype,
        )
    )
    held_out = sequences.draw(config, key(0, "evaluation"), config.eval_batch_size)

    def loss(variables, batch, rngs):
        logits_BTV = model.apply(variables, batch["tokens"], deterministic=False, rngs=rngs)
        losses_BT = token_losses(logits_BTV, batch["targets"])
        return Loss(losses_BT.sum(), jnp.float32(losses_BT.size))

    def examine(variables):
        scores = score_heads(config, model, variables)
        if config.data == "markov" or config.num_layers < 2:
            return scores
        batch = sequences.draw(config, key(0, "examination"), EXAMINED_SEQUENCES)
        bos = vocab_size = config.repeats.vocab_size  # random tokens are ids below it, and BOS is the next
        return scores | examine_circuits(
            model, variables, batch, scores, num_tokens=vocab_size, bos=bos, key=key(0, "circuits")
        )

    return Task(
        model=model,
        init=lambda init_key: model.init(init_key, held_out["tokens"][:1]),
        batch=lambda seed, step: sequences.draw(config, key(seed, "batch", step), config.batch_size),
        loss=loss,
        optimizer=adamw(config.optimizer, config.num_steps),
        accumulate=config.optimizer.accumulate,
        sharding=SHARDING,
        evaluate=partial(evaluate, config, model, held_out),
        probe=partial(probe, config, model, held_out),
        examine=examine,
    )


def hand_wired_task(config):
    """Two layers of one head whose weights are written down, not trained; see hand_wired.py."""
    model = Transformer(induction_config(sequences.vocab_size(config), sequences.context_length(config), config.dtype))
    held_out = sequences.draw(config, key(0, "evaluation"), config.eval_batch_size)
    return Task(
        model=model,
        init=lambda init_key: {"params": induction_params(model.config)},
        sharding=SHARDING,
        evaluate=partial(evaluate, config, model, held_out),
        probe=partial(probe, config, model, held_out),
        examine=partial(score_heads, config, model),
    )


def exact_measurement(config):
    """Statements that hold for any weights, or for weights wired at any size: the same for every config and seed."""
    return Measurement(lambda seed_key: measure_exact_statements())


def evaluate(config, model, held_out, variables):
    """Losses and accuracies on held-out sequences, {name: (sum, weight)}."""
    logits_BTV = model.apply(variables, held_out["tokens"])
    losses_BT = token_losses(logits_BTV, held_out["targets"])
    right_BT = logits_BTV.argmax(-1) == held_out["targets"]
    everywhere_BT = jnp.ones_like(losses_BT)
    weighted = {"loss": (losses_BT, everywhere_BT), "accuracy": (right_BT, everywhere_BT)}
    if config.data == "repeats":
        weighted["induction_loss"] = (losses_BT, held_out["determined"])
        weighted["induction_accuracy"] = (right_BT, held_out["determined"])
    else:
        for name, reference_losses_BT in markov.reference_losses(held_out).items():
            weighted[f"{name}_loss"] = (reference_losses_BT, everywhere_BT)
    return {name: (jnp.sum(x_BT * weight_BT), jnp.sum(weight_BT)) for name, (x_BT, weight_BT) in weighted.items()}


def probe(config, model, held_out, variables):
    """The in-context-learning score (nats) and the heads' scores [L, H], cheap enough for every evaluation."""
    losses_T = token_losses(model.apply(variables, held_out["tokens"]), held_out["targets"]).mean(0)
    length = sequences.context_length(config)
    late, early = in_context_learning_positions(length)
    in_context = {"in_context_learning_score": in_context_learning_score(losses_T, late, early)}
    if config.data == "markov":
        return in_context | prefix_matching_score(model, variables, held_out["tokens"][:SCORED_CHAINS])
    bos = vocab_size = config.repeats.vocab_size
    repeated_BT = two_copies(key(0, "head scores"), SCORED_SEQUENCES, length, num_tokens=vocab_size, bos=bos)
    return in_context | stripe_scores(model, variables, repeated_BT, block_length(length))


def score_heads(config, model, variables):
    """All scores [L, H] of every head, on random repeats; nothing for Markov chains, whose few tokens have none."""
    if config.data == "markov":
        return {}
    bos = vocab_size = config.repeats.vocab_size
    return examine_heads(model, variables, num_tokens=vocab_size, bos=bos, key=key(0, "head scores"))


EXPERIMENT = Experiment(
    question=__doc__,
    config=Config(),
    arms=arms,
    default_arms=("two_layer", "one_layer", "one_layer_wide", "hand_wired", "exact"),
    claims=CLAIMS,
    figures=figures,
    presets={
        "long": Preset({"num_steps": 5000}, ("one_layer", "one_layer_wide"), "one layer, five times the budget"),
    },
    watch=("induction_accuracy", 0.1),
)
