"""The fixed-window neural LM against n-gram models: what was never seen, which predicts better, and how to sample?"""

import functools
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np

from data import tokenizers
from data.tokens import prepare, random_windows, windows
from experiments.mlp_lm import window_lm
from experiments.mlp_lm.generated_text import distinct_ngrams, repeated_ngrams
from experiments.mlp_lm.kept_sets import wrong_sets
from experiments.mlp_lm.shared_contexts import neighbours, next_token_overlap, overlap_ranks
from experiments.mlp_lm.window_lm import WindowConfig, WindowLM
from models import ngram
from models.losses import token_losses
from models.sampling import filtered, generate
from reporting.claims import Stated, judge_all
from reporting.figures import curves
from reporting.tables import table
from training.config import setting
from training.experiment import Experiment, Loss, Preset, Task
from training.optimizer import OptimizerConfig, adamw
from training.step import key

ORDERS = (2, 3, 4, 5)
PIECES, PIECE_TOKENS = 20, 500  # of a held-out text that is longer than what is used of it: at most, at least
EVAL_ROWS = 2048  # windows whose logits are in memory at once
WEIGHTS = np.linspace(0.0, 1.0, 21)  # of the neural model in the interpolation
COMPARED, SHOWN, SHOWN_NEIGHBOURS = 500, 12, 5
REPEATED = 4  # tokens of the n-grams whose repetition is measured
STRATEGIES = {
    "greedy": {"temperature": 0.0},
    "plain": {},
    "top-k 40": {"top_k": 40},
    "top-p .9": {"top_p": 0.9},
    "min-p .1": {"min_p": 0.1},
    "typical .9": {"typical_p": 0.9},
}
COLD, HOT = 1e-5, 1e3  # temperatures that stand for 0 and infinity
CHECKED_CONTEXTS = 32


def window_optimizer():
    return OptimizerConfig(learning_rate=1e-2, warmup_steps=50)


@dataclass(frozen=True)
class Config:
    corpus: str = setting("python_stdlib", "python_stdlib, the name of a prepared TFDS data set, or a file or folder")
    test_corpus: str = setting("", "another text to test on in place of the corpus's own test split")
    tokenizer: str = setting("word", "char, byte, word or sentencepiece")
    tokenizer_size: int = setting(4000, "vocabulary of the tokenizers word and sentencepiece; 0: every word")
    split: str = setting("punctuation", "of the word tokenizer: punctuation marks are words, or spaces divide words")
    max_characters: int = setting(1_200_000, "of the training text; 0: all")
    order: int = setting(4, "n: a token is predicted from the n-1 before it")
    d_embed: int = setting(64, "width of an embedding")
    d_hidden: int = setting(128, "width of a hidden layer")
    num_hidden: int = setting(1, "hidden layers")
    activation: str = setting("tanh", "tanh, relu or another of models.mlp.ACTIVATIONS")
    direct: bool = setting(False, "connections from the embeddings to the logits")
    layernorm: bool = setting(False, "LayerNorm before each activation")
    residual: bool = setting(False, "around hidden layers after the first")
    dropout: float = setting(0.2, "of embeddings and hidden layers")
    embed_scale: float = setting(0.1, "deviation of the embeddings at the start")
    eval_tokens: int = setting(16_384, "validation tokens of an evaluation at most; 0: all")
    test_tokens: int = setting(50_000, "test tokens at most; 0: all")
    sampled_tokens: int = setting(128, "tokens of each of 32 texts that each sampling strategy writes")
    strategies: str = setting(",".join(STRATEGIES), "of sampling, that are compared")
    seed: int = setting(0, "of the first of the seeds")
    num_steps: int = setting(1000, "training steps")
    batch_size: int = setting(1024, "windows a step")
    eval_every: int = setting(100, "steps between evaluations")
    checkpoint_every: int = setting(500, "steps between checkpoints")
    optimizer: OptimizerConfig = field(default_factory=window_optimizer)


def arms(config):
    """Every arm, as what it changes in the config."""
    return {
        "small": {"max_characters": 300_000, "num_steps": 300},
        "large": {},
        "relu": {"activation": "relu"},
        "direct": {"direct": True},
        "layernorm": {"layernorm": True},
        "residual": {"num_hidden": 2, "layernorm": True, "residual": True},
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
            # The end of a line: a text begins where another line has ended. A character's id depends on the text, so
            # there sample.py fills up a short prompt.
            padding={"word": 1, "byte": 10, "sentencepiece": 3}.get(config.tokenizer, 0),
        )
    )
    return module, window_lm.decoder(module)


