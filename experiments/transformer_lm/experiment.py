"""A Transformer on real text: does it reach its peers' loss, use its context, and grow induction heads?"""

from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp
import numpy as np

from data import tokenizers
from data.tokens import consecutive_windows, random_windows, read_corpus
from experiments.transformer_lm.claims import CLAIMS
from experiments.transformer_lm.figures import figures
from experiments.transformer_lm.generation import measure_generation
from experiments.transformer_lm.presets import GPT2_124M, NANOGPT_CPU, NANOGPT_GPU
from models import transformer
from models.losses import chunked_token_losses, token_losses
from models.transformer import SHARDING, Transformer, TransformerConfig
from probes.attention_scores import stripe_scores, text_chance, text_scores
from probes.induction import block_length, two_copies
from training.config import setting
from training.experiment import Arm, Experiment, Loss, Preset, Task
from training.optimizer import OptimizerConfig, adamw
from training.step import key

PROBED_SEQUENCES = 32  # repeated tokens, and windows of text, on which heads are scored
FREQUENT_TOKENS = 64  # of which repeated blocks are made, or more where a block is longer
COUNTED_TOKENS = 10**7  # of the training text, among which the frequent ones are found


def nanogpt_optimizer():
    """nanoGPT's optimizer for small character models (train_shakespeare_char.py and the flags of its README)."""
    return OptimizerConfig(
        learning_rate=1e-3, warmup_steps=100, final_fraction=0.1, weight_decay=0.1, b2=0.99, decay_vectors=False
    )


@dataclass(frozen=True)
class Config:
    corpus: str = setting("python_stdlib", "python_stdlib, the name of a prepared TFDS data set, or a file or folder")
    tokenizer: str = setting("char", "what tokens are: char, byte, word or sentencepiece")
    tokenizer_size: int = setting(4096, "vocabulary of the tokenizers word and sentencepiece")
    max_characters: int = setting(0, "characters of the training text that are read; 0: all")
    context_length: int = setting(64, "tokens in a sequence")
    num_layers: int = setting(4, "number of layers")
    num_heads: int = setting(4, "number of heads in a layer")
    num_key_value_heads: int | None = setting(None, "number of heads of keys and values; default: num_heads")
    d_model: int = setting(128, "width of the residual stream")
    d_mlp: int | None = setting(None, "hidden width of the MLPs; default: 4 d_model; 0: attention only")
    mlp: str = setting("gelu", "activation of the MLPs: gelu, gelu_exact, relu or swiglu")
    positions: str = setting("learned", "position scheme: none, learned, sinusoidal, rotary or alibi")
    norm: str = setting("layernorm", "normalization before each part of a layer: none, layernorm or rmsnorm")
    bias: bool = setting(False, "whether affine maps and LayerNorms have biases")
    tied_unembedding: bool = setting(True, "whether the unembedding is the token embedding")
    dropout: float = setting(0.0, "share of values dropped from the embedding and from what layers write")
    dtype: str = setting("float32", "number format of the computation; parameters stay in float32")
    scan_layers: bool = setting(False, "compile one layer and repeat it: for deep models")
    remat: bool = setting(False, "compute each layer's activations anew in the backward pass")
    loss_chunks: int = setting(1, "pieces in which logits are computed, one in memory at a time")
    seed: int = setting(0, "seed of the first run; --num_seeds=N trains seed, seed+1, ...")
    num_steps: int = setting(1000, "training steps")
    batch_size: int = setting(12, "sequences in a training step")
    eval_batch_size: int = setting(64, "sequences in memory at once in an evaluation")
    eval_windows: int = setting(512, "validation sequences in an evaluation; 0: all")
    position_windows: int = setting(4096, "validation sequences of the loss by position at the end; 0: all")
    eval_every: int = setting(250, "steps between evaluations")
    checkpoint_every: int = setting(500, "steps between checkpoints")
    optimizer: OptimizerConfig = field(default_factory=nanogpt_optimizer)


