"""What an embedding costs, as a lookup and as a one-hot product: by hand, from the jaxpr, and by the clock.

Axes: N tokens, V vocabulary, D width.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.embedding_layer import embedding
from probes.operations import Cost, count
from probes.timing import seconds_a_call

LEARNING_RATE = 0.1  # a constant of the compiled programs
FLOAT, INDEX = 4, 4  # bytes of a float32 and of an int32


class Stage(NamedTuple):
    """A part of a training step: its arguments by name, its Cost by hand of (N, V, D), and the same as text."""

    function: Callable
    arguments: tuple[str, ...]
    by_hand: Callable
    operations: str
    bytes: str


GATHER, PRODUCT = "gather", "one-hot product"
STAGES = {
    f"{GATHER}: forward": Stage(
        embedding.gather,
        ("table", "tokens"),
        lambda N, V, D: Cost(0, 2 * FLOAT * N * D + INDEX * N),
        "0",
        "8 N D + 4 N",
    ),
    f"{GATHER}: dense gradient": Stage(
        embedding.gather_gradient,
        ("table", "tokens", "cotangent"),
        lambda N, V, D: Cost(N * D, FLOAT * V * D + 3 * FLOAT * N * D + INDEX * N),
        "N D",
        "4 V D + 12 N D + 4 N",
    ),
    f"{PRODUCT}: forward": Stage(
        embedding.product,
        ("table", "one_hot"),
        lambda N, V, D: Cost(2 * N * V * D, FLOAT * (N * V + V * D + N * D)),
        "2 N V D",
        "4 (N V + V D + N D)",
    ),
    f"{PRODUCT}: gradient": Stage(
        embedding.product_gradient,
        ("table", "one_hot", "cotangent"),
        lambda N, V, D: Cost(2 * N * V * D, FLOAT * (N * V + V * D + N * D)),
        "2 N V D",
        "4 (N V + V D + N D)",
    ),
    "dense update": Stage(
        partial(embedding.dense_update, learning_rate=LEARNING_RATE),
        ("table", "gradient"),
        lambda N, V, D: Cost(2 * V * D, 5 * FLOAT * V * D),
        "2 V D",
        "20 V D",
    ),
    "sparse update": Stage(
        partial(embedding.sparse_update, learning_rate=LEARNING_RATE),
        ("table", "tokens", "cotangent"),
        lambda N, V, D: Cost(2 * N * D, 5 * FLOAT * N * D + INDEX * N),
        "2 N D",
        "20 N D + 4 N",
    ),
}
# A training step of each way, as its stages.
WAYS = {
    "gather, dense update": (f"{GATHER}: forward", f"{GATHER}: dense gradient", "dense update"),
    "gather, sparse update": (f"{GATHER}: forward", "sparse update"),
    "one-hot product, dense update": (f"{PRODUCT}: forward", f"{PRODUCT}: gradient", "dense update"),
}


def arrays(N, V, D, generator=None):
    """{argument: array} that the functions of STAGES take; shapes without data without a generator."""
    shapes = {"table": (V, D), "gradient": (V, D), "cotangent": (N, D), "one_hot": (N, V), "tokens": (N,)}
    if generator is None:
        made = {name: jax.ShapeDtypeStruct(shape, np.float32) for name, shape in shapes.items()}
        return made | {"tokens": jax.ShapeDtypeStruct((N,), np.int32)}
    made = {n: generator.standard_normal(shapes[n], np.float32) for n in ("table", "gradient", "cotangent")}
    tokens_N = generator.integers(V, size=N, dtype=np.int32)
    one_hot_NV = np.zeros((N, V), np.float32)
    one_hot_NV[np.arange(N), tokens_N] = 1
    made |= {"tokens": tokens_N, "one_hot": one_hot_NV}
    return {name: jnp.asarray(x) for name, x in made.items()}


def exact(params):
    """What holds exactly of lookup and product, of their gradients and of the updates."""
    table_VD, cotangent_ND = (np.asarray(params[name], np.float64) for name in ("table", "cotangent"))
    tokens_N = np.asarray(params["tokens"])
    V = len(table_VD)
    one_hot_NV = np.eye(V)[tokens_N]
    in_batch_V, other_N = np.bincount(tokens_N, minlength=V) > 0, tokens_N != tokens_N[0]
    by_hand_VD = np.zeros_like(table_VD)
    for token, cotangent_D in zip(tokens_N, cotangent_ND, strict=True):
        by_hand_VD[token] += cotangent_D
    spoiled_VD = np.where(np.arange(V)[:, None] == tokens_N[0], np.inf, table_VD)
    with jax.enable_x64(True):
        table_VD, spoiled_VD = jnp.asarray(table_VD), jnp.asarray(spoiled_VD)
        rows_ND = embedding.gather(table_VD, tokens_N)
        gradient_VD = embedding.gather_gradient(table_VD, tokens_N, cotangent_ND)
        nonzero_V = (np.asarray(gradient_VD) != 0).any(1)
        updated_VD = embedding.dense_update(table_VD, gradient_VD, LEARNING_RATE)
        sparse_VD = embedding.sparse_update(table_VD, tokens_N, cotangent_ND, LEARNING_RATE)
        return {
            "forward_difference": jnp.abs(rows_ND - embedding.product(table_VD, one_hot_NV)).max(),
            "spoiled_product": jnp.isnan(embedding.product(spoiled_VD, one_hot_NV)).all(1)[other_N].mean(),
            "spoiled_gather": (~jnp.isfinite(embedding.gather(spoiled_VD, tokens_N))).any(1)[other_N].mean(),
            "absent_rows_with_gradient": (nonzero_V & ~in_batch_V).sum(),
            "present_rows_without": (in_batch_V & ~nonzero_V).sum(),
            "gradient_error": jnp.abs(gradient_VD - by_hand_VD).max(),
            "product_gradient_error": jnp.abs(
                embedding.product_gradient(table_VD, one_hot_NV, cotangent_ND) - by_hand_VD
            ).max(),
            "sparse_update_error": jnp.abs(sparse_VD - updated_VD).max(),
        }


def costs(N, V, D):
    """{"operations/STAGE", "bytes/STAGE"} from the jaxpr, and by hand under "by_hand/..."."""
    shapes, found = arrays(N, V, D), {}
    for name, stage in STAGES.items():
        counted = count(stage.function, *(shapes[argument] for argument in stage.arguments))
        for kind, number, by_hand in zip(Cost._fields, counted, stage.by_hand(N, V, D), strict=True):
            found |= {f"{kind}/{name}": number, f"by_hand/{kind}/{name}": by_hand}
    return found


def bytes_by_xla(stage, N, V, D):
    """What XLA's own analysis of the compiled stage says that it accesses, in bytes."""
    shapes = arrays(N, V, D)
    lowered = jax.jit(STAGES[stage].function).lower(*(shapes[argument] for argument in STAGES[stage].arguments))
    return lowered.compile().cost_analysis()["bytes accessed"]


# The updates own their table, as in training: without that, a sparse update would copy the table first.
COMPILED = {
    name: jax.jit(stage.function, donate_argnums=0 if "update" in name else ()) for name, stage in STAGES.items()
}


def seconds(N, V, D, generator):
    """{"seconds/STAGE": wall time of a call}."""
    given, found = arrays(N, V, D, generator), {}
    for name, stage in STAGES.items():
        called_with = [jnp.copy(given["table"]), *(given[argument] for argument in stage.arguments[1:])]
        found[f"seconds/{name}"] = seconds_a_call(COMPILED[name], *called_with, replaces_first="update" in name)
    return found
