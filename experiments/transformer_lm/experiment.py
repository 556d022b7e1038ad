"""A Transformer on real text: does it reach its peers' loss, use its context, and grow induction heads?"""

from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np

from data import tokenizers
from data.tokens import consecutive_windows, prepare, random_windows
from models import transformer
from models.decoding import greedy_by_recomputation
from models.losses import chunked_token_losses, token_losses
from models.sampling import generate
from models.transformer import SHARDING, Transformer, TransformerConfig
from probes.attention_scores import (
    in_context_learning_positions,
    in_context_learning_score,
    in_context_learning_slope,
    stripe_chance,
    stripe_scores,
    text_chance,
    text_scores,
)
from probes.induction import INDUCTION_OVER_CHANCE, block_length, two_copies
from reporting import heads
from reporting.claims import Stated, by_id, judge_all
from reporting.figures import curves
from reporting.tables import table
from training.config import override, setting
from training.experiment import Experiment, Loss, Preset, Task
from training.optimizer import OptimizerConfig, adamw
from training.step import key

PROBED_SEQUENCES = 32
SAMPLES, SAMPLED_TOKENS, TEMPERATURE = 3, 200, 0.8  # texts that the report shows of each arm


def nanogpt_optimizer():
    """nanoGPT's for small character models (train_shakespeare_char.py and the flags of its README)."""
    return OptimizerConfig(
        learning_rate=1e-3, warmup_steps=100, final_fraction=0.1, weight_decay=0.1, b2=0.99, decay_vectors=False
    )


@dataclass(frozen=True)
class Config:
    corpus: str = setting("python_stdlib", "python_stdlib, the name of a prepared TFDS data set, or a file or folder")
    tokenizer: str = setting("char", "char, byte, word or sentencepiece")
    tokenizer_size: int = setting(4096, "vocabulary of the tokenizers word and sentencepiece")
    max_characters: int = setting(0, "of the training text; 0: all")
    context_length: int = setting(64, "tokens a sequence")
    num_layers: int = setting(4, "layers")
    num_heads: int = setting(4, "heads a layer")
    num_key_value_heads: int | None = setting(None, "heads of keys and values; default: num_heads")
    d_model: int = setting(128, "width of the residual stream")
    d_mlp: int | None = setting(None, "hidden width of the MLPs; default: 4 d_model; 0: attention only")
    mlp: str = setting("gelu", "gelu, gelu_exact, relu or swiglu")
    positions: str = setting("learned", "none, learned, sinusoidal, rotary or alibi")
    norm: str = setting("layernorm", "none, layernorm or rmsnorm")
    bias: bool = setting(False, "of affine maps and LayerNorms")
    tied_unembedding: bool = setting(True, "whether the unembedding is the token embedding")
    dropout: float = setting(0.0, "on the embedding and on what layers write")
    dtype: str = setting("float32", "of the computation; parameters stay in float32")
    scan_layers: bool = setting(False, "one compiled layer, repeated: for deep models")
    remat: bool = setting(False, "compute each layer's activations anew in the backward pass")
    loss_chunks: int = setting(1, "pieces in which logits are computed, one in memory at a time")
    seed: int = setting(0, "of the first of the seeds")
    num_steps: int = setting(1000, "training steps")
    batch_size: int = setting(12, "sequences a step")
    eval_batch_size: int = setting(64, "sequences in memory at once in an evaluation")
    eval_windows: int = setting(512, "validation sequences of an evaluation; 0: all")
    position_windows: int = setting(4096, "validation sequences of the loss by position at the end; 0: all")
    eval_every: int = setting(250, "steps between evaluations")
    checkpoint_every: int = setting(500, "steps between checkpoints")
    optimizer: OptimizerConfig = field(default_factory=nanogpt_optimizer)


def arms(config):
    """Every arm, as what it changes in the config."""
    return {"deep": {}, "two_layer": {"num_layers": 2}, "one_layer": {"num_layers": 1}}


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


prepare_once = lru_cache(maxsize=1)(prepare)  # arms share their text


def read(config):
    """The config's corpus as tokens; raises ValueError where it cannot be had or is too short."""
    sized = {"vocab_size": config.tokenizer_size} if config.tokenizer in ("word", "sentencepiece") else {}
    limit = {"max_characters": config.max_characters}
    return prepare_once(config.corpus, config.tokenizer, context_length=config.context_length, **limit, **sized)


def check(config):
    """Raises ValueError for numbers that no Transformer on text can have."""
    least = {"context_length": 8, "num_layers": 1, "eval_batch_size": 1, "loss_chunks": 1}
    least |= {"eval_windows": 0, "position_windows": 0}
    for name, value in least.items():
        if getattr(config, name) < value:
            raise ValueError(f"{name}={getattr(config, name)} must be at least {value}")
    rows = config.batch_size * config.context_length // config.optimizer.accumulate
    if rows % config.loss_chunks:
        raise ValueError(f"the {rows} tokens of a microbatch are not divisible by loss_chunks={config.loss_chunks}")


