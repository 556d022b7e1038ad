"""What an embedding costs, as a lookup and as a one-hot product: by hand, from the jaxpr, and by the clock.

Axes: N tokens, V vocabulary, D width, S seeds.
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

NUM_SIZES = 5  # vocabularies that are measured
LEARNING_RATE = 0.1  # a constant of the compiled programs
FLOAT, INDEX = 4, 4  # bytes of a float32 and of an int32


def vocabularies(config):
    """Vocabularies from the config's smallest to its largest, evenly spaced in their logarithms."""
    return np.rint(np.geomspace(config.smallest_vocabulary, config.largest_vocabulary, NUM_SIZES)).astype(int)


class Stage(NamedTuple):
    """A part of a training step.

    function:       what it computes, of the arrays that `arguments` names
    by_hand:        (N, V, D) -> its Cost, counted by hand; `operations` and `bytes` say the same as text
    replaces_table: whether its result takes the place of its first argument
    """

    function: Callable
    arguments: tuple[str, ...]
    by_hand: Callable
    operations: str
    bytes: str
    replaces_table: bool = False


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
        replaces_table=True,
    ),
    "sparse update": Stage(
        partial(embedding.sparse_update, learning_rate=LEARNING_RATE),
        ("table", "tokens", "cotangent"),
        lambda N, V, D: Cost(2 * N * D, 5 * FLOAT * N * D + INDEX * N),
        "2 N D",
        "20 N D + 4 N",
        replaces_table=True,
    ),
}
# A training step of each way to embed, as its stages.
WAYS = {
    "gather, dense update": (f"{GATHER}: forward", f"{GATHER}: dense gradient", "dense update"),
    "gather, sparse update": (f"{GATHER}: forward", "sparse update"),
    "one-hot product, dense update": (f"{PRODUCT}: forward", f"{PRODUCT}: gradient", "dense update"),
}


def total(result, kind, stages):
    """What some stages cost together [S, NUM_SIZES] by a kind of cost: operations, bytes or seconds."""
    return sum(result.examined[f"{kind}/{stage}"] for stage in stages)


def exactness(sample):
    """How exactly lookup and product agree, their gradients and the updates, and what infinities do to each.

    ``sample`` is {"table" [V, D], "cotangent" [N, D], "tokens" [N]}. Errors are largest absolute differences in
    float64; "spoiled_..." are shares of the tokens other than the first token, whose row is made infinite.
    """
    table_VD, cotangent_ND = (np.asarray(sample[name], np.float64) for name in ("table", "cotangent"))
    tokens_N = np.asarray(sample["tokens"])
    V = len(table_VD)
    one_hot_NV = np.eye(V)[tokens_N]
    in_batch_V, other_N = np.bincount(tokens_N, minlength=V) > 0, tokens_N != tokens_N[0]
    by_hand_VD = np.zeros_like(table_VD)
    for token, cotangent_D in zip(tokens_N, cotangent_ND, strict=True):
        by_hand_VD[token] += cotangent_D
    spoiled_VD = np.where(np.arange(V)[:, None] == tokens_N[0], np.inf, table_VD)
    with jax.enable_x64(True):
        table_VD, spoiled_VD = jnp.asarray(table_VD), jnp.asarray(spoiled_VD)
        rows_ND, product_ND = embedding.gather(table_VD, tokens_N), embedding.product(table_VD, one_hot_NV)
        gradient_VD = embedding.gather_gradient(table_VD, tokens_N, cotangent_ND)
        product_gradient_VD = embedding.product_gradient(table_VD, one_hot_NV, cotangent_ND)
        nonzero_V = (np.asarray(gradient_VD) != 0).any(1)
        updated_VD = embedding.dense_update(table_VD, gradient_VD, LEARNING_RATE)
        sparse_VD = embedding.sparse_update(table_VD, tokens_N, cotangent_ND, LEARNING_RATE)
        return {
            "forward_difference": jnp.abs(rows_ND - product_ND).max(),
            "spoiled_product": jnp.isnan(embedding.product(spoiled_VD, one_hot_NV)).all(1)[other_N].mean(),
            "spoiled_gather": (~jnp.isfinite(embedding.gather(spoiled_VD, tokens_N))).any(1)[other_N].mean(),
            "absent_rows_with_gradient": (nonzero_V & ~in_batch_V).sum(),
            "present_rows_without_gradient": (in_batch_V & ~nonzero_V).sum(),
            "gradient_error": jnp.abs(gradient_VD - by_hand_VD).max(),
            "product_gradient_error": jnp.abs(product_gradient_VD - by_hand_VD).max(),
            "sparse_update_error": jnp.abs(sparse_VD - updated_VD).max(),
        }


def costs(N, V, D):
    """{"operations/STAGE", "bytes/STAGE": number} of every stage, from the jaxpr; by hand as "by_hand/..."."""
    shapes, numbers = argument_shapes(N, V, D), {}
    for name, stage in STAGES.items():
        counted = count(stage.function, *(shapes[argument] for argument in stage.arguments))
        for kind, number, by_hand in zip(Cost._fields, counted, stage.by_hand(N, V, D), strict=True):
            numbers[f"{kind}/{name}"] = number
            numbers[f"by_hand/{kind}/{name}"] = by_hand
    return numbers


def bytes_by_xla(stage, N, V, D):
    """What XLA's own analysis of the compiled stage says that it accesses, in bytes."""
    shapes = argument_shapes(N, V, D)
    lowered = jax.jit(STAGES[stage].function).lower(*(shapes[argument] for argument in STAGES[stage].arguments))
    return lowered.compile().cost_analysis()["bytes accessed"]


# The updates own their table, as in training: without that, a sparse update would copy the table first.
COMPILED = {
    name: jax.jit(stage.function, donate_argnums=0 if stage.replaces_table else ()) for name, stage in STAGES.items()
}


def seconds(N, V, D, generator):
    """{"seconds/STAGE": wall time of a call} of every stage, on random arrays."""
    arrays, times = random_arguments(N, V, D, generator), {}
    for name, stage in STAGES.items():
        arguments = [jnp.copy(arrays["table"]), *(arrays[argument] for argument in stage.arguments[1:])]
        times[f"seconds/{name}"] = seconds_a_call(COMPILED[name], *arguments, replaces_first=stage.replaces_table)
    return times


def argument_shapes(N, V, D):
    """{argument: its shape and type} of the functions of STAGES; nothing is allocated."""
    return {
        "table": jax.ShapeDtypeStruct((V, D), np.float32),
        "gradient": jax.ShapeDtypeStruct((V, D), np.float32),
        "cotangent": jax.ShapeDtypeStruct((N, D), np.float32),
        "one_hot": jax.ShapeDtypeStruct((N, V), np.float32),
        "tokens": jax.ShapeDtypeStruct((N,), np.int32),
    }


def random_arguments(N, V, D, generator):
    """{argument: array} of the functions of STAGES, from a numpy generator."""
    table_VD = generator.standard_normal((V, D), np.float32)
    gradient_VD = generator.standard_normal((V, D), np.float32)
    cotangent_ND = generator.standard_normal((N, D), np.float32)
    tokens_N = generator.integers(V, size=N, dtype=np.int32)
    one_hot_NV = np.zeros((N, V), np.float32)
    one_hot_NV[np.arange(N), tokens_N] = 1
    arguments = {
        "table": table_VD,
        "gradient": gradient_VD,
        "cotangent": cotangent_ND,
        "one_hot": one_hot_NV,
        "tokens": tokens_N,
    }
    return {name: jnp.asarray(array) for name, array in arguments.items()}
