"""What do recurrent language models remember, what does the softmax cost, and what do their own samples do to them?"""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
import optax

from data import tokenizers
from data.tokens import columns, prepare
from experiments.rnn_lm import costs as recurrent_costs
from experiments.rnn_lm import exposure
from experiments.rnn_lm import figures as recurrent
from experiments.rnn_lm.gradients import errors_of_hand_derived
from experiments.rnn_lm.perplexity import perplexity_identities
from experiments.rnn_lm.reach import clipping, reach_of_model
from models import rnn_lm
from models.rnn_lm import RecurrentConfig, RecurrentLM, by_layer
from probes.gradient_flow import fit_line
from reporting.claims import Stated, judge_all, stated
from training.config import setting
from training.experiment import Experiment, Loss, Preset, Task
from training.optimizer import check_range

# The best of .001, .003, .01 and .03 for each cell in runs of 200 steps: see experiments/rnn_lm/README.md.
LEARNING_RATES = {"elman_sigmoid": 3e-2, "elman_tanh": 1e-2, "gru": 1e-2, "lstm": 3e-2}
QUARTERED_AFTER = (1 / 2, 2 / 3, 5 / 6)  # shares of the steps
# At the start, and of a small width: the bound takes a singular value of every Jacobian.
START_CELLS = {
    "Elman, sigmoid": {"cell": "elman_sigmoid"},
    "Elman, tanh": {"cell": "elman_tanh"},
    "GRU": {"cell": "gru"},
    **{f"LSTM, forget bias {bias}": {"cell": "lstm", "forget_bias": float(bias)} for bias in (0, 1, 3)},
}
START_WIDTH, START_STEPS, START_ROWS = 64, 40, 2
REACH_STEPS, REACH_ROWS, REACH_SHARE = 64, 16, 0.01
SMALL_VOCABULARY = 2000  # up to which models are fed their own samples
PREFIX, OWN_STEPS, OWN_WINDOWS = 32, 96, 8
WORDS, MANY_WORDS = 10_000, 33_278
TIMED_OUTPUTS = {WORDS: ("full", "adaptive", "none"), MANY_WORDS: ("full", "adaptive", "sampled")}
TIMED_LENGTHS = (32, 64, 128, 256)
CLIP_LENGTH, CLIP_STEPS, CLIP_GAIN, CLIP_RATES, CLIPS = 50, 200, 2.0, (0.5, 8.0), (np.inf, 1.0)


@dataclass(frozen=True)
class OptimizerConfig:
    """Of Adam or plain SGD, clipped; raises UserError for a rate out of range."""

    algorithm: str = setting("adam", "adam, or sgd without momentum")
    learning_rate: float = setting(0.0, "at the start; 0: what was found best for the cell, with adam")
    schedule: str = setting("cosine", "cosine: to 0; quartered: divided by 4 after 1/2, 2/3 and 5/6 of the steps")
    clip: float = setting(1.0, "largest global norm of the gradient")

    def __post_init__(self):
        check_range("learning_rate", self.learning_rate, 0.0, float("inf"))
        check_range("clip", self.clip, 0.0, float("inf"), low_included=False)