def task(config):
    T = config.context_length
    check(config)
    tokens = read(config)
    vocab_size = tokens.vocab_size
    model, _ = language_model(config, vocab_size)
    windows_WT = consecutive_windows(tokens.validation, T, at_most=config.eval_windows)
    by_position_WT = consecutive_windows(tokens.validation, T, at_most=config.position_windows)
    on_host = isinstance(tokens.train, np.memmap)
    counts_V = np.bincount(tokens.train[: 10**7], minlength=vocab_size)
    # As many as a block of distinct ones needs, and one to begin with.
    frequent_N = np.argsort(-counts_V, kind="stable")[: min(max(64, block_length(T)) + 1, vocab_size)]

    def split(windows_BT):
        return {"tokens": windows_BT[:, :-1], "targets": windows_BT[:, 1:]}

    def batch(seed, step, data):
        return split(random_windows(key(seed, "batch", step), data["train"], config.batch_size, T))

    def batch_on_host(seed, step):
        starts_B = np.random.default_rng([seed, step]).integers(0, len(tokens.train) - T, config.batch_size)
        return split(np.asarray(tokens.train[starts_B[:, None] + np.arange(T + 1)], np.int32))

    def losses_of(variables, batch, chunks=1, **options):
        if chunks == 1:
            return token_losses(model.apply(variables, batch["tokens"], **options), batch["targets"])
        x_BTD = model.apply(variables, batch["tokens"], unembed=False, **options)
        kernel_DV = transformer.unembedding(model.config, variables["params"])
        return chunked_token_losses(x_BTD, kernel_DV, batch["targets"], chunks)

    def loss(variables, batch, rngs):
        options = {"deterministic": config.dropout == 0, "rngs": rngs}
        losses_BT = losses_of(variables, batch, config.loss_chunks, **options)
        return Loss(losses_BT.sum(), jnp.float32(losses_BT.size))

    def position_losses(variables, windows_WT):
        """The loss at each position, summed over windows [T]; a part of the windows in memory at a time."""
        return jax.lax.map(
            lambda window_T: losses_of(variables, split(window_T[None].astype(jnp.int32)))[0],
            windows_WT,
            batch_size=config.eval_batch_size,
        ).sum(0)

    def evaluate(variables, data):
        windows_WT = data["validation"]
        return {"loss": (position_losses(variables, windows_WT).sum(), jnp.float32(len(windows_WT) * T))}

    def repeated():
        N = len(frequent_N) - 1
        return jnp.asarray(frequent_N)[two_copies(key(0, "probe"), PROBED_SEQUENCES, T, N, N)]

    def probe(variables, data):
        module, params = transformer.unscanned(model, variables["params"])
        tokens_BT = repeated()
        scores = stripe_scores(module, {"params": params}, tokens_BT, block_length(T))
        losses_T = position_losses(variables, tokens_BT) / PROBED_SEQUENCES
        late = block_length(T)
        return scores | {"first_copy_loss": losses_T[1:late].mean(), "second_copy_loss": losses_T[late:].mean()}

    def examine(variables, data):
        module, params = transformer.unscanned(model, variables["params"])
        text_BT = data["validation"][:PROBED_SEQUENCES, :-1].astype(jnp.int32)
        on_text = text_scores(module, {"params": params}, text_BT)
        chance = text_chance(text_BT)
        found = {f"text_{name}": x for name, x in on_text.items()} | {f"text_{n}_chance": x for n, x in chance.items()}
        return found | {"position_loss": position_losses(variables, data["by_position"]) / len(data["by_position"])}

    def measure(variables):
        """The model read token by token through its cache, against whole passes over the text; in full precision."""
        variables = jax.tree.map(jnp.asarray, variables)
        model, decoder = language_model(replace(config, dtype="float32"), vocab_size)
        text_T = jnp.asarray(windows_WT[0, :-1])
        whole_TV = jax.jit(model.apply)(variables, text_T[None])[0]
        pieces_TV = read_by_token(decoder, variables, text_T)
        prompt_T = text_T[: max(T // 4, 1)]
        num_tokens = min(T - len(prompt_T), 32)
        greedy_T = generate(decoder, variables, jax.random.key(0), prompt_T, num_tokens, temperature=0.0)
        slow_T = greedy_by_recomputation(model, variables, prompt_T, num_tokens)
        spread = np.unique(np.linspace(0, len(windows_WT) - 1, SAMPLES).astype(int))
        prompts_WT = windows_WT[spread, : len(prompt_T)]
        num_drawn = min(SAMPLED_TOKENS, T + 1 - len(prompt_T))
        drawn_WT = generate(decoder, variables, jax.random.key(0), prompts_WT, num_drawn, temperature=TEMPERATURE)
        return {
            "cache_error": np.abs(pieces_TV - whole_TV).max(),
            "greedy_agreement": np.mean(np.asarray(greedy_T) == np.asarray(slow_T)),
            "prompts": prompts_WT,
            "drawn": np.asarray(drawn_WT),
        }

    data = {"validation": windows_WT, "by_position": by_position_WT}
    data = {name: windows.astype(tokens.validation.dtype) for name, windows in data.items()}
    return Task(
        model=model,
        init=lambda key: model.init(key, jnp.zeros((1, T), jnp.int32)),
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


def read_by_token(decoder, variables, text_T):
    """Logits [T, V] after each token of a text, one token at a time through the cache."""

    def step(cache, token):
        logits_BV, cache = decoder.advance(variables, cache, token[None, None])
        return cache, logits_BV[0]

    return jax.jit(lambda text_T: jax.lax.scan(step, decoder.start(1), text_T)[1])(text_T)


# --- What the claims are made of. N evaluations, S seeds, T positions, L layers, H heads.

NANOGPT_CPU = {
    "tokenizer": "char",
    "max_characters": 0,
    "context_length": 64,
    "num_layers": 4,
    "num_heads": 4,
    "d_model": 128,
    "num_steps": 2000,
    "batch_size": 12,
    "eval_windows": 0,
    "eval_every": 500,
}
NANOGPT_GPU = NANOGPT_CPU | {
    "context_length": 256,
    "num_layers": 6,
    "num_heads": 6,
    "d_model": 384,
    "dropout": 0.2,
    "num_steps": 5000,
    "eval_every": 250,
    "batch_size": 64,
    "dtype": "bfloat16",
}
# Of tiny_shakespeare as data.corpora splits it; the losses are those of nanoGPT's README.
TINY_SHAKESPEARE = "502cfa9a8c4992feca8653b4595bcff88ebb5640bedfacb07f0abaf6a9a5e690"
CPU_LOSS, GPU_LOSS = 1.88, 1.4697
FREE = (
    "seed",
    "corpus",
    "eval_every",
    "eval_batch_size",
    "position_windows",
    "checkpoint_every",
)  # what a peer's setting leaves open


def at_peers_setting(setting, measure):
    """The measure of a run at a peer's setting on its text; the reason where the run is another."""
    asked = asdict(override(Config(), setting))

    def measure_or_reason(result):
        ran = asdict(result.config)
        if any(ran[name] != value for name, value in asked.items() if name not in FREE):
            return "another setting than the peer's"
        if read(result.config).sha256 != TINY_SHAKESPEARE:
            return "the corpus is not tiny_shakespeare"
        return measure(result)

    return measure_or_reason


def learning_in_context(result):
    """The loss late in the context minus the loss early in it [S], in nats."""
    position_loss_ST = result.examined["position_loss"]
    late, early = in_context_learning_positions(position_loss_ST.shape[-1])
    return in_context_learning_score(position_loss_ST, late, early)


def over_chance(score, layers=slice(None)):
    """Measures the best head's score on repeated tokens over that of uniform attention [S]."""

    def measure(result):
        scores_SLH = result.probes[score][-1][:, layers]
        return scores_SLH.max((1, 2)) / stripe_chance(block_length(result.config.context_length))[score]

    return measure


def gain_of_second_copy(result):
    """How much lower the loss is on the second copy of a block of random tokens than on the first [S], in nats."""
    return (result.probes["first_copy_loss"] - result.probes["second_copy_loss"])[-1]


def share_of_gain(result, other):
    return gain_of_second_copy(result) / gain_of_second_copy(other)


STATED = [
    Stated(
        "1a",
        "nanoGPT's CPU setting on tiny_shakespeare: validation loss (nats a character)",
        ("deep",),
        at_peers_setting(NANOGPT_CPU, lambda result: result.final["loss"]),
        {"at_most": CPU_LOSS},
    ),
    Stated(
        "1b",
        "nanoGPT's GPU setting on tiny_shakespeare: least validation loss over training (nats a character)",
        ("deep",),
        at_peers_setting(NANOGPT_GPU, lambda result: result.evaluation["loss"].min(0)),
        {"at_most": GPU_LOSS},
    ),
    Stated(
        "2a",
        "context helps: loss late in the context minus loss early in it (nats)",
        ("deep",),
        learning_in_context,
        {"below": 0.0},
    ),
    Stated(
        "2b",
        "the same over all positions: slope of the loss on the logarithm of the tokens seen (nats; stated after 2a "
        "had failed)",
        ("deep",),
        lambda result: np.asarray(in_context_learning_slope(result.examined["position_loss"])),
        {"below": 0.0},
    ),
    Stated(
        "3a",
        "two layers grow an induction head on text: best head of the second layer on repeated tokens, over chance",
        ("two_layer",),
        over_chance("induction_score", slice(1, None)),
        {"at_least": INDUCTION_OVER_CHANCE},
    ),
    Stated(
        "3b",
        "one layer grows none: its best head, over chance",
        ("one_layer",),
        over_chance("induction_score"),
        {"below": INDUCTION_OVER_CHANCE},
    ),
    Stated(
        "3c",
        "the two-layer model completes random blocks: loss of their first copy minus that of the second (nats)",
        ("two_layer",),
        gain_of_second_copy,
        {"at_least": 0.5},
    ),
    Stated(
        "3d",
        "the one-layer model does not: its gain, over two_layer's",
        ("one_layer", "two_layer"),
        share_of_gain,
        {"at_most": 0.5},
    ),
    Stated(
        "4a",
        "reading token by token through the cache: greatest difference of a logit from a whole pass",
        ("deep",),
        lambda result: result.examined["cache_error"],
        {"at_most": 1e-4},
    ),
    Stated(
        "4b",
        "greedy generation: share of tokens equal to those of full recomputation",
        ("deep",),
        lambda result: result.examined["greedy_agreement"],
        {"at_least": 1.0},
    ),
]


def claims(results):
    """Claims 1 to 4 of experiments/transformer_lm/README.md."""
    return sorted(judge_all(STATED, results), key=by_id)


# --- Figures. Those of one model show the first seed.


def figures(results):
    """The figures of the report, for whatever arms were run."""
    loss = {arm: (result.evaluation.steps, result.evaluation["loss"].T) for arm, result in results.items()}
    perplexity = {arm: (r.evaluation.steps, r.evaluation["perplexity"].T) for arm, r in results.items()}
    position = {}
    for arm, result in results.items():
        loss_ST = result.examined["position_loss"]
        position[arm] = (np.arange(1, loss_ST.shape[-1] + 1), loss_ST)
    found = [
        curves(
            "Validation loss and perplexity over training",
            "Perplexity is exp(loss). Both are a token of this run's tokeniser: only runs with the same tokeniser and "
            "text compare.",
            "training step",
            [("loss (nats a token)", loss), ("perplexity", perplexity)],
            log_y=["perplexity"],
        ),
        curves(
            "Loss by position in the context",
            "How well a model predicts what comes next after so many tokens of the text.",
            "tokens seen",
            [("loss (nats a token)", position)],
            log_x=True,
        ),
    ]
    for arm, result in results.items():
        chance = stripe_chance(block_length(result.config.context_length))
        scores = {name: result.probes[name] for name in ("previous_token_score", "induction_score")}
        found.append(heads.score_curves(arm, result.probes.steps, scores, chance, {}))
    rows = []
    for arm, result in results.items():
        tokenizer = read(result.config).tokenizer
        texts = zip(result.examined["prompts"][0], result.examined["drawn"][0], strict=True)
        rows += [(arm, tokenizer.decode(prompt_T), tokenizer.decode(drawn_T)) for prompt_T, drawn_T in texts]
    caption = f"Drawn at temperature {TEMPERATURE}; the prompts are of the validation text."
    return [*found, table("What the models write", caption, ["arm", "prompt", "goes on"], rows)]


EXPERIMENT = Experiment(
    question=__doc__,
    config=Config(),
    arms=arms,
    default_arms=("deep", "two_layer", "one_layer"),
    task=task,
    claims=claims,
    figures=figures,
    presets={
        "nanogpt_cpu": Preset(NANOGPT_CPU, ("deep",), "nanoGPT's CPU setting; give tiny_shakespeare as config.corpus"),
        "nanogpt_gpu": Preset(NANOGPT_GPU, ("deep",), "nanoGPT's GPU setting; give tiny_shakespeare as config.corpus"),
        "gpt2_124m": Preset(
            {
                "tokenizer": "sentencepiece",
                "tokenizer_size": 50304,
                "context_length": 1024,
                "num_layers": 12,
                "num_heads": 12,
                "d_model": 768,
                "bias": True,
                "dtype": "bfloat16",
                "scan_layers": True,
                "loss_chunks": 16,
                "batch_size": 480,
                "num_steps": 600_000,
                "eval_every": 1000,
                "checkpoint_every": 1000,
                "eval_windows": 256,
                "eval_batch_size": 8,
                "optimizer.learning_rate": 6e-4,
                "optimizer.warmup_steps": 2000,
                "optimizer.b2": 0.95,
                "optimizer.accumulate": 40,
            },
            ("deep",),
            "the shape of GPT-2 124M in bfloat16, for a GPU or TPU and a large corpus",
        ),
    },
    language_model=language_model,
)
