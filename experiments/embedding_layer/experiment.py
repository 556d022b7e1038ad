"""What does a token embedding cost as a lookup and as a matrix product, and which of it grows with the vocabulary?"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from experiments.embedding_layer import embedding
from experiments.embedding_layer.measures import GATHER, PRODUCT, STAGES, WAYS, bytes_by_xla, costs, exact, seconds
from probes.operations import Cost
from reporting.claims import Stated, judge_all
from reporting.figures import curves, heatmap
from reporting.tables import table
from training.config import setting
from training.experiment import Experiment, Task

NUM_SIZES = 5  # vocabularies from the smallest to the largest
EXAMPLE_TOKENS, EXAMPLE_V, EXAMPLE_D = (2, 5, 5, 9), 12, 8


@dataclass(frozen=True)
class Config:
    smallest_vocabulary: int = setting(1_000, "tokens; the exact claims are tried at this size")
    largest_vocabulary: int = setting(100_000, "tokens")
    width: int = setting(64, "of the embedding vectors")
    num_tokens: int = setting(256, "in a batch")
    seed: int = setting(0, "of the first of the seeds")


def vocabularies(config):
    """Sizes from the smallest to the largest, evenly spaced in their logarithms."""
    return np.rint(np.geomspace(config.smallest_vocabulary, config.largest_vocabulary, NUM_SIZES)).astype(int)


def task(config):
    if not 2 <= config.smallest_vocabulary < config.largest_vocabulary or min(config.width, config.num_tokens) < 1:
        raise ValueError("smallest_vocabulary must be at least 2 and below largest_vocabulary, other sizes positive")
    V, D, N = config.smallest_vocabulary, config.width, config.num_tokens

    def init(key):
        shapes = {"table": (V, D), "cotangent": (N, D)}
        sizes = [int(np.prod(shape)) for shape in shapes.values()]
        flat = jax.random.normal(key, (sum(sizes),))
        made = zip(shapes.items(), jnp.split(flat, np.cumsum(sizes)[:-1]), strict=True)
        tokens_N = jax.random.randint(key, (N,), 0, V)
        return {"params": {name: x.reshape(shape) for (name, shape), x in made} | {"tokens": tokens_N}}

    def evaluate(variables):
        table_VD, tokens_N = (variables["params"][name] for name in ("table", "tokens"))
        rows_ND = embedding.product(table_VD, jax.nn.one_hot(tokens_N, V))
        return {"largest_difference": (jnp.abs(rows_ND - embedding.gather(table_VD, tokens_N)).max(), 1.0)}

    def measure(variables):
        found = {name: np.asarray(x) for name, x in exact(variables["params"]).items()}
        generator = np.random.default_rng(np.asarray(variables["params"]["tokens"]))
        V_most, gathered = config.largest_vocabulary, f"{GATHER}: forward"
        xla_over_ours = bytes_by_xla(gathered, N, V_most, D) / costs(N, V_most, D)[f"bytes/{gathered}"]
        found["xla_bytes_over_ours"] = np.float64(xla_over_ours)
        by_size = [costs(N, V, D) | seconds(N, V, D, generator) for V in vocabularies(config).tolist()]
        return found | {name: np.array([one[name] for one in by_size], np.float64) for name in by_size[0]}

    return Task(model=None, init=init, evaluate=evaluate, measure=measure)


# --- Claims. All thresholds were written down before the first run.

EXACT = 1e-10


def examined(name):
    return lambda result: result.examined[name]


def difference_from_hand(kind):
    def measure(result):
        pairs = [(result.examined[f"{kind}/{s}"], result.examined[f"by_hand/{kind}/{s}"]) for s in STAGES]
        return np.max([np.abs(counted - by_hand).max(1) for counted, by_hand in pairs], axis=0)

    return measure


def growth(kind, *stages):
    """What the stages cost at the largest vocabulary over what they cost at the smallest."""

    def measure(result):
        total = sum(result.examined[f"{kind}/{stage}"] for stage in stages)
        return total[:, -1] / total[:, 0]

    return measure


def each_word(kind, stage, expected):
    """What one more word costs, over ``expected`` (N, D): of all slopes the one that is furthest from it."""

    def measure(result):
        costs_SN = result.examined[f"{kind}/{stage}"]
        slopes = np.diff(costs_SN) / np.diff(vocabularies(result.config))
        ratios = slopes / expected(result.config.num_tokens, result.config.width)
        return np.take_along_axis(ratios, np.abs(ratios - 1).argmax(1)[:, None], 1)[:, 0]

    return measure


def saved(kind):
    """A dense gradient and update over a sparse one, at the largest vocabulary."""

    def measure(result):
        dense = sum(result.examined[f"{kind}/{stage}"][:, -1] for stage in WAYS["gather, dense update"][1:])
        return dense / result.examined[f"{kind}/sparse update"][:, -1]

    return measure


ONE = {"at_least": 1.0, "at_most": 1.0}
STATED = [
    ("1a", "a lookup is the one-hot product: largest difference", examined("forward_difference"), {"at_most": 0.0}),
    (
        "1b",
        "for finite tables: a row of infinities makes the product of other tokens NaN, share",
        examined("spoiled_product"),
        {"at_least": 1.0},
    ),
    ("1c", "and leaves their lookup finite: share that is not", examined("spoiled_gather"), {"at_most": 0.0}),
    ("2a", "rows with a gradient of tokens not in the batch", examined("absent_rows_with_gradient"), {"at_most": 0.0}),
    ("2b", "rows without one of tokens in the batch", examined("present_rows_without"), {"at_most": 0.0}),
    ("2c", "a row's gradient is the sum over its tokens: error", examined("gradient_error"), {"at_most": EXACT}),
    ("2d", "the product has the same gradient: error", examined("product_gradient_error"), {"at_most": EXACT}),
    ("2e", "a sparse update gives the same table: error", examined("sparse_update_error"), {"at_most": EXACT}),
    ("3a", "operations from the jaxpr less those by hand", difference_from_hand("operations"), {"at_most": 0.0}),
    ("3b", "bytes from the jaxpr less those by hand", difference_from_hand("bytes"), {"at_most": 0.0}),
    ("4a", "lookup, V x 100: bytes grow by a factor of", growth("bytes", f"{GATHER}: forward"), ONE),
    (
        "4b",
        "its dense gradient, one more word: bytes over 4 D",
        each_word("bytes", f"{GATHER}: dense gradient", lambda N, D: 4 * D),
        ONE,
    ),
    (
        "4c",
        "dense update, one more word: bytes over 20 D",
        each_word("bytes", "dense update", lambda N, D: 20 * D),
        ONE,
    ),
    (
        "4d",
        "product, one more word: operations over 2 N D",
        each_word("operations", f"{PRODUCT}: forward", lambda N, D: 2 * N * D),
        ONE,
    ),
    (
        "4e",
        "product, one more word: bytes over 4 (N + D)",
        each_word("bytes", f"{PRODUCT}: forward", lambda N, D: 4 * (N + D)),
        ONE,
    ),
    ("4f", "sparse update, V x 100: bytes grow by a factor of", growth("bytes", "sparse update"), ONE),
    ("5a", "at 100,000 words a sparse update saves bytes by a factor of", saved("bytes"), {"at_least": 100.0}),
    ("5b", "and wall time by a factor of", saved("seconds"), {"at_least": 10.0}),
    ("6a", "V x 100: wall time of the lookup grows by", growth("seconds", f"{GATHER}: forward"), {"at_most": 10.0}),
    ("6b", "of its dense gradient", growth("seconds", f"{GATHER}: dense gradient"), {"at_least": 10.0}),
    ("6c", "of the dense update", growth("seconds", "dense update"), {"at_least": 10.0}),
    ("6d", "of the one-hot product", growth("seconds", f"{PRODUCT}: forward"), {"at_least": 20.0}),
    ("7", "XLA's own count of the lookup's bytes at 100,000 words, over ours", examined("xla_bytes_over_ours"), {}),
]


def claims(results):
    """Claims 1 to 7 of experiments/embedding_layer/README.md."""
    return judge_all(
        [Stated(id, says, ("embedding",), measure, bounds) for id, says, measure, bounds in STATED], results
    )


# --- Figures.


def figures(results):
    """The figures of the report."""
    result = results["embedding"]
    return [growth_figure(result), stages_figure(result), gradient_figure(), counts_table(result)]


def growth_figure(result):
    sizes = vocabularies(result.config)
    panels = [
        (label, {way: (sizes, scale * sum(result.examined[f"{kind}/{stage}"] for stage in stages))
                 for way, stages in WAYS.items()})
        for label, kind, scale in (("bytes", "bytes", 1), ("floating-point operations", "operations", 1),
                                   ("wall time (ms)", "seconds", 1e3))
    ]  # fmt: skip
    return curves(
        "A training step of an embedding: forward, gradient, update",
        "Only the lookup with a sparse update does not grow with the vocabulary. The lookup itself is free of it; its "
        "dense gradient, which is zero nearly everywhere, and the update of the whole table are not. The one-hot "
        "matrix is taken as given.",
        "vocabulary",
        panels,
        log_x=True,
        log_y=True,
    )


def stages_figure(result):
    sizes = vocabularies(result.config)
    panels = [
        (label, {stage: (sizes, scale * result.examined[f"{kind}/{stage}"]) for stage in STAGES})
        for label, kind, scale in (("bytes", "bytes", 1), ("wall time (ms)", "seconds", 1e3))
    ]
    return curves(
        "Its stages",
        "Bytes as counted from the jaxpr, before anything is fused, and wall time. Very short calls are as long as "
        "their dispatch.",
        "vocabulary",
        panels,
        log_x=True,
        log_y=True,
    )


def gradient_figure():
    generator = np.random.default_rng(0)
    cotangent_ND = np.round(generator.normal(size=(len(EXAMPLE_TOKENS), EXAMPLE_D)), 2).astype(np.float32)
    table_VD = np.zeros((EXAMPLE_V, EXAMPLE_D), np.float32)
    gradient_VD = embedding.gather_gradient(jnp.asarray(table_VD), jnp.array(EXAMPLE_TOKENS), cotangent_ND)
    return heatmap(
        f"The gradient of a table of {EXAMPLE_V} tokens, batch {', '.join(map(str, EXAMPLE_TOKENS))}",
        "Only the rows of tokens in the batch have a gradient; that of token 5, which stands there twice, "
        "is a sum of two.",
        np.asarray(gradient_VD),
        range(EXAMPLE_V),
        range(EXAMPLE_D),
        "token",
        "component",
        "gradient",
        diverging=True,
    )


def counts_table(result):
    sizes, rows = vocabularies(result.config), []
    for stage, described in STAGES.items():
        for at in (0, -1):
            counted = [int(result.examined[f"{kind}/{stage}"][0, at]) for kind in Cost._fields]
            milliseconds = 1e3 * float(result.examined[f"seconds/{stage}"][:, at].mean())
            rows.append([stage, described.operations, described.bytes, int(sizes[at]), *counted, milliseconds])
    return table(
        "Counted by hand and from the jaxpr",
        f"N = {result.config.num_tokens} tokens, D = {result.config.width}, float32 and int32. A primitive reads its "
        "operands and writes its result; a gather reads what it takes, a scatter-add reads and writes what it adds to.",
        ["stage", "operations, by hand", "bytes, by hand", "V", "operations", "bytes", "wall time (ms)"],
        rows,
    )


EXPERIMENT = Experiment(
    question=__doc__,
    config=Config(),
    arms=lambda config: {"embedding": {}},
    default_arms=("embedding",),
    task=task,
    claims=claims,
    figures=figures,
)
