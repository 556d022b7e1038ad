"""What do recurrent language models remember, what does the softmax cost, and what do their own samples do to them?"""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np

from data import tokenizers
from data.tokens import read_corpus
from experiments.rnn_lm import gradients
from experiments.rnn_lm.claims import CLAIMS
from experiments.rnn_lm.clipping import LENGTH as CLIPPING_LENGTH
from experiments.rnn_lm.clipping import train_exploding_network
from experiments.rnn_lm.costs import MANY_WORDS, WORDS, count_costs, zipf_cutoffs
from experiments.rnn_lm.exposure import OWN_STEPS, PREFIX, measure_exposure
from experiments.rnn_lm.figures import figures
from experiments.rnn_lm.optimizer import OptimizerConfig, make_optimizer
from experiments.rnn_lm.perplexity import perplexity_identities
from experiments.rnn_lm.reach import (
    TRAINED_STEPS,
    UNTRAINED_CELLS,
    UNTRAINED_STEPS,
    reach_after_training,
    reach_before_training,
)
from experiments.rnn_lm.speed import measure_speeds
from experiments.rnn_lm.text import num_windows, rows_of_split, window
from models import rnn_lm
from models.rnn_lm import RecurrentConfig, RecurrentLM, by_layer
from training.config import setting
from training.experiment import Arm, Experiment, Loss, Measurement, Preset, Task

SMALL_VOCABULARY = 2000  # the largest one with which gradients' reach and own samples are measured


@dataclass(frozen=True)
class Config:
    corpus: str = setting("python_stdlib", "python_stdlib, the name of a prepared TFDS data set, or a file or folder")
    test_corpus: str = setting("", "another text to test on in place of the corpus's own test split")
    tokenizer: str = setting("char", "char, byte, word or sentencepiece")
    tokenizer_size: int = setting(4096, "vocabulary of the tokenizers word and sentencepiece; 0: every word")
    split: str = setting("punctuation", "words of the word tokenizer: punctuation sets marks apart, spaces does not")
    max_characters: int = setting(1_000_000, "characters of the training text at most; 0: all")
    eval_tokens: int = setting(32_768, "held-out tokens of an evaluation at most; 0: all")
    evaluate_on: str = setting("validation", "held-out split: validation or test")
    cell: str = setting("lstm", "elman_sigmoid, elman_tanh, gru or lstm")
    num_layers: int = setting(1, "layers of cells")
    d_embedding: int = setting(64, "width of the embeddings")
    width: int = setting(128, "width of the cells")
    dropout: float = setting(0.0, "dropout rate of embeddings, between layers and of the last outputs")
    tied_unembedding: bool = setting(False, "whether the unembedding is the embedding")
    forget_bias: float = setting(1.0, "bias that an LSTM's forget gates start with")
    output: str = setting("full", "softmax: full, adaptive or sampled")
    num_sampled: int = setting(512, "words that the sampled softmax draws a step")
    positions: bool = setting(False, "whether an embedding of the position in the window is added")
    own_samples: float = setting(0.0, "scheduled sampling: share of inputs that are the model's own, at the last step")
    context_length: int = setting(64, "tokens that gradients flow through; states are carried on")
    seed: int = setting(0, "seed of the first run; --num_seeds=N trains seed, seed+1, ...")
    num_steps: int = setting(250, "training steps")
    batch_size: int = setting(32, "rows of text that are read side by side")
    eval_every: int = setting(50, "steps between evaluations")
    checkpoint_every: int = setting(250, "steps between checkpoints")
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)


WORD_LEVEL = {
    "tokenizer": "word",
    "tokenizer_size": WORDS,
    "d_embedding": 128,
    "batch_size": 20,
    "context_length": 35,
    "optimizer.learning_rate": 0.01,  # not tuned
}


def arms(config):
    """Every arm: the function that makes it, and what it changes in the config."""
    return {
        "elman_sigmoid": Arm(language_model_task, {"cell": "elman_sigmoid"}),
        "elman_tanh": Arm(language_model_task, {"cell": "elman_tanh"}),
        "gru": Arm(language_model_task, {"cell": "gru"}),
        "lstm": Arm(language_model_task, {"cell": "lstm"}),
        "positions": Arm(language_model_task, {"positions": True}),
        "scheduled": Arm(language_model_task, {"own_samples": 0.5}),
        "words": Arm(language_model_task, WORD_LEVEL | {"output": "full"}),
        "adaptive_words": Arm(language_model_task, WORD_LEVEL | {"output": "adaptive"}),
        "sampled_words": Arm(language_model_task, WORD_LEVEL | {"output": "sampled"}),
        "exact": Arm(exact_measurement),
        "start": Arm(start_measurement),
        "speed": Arm(speed_measurement),
    }


