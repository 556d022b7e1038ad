"""Figures: what is drawn against the data, colours against their definition, SVG that is safe to inline."""

import itertools
import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from reporting import figures, svg
from reporting.figures import attention_patterns, curves, heatmap

SVG = "{http://www.w3.org/2000/svg}"
ODD = "<b id=\"x\"> & 'q' $x_1$ \x00\n漢"


def causal_pattern(length, seed=0):
    scores = np.random.default_rng(seed).normal(size=(length, length))
    scores[np.triu_indices(length, 1)] = -np.inf
    weights = np.exp(scores)
    return weights / weights.sum(1, keepdims=True)


def two_seeds(steps=20):
    x = np.arange(steps)
    return x, np.stack([np.sin(x / 3), np.sin(x / 3) + x / 10])


def one_of_each():
    x, y = two_seeds()
    return [
        curves(
            "Curves", "Caption.", "step", [("loss (nats)", {"a": (x, y), "b": (x, y[0])}), ("accuracy", {"a": (x, y)})]
        ),
        curves("Logarithmic", "", "step", [("loss (nats)", {"a": (x + 1, np.exp(y))})], log_x=True, log_y=True),
        heatmap("Heat map", "", np.eye(3), "abc", "def", "row", "column", "value"),
        attention_patterns("Attention", "", list("abcd"), {"head": causal_pattern(4)}),
    ]


def cells_of(figure):
    """[(hover text, attributes)] of every cell, in the order of drawing."""
    root = ElementTree.fromstring(figure.markup)
    return [(cell.find(f"{SVG}title").text, cell.attrib) for cell in root.iter(f"{SVG}rect") if len(cell)]


def texts_of(figure):
    return [element.text for element in ElementTree.fromstring(figure.markup).iter(f"{SVG}text")]


def oklab(colour):
    """Lightness and the two colour axes of `#rrggbb`, from the definition (Ottosson 2020)."""
    linear = []
    for at in (1, 3, 5):
        value = int(colour[at : at + 2], 16) / 255
        linear.append(value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4)
    red, green, blue = linear
    long = (0.4122214708 * red + 0.5363325363 * green + 0.0514459929 * blue) ** (1 / 3)
    medium = (0.2119034982 * red + 0.6806995451 * green + 0.1073969566 * blue) ** (1 / 3)
    short = (0.0883024619 * red + 0.2817188376 * green + 0.6299787005 * blue) ** (1 / 3)
    return (
        0.2104542553 * long + 0.7936177850 * medium - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * medium + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * medium - 0.8086757660 * short,
    )


def test_every_figure_is_well_formed_labelled_and_takes_the_pages_colour():
    for figure in one_of_each():
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


def test_same_data_gives_the_same_bytes():
    for first, second in zip(one_of_each(), one_of_each(), strict=True):
        assert first == second


def test_ids_are_unique_over_figures_and_every_reference_has_its_target():
    x, y = two_seeds()
    similar = [curves(f"Figure {i}", "", "step", [("y", {"a": (x, y)})]) for i in range(3)]
    page = "".join(figure.markup for figure in [*one_of_each(), *similar])
    ids = re.findall(r'\sid="([^"]+)"', page)
    references = re.findall(r'(?:url\(#|href="#)([^")]+)', page)
    assert len(ids) == len(set(ids))
    assert references
    assert set(references) == set(ids)


def test_odd_text_is_escaped_and_kept():
    x, y = two_seeds()
    for figure in (
        curves(ODD, ODD, ODD, [(ODD, {ODD: (x, y), "b": (x, y)})], marks={ODD: (1, 2)}, references={ODD: {ODD: 0.5}}),
        heatmap(ODD, ODD, {ODD: np.eye(2)}, [ODD, "b"], [ODD, "d"], ODD, ODD, ODD),
        attention_patterns(ODD, ODD, [ODD, ""], {ODD: np.eye(2)}),
    ):
        root = ElementTree.fromstring(figure.markup)
        assert root.get("aria-label") == svg.printable(ODD)
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
        "Marked", "", "step", [("loss", {"two": (x, y)}), ("accuracy", {"two": (x, y)})],
        marks={"transition of two": (5, 9), "midpoint": 7}, references={"accuracy": {"chance": 0.1, "exact": 0.15}},
    )  # fmt: skip
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