def arms(config):
    """Every arm. The depth of `deep` is the config's."""
    return {"deep": Arm(task), "two_layer": Arm(task, {"num_layers": 2}), "one_layer": Arm(task, {"num_layers": 1})}


def language_model(config, vocab_size):
    """(module, decoder) of an arm's config."""
    module = Transformer(
        TransformerConfig(
            vocab_size=vocab_size,
            context_length=config.context_length,
            num_layers=config.num_layers,
            num_heads=config.num_heads,
            num_key_value_heads=config.num_key_value_heads,
            d_model=config.d_model,
            d_mlp=4 * config.d_model if config.d_mlp is None else config.d_mlp,
            mlp=config.mlp,
            positions=config.positions,
            norm=config.norm,
            bias=config.bias,
            tied_unembedding=config.tied_unembedding,
            dropout=config.dropout,
            dtype=config.dtype,
            scan_layers=config.scan_layers,
            remat=config.remat,
        )
    )
    return module, transformer.decoder(module)


def check_sizes(config):
    """Raises ValueError for numbers that no Transformer on text can have."""
    least_values = {
        "context_length": 8,
        "num_layers": 1,
        "eval_batch_size": 1,
        "loss_chunks": 1,
        "eval_windows": 0,
        "position_windows": 0,
    }
    for name, least in least_values.items():
        if getattr(config, name) < least:
            raise ValueError(f"{name}={getattr(config, name)} must be at least {least}")
    num_tokens = config.batch_size * config.context_length // config.optimizer.accumulate
    if num_tokens % config.loss_chunks:
        raise ValueError(
            f"the {num_tokens} tokens of a microbatch are not divisible by loss_chunks={config.loss_chunks}"
        )


def task(config):
    """A Transformer trained on random windows of the config's corpus."""
    check_sizes(config)
    T, tokens = config.context_length, read_corpus(config, config.context_length)
    vocab_size, on_host = tokens.vocab_size, isinstance(tokens.train, np.memmap)
    model, _ = language_model(config, vocab_size)
    frequent_N = frequent_tokens(tokens.train, vocab_size, T)
    windows_WT = consecutive_windows(tokens.validation, T, at_most=config.eval_windows)
    by_position_WT = consecutive_windows(tokens.validation, T, at_most=config.position_windows)

    def batch(seed, step, data):
        return inputs_and_targets(random_windows(key(seed, "batch", step), data["train"], config.batch_size, T))

    def batch_on_host(seed, step):
        starts_B = np.random.default_rng([seed, step]).integers(0, len(tokens.train) - T, config.batch_size)
        return inputs_and_targets(np.asarray(tokens.train[starts_B[:, None] + np.arange(T + 1)], np.int32))

    def loss(variables, batch, rngs):
        deterministic = config.dropout == 0
        losses_BT = batch_losses(model, variables, batch, config.loss_chunks, deterministic=deterministic, rngs=rngs)
        return Loss(losses_BT.sum(), jnp.float32(losses_BT.size))

    def evaluate(variables, data):
        losses_T = position_losses(model, variables, data["validation"], config.eval_batch_size)
        return {"loss": (losses_T.sum(), jnp.float32(len(data["validation"]) * T))}

    def probe(variables, data):
        module, params = transformer.unscanned(model, variables["params"])
        repeated_BT = repeated_blocks(frequent_N, T)
        losses_T = position_losses(model, variables, repeated_BT, config.eval_batch_size) / PROBED_SEQUENCES
        second = block_length(T)
        return {
            **stripe_scores(module, {"params": params}, repeated_BT, block_length(T)),
            "first_copy_loss": losses_T[1:second].mean(),
            "second_copy_loss": losses_T[second:].mean(),
        }

    def examine(variables, data):
        module, params = transformer.unscanned(model, variables["params"])
        text_BT = data["validation"][:PROBED_SEQUENCES, :-1].astype(jnp.int32)
        scores, chance = text_scores(module, {"params": params}, text_BT), text_chance(text_BT)
        losses_T = position_losses(model, variables, data["by_position"], config.eval_batch_size)
        return {
            **{f"text_{name}": score_LH for name, score_LH in scores.items()},
            **{f"text_{name}_chance": score for name, score in chance.items()},
            "position_loss": losses_T / len(data["by_position"]),
        }

    def measure(variables):
        module, decoder = language_model(replace(config, dtype="float32"), vocab_size)  # compared in full precision
        return measure_generation(module, decoder, variables, windows_WT)

    dtype = tokens.validation.dtype
    data = {"validation": windows_WT.astype(dtype), "by_position": by_position_WT.astype(dtype)}
    return Task(
        model=model,
        init=lambda init_key: model.init(init_key, jnp.zeros((1, T), jnp.int32)),
        batch=batch_on_host if on_host else batch,
        batch_on_host=on_host,
        loss=loss,
        optimizer=adamw(config.optimizer, config.num_steps),
        accumulate=config.optimizer.accumulate,
        sharding=SHARDING,
        evaluate=evaluate,
        probe=probe,
        examine=examine,
        measure=measure,
        data=data if on_host else data | {"train": tokens.train},
        perplexity=True,
        files={tokenizers.FILE: tokenizers.dumps(tokens.tokenizer)},
        facts=tokens.facts,
    )


