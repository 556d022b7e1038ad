"""The figures of the report: the worked example, scores by arm, length and label, learning curves, and trees.

Axis letters: S seeds, N sentences, T positions (ROOT is 0), G groups of words.
"""

from typing import NamedTuple

import numpy as np

from experiments.dependency_parser import scores, tree_drawings
from experiments.dependency_parser.baselines import measure_baselines
from experiments.dependency_parser.corpus import read_corpus  # the only way to sentences and to names of labels
from experiments.dependency_parser.text_files import take_parses
from experiments.dependency_parser.worked_example import FORMS, HEADS, trace
from reporting.claims import interval_95
from reporting.figures import curves, heatmap
from reporting.tables import table

BOUNDS = "bounds"  # the arm that measures what is not trained: the optimum and the baselines
OPTIMUM = "optimum"
BOUND_NAMES = {
    OPTIMUM: "optimum (true model)",
    "tag_pair": "commonest tag pair",
    "right_branching": "right-branching",
    "left_branching": "left-branching",
}
COMPARED = ("parser", "biaffine")  # the arms whose slopes by arc length are compared: by transitions and by a graph
MOST_LABELS = 40
SHORT, LONGEST_TREE = (5, 9), 40  # words of the sentences that are drawn
POOLED_AT = scores.LONGEST_ARC + 1  # where the longer arcs are drawn


class ScoredParses(NamedTuple):
    """A parser's trees of the test set: its name, its heads and label ids [S, N, T], and which words are right.

    What is not trained may have [N, T]. `correct_arcs` is None, and so is every LAS, of a parser without labels.
    """

    name: str
    sentences: tuple
    heads: np.ndarray
    labels: np.ndarray
    label_names: tuple
    correct_heads: np.ndarray
    correct_arcs: np.ndarray | None


def figures(results):
    """Every figure for which the results have the arms; `results` is {arm: ArmResult}."""
    arms = [score_arm(arm, r) for arm, r in results.items() if "test_heads" in r.examined]
    bounds = score_bounds(results)
    optimum = next((parser for parser in bounds if parser.name == BOUND_NAMES[OPTIMUM]), None)
    drawn = [*arms, optimum] if optimum else arms
    all_figures = [worked_example_table()]
    if bounds:
        all_figures.append(score_table([*arms, *bounds]))
    if arms and optimum:
        all_figures.append(gap_table([*arms, *(parser for parser in bounds if parser is not optimum)], optimum))
    if drawn:
        all_figures += [arc_length_figure(drawn), sentence_length_figure(drawn)]
    if bounds:
        all_figures.append(label_figure([*arms, *bounds]))
    trained = {arm: r for arm, r in results.items() if len(r.train.steps)}
    if trained:
        all_figures.append(learning_figure(trained))
    if arms:
        all_figures += tree_figures(max(arms, key=lambda parser: float(parser.correct_heads.sum((-2, -1)).mean())))
    return all_figures


# --- What is scored.


def score_arm(arm, result):
    """The ScoredParses of a trained arm."""
    return _score(arm, result.config, result.examined["test_heads"], result.examined["test_labels"])


def score_bounds(results):
    """The ScoredParses of the optimum and of the baselines; none where no arm parses the test set.

    They are those of the arm "bounds"; without it the baselines are measured here, so that no table lacks them.
    """
    result = results.get(BOUNDS) or next((r for r in results.values() if "test_heads" in r.examined), None)
    if result is None:
        return []
    examined = result.examined
    if BOUNDS not in results:
        corpus, T = read_corpus(result.config), np.shape(examined["test_heads"])[-1]
        examined = measure_baselines(corpus.train, corpus.test, corpus.vocabulary.labels, T)
    return [
        _score(name, result.config, examined[f"{key}_heads"], examined[f"{key}_labels"])
        for key, name in BOUND_NAMES.items()
        if f"{key}_heads" in examined  # a real treebank has no true model
    ]


def _score(name, config, heads, labels):
    corpus = read_corpus(config)
    sentences, label_names = corpus.treebank.test, corpus.vocabulary.labels
    heads, labels = np.asarray(heads), np.asarray(labels)
    right = scores.correct_heads(sentences, heads)
    labelled = scores.correct_arcs(sentences, heads, labels, label_names) if config.labelled else None
    return ScoredParses(name, sentences, heads, labels, label_names, right, labelled)


# --- Tables.


def worked_example_table():
    """The transitions of the course's sentence, as the parser's own functions take them."""
    return tree_drawings.transition_table(
        f"The transitions of \N{LEFT DOUBLE QUOTATION MARK}{' '.join(FORMS)}\N{RIGHT DOUBLE QUOTATION MARK}",
        "Each row is the state after its transition: the stack with its top on the right, the buffer with its front on "
        "the left, and the arc that was made, head->dependent. A sentence of n words takes 2n transitions.",
        trace(FORMS, HEADS),
    )


