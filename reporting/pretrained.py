"""The page of pretrained models' heads: ranked, mapped, on text, ablated, composed; and over a series of checkpoints.

Takes what ``probes.pretrained_survey`` measures. Axes: L layers, H heads, N checkpoints.
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
RANKED_HEADS, RANKED_PAIRS = 10, 8  # rows of the tables
PATTERNS_OF_EACH_SCORE = 2  # heads of the highest score whose attention patterns are shown
QUESTION = (
    "What does each attention head of this model attend to and copy, what is lost without it, and which heads read it?"
)
# What metrics.json holds of every checkpoint of a series.
SERIES_METRICS = (
    *SCORES,
    "prefix_matching_mean",
    "prefix_matching_sum",
    "copying_score",
    "loss",
    "in_context_learning_score",
    "in_context_learning_slope",
    "text",
)


def write(workdir, surveys, *, command, facts, start):
    """Writes metrics.json, claims.json (none), results.npz and report.html; returns the ranked heads as text.

    Args:
      surveys: what ``probes.pretrained_survey.survey_folders`` returns; the page is about the last model.
    """
    last = surveys[-1]
    files.write_whole(workdir / "metrics.json", json.dumps(metrics(surveys), indent=1, allow_nan=False) + "\n")
    files.write_whole(workdir / "claims.json", "[]\n")
    files.write_whole(workdir / "results.npz", _npz_bytes(surveys))
    page.write(
        workdir / "report.html",
        title=f"heads of {last.folder}",
        question=QUESTION,
        command=command,
        verdicts=[],
        figures=figures(surveys),
        facts={**facts, "wall time": f"{time.monotonic() - start:.1f} s", "date": time.strftime("%Y-%m-%d")},
        arms=[],
        notes=notes(last),
    )
    return "\n".join(f"{spelled(name):22}" + ", ".join(_five_best(last.measured, name)) for name in SCORES)


def metrics(surveys):
    """What metrics.json holds: the last checkpoint's scores; of a series, also "checkpoints", the scores of each."""
    last = surveys[-1]
    content = {"checkpoint": last.folder, "family": last.family, "parameters": last.num_parameters}
    content |= {name: value for name, value in last.measured.items() if name != "composition"}
    if len(surveys) > 1:
        content["checkpoints"] = [
            {"checkpoint": survey.folder, "step": survey.step}
            | {name: value for name, value in survey.measured.items() if name in SERIES_METRICS}
            for survey in surveys
        ]
    return jsonable(content)


def _npz_bytes(surveys):
    """The bytes of results.npz: every array of every checkpoint, named STEP/NAME."""
    arrays = {}
    for survey in surveys:
        for name, value in survey.measured.items():
            leaves = value.items() if isinstance(value, dict) else [("", value)]
            for part, leaf in leaves:
                if not isinstance(leaf, dict):
                    arrays[f"{survey.step}/{name}{'/' * bool(part)}{part}"] = np.asarray(leaf)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def best_heads(scores_LH, count):
    """The heads (layer, head) with the largest scores, best first; NaNs last."""
    order = np.argsort(-np.nan_to_num(scores_LH, nan=-np.inf), axis=None, kind="stable")[:count]
    return [tuple(int(i) for i in np.unravel_index(flat, scores_LH.shape)) for flat in order]


def _five_best(measured, name):
    scores_LH, chance = measured[name], measured["chance"][name]
    return [
        f"{layer}.{head} {scores_LH[layer, head]:.2f} ({scores_LH[layer, head] / chance:.1f} x chance)"
        for layer, head in best_heads(scores_LH, 5)
    ]