@dataclass(frozen=True)
class Config:
    part: str = setting("train", "train, exact, start or speed: set by the arms")
    corpus: str = setting("python_stdlib", "python_stdlib, the name of a prepared TFDS data set, or a file or folder")
    test_corpus: str = setting("", "another text to test on in place of the corpus's own test split")
    tokenizer: str = setting("char", "char, byte, word or sentencepiece")
    tokenizer_size: int = setting(4096, "vocabulary of the tokenizers word and sentencepiece; 0: every word")
    split: str = setting("punctuation", "of the word tokenizer: punctuation marks are words, or spaces divide words")
    max_characters: int = setting(1_000_000, "of the training text; 0: all")
    eval_tokens: int = setting(32_768, "validation tokens at most; 0: all")
    evaluate_on: str = setting("validation", "validation or test")
    cell: str = setting("lstm", "elman_sigmoid, elman_tanh, gru or lstm")
    num_layers: int = setting(1, "layers of cells")
    d_embedding: int = setting(64, "width of the embeddings")
    width: int = setting(128, "width of the cells")
    dropout: float = setting(0.0, "of embeddings, between layers and of the last outputs")
    tied_unembedding: bool = setting(False, "whether the unembedding is the embedding")
    forget_bias: float = setting(1.0, "that an LSTM starts with")
    output: str = setting("full", "softmax: full, adaptive or sampled")
    num_sampled: int = setting(512, "words that the sampled softmax draws a step")
    positions: bool = setting(False, "add an embedding of the position in the window")
    own_samples: float = setting(0.0, "scheduled sampling: share of inputs that are the model's own, at the last step")
    context_length: int = setting(64, "tokens that gradients flow through; states are carried on")
    seed: int = setting(0, "of the first of the seeds")
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
    """Every arm, as what it changes in the config."""
    return {
        **{cell: {"cell": cell} for cell in ("elman_sigmoid", "elman_tanh", "gru", "lstm")},
        "positions": {"positions": True},
        "scheduled": {"own_samples": 0.5},
        "words": WORD_LEVEL | {"output": "full"},
        "adaptive_words": WORD_LEVEL | {"output": "adaptive"},
        "sampled_words": WORD_LEVEL | {"output": "sampled"},
        **{part: {"part": part} for part in ("exact", "start", "speed")},
    }


CHARACTER_ARMS = ("elman_sigmoid", "elman_tanh", "gru", "lstm", "positions", "scheduled")
WORD_ARMS = ("words", "adaptive_words", "sampled_words")


def language_model(config, vocab_size):
    """(module, decoder) of an arm's config."""
    cutoffs = recurrent_costs.zipf_cutoffs(vocab_size, config.width) if config.output == "adaptive" else ()
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
            cutoffs=cutoffs,
            num_positions=config.context_length if config.positions else 0,
        )
    )
    return module, rnn_lm.decoder(module)


def read(config):
    """The config's corpus as tokens; raises ValueError where it cannot be had or is too short."""
    settings = {"word": {"vocab_size": config.tokenizer_size, "split": config.split}}
    settings["sentencepiece"] = {"vocab_size": config.tokenizer_size}
    given = settings.get(config.tokenizer, {})
    places = {"test_corpus": config.test_corpus} if config.test_corpus else {}
    return prepare(config.corpus, config.tokenizer, max_characters=config.max_characters, **places, **given)


def check_rows(tokens_N, num_rows, length, what):
    """Raises ValueError where the tokens do not fill so many rows of a length; ``what`` names them."""
    if len(tokens_N) < num_rows * length:
        raise ValueError(
            f"{what} has {len(tokens_N)} tokens, and {num_rows} rows of {length} need {num_rows * length}: "
            "take a smaller --config.batch_size or --config.context_length, or more text (--config.max_characters, "
            "--config.eval_tokens)"
        )


def optimizer(config):
    """The config's optimiser for a run of its length."""
    c = config.optimizer
    if c.algorithm not in ("adam", "sgd") or c.schedule not in ("cosine", "quartered"):
        raise ValueError(
            f"optimizer.algorithm={c.algorithm!r} must be adam or sgd, and optimizer.schedule={c.schedule!r} cosine or "
            "quartered"
        )
    if c.learning_rate == 0 and c.algorithm == "sgd":
        raise ValueError("optimizer.learning_rate must be given with sgd: rates were only tuned for adam")
    rate, steps = c.learning_rate or LEARNING_RATES[config.cell], max(config.num_steps, 1)
    if c.schedule == "cosine":
        schedule = optax.cosine_decay_schedule(rate, steps)
    else:
        schedule = optax.piecewise_constant_schedule(rate, {int(steps * f): 0.25 for f in QUARTERED_AFTER})
    step = optax.adam(schedule) if c.algorithm == "adam" else optax.sgd(schedule)
    return optax.chain(optax.clip_by_global_norm(c.clip), step)


def task(config):
    """What the config's part trains or measures."""
    parts = {"train": train_task, "exact": exact_task, "start": start_task, "speed": speed_task}
    if config.part not in parts:
        raise ValueError(f"part={config.part!r} is not one of {', '.join(parts)}")
    return parts[config.part](config)


