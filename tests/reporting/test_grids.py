"""Grids of cells, as heat maps and attention patterns draw them: every value in its place, its colour and its text."""

import itertools
import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from svg_elements import SVG, causal_pattern, cells_of, oklab, texts_of

from reporting.figures import attention_patterns, heatmap


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