def test_equal_steps_of_value_are_equal_steps_of_lightness():
    for colours, spread in (
        ((svg.PALE, svg.NAVY), 0.675),
        ((svg.WHITE, svg.RUST), 0.545),
        ((svg.WHITE, svg.BLUE), 0.545),
    ):
        lightness = [oklab(colour)[0] for colour in svg.ramp(np.linspace(0, 1, 16), colours)]
        steps = -np.diff(lightness)
        assert lightness[0] - lightness[-1] == pytest.approx(spread, abs=0.02)
        np.testing.assert_allclose(steps, spread / 15, atol=0.008)  # the rest is rounding to 8 bits


def test_heat_map_says_every_value_and_darkens_with_it():
    matrix = np.random.default_rng(0).uniform(size=(3, 4))
    figure = heatmap("t", "", matrix, "abc", "wxyz", "layer", "head", "loss (nats)")
    cells = cells_of(figure)
    expected = [
        f"layer {'abc'[row]}, head {'wxyz'[column]}: loss (nats) {matrix[row, column]:.4g}"
        for row in range(3)
        for column in range(4)
    ]
    assert [words for words, _ in cells] == expected
    lightness = [oklab(attributes["fill"])[0] for _, attributes in cells]
    assert np.argsort(lightness).tolist() == np.argsort(-matrix.ravel()).tolist()
    printed = [text for text in texts_of(figure) if re.fullmatch(r"0\.\d\d", text)]
    assert printed[:12] == [f"{value:.2f}" for value in matrix.ravel()]


def test_diverging_map_is_centred_on_zero():
    matrix = np.array([[-2.0, 0.0, 2.0, 8.0]])
    cells = cells_of(heatmap("t", "", matrix, ["r"], "abcd", "row", "column", "v", diverging=True))
    minus, zero, plus, most = (oklab(attributes["fill"]) for _, attributes in cells)
    assert zero[0] > 0.95
    assert minus[0] == pytest.approx(plus[0], abs=0.01)
    assert minus[2] < zero[2] < plus[2]
    assert most[0] < plus[0]


def test_several_maps_share_one_scale_and_do_not_overlap():
    matrices = {name: np.full((5, 5), value) for name, value in (("one", 0.0), ("two", 1.0), ("three", 0.5))}
    figure = heatmap("t", "", matrices, range(5), range(5), "row", "column", "v")
    fills = [attributes["fill"] for _, attributes in cells_of(figure)]
    assert [len(set(fills[i : i + 25])) for i in (0, 25, 50)] == [1, 1, 1]
    assert len(set(fills)) == 3
    assert_cells_are_apart_and_inside(figure)


def assert_cells_are_apart_and_inside(figure):
    root = ElementTree.fromstring(figure.markup)
    width, height = float(root.get("width")), float(root.get("height"))
    assert width <= 1000
    boxes = []
    for panel in root.iter(f"{SVG}g"):
        if moved := re.fullmatch(r"translate\((\S+) (\S+)\)", panel.get("transform", "")):
            cells = [cell.attrib for cell in panel.iter(f"{SVG}rect")]
            left = float(moved[1]) + min(float(cell["x"]) for cell in cells)
            right = float(moved[1]) + max(float(cell["x"]) + float(cell["width"]) for cell in cells)
            top = float(moved[2]) + min(float(cell["y"]) for cell in cells)
            bottom = float(moved[2]) + max(float(cell["y"]) + float(cell["height"]) for cell in cells)
            assert 0 <= left < right <= width
            assert 0 <= top < bottom <= height
            boxes.append((left, right, top, bottom))
    for one, other in itertools.combinations(boxes, 2):
        assert one[1] <= other[0] or other[1] <= one[0] or one[3] <= other[2] or other[3] <= one[2]
    return boxes