def train_task(config):
    """A language model on the corpus, by backpropagation truncated to windows, with states carried between them.

    A batch's rows go on where those of the step before ended, so their states are a mutable collection, ``carry``,
    of the model: row b's belongs to row b of every batch, and gradients stop there.
    """
    for name, allowed in {"output": ("full", "adaptive", "sampled"), "evaluate_on": ("validation", "test")}.items():
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
    tokens, B, T = read(config), config.batch_size, config.context_length
    check_rows(tokens.train, B, T + 1, f"the train split of {config.corpus}")
    model, _ = language_model(config, tokens.vocab_size)
    held_out = tokens[config.evaluate_on]
    held_out = held_out[: config.eval_tokens or None]
    small = tokens.vocab_size <= SMALL_VOCABULARY and config.output == "full"
    feeds_itself = small and config.cell == "lstm" and not config.positions
    compares_cells = small and not config.positions and not config.own_samples
    longest = max(T, feeds_itself * (PREFIX + OWN_STEPS), compares_cells * REACH_STEPS)
    check_rows(held_out, B, longest + 1, f"the {config.evaluate_on} split of {config.corpus}")
    plain = config.num_layers == 1 and not config.tied_unembedding and not config.positions
    hand_derived = plain and config.cell == "elman_sigmoid" and config.output != "adaptive"
    four_tokens = some_tokens(held_out) if hand_derived else None
    data = {"train": columns(tokens.train, B), "held_out": columns(held_out, B)}
    num_windows = (data["train"].shape[1] - 1) // T

    def window(data_BN, index):
        return jax.lax.dynamic_slice_in_dim(data_BN, index * T, T + 1, axis=1).astype(jnp.int32)

    def batch(seed, step, data):
        index = step % num_windows
        share = config.own_samples * jnp.minimum(step / max(config.num_steps, 1), 1.0)
        rows = {"begins": index == 0, "own_samples": share.astype(jnp.float32)}
        return {"tokens": window(data["train"], index)} | {n: jnp.full(B, x) for n, x in rows.items()}

    def loss(variables, batch, rngs):
        tokens_BT = batch["tokens"]
        if len(tokens_BT) != B:
            raise ValueError(
                f"a device has {len(tokens_BT)} of the {B} rows whose states are carried: "
                "train recurrent models with --parallelism=single or a mesh"
            )
        carried = jax.tree.map(
            lambda x: jnp.where(batch["begins"][:, None], 0.0, jax.lax.stop_gradient(x)), variables["carry"]
        )
        params = {"params": variables["params"]}
        states = tuple(carried[f"layer_{i}"] for i in range(config.num_layers))
        arguments = tokens_BT[:, :-1], tokens_BT[:, 1:]
        if config.own_samples:
            share_T = jnp.full(T, batch["own_samples"][0])
            method = {"method": "losses_on_own_samples"}
            losses_BT, _, states = model.apply(params, *arguments, share_T, rngs["dropout"], states, **method)
        else:
            sampled = config.num_sampled if config.output == "sampled" else 0
            options = {"deterministic": config.dropout == 0, "num_sampled": sampled, "rngs": rngs}
            losses_BT, states = model.apply(params, *arguments, states, method="losses", **options)
        return Loss(losses_BT.sum(), jnp.float32(losses_BT.size), collections={"carry": by_layer(states)})

    def evaluate(variables, data):
        params, windows = {"params": variables["params"]}, (data["held_out"].shape[1] - 1) // T

        def read_window(states, index):
            tokens_BT = window(data["held_out"], index)
            losses_BT, states = model.apply(params, tokens_BT[:, :-1], tokens_BT[:, 1:], states, method="losses")
            return states, losses_BT.sum()

        _, sums = jax.lax.scan(read_window, model.initial_states(B), jnp.arange(windows))
        return {"loss": (sums.sum(), jnp.float32(windows * B * T))}

    def examine(variables, data):
        if not compares_cells:
            return {}
        rows = data["held_out"][:REACH_ROWS, : REACH_STEPS + 1].astype(jnp.int32)
        return {"reach": reach_of_model(model, {"params": variables["params"]}, rows)}

    feed = jax.jit(lambda params, rows: exposure.losses_by_input(model, params, rows, PREFIX, jax.random.key(0)))

    def measure(variables):
        params, found = {"params": variables["params"]}, {}
        if hand_derived:
            errors = errors_of_hand_derived(model.config, params, four_tokens)
            found |= {f"hand/{name}": np.asarray(error) for name, error in errors.items()}
        if feeds_itself:
            rows_RT = exposure.rows_of_text(data["held_out"], PREFIX + OWN_STEPS, OWN_WINDOWS)
            fed = jax.tree.map(np.asarray, feed(params, rows_RT))
            own_RT = fed.pop("own_tokens")
            judge = exposure.make_judge(tokens.train, tokens.vocab_size)
            fed["judged/own"] = exposure.likelihoods(judge, own_RT)
            fed["judged/text"] = exposure.likelihoods(judge, rows_RT[:, :-1])
            found |= fed
        return found

    return Task(
        model=model,
        init=lambda key: {
            "params": model.init(key, jnp.zeros((1, 1), jnp.int32))["params"],
            "carry": by_layer(model.initial_states(B)),
        },
        batch=batch,
        loss=loss,
        optimizer=optimizer(config),
        evaluate=evaluate,
        examine=examine,
        measure=measure,
        data=data,
        perplexity=True,
        files={tokenizers.FILE: tokenizers.dumps(tokens.tokenizer)},
        facts=tokens.facts,
    )


