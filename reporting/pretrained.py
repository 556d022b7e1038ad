"""The page of pretrained models' heads: ranked, mapped, on text, ablated, composed; and over a series of checkpoints.

Takes what ``probes.pretrained`` found. Axes: L layers, H heads, N checkpoints.
"""

import io
import json
import time
from itertools import zip_longest

import numpy as np

from reporting import page
from reporting.figures import attention_patterns, curves, heatmap
from reporting.heads import spelled
from reporting.tables import table
from training import files
from training.metrics import jsonable

SCORES = ("previous_token_score", "duplicate_token_score", "induction_score")
RANKED, PAIRS = 10, 8  # rows of the tables
SHOWN_EACH = 2  # heads of each role whose patterns are shown
QUESTION = (
    "What does each attention head of this model attend to and copy, what is lost without it, and which heads read it?"
)
SCALARS = ("loss", "in_context_learning_score", "in_context_learning_slope")
ATTENTION = (*SCORES, "prefix_matching_mean", "prefix_matching_sum", "copying_score")
CAUSES = ("ablation_loss_increase", "logit_attribution", "ov_copying_score", "qk_matching_score")


def write(workdir, surveyed, *, command, facts, began):
    """Writes metrics.json, claims.json (none), results.npz and report.html; returns the ranked heads as text.

    Args:
      surveyed: of ``probes.pretrained.survey_folders``; the last is the model that the page is about.
    """
    last = surveyed[-1]
    files.write_whole(workdir / "metrics.json", json.dumps(metrics(surveyed), indent=1, allow_nan=False) + "\n")
    files.write_whole(workdir / "claims.json", "[]\n")
    files.write_whole(workdir / "results.npz", _arrays(surveyed))
    page.write(
        workdir / "report.html",
        title=f"heads of {last.folder}",
        question=QUESTION,
        command=command,
        claims=[],
        figures=figures(surveyed),
        facts={**facts, "wall time": f"{time.monotonic() - began:.1f} s", "date": time.strftime("%Y-%m-%d")},
        arms=[],
        notes=notes(last),
    )
    return "\n".join(f"{spelled(name):22}" + ", ".join(_best(last.found, name)) for name in SCORES)


def metrics(surveyed):
    """What metrics.json holds: the last checkpoint's scores; of a series, also "checkpoints", those of each."""
    last = surveyed[-1]
    found = {name: value for name, value in last.found.items() if name != "composition"}
    found = {"checkpoint": last.folder, "family": last.family, "parameters": last.num_parameters} | found
    if len(surveyed) > 1:
        kept = (*ATTENTION, *SCALARS, "text")
        found["checkpoints"] = [
            {"checkpoint": one.folder, "step": one.step} | {k: v for k, v in one.found.items() if k in kept}
            for one in surveyed
        ]
    return jsonable(found)


def _arrays(surveyed):
    """results.npz: every array of every checkpoint, named STEP/NAME."""
    arrays = {}
    for one in surveyed:
        for name, value in one.found.items():
            leaves = value.items() if isinstance(value, dict) else [("", value)]
            for part, leaf in leaves:
                if not isinstance(leaf, dict):
                    arrays[f"{one.step}/{name}{'/' * bool(part)}{part}"] = np.asarray(leaf)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def ranked(scores_LH, count):
    """The heads (layer, head) with the largest scores, best first; NaNs last."""
    order = np.argsort(-np.nan_to_num(scores_LH, nan=-np.inf), axis=None, kind="stable")[:count]
    return [tuple(int(i) for i in np.unravel_index(flat, scores_LH.shape)) for flat in order]


def _best(found, name):
    chance = found["chance"][name]
    return [f"{layer}.{head} {found[name][layer, head]:.2f} ({found[name][layer, head] / chance:.1f} x chance)"
            for layer, head in ranked(found[name], 5)]  # fmt: skip