def figures(surveys):
    """The figures of the page."""
    last = surveys[-1]
    measured = last.measured
    drawn = [model_table(last), ranking_table(measured)]
    if len(surveys) > 1:
        drawn.append(training_curves(surveys))
    drawn.append(
        head_map(
            "What each head attends to, on random tokens",
            "Sequences [BOS, r, r] of random tokens r: mean attention to the previous token, to the earlier occurrence "
            f"of the same token, and to the token after that. Uniform attention would give {_chance_levels(measured)}.",
            {spelled(name): measured[name] for name in SCORES},
            "attention",
        )
    )
    if "text" in measured:
        drawn.append(
            head_map(
                "What each head attends to, on the text",
                "The same on the text, summed over all earlier occurrences of a query's token, over the queries that "
                f"have any. Uniform attention would give {_chance_levels(measured['text'])}.",
                {spelled(name): measured["text"][name] for name in SCORES},
                "attention",
            )
        )
    drawn += [
        best_patterns(last),
        head_map(
            "Prefix matching and copying",
            "Two marks of an induction head (Olsson et al. 2022): attention to what followed earlier occurrences, on "
            "four copies of a block, summed over keys; and whether a head raises the logits of the tokens it attends "
            f"to, from -1 to 1 ({_copying_chance(measured):.2f} where all rise alike).",
            {"prefix matching": measured["prefix_matching_sum"], "copying": measured["copying_score"]},
            "score",
            diverging=True,
        ),
        head_map(
            "Eigenvalues of the OV and QK circuits",
            "The sum of eigenvalues over the sum of their sizes, from the weights alone: whether a head raises the "
            "logit of the token it attends to (OV), and whether it attends to its own token (QK, through the embedding "
            "only).",
            {"OV, copying": measured["ov_copying_score"], "QK, matching": measured["qk_matching_score"]},
            "positive share",
            limits=(-1.0, 1.0),
            diverging=True,
        ),
        head_map(
            "Ablating one head at a time",
            f"Increase of the loss on the second copy of r, {measured['repeat_loss']:.3f} nats with all heads, where "
            f"one head's output is zero; {_sequences_text(measured, 'ablation')}.",
            measured["ablation_loss_increase"],
            "increase of the loss (nats)",
            diverging=True,
        ),
        head_map(
            "Direct logit attribution",
            "What each head writes into the right next token's logit, above the vocabulary's mean, on the same "
            "positions; the final norm is held at the scale that it has.",
            measured["logit_attribution"],
            "logits",
            diverging=True,
        ),
    ]
    return drawn + (composition_figures(measured["composition"]) if last.config.num_layers > 1 else [])


def head_map(title, caption, scores_LH, value_label, *, limits=None, diverging=False):
    """A heat map of one number a head [L, H], or of several kinds {sub-title: [L, H]}."""
    first_LH = next(iter(scores_LH.values())) if isinstance(scores_LH, dict) else scores_LH
    num_layers, num_heads = first_LH.shape
    return heatmap(
        title,
        caption,
        scores_LH,
        [str(layer) for layer in range(num_layers)],
        [str(head) for head in range(num_heads)],
        "layer",
        "head",
        value_label,
        limits=limits,
        diverging=diverging,
    )


def best_patterns(survey):
    """The attention patterns of the two best heads of each score on one sequence."""
    measured = survey.measured
    heads = dict.fromkeys(head for name in SCORES for head in best_heads(measured[name], PATTERNS_OF_EACH_SCORE))
    sequence = "on the piece of the text that repeats itself most" if "text" in measured else "on a block that recurs"
    return attention_patterns(
        "Patterns of the best heads",
        f"The two best heads of each score, {sequence}.",
        survey.shown,
        {
            f"head {layer}.{head}: {_role_text(measured, layer, head)}": survey.patterns_LHTT[layer, head]
            for layer, head in heads
        },
    )


def model_table(survey):
    """A table of what the model is."""
    c = survey.config
    groups = f" in {c.heads_of_keys} groups" if c.heads_of_keys != c.num_heads else ""
    rows = [
        ["checkpoint", survey.folder],
        ["family", survey.family],
        ["parameters", f"{survey.num_parameters:,}"],
        ["layers", str(c.num_layers)],
        ["heads a layer", f"{c.num_heads}{groups}"],
        ["width", str(c.d_model)],
        ["context", str(c.context_length)],
        ["vocabulary", f"{c.vocab_size:,}"],
        ["id that begins sequences", str(survey.bos)],
    ]
    return table("The model", "", ["", ""], rows)


def ranking_table(measured):
    """A table of the best heads of each score, with the score over that of uniform attention."""
    columns, cells = [], []
    for suffix, scores in (("", measured), (", text", measured.get("text"))):
        for name in SCORES if scores else ():
            scores_LH, chance = scores[name], scores["chance"][name]
            columns.append(spelled(name).removesuffix(" score") + suffix)
            cells.append(
                [
                    f"{layer}.{head}: {scores_LH[layer, head]:.3f} ({scores_LH[layer, head] / chance:.1f} x)"
                    for layer, head in best_heads(scores_LH, RANKED_HEADS)
                ]
            )
    return table(
        "Ranked heads",
        "Layer.head: its score (over that of uniform attention). Layers and heads count from 0.",
        ["rank", *columns],
        [[place, *row] for place, row in enumerate(zip(*cells, strict=True), start=1)],
    )


