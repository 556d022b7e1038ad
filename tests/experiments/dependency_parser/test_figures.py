"""The report's figures of made-up results: which are drawn, and that they show what was scored."""

import re
import types
from xml.etree import ElementTree

import numpy as np
import pytest
from svg_elements import cells_of, texts_of

from data.treebanks import Sentence
from experiments.dependency_parser import baselines, figures, scores
from training.experiment import ArmResult, History

NAMES = ("", "root", "nsubj", "obj", "det")
SEEDS, STEPS = 2, np.array([100, 200, 300])
TITLES = ("Scores on", "Distance", "Scores by arc", "Scores by sentence", "Accuracy by label", "Learning")


def random_sentence(length, rng):
    """A chain from a random word on, so that every word's head is a neighbour or two away."""
    top = int(rng.integers(1, length + 1))
    heads = tuple(0 if word == top else word + (1 if word < top else -1) for word in range(1, length + 1))
    labels = tuple("root" if head == 0 else NAMES[rng.integers(2, 5)] for head in heads)
    return Sentence(tuple(f"w{i}" for i in range(length)), ("X",) * length, heads, labels)


@pytest.fixture(scope="module")
def sentences():
    rng = np.random.default_rng(0)
    chains = [random_sentence(int(length), rng) for length in rng.integers(1, 50, 40)]
    return tuple(
        sentence._replace(heads=(*sentence.heads[:-1], 1)) if sentence.heads[-1] > 1 else sentence
        for sentence in chains
    )


@pytest.fixture(autouse=True)
def corpus(monkeypatch, sentences):
    """Every config's corpus is these sentences."""
    made_up = types.SimpleNamespace(
        treebank=types.SimpleNamespace(test=sentences),
        train=sentences,
        test=sentences,
        vocabulary=types.SimpleNamespace(labels=NAMES),
    )
    monkeypatch.setattr(figures, "read_corpus", lambda config: made_up)


def noisy_trees(sentences, rate, num_seeds=SEEDS):
    """Heads and labels [S, N, T], a share `rate` of them random."""
    rng = np.random.default_rng(int(1000 * rate))
    gold, labels = scores.gold_heads(sentences, 51), scores.gold_labels(sentences, 51, NAMES)
    lengths = scores.count_words(sentences)[:, None]
    shape = (num_seeds, *gold.shape)
    heads = np.where(rng.random(shape) < rate, rng.integers(0, 1000, shape) % (lengths + 1), gold)
    named = np.where(rng.random(shape) < rate, rng.integers(1, 5, shape), labels)
    return np.where(gold < 0, -1, heads), np.where(gold < 0, -1, named)


def trained(arm, sentences, rate, labelled=True):
    heads, labels = noisy_trees(sentences, rate)
    losses = np.linspace(2, 1, 3)[:, None] + np.zeros(SEEDS)
    return ArmResult(
        arm,
        types.SimpleNamespace(labelled=labelled),
        SEEDS,
        {"test_heads": heads, "test_labels": labels},
        train=History(STEPS, {"loss": losses}),
        evaluation=History(STEPS, {"loss": losses, "uas": 1 - losses / 3}),
    )


def bounds(sentences, has_optimum):
    measured = baselines.measure_baselines(sentences, sentences, NAMES, 51)
    examined = {name: np.stack([value] * SEEDS) for name, value in measured.items()}
    if has_optimum:
        heads, labels = noisy_trees(sentences, 0.02, num_seeds=1)
        examined |= {
            "optimum_heads": np.repeat(heads, SEEDS, axis=0),
            "optimum_labels": np.repeat(labels, SEEDS, axis=0),
        }
    return ArmResult("bounds", types.SimpleNamespace(labelled=True), SEEDS, examined)