def figures(surveyed):
    """The figures of the page."""
    last = surveyed[-1]
    found = last.found
    L, H = found["induction_score"].shape
    labels = ([str(layer) for layer in range(L)], [str(head) for head in range(H)], "layer", "head")
    drawn = [about(last), ranking(found)]
    if len(surveyed) > 1:
        drawn.append(over_training(surveyed))
    drawn.append(
        heatmap(
            "What each head attends to, on random tokens",
            "Sequences [BOS, r, r] of random tokens r: mean attention to the previous token, to the earlier occurrence "
            f"of the same token, and to the token after that. Uniform attention would give {_levels(found)}.",
            {spelled(name): found[name] for name in SCORES},
            *labels,
            "attention",
        )
    )
    if "text" in found:
        drawn.append(
            heatmap(
                "What each head attends to, on the text",
                "The same on the text, summed over all earlier occurrences of a query's token, over the queries that "
                f"have any. Uniform attention would give {_levels(found['text'])}.",
                {spelled(name): found["text"][name] for name in SCORES},
                *labels,
                "attention",
            )
        )
    chosen = list(dict.fromkeys(head for name in SCORES for head in ranked(found[name], SHOWN_EACH)))
    drawn += [
        attention_patterns(
            "Patterns of the best heads",
            "The two best heads of each score, "
            + ("on the piece of the text that repeats itself most." if "text" in found else "on a block that recurs."),
            last.shown,
            {f"head {layer}.{head}: {_role(found, layer, head)}": last.patterns_LHTT[layer, head]
             for layer, head in chosen},
        ),
        heatmap(
            "Prefix matching and copying",
            "Two marks of an induction head (Olsson et al. 2022): attention to what followed earlier occurrences, on "
            "four copies of a block, summed over keys; and whether a head raises the logits of the tokens it attends "
            f"to, from -1 to 1 ({_chance_of_copying(last):.2f} where all rise alike).",
            {"prefix matching": found["prefix_matching_sum"], "copying": found["copying_score"]},
            *labels,
            "score",
            diverging=True,
        ),
        heatmap(
            "Eigenvalues of the OV and QK circuits",
            "The sum of eigenvalues over the sum of their sizes, from the weights alone: whether a head raises the "
            "logit of the token it attends to (OV), and whether it attends to its own token (QK, through the embedding "
            "only).",
            {"OV, copying": found["ov_copying_score"], "QK, matching": found["qk_matching_score"]},
            *labels,
            "positive share",
            limits=(-1.0, 1.0),
            diverging=True,
        ),
        heatmap(
            "Ablating one head at a time",
            f"Increase of the loss on the second copy of r, {found['repeat_loss']:.3f} nats with all heads, where one "
            f"head's output is zero; {_sequences(found, 'ablation')}.",
            found["ablation_loss_increase"],
            *labels,
            "increase of the loss (nats)",
            diverging=True,
        ),
        heatmap(
            "Direct logit attribution",
            "What each head writes into the right next token's logit, above the vocabulary's mean, on the same "
            "positions; the final norm is held at the scale that it has.",
            found["logit_attribution"],
            *labels,
            "logits",
            diverging=True,
        ),
    ]  # fmt: skip
    return drawn + (composition(found["composition"]) if L > 1 else [])


def about(one):
    """A table of what the model is."""
    c = one.config
    heads = f"{c.num_heads}" + (f" in {c.heads_of_keys} groups" if c.heads_of_keys != c.num_heads else "")
    rows = [["checkpoint", one.folder], ["family", one.family], ["parameters", f"{one.num_parameters:,}"]]
    rows += [["layers", c.num_layers], ["heads a layer", heads], ["width", c.d_model], ["context", c.context_length]]
    rows += [["vocabulary", f"{c.vocab_size:,}"], ["id that begins sequences", one.bos]]
    return table("The model", "", ["", ""], [[name, str(value)] for name, value in rows])


def ranking(found):
    """The best heads of each score, with the score over that of uniform attention."""
    columns, cells = [], []
    for where, scores in (("", found), (", text", found.get("text"))):
        for name in SCORES if scores else ():
            columns.append(spelled(name).removesuffix(" score") + where)
            cells.append(
                [f"{layer}.{head}: {scores[name][layer, head]:.3f} ({scores[name][layer, head] / level:.1f} x)"
                 for level in [scores["chance"][name]] for layer, head in ranked(scores[name], RANKED)]
            )  # fmt: skip
    caption = "Layer.head: its score (over that of uniform attention). Layers and heads count from 0."
    rows = [[place, *row] for place, row in enumerate(zip(*cells, strict=True), start=1)]
    return table("Ranked heads", caption, ["rank", *columns], rows)