def read(config):
    """The config's corpus as tokens; raises ValueError where it cannot be had or is too short."""
    settings = {"vocab_size": config.tokenizer_size} if config.tokenizer in ("word", "sentencepiece") else {}
    settings |= {"split": config.split} if config.tokenizer == "word" else {}
    where = {"max_characters": config.max_characters, "test_corpus": config.test_corpus}
    return prepare(config.corpus, config.tokenizer, context_length=max(config.order, *ORDERS), **where, **settings)


def strategies_of(config):
    """The names of the config's strategies; raises ValueError for an unknown one, or none."""
    names = tuple(filter(None, config.strategies.split(",")))
    if unknown := [name for name in names if name not in STRATEGIES]:
        raise ValueError(f"strategies: {unknown[0]!r} is not one of {', '.join(STRATEGIES)}")
    if not names:
        raise ValueError(f"strategies names none: give some of {', '.join(STRATEGIES)}, with commas between")
    return names


def spread(text_N, at_most):
    """``at_most`` tokens of a text as pieces evenly spread over it, end to end; 0 keeps all."""
    left_out = len(text_N) - at_most
    if not at_most or left_out <= 0:
        return np.asarray(text_N)
    count = min(PIECES, max(at_most // PIECE_TOKENS, 1))
    ends = at_most * np.arange(count + 1) // count
    skipped = left_out * np.arange(count) // max(count - 1, 1)
    pieces = zip(ends[:-1] + skipped, ends[1:] + skipped, strict=True)
    return np.concatenate([np.asarray(text_N[start:end]) for start, end in pieces])


def check_held_out(validation_N, test_N, config):
    """Raises ValueError where the texts are too short for what is measured on them."""
    needed = max(config.order, *ORDERS) + 1
    for text_N, split, name in ((validation_N, "validation", "eval_tokens"), (test_N, "test", "test_tokens")):
        if len(text_N) < needed:
            raise ValueError(
                f"the {split} text has {len(text_N)} tokens, and models of order up to {needed - 1} need {needed}: "
                f"give more text or a larger --config.{name}" + (", or a test_corpus" if split == "test" else "")
            )
    if not REPEATED <= config.sampled_tokens <= len(test_N):
        raise ValueError(
            f"sampled_tokens={config.sampled_tokens} must lie between {REPEATED} and the {len(test_N)} tokens of the "
            "test text, which sampled texts are compared with"
        )


def task(config):
    strategies_of(config)
    for name in ("eval_tokens", "test_tokens"):
        if getattr(config, name) < 0:
            raise ValueError(f"{name}={getattr(config, name)} must be 0 (all) or more")
    tokens = read(config)
    V, W = tokens.vocab_size, config.order - 1
    model, decoder = language_model(config, V)
    validation_N = spread(tokens.validation, config.eval_tokens and config.eval_tokens + W)
    test_N = spread(tokens.test, config.test_tokens)
    check_held_out(validation_N, test_N, config)

    def losses_of(variables, windows_BT, **options):
        return token_losses(model.apply(variables, windows_BT[:, :-1], **options), windows_BT[:, -1])

    def text_losses(variables, text_N):
        """The loss of each token of a text but the first n-1, in nats."""
        starts_M = jnp.arange(text_N.shape[0] - W)

        def loss_of(start):
            return losses_of(variables, windows(text_N, start[None], W))[0]

        return jax.lax.map(loss_of, starts_M, batch_size=min(EVAL_ROWS, len(starts_M)))

    def batch(seed, step, data):
        return random_windows(key(seed, "batch", step), data["train"], config.batch_size, W)

    def loss(variables, batch, rngs):
        losses_B = losses_of(variables, batch, deterministic=config.dropout == 0, rngs=rngs)
        return Loss(losses_B.sum(), jnp.float32(losses_B.size))

    def evaluate(variables, data):
        losses_N = text_losses(variables, data["validation"])
        return {"loss": (losses_N.sum(), jnp.float32(losses_N.size))}

    compiled_losses = jax.jit(text_losses)

    @functools.cache
    def counted():
        """The n-gram models' measurements, which no seed changes."""
        return NGramModels.of(tokens.train, validation_N, test_N, V, config.order)

    def measure(variables):
        known = counted()
        log_validation_N, log_test_N = (
            -np.asarray(compiled_losses(variables, text_N), np.float64) for text_N in (validation_N, test_N)
        )
        found = known.measured | mixture(known, log_validation_N, log_test_N, config.order)
        found |= embedding_neighbours(variables["params"]["embed"]["embedding"], tokens.train, V)
        found |= sampling(model, decoder, variables, test_N, config)
        return found | {"prompt_errors": prompt_errors(model, decoder, variables, test_N)}

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


# --- Measurements on the host. A text of N tokens is scored from its n-th token on, n the greatest order of all models,
# so that each sees the whole context that it can use. M scored tokens, K compared words.


def first_scored(order):
    return max(order, *ORDERS) - 1


@dataclass(frozen=True)
class NGramModels:
    """What n-gram models of ORDERS say of the held-out texts."""

    measured: dict
    log_validation: dict  # {order: log p [M] by Kneser-Ney}
    log_test: dict

    @classmethod
    def of(cls, train_N, validation_N, test_N, V, order):
        """Counts the training text, as one sentence that begins with <s>."""
        orders = sorted({*ORDERS, order})
        counts = ngram.count(np.append(V, train_N), max(orders), V)
        first = first_scored(order)

        def scores(model, text_N):
            return ngram.log_probabilities(model, text_N)[first:]

        kneser_ney = {n: ngram.kneser_ney(counts, n, ngram.FALLBACK_DISCOUNTS) for n in orders}
        likeliest = {n: scores(ngram.maximum_likelihood(counts, n), test_N) for n in ORDERS}
        log_validation = {n: scores(model, validation_N) for n, model in kneser_ney.items()}
        log_test = {n: scores(model, test_N) for n, model in kneser_ney.items()}
        contexts = [test_N[at - 5 : at] for at in np.linspace(5, len(test_N) - 1, 50).astype(int)]
        sums = [ngram.distribution(model, context).sum() for model in kneser_ney.values() for context in contexts]
        measured = {
            "unseen_share": np.array([np.mean(~ngram.seen(counts, test_N[first + 1 - n :], n)) for n in ORDERS]),
            "zero_share": np.array([np.mean(np.isneginf(likeliest[n])) for n in ORDERS]),
            "likelihood_perplexity": np.array([perplexity(likeliest[n]) for n in ORDERS]),
            "add_one_perplexity": np.array([perplexity(scores(ngram.add_one(counts, n), test_N)) for n in ORDERS]),
            "kneser_ney_perplexity": np.array([perplexity(log_test[n]) for n in ORDERS]),
            "kneser_ney_validation_perplexity": np.array(perplexity(log_validation[order])),
            "sum_error": np.max(np.abs(np.array(sums) - 1)),
            "unknown_share": np.mean(test_N == 0),
        }
        return cls(measured, log_validation, log_test)


def perplexity(log_M):
    return np.exp(-np.mean(log_M))


def mixture(known, log_validation_N, log_test_N, order):
    """The neural model and its interpolation with Kneser-Ney of the same order; validation chooses the weight."""
    first = first_scored(order)
    neural = [log_N[first - (order - 1) :] for log_N in (log_validation_N, log_test_N)]
    counted = [known.log_validation[order], known.log_test[order]]
    validation_A, test_A = (
        np.array([perplexity(np.log(w * np.exp(a_M) + (1 - w) * np.exp(b_M))) for w in WEIGHTS])
        for a_M, b_M in zip(neural, counted, strict=True)
    )
    best = int(validation_A.argmin())
    return {
        "neural_perplexity": test_A[-1],
        "counted_perplexity": test_A[0],
        "mixture_perplexity": test_A[best],
        "mixture_weight": WEIGHTS[best],
        "mixture_curve": test_A,
    }


def embedding_neighbours(embedding_VD, train_N, V):
    """How alike a frequent word and its nearest neighbours by embedding are used; the same of unrelated words."""
    counts_V = np.bincount(train_N, minlength=V)
    compared_K = np.argsort(-counts_V, kind="stable")[: min(COMPARED, np.count_nonzero(counts_V))]
    overlap_KK = next_token_overlap(train_N, compared_K, V)
    near_KK = neighbours(np.asarray(embedding_VD, np.float64)[compared_K])
    random_K1 = np.random.default_rng(0).integers(0, near_KK.shape[1], (len(near_KK), 1))
    shown = near_KK[:, :SHOWN_NEIGHBOURS]
    return {
        "neighbour_rank": overlap_ranks(overlap_KK, near_KK[:, :1]).mean(),
        "random_rank": overlap_ranks(overlap_KK, np.take_along_axis(near_KK, random_K1, 1)).mean(),
        "compared": compared_K,
        "neighbours": compared_K[shown],
    }


def sampling(model, decoder, variables, test_N, config):
    """Whether the strategies keep what they should, how near their limits they come, and how varied their texts are."""
    W, T = config.order - 1, config.sampled_tokens
    starts = np.linspace(0, len(test_N) - W - 1, CHECKED_CONTEXTS).astype(int)
    contexts_BW = jnp.asarray(test_N[starts[:, None] + np.arange(W)].astype(np.int32))
    names = strategies_of(config)
    logits_BV, kept, cold, hot = filters(model, names, variables, contexts_BW)
    texts = {
        name: np.asarray(generate(decoder, variables, jax.random.key(i), contexts_BW, T, **STRATEGIES[name]))
        for i, name in enumerate(names)
    }
    at = np.linspace(0, len(test_N) - T, CHECKED_CONTEXTS).astype(int)
    texts["the test text"] = test_N[at[:, None] + np.arange(T)]
    return {
        "kept_set_errors": np.array(
            sum(wrong_sets(np.asarray(logits_BV), k, STRATEGIES[n]) for n, k in zip(names, kept, strict=True))
        ),
        "cold_distance": cold,
        "hot_distance": hot,
        "distinct": np.array([[distinct_ngrams(text_BT, n) for n in (1, 2, 3)] for text_BT in texts.values()]),
        "repeated": np.array([repeated_ngrams(text_BT, REPEATED) for text_BT in texts.values()]),
    }


@functools.partial(jax.jit, static_argnums=(0, 1))
def filters(model, names, variables, contexts_BW):
    """Logits [B, V], what each strategy keeps of them [B, V], and how far COLD and HOT are from their limits."""
    logits_BV = model.apply(variables, contexts_BW)
    kept = [jnp.isfinite(filtered(logits_BV, **STRATEGIES[name])) for name in names]
    V = logits_BV.shape[-1]

    def distance(temperature, target_BV):
        p_BV = jax.nn.softmax(filtered(logits_BV, temperature=temperature))
        return 0.5 * jnp.abs(p_BV - target_BV).sum(-1).mean()

    return logits_BV, kept, distance(COLD, jax.nn.one_hot(logits_BV.argmax(-1), V)), distance(HOT, 1 / V)


def prompt_errors(model, decoder, variables, test_N):
    """For single prompts of 1, n-1, n and n+1 tokens: how many of 8 greedy tokens differ from whole windows', [4]."""
    c, apply, advance, errors = model.config, jax.jit(model.apply), jax.jit(decoder.advance), []
    for length in (1, c.window, c.order, c.order + 1):
        prompt_T = test_N[:length].astype(np.int32)
        text, written = [c.padding] * c.window + prompt_T.tolist(), []
        logits_BV, cache = advance(variables, decoder.start(1), prompt_T[None])
        for _ in range(8):
            text.append(int(apply(variables, np.array(text[-c.window :])).argmax()))
            written.append(int(logits_BV[0].argmax()))
            logits_BV, cache = advance(variables, cache, np.array([written[-1:]]))
        errors.append(sum(a != b for a, b in zip(written, text[-8:], strict=True)))
    return np.array(errors)


# --- Claims. S seeds.


def measured(name, at=None):
    """Reads a measurement [S], or one entry of it."""
    return lambda result: result.examined[name] if at is None else result.examined[name][:, at]


def neural_over_counted(result):
    return result.examined["neural_perplexity"] / result.examined["counted_perplexity"]


def mixture_over_better(result):
    better_S = np.minimum(result.examined["neural_perplexity"], result.examined["counted_perplexity"])
    return result.examined["mixture_perplexity"] / better_S


def least_rise_of_unseen(result):
    """The smallest step of the share of unseen n-grams from one order to the next [S]."""
    return np.diff(result.examined["unseen_share"], axis=1).min(1)


def infinite_orders(result):
    """At how many of ORDERS maximum likelihood has an infinite perplexity [S]."""
    return np.isinf(result.examined["likelihood_perplexity"]).sum(1)


def needs(*needed):
    """Makes a measurement say what it lacks where the run did not compare the strategies that it needs."""

    def wrap(measure):
        def checked(result):
            missing = [name for name in needed if name not in strategies_of(result.config)]
            return f"strategy {missing[0]} is not in this run" if missing else measure(result)

        return checked

    return wrap


def of_strategy(result, statistic, name):
    """A statistic [S, ...] of the texts that a strategy wrote."""
    return result.examined[statistic][:, strategies_of(result.config).index(name)]


@needs("greedy")
def greedy_repetition(result):
    return of_strategy(result, "repeated", "greedy")


@needs("greedy", "plain")
def greedy_distinct_over_plain(result):
    return of_strategy(result, "distinct", "greedy")[:, 1] / of_strategy(result, "distinct", "plain")[:, 1]


@needs(*STRATEGIES)
def most_distinct_over_plain(result):
    """The largest distinct-2 of a strategy that cuts, over that of plain sampling [S]."""
    others = [of_strategy(result, "distinct", name)[:, 1] for name in STRATEGIES if name != "plain"]
    return np.max(others, axis=0) / of_strategy(result, "distinct", "plain")[:, 1]


STATED = [
    *(
        Stated(f"1{'abcd'[i]}", f"share of test {n}-grams never seen in training", ("large",),
               measured("unseen_share", i), {"at_least": 0.5} if n == 5 else {})
        for i, n in enumerate(ORDERS)
    ),
    Stated(
        "1e", "that share rises with the order: its least rise", ("large",), least_rise_of_unseen, {"above": 0.0}
    ),
    Stated(
        "2", "maximum likelihood has an infinite perplexity: at how many of orders 2 to 5", ("large",), infinite_orders,
        {"at_least": 4},
    ),
    Stated(
        "3", "Kneser-Ney's probabilities sum to 1: largest error", ("large",), measured("sum_error"), {"at_most": 1e-9}
    ),
    Stated("4a", "neural over Kneser-Ney perplexity, same order, small corpus", ("small",), neural_over_counted),
    Stated("4b", "the same, large corpus", ("large",), neural_over_counted),
    Stated(
        "4c",
        "more text helps the neural model more: 4b over 4a",
        ("large", "small"),
        lambda large, small: neural_over_counted(large) / neural_over_counted(small),
        {"below": 1.0},
    ),
    Stated(
        "5a", "their interpolation over the better of the two, small corpus", ("small",), mixture_over_better,
        {"below": 1.0},
    ),
    Stated("5b", "the same, large corpus", ("large",), mixture_over_better, {"below": 1.0}),
    Stated(
        "6a",
        "nearest neighbours by embedding share contexts: share of other words that are used less alike (chance 0.5)",
        ("large",),
        measured("neighbour_rank"),
        {"at_least": 0.8},
    ),
    Stated(
        "6b", "the same of words drawn at random", ("large",), measured("random_rank"),
        {"at_least": 0.45, "at_most": 0.55},
    ),
    Stated(
        "7a", "sampling keeps the sets of the definitions, up to rounding: wrong ones of 192", ("large",),
        measured("kept_set_errors"),
        {"at_most": 0},
    ),
    Stated(
        "7b", f"temperature {COLD:g} is argmax: total variation", ("large",), measured("cold_distance"),
        {"at_most": 0.01},
    ),
    Stated(
        "7c", f"temperature {HOT:g} is uniform: total variation", ("large",), measured("hot_distance"),
        {"at_most": 0.01},
    ),
    Stated(
        "8a", "greedy texts repeat themselves: share of repeated 4-grams", ("large",),
        greedy_repetition, {"at_least": 0.5},
    ),
    Stated(
        "8b", "distinct 2-grams of greedy texts over those of plain sampling", ("large",), greedy_distinct_over_plain,
        {"at_most": 0.5},
    ),
    Stated(
        "8c", "every other strategy is less varied than plain sampling: largest ratio of distinct 2-grams", ("large",),
        most_distinct_over_plain, {"below": 1.0},
    ),
    Stated(
        "9", "single prompts of 1, n-1, n and n+1 tokens: wrong tokens of 32", ("large",),
        lambda result: result.examined["prompt_errors"].sum(1), {"at_most": 0},
    ),
]  # fmt: skip


def claims(results):
    return judge_all(STATED, results)


# --- Figures.


def figures(results):
    return [
        training_figure(results),
        order_figure(results),
        mixture_figure(results),
        unseen_table(results),
        neighbour_table(results),
        strategy_table(results),
    ]


def training_figure(results):
    losses = {f"{arm}, training": (r.train.steps, r.train["loss"].T) for arm, r in results.items()}
    losses |= {f"{arm}, validation": (r.evaluation.steps, r.evaluation["loss"].T) for arm, r in results.items()}
    perplexities = {
        f"{arm}, validation": (r.evaluation.steps, r.evaluation["perplexity"].T) for arm, r in results.items()
    }
    counted = {
        f"Kneser-Ney, {arm}": float(r.examined["kneser_ney_validation_perplexity"].mean()) for arm, r in results.items()
    }
    return curves(
        "Training",
        "Loss and perplexity; dashed: Kneser-Ney of the same order on the same validation text. Vocabularies, and so "
        "perplexities, differ between corpora.",
        "training step",
        [("loss (nats a token)", losses), ("validation perplexity", perplexities)],
        references={"validation perplexity": counted},
        log_y=("validation perplexity",),
    )


def order_figure(results):
    series = {}
    for arm, r in results.items():
        series[f"add-one, {arm}"] = (np.array(ORDERS), r.examined["add_one_perplexity"])
        series[f"Kneser-Ney, {arm}"] = (np.array(ORDERS), r.examined["kneser_ney_perplexity"])
        order = np.array([r.config.order])
        series[f"neural, {arm}"] = (order, r.examined["neural_perplexity"][:, None])
        series[f"interpolation, {arm}"] = (order, r.examined["mixture_perplexity"][:, None])
    caption = (
        "Perplexity of the test text. Maximum likelihood is not drawn: it is infinite wherever it lacks an n-gram."
    )
    return curves("Perplexity by order", caption, "order n", [("test perplexity", series)], log_y=True)


def mixture_figure(results):
    series = {arm: (WEIGHTS, r.examined["mixture_curve"]) for arm, r in results.items()}
    caption = "p = w p_neural + (1 - w) p_Kneser-Ney: perplexity of the test text. Validation chooses w."
    return curves("Interpolation", caption, "weight w of the neural model", [("test perplexity", series)])


def unseen_table(results):
    names = ("unseen_share", "zero_share", "likelihood_perplexity", "add_one_perplexity", "kneser_ney_perplexity")
    rows = [
        [arm, n, *(finite_or_text(float(r.examined[name][:, i].mean())) for name in names)]
        for arm, r in results.items()
        for i, n in enumerate(ORDERS)
    ]
    columns = ("arm", "order", "unseen n-grams", "tokens of ML probability 0", "ML perplexity", "add-one", "Kneser-Ney")
    return table("n-gram models", "Of the test text, by order.", columns, rows)


def finite_or_text(value):
    return value if np.isfinite(value) else "infinite"


def neighbour_table(results):
    """Of the words in the middle of the frequent ones, in the first seed."""
    rows = []
    for arm, r in results.items():
        piece = read(r.config).tokenizer.piece
        compared_K, near_KJ = r.examined["compared"][0], r.examined["neighbours"][0]
        for place in np.linspace(0.1, 0.6, SHOWN) * len(compared_K):
            nearest = "  ".join(piece(int(id)) for id in near_KJ[int(place)])
            rows.append([arm, piece(int(compared_K[int(place)])), nearest])
    caption = f"Among the {COMPARED} most frequent words, by the cosine of their embeddings, nearest first; first seed."
    return table("Nearest neighbours", caption, ("arm", "word", "neighbours"), rows)


def strategy_table(results):
    rows = []
    for arm, r in results.items():
        for i, name in enumerate([*strategies_of(r.config), "the test text"]):
            distinct_3 = r.examined["distinct"][:, i].mean(0).tolist()
            rows.append([arm, name, *distinct_3, float(r.examined["repeated"][:, i].mean())])
    columns = ("arm", "strategy", "distinct 1-grams", "distinct 2-grams", "distinct 3-grams", "repeated 4-grams")
    caption = (
        f"{CHECKED_CONTEXTS} texts each, all of one length: distinct n-grams over all n-grams, and the share of a "
        "text's 4-grams that stood in it before."
    )
    return table("Sampling strategies", caption, columns, rows)


EXPERIMENT = Experiment(
    question=__doc__,
    config=Config(),
    arms=arms,
    default_arms=("small", "large"),
    task=task,
    claims=claims,
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
