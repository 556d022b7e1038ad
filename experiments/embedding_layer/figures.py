"""The figures of the report.

Axes: N tokens, V vocabulary, D width.
"""

import jax.numpy as jnp
import numpy as np

from experiments.embedding_layer import embedding
from experiments.embedding_layer.measures import STAGES, WAYS, total, vocabularies
from probes.operations import Cost
from reporting.figures import curves, heatmap
from reporting.tables import table

EXAMPLE_TOKENS, EXAMPLE_V, EXAMPLE_D = (2, 5, 5, 9), 12, 8
# Kinds of cost that are drawn: {kind: (label of its axis, factor to the label's unit)}.
DRAWN_COSTS = {
    "bytes": ("bytes", 1),
    "operations": ("floating-point operations", 1),
    "seconds": ("wall time (ms)", 1e3),
}


def figures(results):
    """What a step costs against the vocabulary, by way and by stage; a gradient; and the counts."""
    result = results["embedding"]
    return [growth_figure(result), stages_figure(result), gradient_figure(), counts_table(result)]


def growth_figure(result):
    """What a training step costs against the vocabulary, one line a way to embed."""
    return curves(
        "A training step of an embedding: forward, gradient, update",
        "Only the lookup with a sparse update does not grow with the vocabulary. The lookup itself does not grow "
        "either; its dense gradient, which is zero nearly everywhere, and the update of the whole table do. The "
        "one-hot matrix is taken as given.",
        "vocabulary",
        [cost_panel(result, kind, WAYS) for kind in DRAWN_COSTS],
        log_x=True,
        log_y=True,
    )


def stages_figure(result):
    """What each stage of a training step costs against the vocabulary."""
    stages = {stage: (stage,) for stage in STAGES}
    return curves(
        "The stages of a training step",
        "Bytes as counted from the jaxpr, before anything is fused, and wall time. The shortest calls take as long as "
        "their dispatch.",
        "vocabulary",
        [cost_panel(result, kind, stages) for kind in ("bytes", "seconds")],
        log_x=True,
        log_y=True,
    )


def cost_panel(result, kind, lines):
    """A panel of a kind of cost against the vocabulary; ``lines`` is {label: stages whose costs are added up}."""
    sizes, (label, factor) = vocabularies(result.config), DRAWN_COSTS[kind]
    return label, {name: (sizes, factor * total(result, kind, stages)) for name, stages in lines.items()}


def gradient_figure():
    """The gradient of a small table, a row a token."""
    generator = np.random.default_rng(0)
    cotangent_ND = np.round(generator.normal(size=(len(EXAMPLE_TOKENS), EXAMPLE_D)), 2).astype(np.float32)
    table_VD = np.zeros((EXAMPLE_V, EXAMPLE_D), np.float32)
    gradient_VD = embedding.gather_gradient(jnp.asarray(table_VD), jnp.array(EXAMPLE_TOKENS), cotangent_ND)
    return heatmap(
        f"The gradient of a table of {EXAMPLE_V} tokens, batch {', '.join(map(str, EXAMPLE_TOKENS))}",
        "Only the rows of tokens in the batch have a gradient. The row of token 5, which occurs twice, is a sum of "
        "two cotangents.",
        np.asarray(gradient_VD),
        range(EXAMPLE_V),
        range(EXAMPLE_D),
        "token",
        "component",
        "gradient",
        diverging=True,
    )


def counts_table(result):
    """Every stage's costs by hand, from the jaxpr and by the clock, at the smallest and the largest vocabulary."""
    sizes, rows = vocabularies(result.config), []
    for name, stage in STAGES.items():
        for index in (0, -1):
            counted = [int(result.examined[f"{kind}/{name}"][0, index]) for kind in Cost._fields]
            milliseconds = 1e3 * float(result.examined[f"seconds/{name}"][:, index].mean())
            rows.append([name, stage.operations, stage.bytes, int(sizes[index]), *counted, milliseconds])
    return table(
        "Counted by hand and from the jaxpr",
        f"N = {result.config.num_tokens} tokens, D = {result.config.width}, float32 and int32. A primitive reads its "
        "operands and writes its result; a gather reads what it takes, a scatter-add reads and writes what it adds to.",
        ["stage", "operations, by hand", "bytes, by hand", "V", "operations", "bytes", "wall time (ms)"],
        rows,
    )