def over_training(surveyed):
    """The best head's scores and the in-context-learning scores of a series of checkpoints."""
    steps_N = np.array([one.step for one in surveyed])
    sources = {"random tokens": [one.found for one in surveyed]}
    if all("text" in one.found for one in surveyed):
        sources["text"] = [one.found["text"] for one in surveyed]
    panels = [
        (f"best {spelled(name)}", {source: (steps_N, np.array([np.nanmax(found[name]) for found in of_source]))
                                   for source, of_source in sources.items()})
        for name in SCORES
    ]  # fmt: skip
    learned = {s: (steps_N, np.array([found["in_context_learning_score"] for found in f])) for s, f in sources.items()}
    panels.append(("in-context learning (nats)", learned))
    return curves(
        "Over training",
        "The best head of each checkpoint, and the loss late in the context minus the loss early in it. Steps are the "
        "last numbers in the folders' names, or their order.",
        "training step",
        panels,
    )


def composition(pairs):
    """Composition between layers, and the pairs of heads that compose most."""
    L = len(pairs["key"])
    layers = [str(layer) for layer in range(L)]
    with_pair = {kind: np.where(np.isnan(x), -np.inf, x).max((1, 3)) for kind, x in pairs.items()}
    best = {kind: np.where(np.isneginf(x), np.nan, x)[:-1, 1:] for kind, x in with_pair.items()}
    cells = []
    for scores_LHLH in pairs.values():
        order = np.argsort(-np.nan_to_num(scores_LHLH, nan=-np.inf), axis=None)[:PAIRS]
        found = [np.unravel_index(flat, scores_LHLH.shape) for flat in order]
        cells.append([f"{a}.{b} into {c}.{d}: {scores_LHLH[a, b, c, d]:.1f}" for a, b, c, d in found
                      if np.isfinite(scores_LHLH[a, b, c, d])])  # fmt: skip
    caption = (
        "How much of what a head writes a later head's queries, keys and values read: standard deviations above random "
        "matrices of the same shapes, from the weights alone."
    )
    columns = [f"{kind} composition" for kind in pairs]
    rows = [list(row) for row in zip_longest(*cells)]
    return [
        heatmap(
            "Composition between layers",
            f"{caption} Of each pair of layers the two heads that compose most.",
            {f"{kind} composition": scores for kind, scores in best.items()},
            layers[:-1],
            layers[1:],
            "layer, writes",
            "layer, reads",
            "SDs above random",
            diverging=True,
        ),
        table("Pairs of heads that compose most", caption, columns, rows),
    ]


def notes(one):
    """How much was measured on what."""
    found = one.found
    late = "late minus early loss"
    lines = [
        f"In-context-learning score on [BOS, r, r]: {found['in_context_learning_score']:.3f} nats ({late}; "
        f"{_sequences(found, 'learning')}), slope {found['in_context_learning_slope']:.3f} by log position.",
        f"Scores on random tokens are of {_sequences(found, 'two_copies')}, prefix matching of "
        f"{_sequences(found, 'four_copies')}, copying of {_sequences(found, 'one_block')}.",
    ]
    if "text" in found:
        text = found["text"]
        lines.append(
            f"On the text ({_sequences(found, 'text')}): loss {text['loss']:.3f} nats, in-context-learning score "
            f"{text['in_context_learning_score']:.3f} nats, slope {text['in_context_learning_slope']:.3f}."
        )
    return [*lines, "A score says what a head attends to, not what it is for: see the ablations for that."]


def _sequences(found, kind):
    count, length = found["shapes"][kind]
    return f"{count} sequences of {length} tokens" if count > 1 else f"one sequence of {length} tokens"


def _levels(found):
    return ", ".join(f"{found['chance'][name]:.3f}" for name in SCORES)


def _chance_of_copying(one):
    return 4 / (one.found["shapes"]["one_block"][1] + 1) - 1


def _role(found, layer, head):
    name = max(SCORES, key=lambda name: found[name][layer, head] / found["chance"][name])
    return f"{spelled(name).removesuffix(' score')} {found[name][layer, head]:.2f}"