def training_curves(surveys):
    """The best head's scores and the in-context-learning scores over a series of checkpoints."""
    steps_N = np.array([survey.step for survey in surveys])
    sources = {"random tokens": [survey.measured for survey in surveys]}
    if all("text" in survey.measured for survey in surveys):
        sources["text"] = [survey.measured["text"] for survey in surveys]
    panels = []
    for name in SCORES:
        best_scores = {
            source: (steps_N, np.array([np.nanmax(scores[name]) for scores in of_source]))
            for source, of_source in sources.items()
        }
        panels.append((f"best {spelled(name)}", best_scores))
    learning_scores = {
        source: (steps_N, np.array([scores["in_context_learning_score"] for scores in of_source]))
        for source, of_source in sources.items()
    }
    panels.append(("in-context learning (nats)", learning_scores))
    return curves(
        "Over training",
        "The best head of each checkpoint, and the loss late in the context minus the loss early in it. Steps are the "
        "last numbers in the folders' names, or their order.",
        "training step",
        panels,
    )


def composition_figures(composition):
    """A map of composition between layers, and a table of the pairs of heads that compose most.

    Args:
      composition: {"query", "key", "value": [L, H, L, H]}, NaN but for a later second layer.
    """
    layers = [str(layer) for layer in range(len(composition["key"]))]
    best_pairs, cells = {}, []
    for kind, scores_LHLH in composition.items():
        best_LL = np.where(np.isnan(scores_LHLH), -np.inf, scores_LHLH).max((1, 3))
        best_pairs[f"{kind} composition"] = np.where(np.isneginf(best_LL), np.nan, best_LL)[:-1, 1:]
        order = np.argsort(-np.nan_to_num(scores_LHLH, nan=-np.inf), axis=None)[:RANKED_PAIRS]
        pairs = [np.unravel_index(flat, scores_LHLH.shape) for flat in order]
        cells.append(
            [
                f"{a}.{b} into {c}.{d}: {scores_LHLH[a, b, c, d]:.1f}"
                for a, b, c, d in pairs
                if np.isfinite(scores_LHLH[a, b, c, d])
            ]
        )
    caption = (
        "How much of what a head writes a later head's queries, keys and values read: standard deviations above random "
        "matrices of the same shapes, from the weights alone."
    )
    return [
        heatmap(
            "Composition between layers",
            f"{caption} Of each pair of layers the two heads that compose most.",
            best_pairs,
            layers[:-1],
            layers[1:],
            "layer, writes",
            "layer, reads",
            "SDs above random",
            diverging=True,
        ),
        table("Pairs of heads that compose most", caption, list(best_pairs), zip_longest(*cells)),
    ]


def notes(survey):
    """Sentences that say how much was measured on what."""
    measured = survey.measured
    lines = [
        f"In-context-learning score on [BOS, r, r]: {measured['in_context_learning_score']:.3f} nats (late minus early "
        f"loss; {_sequences_text(measured, 'learning')}), slope {measured['in_context_learning_slope']:.3f} by log "
        "position.",
        f"Scores on random tokens are of {_sequences_text(measured, 'two_copies')}, prefix matching of "
        f"{_sequences_text(measured, 'four_copies')}, copying of {_sequences_text(measured, 'one_block')}.",
    ]
    if "text" in measured:
        text = measured["text"]
        lines.append(
            f"On the text ({_sequences_text(measured, 'text')}): loss {text['loss']:.3f} nats, in-context-learning "
            f"score {text['in_context_learning_score']:.3f} nats, slope {text['in_context_learning_slope']:.3f}."
        )
    return [*lines, "A score says what a head attends to, not what it is for: see the ablations for that."]


def _sequences_text(measured, kind):
    count, length = measured["shapes"][kind]
    return f"{count} sequences of {length} tokens" if count > 1 else f"one sequence of {length} tokens"


def _chance_levels(scores):
    return ", ".join(f"{scores['chance'][name]:.3f}" for name in SCORES)


def _copying_chance(measured):
    return 4 / (measured["shapes"]["one_block"][1] + 1) - 1


def _role_text(measured, layer, head):
    """The score in which a head stands highest above uniform attention, and its value."""
    name = max(SCORES, key=lambda name: measured[name][layer, head] / measured["chance"][name])
    return f"{spelled(name).removesuffix(' score')} {measured[name][layer, head]:.2f}"