def score_table(parsers):
    """UAS and LAS of every parser, with intervals over sentences and over seeds, and the slope by arc length."""
    rows = []
    for parser in parsers:
        rows.append([parser.name])
        for correct in (parser.correct_heads, parser.correct_arcs):
            rows[-1] += _score_cells(parser.sentences, correct)
        slopes = scores.length_slope(parser.sentences, parser.heads)
        rows[-1].append(_slope_text(slopes, scores.bootstrap_slope(parser.sentences, parser.heads)))
    sentences = parsers[0].sentences
    return table(
        "Scores on the test set",
        f"{len(sentences):,} sentences of {scores.count_words(sentences).sum():,} words, punctuation counted. Scores "
        "are means over seeds. An interval over sentences (bootstrap, 95 %) says how far another test set might move "
        "the score; one over seeds (Student's t, 95 %), how far other seeds might move its mean. The slope is the "
        "change of UAS with each word that a head is farther away, up to "
        f"{scores.LONGEST_ARC}, in brackets its interval over sentences; arcs from ROOT are left out."
        f"{_compare_slopes(parsers)}",
        (
            "parser",
            *("UAS", "over sentences", "over seeds", "LAS", "over sentences", "over seeds"),
            "slope by arc length",
        ),
        rows,
    )


def gap_table(parsers, optimum):
    """How far every parser is below the best possible one, in UAS, with intervals paired by sentence and over seeds."""
    best = scores.count_correct(optimum.correct_heads)
    total = scores.count_words(optimum.sentences)
    best_uas = scores.share_of_words(optimum.sentences, optimum.correct_heads)
    rows = []
    for parser in parsers:
        low, high = scores.bootstrap_difference(best, scores.count_correct(parser.correct_heads), total)
        gaps_S = np.atleast_1d(best_uas.mean() - scores.share_of_words(parser.sentences, parser.correct_heads))
        rows.append([parser.name, float(gaps_S.mean()), _interval_text((low, high)), _seeds_text(gaps_S)])
    return table(
        "Distance from the optimum",
        "UAS of the true model's most probable trees minus the parser's. Both are scored on the same sentences, so the "
        "interval over sentences (95 %, bootstrap) is paired.",
        ("parser", "UAS below the optimum", "over sentences", "over seeds"),
        rows,
    )


def _score_cells(sentences, correct):
    """A score's mean over seeds and its two intervals; nothing where there is no score."""
    if correct is None:
        return [None, None, None]
    scores_S = np.atleast_1d(scores.share_of_words(sentences, correct))
    ends = scores.bootstrap_interval(scores.count_correct(correct), scores.count_words(sentences))
    return [float(scores_S.mean()), _interval_text(ends), _seeds_text(scores_S)]


def _compare_slopes(parsers):
    """A sentence on how the slopes of the COMPARED differ; nothing where one of them is absent."""
    by_name = {parser.name: parser for parser in parsers}
    if not set(COMPARED) <= set(by_name):
        return ""
    first, other = (by_name[name] for name in COMPARED)
    slopes = [np.mean(scores.length_slope(parser.sentences, parser.heads)) for parser in (first, other)]
    ends = scores.bootstrap_slope_difference(first.sentences, first.heads, other.heads)
    text = _slope_text(slopes[0] - slopes[1], ends)
    return f" The slope of {first.name} minus that of {other.name}, paired by sentence: {text}." if text else ""


def _slope_text(slopes, ends):
    """A mean slope and its interval; None where all arcs have one length, and so no slope."""
    slope = np.mean(slopes)
    return None if np.isnan(slope) else f"{slope:.3f} {_interval_text(ends)}"


def _seeds_text(values_S):
    """The interval of a mean over seeds; none of what is not trained, which is the same in every seed."""
    return _interval_text(interval_95(values_S) if np.ptp(values_S) > 0 else None)


def _interval_text(ends):
    return None if ends is None else "[{:.3f}, {:.3f}]".format(*ends)


# --- Curves. Every figure draws the arms in one order, so that an arm has one colour and line in all of them.


def arc_length_figure(parsers):
    """UAS and LAS by the length of the gold arc, a line a parser."""

    def line(parser, correct):
        return np.arange(1, POOLED_AT + 1), scores.by_arc_length(parser.sentences, correct).accuracy

    counts = scores.by_arc_length(parsers[0].sentences, parsers[0].correct_heads).counts
    return curves(
        "Scores by arc length",
        "The share of words with the right head (UAS), and with the right head and label (LAS), by how far away the "
        f"gold head stands. The last point, at {POOLED_AT}, pools all arcs longer than {scores.LONGEST_ARC}; arcs from "
        f"ROOT are left out. Number of arcs of each length: {', '.join(f'{count:,}' for count in counts)}.",
        "length of the gold arc (words)",
        _score_panels(parsers, line),
    )