def some_tokens(held_out_N):
    """The first four tokens from the start of the text of which no two are equal, for gradients by each embedding."""
    found = list(dict.fromkeys(held_out_N[:1000].tolist()))[:4]
    if len(found) < 4:
        raise ValueError("the held-out text has fewer than four different tokens")
    return np.array(found, np.int32)


def untrained_task(measure=lambda variables: {}, **parts):
    """A task that trains nothing: its one parameter is a key."""
    return Task(
        model=None,
        init=lambda rng: {"params": {"key": jax.random.key_data(rng)}},
        evaluate=lambda variables, *data: {"arms": (jnp.float32(1), jnp.float32(1))},
        measure=measure,
        **parts,
    )


def exact_task(config):
    """Perplexity's identities, and operations counted from jaxprs."""

    def measure(variables):
        terms, error = recurrent_costs.fitted_terms()
        at_once, one_by_one = recurrent_costs.operations_by_length(
            RecurrentConfig(64, "elman_sigmoid", width=64, d_embedding=64)
        )
        found = perplexity_identities() | {"terms": np.array(list(terms.values())), "terms_error": np.asarray(error)}
        shares = [recurrent_costs.share_of_softmax(V) for V in (WORDS, MANY_WORDS)]
        return found | {"at_once": at_once, "one_by_one": one_by_one, "softmax_shares": np.array(shares)}

    return untrained_task(measure)


def start_task(config):
    """How far gradients reach before training, and the same network trained with and without clipping."""
    tokens = read(config)
    rows_BN = columns(tokens.train, config.batch_size)
    longest = max(START_STEPS, CLIP_LENGTH)
    check_rows(tokens.train, config.batch_size, longest + 1, f"the train split of {config.corpus}")
    shape = {"vocab_size": tokens.vocab_size, "width": START_WIDTH, "d_embedding": START_WIDTH}

    def examine(variables, data):
        key, found = jax.random.wrap_key_data(variables["params"]["key"]), {}
        rows = data[:, : START_STEPS + 1].astype(jnp.int32)
        for number, (name, settings) in enumerate(START_CELLS.items()):
            model = RecurrentLM(RecurrentConfig(**shape, **settings))
            params = model.init(jax.random.fold_in(key, number), rows[:1, :1])
            norms, bounds = reach_of_model(model, params, rows[:START_ROWS], bounds=True)
            found |= {f"reach/{name}": norms, f"bound/{name}": bounds}
        losses, norms = clipping(
            jax.random.fold_in(key, len(START_CELLS)),
            tokens.vocab_size,
            data.astype(jnp.int32),
            width=START_WIDTH,
            length=CLIP_LENGTH,
            num_steps=CLIP_STEPS,
            learning_rates=CLIP_RATES,
            gain=CLIP_GAIN,
            clips=CLIPS,
        )
        return found | {"clipping/losses": losses, "clipping/norms": norms}

    return untrained_task(examine=examine, data=rows_BN, facts=tokens.facts)