def test_missing_values_are_said_to_be_missing():
    words = [words for words, _ in cells_of(heatmap("t", "", [[math.nan, 1.0]], "r", "ab", "row", "column", "v"))]
    assert words == ["row r, column a: v not measured", "row r, column b: v 1"]
    everything = heatmap("t", "", np.full((2, 2), math.nan), "rs", "ab", "row", "column", "v")
    assert len(cells_of(everything)) == 4


def test_counts_are_printed_whole():
    figure = heatmap("t", "", [[28, 0], [1, 37]], "rs", "ab", "row", "column", "images")
    assert {"28", "0", "1", "37"} <= set(texts_of(figure))


def test_values_are_left_to_hover_where_cells_are_small():
    small = heatmap("t", "", np.full((40, 40), 0.25), range(40), range(40), "row", "column", "v")
    assert "0.25" not in texts_of(small)[:-3]
    assert len(cells_of(small)) == 1600


def test_limits_fix_the_scale():
    first, second = (
        cells_of(heatmap("t", "", [[value, 0.5]], "r", "ab", "row", "column", "v", limits=(0, 1)))
        for value in (0.0, 0.9)
    )
    assert first[1] == second[1]


def test_attention_cells_say_query_key_and_weight():
    pattern = causal_pattern(5)
    cells = cells_of(attention_patterns("t", "", list("abcde"), {"head": pattern}))
    expected = [
        f"query {query} '{'abcde'[query]}' attends to key {key} '{'abcde'[key]}': {pattern[query, key]:.2g}"
        for query in range(5)
        for key in range(query + 1)
    ]
    assert [words for words, _ in cells] == expected
    lightness = [oklab(attributes["fill"])[0] for _, attributes in cells]
    weights = [pattern[query, key] for query in range(5) for key in range(query + 1)]
    assert np.corrcoef(lightness, weights)[0, 1] < -0.999


def test_patterns_that_look_ahead_are_drawn_whole():
    assert len(cells_of(attention_patterns("t", "", list("abcd"), {"head": np.full((4, 4), 0.25)}))) == 16
    assert len(cells_of(attention_patterns("t", "", list("abcd"), {"head": causal_pattern(4)}))) == 10


def test_two_patterns_of_32_tokens_are_side_by_side_small_and_readable():
    tokens = ["<BOS>", *(str(i) for i in range(10, 41))]
    figure = attention_patterns("t", "", tokens, {f"head {i}": causal_pattern(32, i) for i in range(2)})
    assert len(figure.markup) < 250_000
    left, right = assert_cells_are_apart_and_inside(figure)
    assert left[2] == right[2]
    assert all(texts_of(figure).count(token) == 4 for token in tokens)  # two axes of two patterns
    sizes = [float(size) for size in re.findall(r'font-size="([\d.]+)"', figure.markup)]
    assert min(sizes) >= 8.5


def test_more_patterns_wrap():
    figure = attention_patterns(
        "t", "", [str(i) for i in range(32)], {f"head {i}": causal_pattern(32) for i in range(5)}
    )
    boxes = assert_cells_are_apart_and_inside(figure)
    assert len({box[2] for box in boxes}) == 3


def test_invisible_tokens_are_made_visible():
    texts = texts_of(attention_patterns("t", "", [" the", "\n", ""], {"head": causal_pattern(3)}))
    assert {"␣the", "\\n", "∅"} <= set(texts)


def test_wrong_matrices_are_refused():
    with pytest.raises(ValueError, match="shape"):
        heatmap("t", "", np.eye(3), "ab", "abc", "row", "column", "v")
    with pytest.raises(ValueError, match="shape"):
        attention_patterns("t", "", list("abc"), {"head": np.eye(4)})
    with pytest.raises(ValueError, match="no matrices"):
        attention_patterns("t", "", list("abc"), {})
    with pytest.raises(ValueError, match="slice"):
        attention_patterns("t", "", ["a"] * 129, {"head": np.eye(129)})