def language_model(config, vocab_size):
    """(module, decoder) of an arm's config."""
    module = RecurrentLM(
        RecurrentConfig(
            vocab_size=vocab_size,
            cell=config.cell,
            num_layers=config.num_layers,
            d_embedding=config.d_embedding,
            width=config.width,
            dropout=config.dropout,
            tied_unembedding=config.tied_unembedding,
            forget_bias=config.forget_bias,
            cutoffs=zipf_cutoffs(vocab_size, config.width) if config.output == "adaptive" else (),
            num_positions=config.context_length if config.positions else 0,
        )
    )
    return module, rnn_lm.decoder(module)


def check(config):
    """Raises ValueError for settings that no language model here can have."""
    for name, allowed in (("output", ("full", "adaptive", "sampled")), ("evaluate_on", ("validation", "test"))):
        if getattr(config, name) not in allowed:
            raise ValueError(f"{name}={getattr(config, name)!r} is not one of {', '.join(allowed)}")
    if config.eval_tokens < 0:
        raise ValueError(f"eval_tokens={config.eval_tokens} must be 0 (all) or more")
    if config.num_sampled < 1:
        raise ValueError(f"num_sampled={config.num_sampled} must be at least 1")
    if config.output == "adaptive" and config.tokenizer != "word":
        raise ValueError("output=adaptive needs ids that fall in frequency: take tokenizer=word")
    if config.own_samples and (config.dropout or config.output != "full" or not 0 <= config.own_samples <= 1):
        raise ValueError("own_samples must lie in [0, 1], and needs output=full and dropout=0")


@dataclass(frozen=True)
class Examinations:
    """Which measurements a trained model allows."""

    reach: bool  # how far its gradient reaches back
    own_samples: bool  # what becomes of it when it reads its own samples
    hand_derived: bool  # whether the hand-derived gradients are its own


def choose_examinations(config, vocab_size):
    """The Examinations of an arm's config."""
    is_small = vocab_size <= SMALL_VOCABULARY and config.output == "full"
    return Examinations(
        reach=is_small and not config.positions and not config.own_samples,
        own_samples=is_small and config.cell == "lstm" and not config.positions,
        hand_derived=(
            config.cell == "elman_sigmoid"
            and config.num_layers == 1
            and config.output != "adaptive"
            and not config.tied_unembedding
            and not config.positions
        ),
    )


def language_model_task(config):
    """A language model on the corpus, by backpropagation truncated to windows, with states carried between them.

    A batch's rows go on where those of the step before ended, so their states are a mutable collection, ``carry``,
    of the model: row b's belongs to row b of every batch, and gradients stop there.
    """
    check(config)
    tokens = read_corpus(config)
    model, _ = language_model(config, tokens.vocab_size)
    B, T = config.batch_size, config.context_length
    examinations = choose_examinations(config, tokens.vocab_size)
    longest = max(T, TRAINED_STEPS if examinations.reach else 0, PREFIX + OWN_STEPS if examinations.own_samples else 0)
    train_BN = rows_of_split(config, tokens, "train", T + 1)
    held_out_BN = rows_of_split(config, tokens, config.evaluate_on, longest + 1)
    derivation_tokens = gradients.different_tokens(held_out_BN.ravel()) if examinations.hand_derived else None

    def init(key):
        params = model.init(key, jnp.zeros((1, 1), jnp.int32))["params"]
        return {"params": params, "carry": by_layer(model.initial_states(B))}

    def batch(seed, step, data):
        index = step % num_windows(train_BN, T)
        share = config.own_samples * jnp.minimum(step / max(config.num_steps, 1), 1.0)
        return {
            "tokens": window(data["train"], index, T),
            "begins": jnp.full(B, index == 0),
            "own_samples": jnp.full(B, share.astype(jnp.float32)),
        }

    def loss(variables, batch, rngs):
        tokens_BT = batch["tokens"]
        if len(tokens_BT) != B:
            raise ValueError(
                f"a device has {len(tokens_BT)} of the {B} rows whose states are carried: "
                "train recurrent models with --parallelism=single or a mesh"
            )
        params = {"params": variables["params"]}
        states = start_states(variables["carry"], batch["begins"])
        losses_BT, states = window_losses(model, config, params, batch, states, rngs)
        return Loss(losses_BT.sum(), jnp.float32(losses_BT.size), collections={"carry": by_layer(states)})

    def evaluate(variables, data):
        return {"loss": held_out_loss(model, {"params": variables["params"]}, data["held_out"], T)}

    def examine(variables, data):
        if not examinations.reach:
            return {}
        return {"reach": reach_after_training(model, {"params": variables["params"]}, data["held_out"])}

    def measure(variables):
        params, measured = {"params": variables["params"]}, {}
        if examinations.hand_derived:
            errors = gradients.errors_of_hand_derived(model.config, params, derivation_tokens)
            measured |= {f"hand/{name}": np.asarray(error) for name, error in errors.items()}
        if examinations.own_samples:
            measured |= measure_exposure(model, params, held_out_BN, tokens.train)
        return measured

    return Task(
        model=model,
        init=init,
        batch=batch,
        loss=loss,
        optimizer=make_optimizer(config.optimizer, config.cell, config.num_steps),
        evaluate=evaluate,
        examine=examine,
        measure=measure,
        data={"train": train_BN, "held_out": held_out_BN},
        perplexity=True,
        files={tokenizers.FILE: tokenizers.dumps(tokens.tokenizer)},
        facts=tokens.facts,
    )