def inputs_and_targets(windows_BT):
    """Windows of T + 1 tokens as the first T of them, and the T that follow each."""
    return {"tokens": windows_BT[:, :-1], "targets": windows_BT[:, 1:]}


def batch_losses(model, variables, batch, num_chunks=1, **options):
    """The loss [B, T] of every token of a batch, in nats; logits are computed in so many pieces.

    Args:
      options: of the model's call.
    """
    if num_chunks == 1:
        return token_losses(model.apply(variables, batch["tokens"], **options), batch["targets"])
    x_BTD = model.apply(variables, batch["tokens"], unembed=False, **options)
    kernel_DV = transformer.unembedding(model.config, variables["params"])
    return chunked_token_losses(x_BTD, kernel_DV, batch["targets"], num_chunks)


def position_losses(model, variables, windows_WT, num_at_once):
    """The loss at each position, summed over windows [T], in nats; ``num_at_once`` windows are in memory at a time."""

    def losses_of_window(window_T):
        return batch_losses(model, variables, inputs_and_targets(window_T[None].astype(jnp.int32)))[0]

    return jax.lax.map(losses_of_window, windows_WT, batch_size=num_at_once).sum(0)


def frequent_tokens(train_N, vocab_size, context_length):
    """The ids of the most frequent tokens, as many as a block of distinct ones needs and one to begin with."""
    counts_V = np.bincount(train_N[:COUNTED_TOKENS], minlength=vocab_size)
    needed = max(FREQUENT_TOKENS, block_length(context_length)) + 1
    return np.argsort(-counts_V, kind="stable")[: min(needed, vocab_size)]


def repeated_blocks(frequent_N, context_length):
    """Sequences [begin, r, r] of random blocks r of frequent tokens, which begin with the rarest of them."""
    last = len(frequent_N) - 1
    return jnp.asarray(frequent_N)[two_copies(key(0, "probe"), PROBED_SEQUENCES, context_length, last, last)]


EXPERIMENT = Experiment(
    question=__doc__,
    config=Config(),
    arms=arms,
    default_arms=("deep", "two_layer", "one_layer"),
    claims=CLAIMS,
    figures=figures,
    presets={
        "nanogpt_cpu": Preset(NANOGPT_CPU, ("deep",), "nanoGPT's CPU setting; give tiny_shakespeare as config.corpus"),
        "nanogpt_gpu": Preset(NANOGPT_GPU, ("deep",), "nanoGPT's GPU setting; give tiny_shakespeare as config.corpus"),
        "gpt2_124m": Preset(
            GPT2_124M,
            ("deep",),
            "the shape of GPT-2 124M in bfloat16, for a GPU or TPU and a large corpus",
        ),
    },
    language_model=language_model,
)