def cells(figure):
    """The table's rows as lists of text."""
    return [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", figure.markup)][1:]


def titles_of(drawn):
    return [figure.title for figure in drawn]


def find(drawn, start):
    """The first figure whose title starts so."""
    return next(figure for figure in drawn if figure.title.startswith(start))


def test_all_figures_are_drawn_and_every_arm_has_one_look(sentences):
    results = {
        "first": trained("first", sentences, 0.3),
        "bounds": bounds(sentences, has_optimum=True),
        "second": trained("second", sentences, 0.1),
    }
    drawn = figures.figures(results)
    assert "I parsed this sentence correctly" in drawn[0].title
    assert len(cells(drawn[0])) == 11
    for title in TITLES:
        assert any(name.startswith(title) for name in titles_of(drawn)), title
    assert titles_of(drawn)[-1].startswith("A parse by the arm second")
    for figure in drawn:
        ElementTree.fromstring(figure.markup)
        assert len(figure.caption) > 20
    legends = [texts_of(figure) for figure in drawn if "second" in texts_of(figure) and "Scores by" in figure.title]
    assert len(legends) == 2
    for texts in legends:
        assert texts.index("first") < texts.index("second") < texts.index("optimum (true model)")
        assert {"UAS", "LAS"} <= set(texts)


def test_tables_hold_the_scores_and_the_distance_from_the_optimum(sentences):
    results = {"first": trained("first", sentences, 0.3), "bounds": bounds(sentences, has_optimum=True)}
    drawn = {figure.title: figure for figure in figures.figures(results)}
    rows = {row[0]: row for row in cells(drawn["Scores on the test set"])}
    assert list(rows) == ["first", "optimum (true model)", "commonest tag pair", "right-branching", "left-branching"]
    examined = results["first"].examined
    uas_S, las_S = scores.attachment(sentences, examined["test_heads"], examined["test_labels"], NAMES)
    assert float(rows["first"][1]) == pytest.approx(uas_S.mean(), abs=1e-4)
    assert float(rows["first"][4]) == pytest.approx(las_S.mean(), abs=1e-4)
    low, high = map(float, rows["first"][2].strip("[]").split(", "))
    assert low < uas_S.mean() < high
    assert rows["right-branching"][3] == "–"  # noqa: RUF001
    slope = scores.length_slope(sentences, examined["test_heads"]).mean()
    ends = scores.bootstrap_slope(sentences, examined["test_heads"])
    assert rows["first"][7] == "{:.3f} [{:.3f}, {:.3f}]".format(slope, *ends)
    best = scores.share_of_words(
        sentences, scores.correct_heads(sentences, results["bounds"].examined["optimum_heads"])
    ).mean()
    gaps = {row[0]: row for row in cells(drawn["Distance from the optimum"])}
    assert float(gaps["first"][1]) == pytest.approx(best - uas_S.mean(), abs=1e-4)
    assert set(gaps) == {"first", "commonest tag pair", "right-branching", "left-branching"}


def test_slopes_of_a_transition_and_a_graph_parser_are_compared_where_both_are_there(sentences):
    results = {"parser": trained("parser", sentences, 0.3), "biaffine": trained("biaffine", sentences, 0.1)}
    heads, other = (results[arm].examined["test_heads"] for arm in ("parser", "biaffine"))
    difference = scores.length_slope(sentences, heads).mean() - scores.length_slope(sentences, other).mean()
    ends = scores.bootstrap_slope_difference(sentences, heads, other)
    text = "minus that of biaffine, paired by sentence: {:.3f} [{:.3f}, {:.3f}].".format(difference, *ends)
    assert text in find(figures.figures(results), "Scores on").caption
    assert "paired by sentence" not in find(figures.figures({"parser": results["parser"]}), "Scores on").caption


def test_scores_by_length_are_those_of_each_parser_and_of_heads_and_labels(sentences, monkeypatch):
    drawn = {}
    monkeypatch.setattr(figures, "curves", lambda title, caption, x_label, panels: drawn.update({title: dict(panels)}))
    labelled = figures.score_arm("labelled", trained("labelled", sentences, 0.3))
    course = figures.score_arm("course", trained("course", sentences, 0.1, labelled=False))
    figures.arc_length_figure([course, labelled])
    figures.sentence_length_figure([course, labelled])
    for title, group in (("arc", scores.by_arc_length), ("sentence", scores.by_sentence_length)):
        panels = drawn[f"Scores by {title} length"]
        assert list(panels["UAS"]) == ["course", "labelled"]
        assert list(panels["LAS"]) == ["labelled"]
        for name, correct in (("UAS", labelled.correct_heads), ("LAS", labelled.correct_arcs)):
            accuracy = group(sentences, correct).accuracy
            is_there = ~np.isnan(accuracy[0]) if title == "sentence" else slice(None)
            np.testing.assert_array_equal(panels[name]["labelled"][1], accuracy[:, is_there])
    figures.arc_length_figure([course])
    assert list(drawn["Scores by arc length"]) == ["UAS"]


def test_accuracy_by_label_is_that_of_the_scores(sentences):
    result = trained("first", sentences, 0.3)
    figure = figures.label_figure([figures.score_arm("first", result)])
    correct = scores.correct_heads(sentences, result.examined["test_heads"])
    groups = scores.by_label(sentences, correct)
    hovers = [hover for hover, _ in cells_of(figure)]
    expected = f"gold label (words) {groups.names[0]} ({groups.counts[0]:,}), parser first: share of words "
    assert hovers[0] == f"{expected}{groups.accuracy[:, 0].mean():.4g}"
    assert len(hovers) == 2 * len(groups.names)


def test_a_real_treebank_has_no_optimum_and_a_run_may_have_one_arm_alone(sentences):
    without = {"first": trained("first", sentences, 0.3), "bounds": bounds(sentences, has_optimum=False)}
    for results in (without, {"first": without["first"]}):
        titles = titles_of(figures.figures(results))
        assert "Distance from the optimum" not in titles
        assert "Scores by arc length" in titles
    alone = titles_of(figures.figures({"bounds": without["bounds"]}))
    assert "Scores on the test set" in alone
    assert "Learning curves" not in alone
    assert len(figures.figures({})) == 1


def test_baselines_are_in_the_table_whether_or_not_an_arm_measures_them(sentences):
    first = trained("first", sentences, 0.3)
    measured = figures.figures({"first": first, "bounds": bounds(sentences, has_optimum=False)})
    alone = figures.figures({"first": first})
    rows = cells(find(alone, "Scores on"))
    assert [row[0] for row in rows] == ["first", "commonest tag pair", "right-branching", "left-branching"]
    assert rows == cells(find(measured, "Scores on"))
    untrained = ArmResult("exact", types.SimpleNamespace(labelled=True), SEEDS, {})
    assert len(figures.figures({"exact": untrained})) == 1


def test_an_arm_without_labels_has_no_las(sentences):
    results = {
        "labelled": trained("labelled", sentences, 0.3),
        "course": trained("course", sentences, 0.01, labelled=False),
    }
    drawn = figures.figures(results)
    rows = {row[0]: row for row in cells(find(drawn, "Scores on"))}
    assert rows["course"][4:7] == ["–"] * 3  # noqa: RUF001
    assert float(rows["course"][1]) > 0.9
    trees = [figure for figure in drawn if figure.title.startswith("A parse by the arm course")]
    assert trees
    assert not {"nsubj", "det"} & set(texts_of(trees[0]))
    assert len(figures.figures({"course": results["course"]})) == len(drawn)


def test_sentences_are_chosen_by_length_and_errors():
    words_N, right_N = np.array([60, 30, 7, 3, 12, 30]), np.array([0, 20, 7, 1, 11, 25])
    chosen = figures.choose_sentences(words_N, right_N)
    assert list(chosen.values()) == [2, 4, 1]
    assert list(figures.choose_sentences(np.array([2, 3]), np.array([2, 3])).values()) == [0]
    assert figures.choose_sentences(np.array([90]), np.array([3])) == {}
