"""Figures: every kind is well-formed and safe to inline, and curves are drawn against the data."""

import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from svg_elements import SVG, causal_pattern, texts_of

from reporting import figures, svg
from reporting.figures import attention_patterns, curves, heatmap, histograms

ODD_TEXT = "<b id=\"x\"> & 'q' $x_1$ \x00\n漢"


def two_seeds(steps=20):
    x = np.arange(steps)
    return x, np.stack([np.sin(x / 3), np.sin(x / 3) + x / 10])


def draw_one_of_each():
    x, y = two_seeds()
    panels = [("loss (nats)", {"a": (x, y), "b": (x, y[0])}), ("accuracy", {"a": (x, y)})]
    return [
        curves("Curves", "Caption.", "step", panels),
        curves("Logarithmic", "", "step", [("loss (nats)", {"a": (x + 1, np.exp(y))})], log_x=True, log_y=True),
        histograms("Histograms", "", "entropy", [("share of rows", {"a": x, "b": x[:3]})]),
        heatmap("Heat map", "", np.eye(3), "abc", "def", "row", "column", "value"),
        attention_patterns("Attention", "", list("abcd"), {"head": causal_pattern(4)}),
    ]


@pytest.fixture(scope="module")
def one_of_each():
    return draw_one_of_each()


def test_every_figure_is_well_formed_labelled_and_takes_the_pages_colour(one_of_each):
    for figure in one_of_each:
        root = ElementTree.fromstring(figure.markup)
        assert (root.tag, root.get("role"), root.get("aria-label")) == (f"{SVG}svg", "img", figure.title)
        assert float(root.get("width")) <= 1000
        assert svg.INK not in figure.markup
        assert "<style" not in figure.markup
        assert "font-family:" not in figure.markup
        assert re.findall(r"https?://[^\"]*", figure.markup) == ["http://www.w3.org/2000/svg"]
        for text in root.iter(f"{SVG}text"):
            assert "currentColor" in text.get("fill", "") + text.get("style", "") or text.get("fill") in (
                "#fff",
                "#111",
            )


def test_same_data_gives_the_same_bytes(one_of_each):
    assert draw_one_of_each() == one_of_each


def test_ids_are_unique_over_figures_and_every_reference_has_its_target(one_of_each):
    x, y = two_seeds()
    similar = [curves(f"Figure {i}", "", "step", [("y", {"a": (x, y)})]) for i in range(3)]
    page = "".join(figure.markup for figure in [*one_of_each, *similar])
    ids = re.findall(r'\sid="([^"]+)"', page)
    references = re.findall(r'(?:url\(#|href="#)([^")]+)', page)
    assert len(ids) == len(set(ids))
    assert references
    assert set(references) == set(ids)


def test_odd_text_is_escaped_and_kept():
    x, y = two_seeds()
    for figure in (
        curves(
            ODD_TEXT,
            ODD_TEXT,
            ODD_TEXT,
            [(ODD_TEXT, {ODD_TEXT: (x, y), "b": (x, y)})],
            marks={ODD_TEXT: (1, 2)},
            references={ODD_TEXT: {ODD_TEXT: 0.5}},
        ),
        heatmap(
            ODD_TEXT, ODD_TEXT, {ODD_TEXT: np.eye(2)}, [ODD_TEXT, "b"], [ODD_TEXT, "d"], ODD_TEXT, ODD_TEXT, ODD_TEXT
        ),
        attention_patterns(ODD_TEXT, ODD_TEXT, [ODD_TEXT, ""], {ODD_TEXT: np.eye(2)}),
    ):
        root = ElementTree.fromstring(figure.markup)
        assert root.get("aria-label") == svg.printable(ODD_TEXT)
        assert not list(root.iter(f"{SVG}b"))
        assert any('<b id="x"> & ' in (text or "") for text in texts_of(figure))


def line_points(figure, colour):
    """The points, in pixels, of the first unfilled path drawn in `colour` with more than two points."""
    for path in ElementTree.fromstring(figure.markup).iter(f"{SVG}path"):
        style = path.get("style", "")
        points = np.array([[float(n) for n in pair] for pair in re.findall(r"[ML] ([-\d.]+) ([-\d.]+)", path.get("d"))])
        if f"stroke: {colour.lower()}" in style and "fill: none" in style and len(points) > 2:
            return points
    return None


def shade_heights(figure):
    """Heights, in pixels, of the corners of the one shaded shape, drawn in place or by reference to its definition."""
    root = ElementTree.fromstring(figure.markup)
    (shade,) = (element for element in root.iter() if "fill-opacity: 0.18" in element.get("style", ""))
    if shade.tag == f"{SVG}use":
        (shade,) = (path for path in root.iter(f"{SVG}path") if f"#{path.get('id')}" == shade.get("href"))
    return [float(y) for y in re.findall(r"[ML] [-\d.]+ ([-\d.]+)", shade.get("d"))]