def window_losses(model, config, params, batch, states, rngs):
    """(training losses [B, T] of a batch's windows, states after them), by scheduled sampling where config asks for it.

    Args:
      params: {"params": ...}.
      states: those before the windows.
    """
    tokens_BT = batch["tokens"]
    if config.own_samples:
        share_T = jnp.full(config.context_length, batch["own_samples"][0])
        losses_BT, _, states = model.apply(
            params,
            tokens_BT[:, :-1],
            tokens_BT[:, 1:],
            share_T,
            rngs["dropout"],
            states,
            method="losses_on_own_samples",
        )
        return losses_BT, states
    return model.apply(
        params,
        tokens_BT[:, :-1],
        tokens_BT[:, 1:],
        states,
        deterministic=config.dropout == 0,
        num_sampled=config.num_sampled if config.output == "sampled" else 0,
        rngs=rngs,
        method="losses",
    )


def start_states(carry, begins_B):
    """The states that the rows of a batch start with: those carried over, or zeros where a row begins again.

    No gradient flows into them.
    """
    carried = jax.tree.map(lambda x: jnp.where(begins_B[:, None], 0.0, jax.lax.stop_gradient(x)), carry)
    return tuple(carried[f"layer_{i}"] for i in range(len(carried)))


def held_out_loss(model, variables, rows_BN, T):
    """(sum, weight) of the losses of one pass over the rows, in windows of T whose states are carried on."""
    B, windows = len(rows_BN), num_windows(rows_BN, T)

    def read_window(states, index):
        tokens_BT = window(rows_BN, index, T)
        losses_BT, states = model.apply(variables, tokens_BT[:, :-1], tokens_BT[:, 1:], states, method="losses")
        return states, losses_BT.sum()

    _, sums = jax.lax.scan(read_window, model.initial_states(B), jnp.arange(windows))
    return sums.sum(), jnp.float32(windows * B * T)


def exact_measurement(config):
    """Perplexity's identities, and operations counted from jaxprs."""
    return Measurement(lambda key: perplexity_identities() | count_costs())


def start_measurement(config):
    """How far gradients reach before training, and the same network trained with and without clipping."""
    tokens = read_corpus(config)
    rows_BN = rows_of_split(config, tokens, "train", max(UNTRAINED_STEPS, CLIPPING_LENGTH) + 1)

    @jax.jit
    def measure(key, rows_BN):
        clipping_key = jax.random.fold_in(key, len(UNTRAINED_CELLS))
        return reach_before_training(key, tokens.vocab_size, rows_BN) | train_exploding_network(
            clipping_key, tokens.vocab_size, rows_BN
        )

    return Measurement(lambda key: measure(key, rows_BN), facts=tokens.facts)


def speed_measurement(config):
    """Wall time: of the gradient by length, and of training PyTorch's example model with each kind of softmax."""
    return Measurement(lambda key: measure_speeds())


PYTORCH_EXAMPLE = {
    "tokenizer": "word",
    "tokenizer_size": MANY_WORDS,
    "split": "spaces",
    "max_characters": 0,
    "eval_tokens": 0,
    "num_layers": 2,
    "d_embedding": 200,
    "width": 200,
    "dropout": 0.2,
    "forget_bias": 0.0,
    "context_length": 35,
    "batch_size": 20,
    "num_steps": 933,
    "eval_every": 311,
    "optimizer.algorithm": "sgd",
    "optimizer.learning_rate": 20.0,
    "optimizer.schedule": "quartered",
    "optimizer.clip": 0.25,
}

EXPERIMENT = Experiment(
    question=__doc__,
    config=Config(),
    arms=arms,
    default_arms=(
        "elman_sigmoid",
        "elman_tanh",
        "gru",
        "lstm",
        "positions",
        "scheduled",
        "words",
        "adaptive_words",
        "exact",
        "start",
        "speed",
    ),
    claims=CLAIMS,
    figures=figures,
    presets={
        "pytorch_example": Preset(
            PYTORCH_EXAMPLE,
            ("lstm",),
            "the setting of PyTorch's word-level example: LSTM 200/200, SGD at 20, quartered by a fixed schedule",
        ),
    },
    language_model=language_model,
)
