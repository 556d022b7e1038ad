"""The fixed-window neural LM against n-gram models: what was never seen, which predicts better, and how to sample?"""

import functools
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np

from data import tokenizers
from data.tokens import random_windows, read_corpus, windows
from experiments.mlp_lm import window_lm
from experiments.mlp_lm.claims import CLAIMS
from experiments.mlp_lm.figures import figures
from experiments.mlp_lm.ngram_models import greatest_order, interpolate, score_ngram_models
from experiments.mlp_lm.shared_contexts import measure_neighbours
from experiments.mlp_lm.strategies import STRATEGIES, measure_strategies, strategies_of
from experiments.mlp_lm.text import held_out_texts
from experiments.mlp_lm.window_lm import WindowConfig, WindowLM, prompt_errors
from models.losses import token_losses
from training.config import setting
from training.experiment import Arm, Experiment, Loss, Preset, Task
from training.optimizer import OptimizerConfig, adamw
from training.step import key

EVAL_ROWS = 2048  # windows whose logits are in memory at once
# The token that ends a line, with which a text begins where a prompt is short: a text begins where another line has
# ended. A character's id depends on the text, so there sample.py fills up a short prompt.
END_OF_LINE = {"word": 1, "byte": 10, "sentencepiece": 3}


def window_optimizer():
    """The optimiser's settings that were best on the validation text of the arm `small`."""
    return OptimizerConfig(learning_rate=1e-2, warmup_steps=50)


@dataclass(frozen=True)
class Config:
    corpus: str = setting("python_stdlib", "python_stdlib, the name of a prepared TFDS data set, or a file or folder")
    test_corpus: str = setting("", "another text to test on in place of the corpus's own test split")
    tokenizer: str = setting("word", "char, byte, word or sentencepiece")
    tokenizer_size: int = setting(4000, "vocabulary of the tokenizers word and sentencepiece; 0: every word")
    split: str = setting("punctuation", "words of the word tokenizer: punctuation sets marks apart, spaces does not")
    max_characters: int = setting(1_200_000, "characters of the training text at most; 0: all")
    order: int = setting(4, "n: a token is predicted from the n-1 before it")
    d_embed: int = setting(64, "width of an embedding")
    d_hidden: int = setting(128, "width of a hidden layer")
    num_hidden: int = setting(1, "number of hidden layers")
    activation: str = setting("tanh", "tanh, relu or another of models.mlp.ACTIVATIONS")
    direct: bool = setting(False, "whether connections go from the embeddings straight to the logits")
    layernorm: bool = setting(False, "whether a LayerNorm stands before each activation")
    residual: bool = setting(False, "whether hidden layers after the first have residual connections")
    dropout: float = setting(0.2, "dropout rate of embeddings and hidden layers")
    embed_scale: float = setting(0.1, "standard deviation of the embeddings at the start")
    eval_tokens: int = setting(16_384, "validation tokens of an evaluation at most; 0: all")
    test_tokens: int = setting(50_000, "test tokens at most; 0: all")
    sampled_tokens: int = setting(128, "tokens of each of 32 texts that each sampling strategy writes")
    strategies: str = setting(",".join(STRATEGIES), "sampling strategies that are compared, with commas between")
    seed: int = setting(0, "seed of the first run; --num_seeds=N trains seed, seed+1, ...")
    num_steps: int = setting(1000, "training steps")
    batch_size: int = setting(1024, "windows a step")
    eval_every: int = setting(100, "steps between evaluations")
    checkpoint_every: int = setting(500, "steps between checkpoints")
    optimizer: OptimizerConfig = field(default_factory=window_optimizer)


def arms(config):
    """Every arm: the function that makes it, and what it changes in the config."""
    return {
        "small": Arm(task, {"max_characters": 300_000, "num_steps": 300}),
        "large": Arm(task),
        "relu": Arm(task, {"activation": "relu"}),
        "direct": Arm(task, {"direct": True}),
        "layernorm": Arm(task, {"layernorm": True}),
        "residual": Arm(task, {"num_hidden": 2, "layernorm": True, "residual": True}),
    }