def test_line_is_the_mean_over_seeds_and_the_shade_their_range():
    x = np.arange(12)
    y = np.random.default_rng(1).normal(size=(3, 12))
    figure = curves("Mean", "What it shows", "x", [("y", {"a": (x, y)})])
    points = line_points(figure, figures.COLOURS[0])
    mean = [sum(y[seed, i] for seed in range(3)) / 3 for i in range(12)]
    slope, offset = np.polyfit(mean, points[:, 1], 1)
    assert slope < 0
    np.testing.assert_allclose(offset + slope * np.array(mean), points[:, 1], atol=1e-3)
    heights = shade_heights(figure)
    spans = max(heights) - min(heights)
    assert spans == pytest.approx(abs(slope) * (y.max() - y.min()), rel=1e-3)
    assert figure.caption == (
        "What it shows. Lines are means over 3 seeds; the shade reaches from the least to the greatest."
    )


def test_a_diverged_seed_leaves_a_gap_in_the_mean():
    x, y = two_seeds(20)
    whole = line_points(curves("t", "", "x", [("y", {"a": (x, y)})]), figures.COLOURS[0])
    y[1, 10:] = math.inf
    broken = line_points(curves("t", "", "x", [("y", {"a": (x, y)})]), figures.COLOURS[0])
    assert whole[-1, 0] > broken[-1, 0]
    assert len(broken) <= 10


def test_one_seed_has_no_shade_and_no_word_about_seeds():
    x, y = two_seeds()
    figure = curves("One", "Caption.", "x", [("y", {"a": (x, y[0])})])
    assert "fill-opacity: 0.18" not in figure.markup
    assert figure.caption == "Caption."


def test_series_differ_in_colour_and_in_line_style():
    looks = [figures._look(index) for index in range(49)]
    assert len({look["color"] for look in looks[:7]}) == len({look["linestyle"] for look in looks[:7]}) == 7
    assert len({(look["color"], look["linestyle"]) for look in looks}) == 49


def test_marks_and_references_are_named_once_a_panel():
    x, y = two_seeds()
    figure = curves(
        "Marked",
        "",
        "step",
        [("loss", {"two": (x, y)}), ("accuracy", {"two": (x, y)})],
        marks={"transition of two": (5, 9), "midpoint": 7},
        references={"accuracy": {"chance": 0.1, "exact": 0.15}},
    )
    texts = texts_of(figure)
    assert (texts.count("transition of two"), texts.count("midpoint")) == (2, 2)
    assert (texts.count("chance"), texts.count("exact")) == (1, 1)
    heights = [float(y) for y in re.findall(r' y="([\d.]+)"[^>]*>(?:chance|exact)<', figure.markup)]
    assert abs(heights[0] - heights[1]) >= 11  # the lines nearly coincide, their names must not
    # The span is named after a series and takes its colour.
    assert figure.markup.count(f"fill: {figures.COLOURS[0].lower()}; opacity: 0.12") == 2


def test_logarithmic_axes_have_plain_numbers():
    x = np.geomspace(1, 1000, 30)
    figure = curves("Log", "", "x", [("y", {"a": (x, 1 / x)})], log_x=True, log_y=["y"])
    texts = texts_of(figure)
    assert {"0.01", "0.1", "10", "100"} <= set(texts)
    points = line_points(figure, figures.COLOURS[0])
    assert np.corrcoef(points[:, 0], points[:, 1])[0, 1] == pytest.approx(1.0, abs=1e-9)


def test_wrong_curves_are_refused():
    x, y = two_seeds()
    with pytest.raises(ValueError, match="no panels"):
        curves("t", "", "x", [])
    with pytest.raises(ValueError, match="no panel 'loss'"):
        curves("t", "", "x", [("y", {"a": (x, y)})], references={"loss": {"chance": 1}})
    with pytest.raises(ValueError, match="no panel 'loss'"):
        curves("t", "", "x", [("y", {"a": (x, y)})], log_y=["loss"])
    with pytest.raises(ValueError, match="one length"):
        curves("t", "", "x", [("y", {"a": (x[1:], y)})])


def test_histograms_outline_shares_in_bins_that_all_series_have_in_common():
    drawn = histograms(
        "t",
        "c",
        "entropy",
        [("share of rows", {"a": [0.0, 1.0, 5.9, 12.0], "b": np.full((50, 2), 4.0)}), ("others", {"b": [8.0, 7.0]})],
        num_bins=3,
        marks={"middle": 6.0},
    )
    edges = [0, 0, 4, 4, 8, 8, 12, 12]  # a bin holds its left edge, the last its right edge as well
    series = {"a": (edges, [0, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25, 0]), "b": (edges, [0, 0, 0, 1, 1, 0, 0, 0])}
    others = {"b": (edges, [0, 0, 0, 0.5, 0.5, 0.5, 0.5, 0])}
    panels = [("share of rows", series), ("others", others)]
    assert drawn == curves("t", "c", "entropy", panels, marks={"middle": 6.0})


def test_wrong_histograms_are_refused():
    with pytest.raises(ValueError, match="no panels"):
        histograms("t", "", "x", [])
    with pytest.raises(ValueError, match="'a' of figure 't' has no histogram: it is empty"):
        histograms("t", "", "x", [("y", {"a": []})])
    with pytest.raises(ValueError, match="2 of its 3 values are not finite"):
        histograms("t", "", "x", [("y", {"a": [1.0, math.nan, math.inf]})])