def speed_task(config):
    """Wall time: of the gradient by length, and of training PyTorch's example model with each kind of softmax."""

    def measure(variables):
        sigmoid = RecurrentConfig(1000, "elman_sigmoid", width=128, d_embedding=128)
        found = {"seconds": np.array(recurrent_costs.seconds_by_length(sigmoid, TIMED_LENGTHS, batch_size=8))}
        for size, outputs in TIMED_OUTPUTS.items():
            speeds = recurrent_costs.tokens_per_second(size, outputs)
            found |= {f"tokens_per_second/{size}/{output}": np.asarray(speed) for output, speed in speeds.items()}
        return found

    return untrained_task(measure)


# --- Claims. All thresholds were written down before the first run: from theory, or as planned.

EXACT = 1e-10


def examined(name):
    return lambda result: result.examined[name]


def distance(name, value):
    return lambda result: np.abs(result.examined[name] - value)


def perplexity_ratio(result, other):
    """How much worse the first arm's perplexity is [S], as a share of the other's."""
    return result.final["perplexity"] / other.final["perplexity"] - 1


def slope(name):
    """The slope [S] of the gradient's log-norm against steps back, before training: negative where it vanishes."""

    def measure(result):
        return np.array([fit_line(np.arange(len(norms)), norms)[0] for norms in result.examined[f"reach/{name}"]])

    return measure


def slope_over(name, other):
    return lambda result: slope(name)(result) - slope(other)(result)


def least_lead_over_sigmoid(result):
    """How much more slowly [S] than the sigmoid cell's the fastest vanishing of the other cells' gradients does."""
    others = [slope(name)(result) for name in START_CELLS if name != "Elman, sigmoid"]
    return np.min(others, axis=0) - slope("Elman, sigmoid")(result)


def excess_over_bound(result):
    found = result.examined
    return np.max([(found[f"reach/{name}"] - found[f"bound/{name}"]).max(-1) for name in START_CELLS], axis=0)


def steps_of_reach(result):
    """How many steps back [S] the gradient first has less than REACH_SHARE of its norm at no steps back."""
    relative_SK = result.examined["reach"] - result.examined["reach"][:, :1]
    below_SK = relative_SK < np.log(REACH_SHARE)
    return np.where(below_SK.any(1), below_SK.argmax(1), below_SK.shape[1])


def reach_over(result, other):
    if "reach" not in result.examined or "reach" not in other.examined:
        return "this vocabulary is too large for the comparison of cells"
    return steps_of_reach(result) - steps_of_reach(other)


def saved_by_clipping(rate):
    """Measures the mean loss [S] of the last 20 steps without clipping less that with; 100 where it is no number."""

    def measure(result):
        losses = result.examined["clipping/losses"][:, CLIP_RATES.index(rate), :, -20:]
        ends = np.minimum(np.nan_to_num(losses, nan=100.0, posinf=100.0), 100.0).mean(-1)
        return ends[:, 0] - ends[:, 1]

    return measure


def speed_ratio(size, output, other):
    def measure(result):
        found = result.examined
        return found[f"tokens_per_second/{size}/{output}"] / found[f"tokens_per_second/{size}/{other}"]

    return measure


def growth(name, lengths):
    def measure(result):
        return np.array([recurrent_costs.exponent(lengths, costs) for costs in result.examined[name]])

    return measure


def change_over_spread(result, other):
    """The difference [1] of two arms' mean perplexities over the seeds' spread: greatest less least, mean of both."""
    if other.num_seeds < 2:
        return "a spread needs two seeds: --num_seeds=3"
    first, second = result.final["perplexity"], other.final["perplexity"]
    return abs(first.mean() - second.mean()) / np.mean([np.ptp(first), np.ptp(second)])