def language_model(config, vocab_size):
    """(module, decoder) of an arm's config."""
    module = WindowLM(
        WindowConfig(
            vocab_size=vocab_size,
            order=config.order,
            d_embed=config.d_embed,
            d_hidden=config.d_hidden,
            num_hidden=config.num_hidden,
            activation=config.activation,
            direct=config.direct,
            layernorm=config.layernorm,
            residual=config.residual,
            dropout=config.dropout,
            embed_scale=config.embed_scale,
            padding=END_OF_LINE.get(config.tokenizer, 0),
        )
    )
    return module, window_lm.decoder(module)


def window_losses(model, variables, windows_BT, **options):
    """The loss [B] of the last token of each window, in nats; ``options`` are the model's."""
    return token_losses(model.apply(variables, windows_BT[:, :-1], **options), windows_BT[:, -1])


def text_losses(model, variables, text_N, window):
    """The loss of each token of a text but the first ``window``, n-1, in nats."""
    starts_M = jnp.arange(text_N.shape[0] - window)

    def loss_of(start):
        return window_losses(model, variables, windows(text_N, start[None], window))[0]

    return jax.lax.map(loss_of, starts_M, batch_size=min(EVAL_ROWS, len(starts_M)))


def task(config):
    """The neural model, trained on windows at random places of the text, and compared with n-gram models at the end."""
    strategies_of(config)
    for name in ("eval_tokens", "test_tokens"):
        if getattr(config, name) < 0:
            raise ValueError(f"{name}={getattr(config, name)} must be 0 (all) or more")
    tokens = read_corpus(config, greatest_order(config.order))
    V, W = tokens.vocab_size, config.order - 1
    model, decoder = language_model(config, V)
    validation_N, test_N = held_out_texts(config, tokens)

    def batch(seed, step, data):
        return random_windows(key(seed, "batch", step), data["train"], config.batch_size, W)

    def loss(variables, batch, rngs):
        losses_B = window_losses(model, variables, batch, deterministic=config.dropout == 0, rngs=rngs)
        return Loss(losses_B.sum(), jnp.float32(losses_B.size))

    def evaluate(variables, data):
        losses_N = text_losses(model, variables, data["validation"], W)
        return {"loss": (losses_N.sum(), jnp.float32(losses_N.size))}

    @jax.jit
    def compiled_losses(variables, text_N):
        return text_losses(model, variables, text_N, W)

    @functools.cache
    def ngram_models():
        """Scored once, since no seed changes them."""
        return score_ngram_models(tokens.train, validation_N, test_N, V, config.order)

    def measure(variables):
        log_validation_N = -np.asarray(compiled_losses(variables, validation_N), np.float64)
        log_test_N = -np.asarray(compiled_losses(variables, test_N), np.float64)
        embedding_VD = variables["params"]["embed"]["embedding"]
        return {
            **ngram_models().measured,
            **interpolate(ngram_models(), log_validation_N, log_test_N, config.order),
            **measure_neighbours(embedding_VD, tokens.train, V),
            **measure_strategies(model, decoder, variables, test_N, config),
            "prompt_errors": prompt_errors(model, decoder, variables, test_N),
        }

    return Task(
        model=model,
        init=lambda key: model.init(key, jnp.zeros((1, W), jnp.int32)),
        batch=batch,
        loss=loss,
        optimizer=adamw(config.optimizer, config.num_steps),
        accumulate=config.optimizer.accumulate,
        evaluate=evaluate,
        measure=measure,
        data={"train": np.asarray(tokens.train), "validation": validation_N},
        perplexity=True,
        files={tokenizers.FILE: tokenizers.dumps(tokens.tokenizer)},
        facts=tokens.facts | {"test_tokens": len(test_N)},
    )


EXPERIMENT = Experiment(
    question=__doc__,
    config=Config(),
    arms=arms,
    default_arms=("small", "large"),
    claims=CLAIMS,
    figures=figures,
    presets={
        "wikitext2_subset": Preset(
            {"tokenizer_size": 0, "split": "spaces", "max_characters": 0, "test_tokens": 0, "num_steps": 800},
            ("large",),
            "words as they stand: --config.corpus=.../valid.txt --config.test_corpus=.../test.txt",
        )
    },
    language_model=language_model,
)