def sentence_length_figure(parsers):
    """UAS and LAS by the length of the sentence, a line a parser."""

    def line(parser, correct):
        groups = scores.by_sentence_length(parser.sentences, correct)
        has_words = groups.counts > 0
        return scores.mean_sentence_lengths(parser.sentences)[has_words], groups.accuracy[..., has_words]

    groups = scores.by_sentence_length(parsers[0].sentences, parsers[0].correct_heads)
    words = ", ".join(f"{name}: {count:,}" for name, count in zip(groups.names, groups.counts, strict=True) if count)
    return curves(
        "Scores by sentence length",
        f"Sentences are binned by their words; a point stands at its bin's mean length. Words in each bin: {words}.",
        "length of the sentence (words)",
        _score_panels(parsers, line),
    )


def _score_panels(parsers, line):
    """The panels of UAS and of LAS, {parser: line(parser, its correct words)}; no LAS where no parser has labels."""
    uas = {parser.name: line(parser, parser.correct_heads) for parser in parsers}
    las = {parser.name: line(parser, parser.correct_arcs) for parser in parsers if parser.correct_arcs is not None}
    return [("UAS", uas), ("LAS", las)] if las else [("UAS", uas)]


def label_figure(parsers):
    """UAS and LAS of the words of each gold label, a row a label and a column a parser."""
    shown = [parser for parser in parsers if parser.correct_arcs is not None] or parsers
    groups = {"UAS": [scores.by_label(parser.sentences, parser.correct_heads) for parser in shown]}
    if shown[0].correct_arcs is not None:
        groups["LAS"] = [scores.by_label(parser.sentences, parser.correct_arcs) for parser in shown]
    names, counts = groups["UAS"][0].names, groups["UAS"][0].counts
    matrices = {
        name: np.stack([g.accuracy.reshape(-1, len(names)).mean(0)[:MOST_LABELS] for g in of_parsers], axis=1)
        for name, of_parsers in groups.items()
    }
    return heatmap(
        "Accuracy by label",
        f"The share of words with the right head (UAS), and with the right head and label (LAS), by their gold label; "
        f"in brackets the words of each label. Means over seeds; at most {MOST_LABELS} labels, the commonest first.",
        matrices,
        [f"{name} ({count:,})" for name, count in zip(names, counts, strict=True)][:MOST_LABELS],
        [parser.name for parser in shown],
        "gold label (words)",
        "parser",
        "share of words",
        limits=(0.0, 1.0),
    )


def learning_figure(results):
    """Training loss, and loss and UAS of the validation sentences, over training."""
    panels = {"training loss (nats)": {}, "validation loss (nats)": {}, "validation UAS": {}}
    for arm, r in results.items():
        panels["training loss (nats)"][arm] = (r.train.steps, r.train["loss"].T)
        panels["validation loss (nats)"][arm] = (r.evaluation.steps, r.evaluation["loss"].T)
        panels["validation UAS"][arm] = (r.evaluation.steps, r.evaluation["uas"].T)
    return curves(
        "Learning curves",
        "Losses are means over decisions of a transition parser and over words of a graph parser: they compare only "
        "within each kind; UAS compares all.",
        "training step",
        list(panels.items()),
        log_y=("training loss (nats)", "validation loss (nats)"),
    )


# --- Trees.


def tree_figures(parser):
    """Trees of three test sentences by the first seed: a short one, one with a few errors, the one with most errors."""
    right = (parser.correct_heads if parser.correct_arcs is None else parser.correct_arcs)[0]
    titles = {}
    for title, n in choose_sentences(scores.count_words(parser.sentences), right.sum(-1)).items():
        titles.setdefault(n, title)
    is_labelled = parser.correct_arcs is not None
    drawn = list(titles)
    sentences = [parser.sentences[n] for n in drawn]
    parses = take_parses(sentences, parser.heads[0, drawn], parser.labels[0, drawn], parser.label_names)
    drawings = []
    for n, sentence, (heads, labels) in zip(drawn, sentences, parses, strict=True):
        drawings.append(
            tree_drawings.draw_tree(
                f"A parse by the arm {parser.name}: {titles[n]}",
                f"Sentence {n + 1} of the test set, first seed: {right[n].sum()} of {len(sentence.forms)} words have "
                f"the right {'head and label' if is_labelled else 'head'}."
                f"{'' if drawings else f' {tree_drawings.LEGEND}'}",
                sentence,
                heads,
                labels if is_labelled else None,
            )
        )
    return drawings


def choose_sentences(words_N, right_N):
    """{title: index} of the sentences to draw, of their words and right words [N]; fewer where some are not found."""
    wrong_N = words_N - right_N
    drawable = np.flatnonzero(words_N <= LONGEST_TREE)
    chosen = {}
    is_short = (words_N >= SHORT[0]) & (words_N <= SHORT[1])
    if short := [n for n in drawable if is_short[n]] or sorted(drawable, key=lambda n: words_N[n])[:1]:
        chosen["a short sentence"] = int(short[0])
    middling = [n for n in drawable if words_N[n] > SHORT[1] and wrong_N[n] in (1, 2)]
    if middling:
        chosen["a sentence with few errors"] = int(middling[0])
    if len(drawable) and wrong_N[drawable].max() > 0:
        chosen[f"most errors of all up to {LONGEST_TREE} words"] = int(drawable[np.argmax(wrong_N[drawable])])
    return chosen