def rise(name):
    """The loss of the last quarter of positions less that of the first 4 [S], both after the prefix, in nats."""

    def measure(result):
        if name not in result.examined:
            return "this vocabulary is too large to sample from at every step"
        losses_ST = result.examined[name][:, PREFIX:]
        return losses_ST[:, -(OWN_STEPS // 4) :].mean(1) - losses_ST[:, :4].mean(1)

    return measure


def difference_of_rises(result, other):
    found = rise("own")(result), rise("own")(other)
    return next((x for x in found if isinstance(x, str)), None) or found[0] - found[1]


def over_text(result):
    """How much likelier [S] than the true text, in nats a token, a judge finds the samples late in a passage."""
    if "judged/own" not in result.examined:
        return "this vocabulary is too large to sample from at every step"
    late = slice(-(OWN_STEPS // 4), None)
    return result.examined["judged/own"][:, late].mean(1) - result.examined["judged/text"][:, late].mean(1)


HAND_DERIVED = "the formulas are of one layer of sigmoid cells, untied, without positions or an adaptive softmax"


def hand(name):
    def measure(result):
        return result.examined.get(f"hand/{name}", HAND_DERIVED)

    return measure


# fmt: off
STATED = [
    stated("exact", "1a", "the uniform model over 10,000 words: distance of its perplexity from 10,000",
        distance("uniform_perplexity", 10_000), at_most=1e-6),
    stated("exact", "1b", "and of its cross-entropy from 9.2103 nats", distance("uniform_nats", 9.2103), at_most=5e-5),
    stated("exact", "1c", "perplexity as a geometric mean of 1/p is exp(mean cross-entropy): relative error",
        examined("identity_error"), at_most=EXACT),
    stated("exact", "1d", "both order models alike: share of pairs", examined("order"), at_least=1.0),
    stated("exact", "1e", "and have gradients of one direction: 1 - cosine",
        examined("direction_error"), at_most=EXACT),
    stated("elman_sigmoid", "2a", "nine hand-derived gradients of a step of the trained model: error in float64",
        hand("now"), at_most=EXACT),
    stated("elman_sigmoid", "2b", "the six of one step back in time: error", hand("back"), at_most=EXACT),
    stated("elman_sigmoid", "2c", "their sums, by the weights that both steps share: error",
        hand("both"), at_most=EXACT),
    stated("exact", "3a", "operations of a step of backpropagation are a V F + b F^2 + c F D + lower terms: error",
        examined("terms_error"), at_most=1e-3),
    stated("exact", "3b", "a, b and c are 2 forwards and 4 backwards: least of them",
        lambda result: result.examined["terms"][:, :3].min(1), at_least=5.99),
    stated("exact", "3c", "greatest of them", lambda result: result.examined["terms"][:, :3].max(1), at_most=6.01),
    stated("exact", "3d", "T steps cost O(T): exponent of the operations",
        growth("at_once", recurrent_costs.LENGTHS), at_least=0.98, at_most=1.02),
    stated("exact", "3e", "O(T^2) is what each loss by itself would cost: exponent",
        growth("one_by_one", recurrent_costs.LENGTHS), at_least=1.8),
    stated("speed", "3f", "exponent of the wall time", growth("seconds", TIMED_LENGTHS), at_most=1.2),
    stated("exact", "3g", "the softmax is the largest term: its share at 10,000 words, LSTM of 2 layers of 200",
        lambda result: result.examined["softmax_shares"][:, 0], above=0.5),
    stated("speed", "4a", "adaptive softmax at 33,278 words: tokens/s over the full one's",
        speed_ratio(MANY_WORDS, "adaptive", "full"), at_least=5.0),
    stated("speed", "4b", "at 10,000 words: tokens/s over those of no softmax at all",
        speed_ratio(WORDS, "adaptive", "none"), at_least=0.6),
    stated("speed", "4c", "no softmax at all, over the full one at 10,000 words", speed_ratio(WORDS, "none", "full")),
    Stated("4d", "adaptive softmax at 10,000 words: exact perplexity over the full one's, less 1",
        ("adaptive_words", "words"), perplexity_ratio, {"at_most": 0.05}),
    stated("speed", "4e", "sampled softmax at 33,278 words: tokens/s over the full one's",
        speed_ratio(MANY_WORDS, "sampled", "full")),
    Stated("4f", "sampled softmax at 10,000 words: exact perplexity over the full one's, less 1",
        ("sampled_words", "words"), perplexity_ratio),
    stated("start", "5a", "the Jacobian-product bound holds: greatest excess of a log-norm",
        excess_over_bound, at_most=1e-3),
    stated("start", "5b", "the sigmoid cell vanishes fastest: least lead of another, in log-norm a step",
        least_lead_over_sigmoid, above=0.0),
    stated("start", "5c", "LSTM: forget bias 1 reaches farther than 0: difference of slopes",
        slope_over("LSTM, forget bias 1", "LSTM, forget bias 0"), at_least=0.1),
    stated("start", "5d", "and 3 farther than 1", slope_over("LSTM, forget bias 3", "LSTM, forget bias 1"),
        at_least=0.1),
    stated("start", "5e", "with forget bias 0 it vanishes sooner than tanh: tanh's lead",
        slope_over("Elman, tanh", "LSTM, forget bias 0"), above=0.0),
    stated("start", "5f", "recurrent weights times 2, rate .5: greatest norm of a gradient without clipping",
        lambda result: np.nan_to_num(result.examined["clipping/norms"][:, 0, 0], nan=0.0).max(-1), at_least=10.0),
    stated("start", "5g", "clipping saves that run: loss at its end without, less with (nats)",
        saved_by_clipping(0.5), at_least=0.5),
    stated("start", "5h", "clipping saves it at rate 8: the same (nats; at most 100)",
        saved_by_clipping(8.0), at_least=0.5),
    Stated("5i", "trained: steps to 1 % of the gradient's norm, LSTM less sigmoid", ("lstm", "elman_sigmoid"),
        reach_over, {"above": 0.0}),
    Stated("6a", "position embeddings: change of mean perplexity over the seeds' spread", ("positions", "lstm"),
        change_over_spread, {"at_most": 1.0}),
    Stated("6b", "position embeddings: perplexity over that without, less 1", ("positions", "lstm"), perplexity_ratio),
    stated("lstm", "7a", "fed true tokens, the loss does not rise with position: its rise (nats)",
        rise("forced"), at_most=0.05),
    stated("lstm", "7b", "fed its own samples, the loss of the true text rises", rise("own"), at_least=0.5),
    Stated("7c", "scheduled sampling changes that rise by (nats)", ("scheduled", "lstm"), difference_of_rises),
    Stated("7d", "and the perplexity, fed true tokens, over that without, less 1", ("scheduled", "lstm"),
        perplexity_ratio),
    stated("lstm", "7e", "samples themselves do not decay: their rise under a 5-gram judge (nats)", rise("judged/own")),
    stated("lstm", "7f", "late samples against the true text under that judge (nats a token)", over_text),
]
# fmt: on


def claims(results):
    """Claims 1 to 7 of experiments/rnn_lm/README.md."""
    return judge_all(STATED, results)


def figures(results):
    """The figures of the report, for whatever arms were run."""
    trained = {arm: result for arm, result in results.items() if result.config.part == "train"}
    found = []
    for arms_drawn, level in ((CHARACTER_ARMS, "characters"), (WORD_ARMS, "words")):
        if drawn := {arm: trained[arm] for arm in arms_drawn if arm in trained}:
            found.append(recurrent.perplexity_curves(level, drawn))
    if "start" in results:
        found.append(recurrent.reach_before_training(results["start"].examined, list(START_CELLS)))
    if drawn := {arm: result for arm, result in trained.items() if "reach" in result.examined}:
        found.append(recurrent.reach_after_training({arm: r.examined["reach"] for arm, r in drawn.items()}))
    if drawn := {arm: r.examined for arm, r in trained.items() if arm in ("lstm", "scheduled") and "own" in r.examined}:
        found.append(recurrent.losses_by_position(drawn, PREFIX))
    if "start" in results:
        found.append(recurrent.clipping_curves(results["start"].examined, CLIP_RATES))
    if "exact" in results:
        found.append(recurrent.operations_by_length(results["exact"].examined, recurrent_costs.LENGTHS))
    if "speed" in results:
        found.append(recurrent.speed_table(results["speed"].examined, TIMED_OUTPUTS))
    return found or [recurrent.claims_table(claims(results))]


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
    default_arms=(*CHARACTER_ARMS, "words", "adaptive_words", "exact", "start", "speed"),
    task=task,
    claims=claims,
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
