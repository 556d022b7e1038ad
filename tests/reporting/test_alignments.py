"""Pictures of alignments: every weight in its place, frames on gold links alone, labels that do not overlap."""

import itertools
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from svg_elements import SVG, cells_of, oklab, texts_of

from reporting import svg
from reporting.alignments import FRAME, AlignmentPicture, alignment_pictures

ODD_WORD = "<b id=\"x\"> & 'q' \x00\n漢\u202e"


def picture(num_target, num_source, seed=0, gold=True, title="title"):
    """A random picture, whose gold links are the diagonal."""
    scores_TS = np.random.default_rng(seed).normal(size=(num_target, num_source))
    weights_TS = np.exp(scores_TS) / np.exp(scores_TS).sum(1, keepdims=True)
    source = [f"s{position}" for position in range(num_source)]
    target = [f"t{position}" for position in range(num_target)]
    return AlignmentPicture(title, source, target, weights_TS, np.eye(num_target, num_source) if gold else None)


def panels_of(figure):
    """(x, y, element) of each picture, in order."""
    groups = [g for g in ElementTree.fromstring(figure.markup) if g.get("transform", "").startswith("translate")]
    places = [re.fullmatch(r"translate\((\S+) (\S+)\)", g.get("transform")).groups() for g in groups]
    return [(float(x), float(y), group) for (x, y), group in zip(places, groups, strict=True)]


def frames_of(element):
    return [rect for rect in element.iter(f"{SVG}rect") if rect.get("stroke") == FRAME]


def boxes_of(group):
    """{kind: (left, top, right, bottom)} of a picture's cells and of all its labels, turned ones included."""
    cells = [
        tuple(float(rect.get(side)) for side in ("x", "y", "width", "height")) for rect in group.iter(f"{SVG}rect")
    ]
    boxes = {"cells": (min(c[0] for c in cells), min(c[1] for c in cells))}
    boxes["cells"] += (max(x + width for x, _, width, _ in cells), max(y + height for _, y, _, height in cells))
    for labels in group.iter(f"{SVG}g"):
        for number, text in enumerate(labels.findall(f"{SVG}text")):
            size = float(text.get("font-size", labels.get("font-size")))
            x, y, width = float(text.get("x")), float(text.get("y")), svg.text_width(text.text, size)
            start = x - {"start": 0.0, "middle": 0.5, "end": 1.0}[text.get("text-anchor")] * width
            box = (start, y - size / 2, start + width, y + size / 2)
            if "rotate(-90" in text.get("transform", ""):  # (dx, dy) from the anchor goes to (dy, -dx)
                box = (x - size / 2, y - (start + width - x), x + size / 2, y - (start - x))
            boxes[f"{text.text} {number} of size {size}"] = box
    return boxes


def test_every_cell_says_its_words_its_weight_and_whether_it_is_a_link():
    drawn = picture(3, 4)
    cells = cells_of(alignment_pictures("t", "", [drawn]))
    expected = [
        f"target 't{t}' looks at source 's{s}': {drawn.weights_TS[t, s]:.2f}" + (", gold link" if t == s else "")
        for t in range(3)
        for s in range(4)
    ]
    assert [words for words, _ in cells] == expected


def test_all_pictures_share_one_scale_from_0_to_1():
    faint = AlignmentPicture("faint", ["a", "b"], ["c"], np.array([[0.0, 0.2]]))
    strong = AlignmentPicture("strong", ["a", "b", "c"], ["d"], np.array([[1.0, 0.2, 0.0]]))
    fills = [attributes["fill"] for _, attributes in cells_of(alignment_pictures("t", "", [faint, strong]))]
    assert fills == list(svg.ramp(np.array([0.0, 0.2, 1.0, 0.2, 0.0])))
    assert oklab(fills[2])[0] < oklab(fills[1])[0] < oklab(fills[0])[0]


def test_frames_lie_in_the_cells_of_gold_links_and_nowhere_else():
    drawn = picture(6, 5)
    gold_TS = np.random.default_rng(3).uniform(size=(6, 5)) < 0.3
    figure = alignment_pictures("t", "", [drawn._replace(gold_TS=gold_TS), picture(4, 4, gold=False)])
    (_, _, with_gold), (_, _, without) = panels_of(figure)
    cells = [rect for rect in with_gold.iter(f"{SVG}rect") if len(rect)]
    framed = np.zeros(30, bool)
    for frame in frames_of(with_gold):
        x, y = float(frame.get("x")), float(frame.get("y"))
        inside = [
            0 < x - float(cell.get("x")) < float(cell.get("width"))
            and 0 < y - float(cell.get("y")) < float(cell.get("height"))
            for cell in cells
        ]
        assert sum(inside) == 1
        framed |= inside
    np.testing.assert_array_equal(framed.reshape(6, 5), gold_TS)
    assert len(frames_of(with_gold)) == gold_TS.sum() > 0
    assert not frames_of(without)
    assert sum("gold link" in words for words, _ in cells_of(figure)) == gold_TS.sum()


def test_legend_and_caption_explain_frames_only_where_there_is_gold():
    with_gold = alignment_pictures("t", "What it shows", [picture(3, 3)], link_name="link of the HMM aligner")
    without = alignment_pictures("t", "", [picture(3, 3, gold=False)], value_label="posterior")
    assert texts_of(with_gold)[-1] == "link of the HMM aligner"
    assert with_gold.caption.startswith("What it shows. The darker a cell, the more weight")
    assert with_gold.caption.endswith("An orange frame marks a link of the HMM aligner.")
    assert len(frames_of(ElementTree.fromstring(with_gold.markup))) == 4  # the legend's among them
    assert "frame" not in without.caption
    assert not frames_of(ElementTree.fromstring(without.markup))
    assert "posterior" in texts_of(without)


@pytest.mark.parametrize("shape", [(4, 5), (26, 26), (1, 1), (12, 60), (128, 128)])
def test_labels_overlap_neither_each_other_nor_the_cells(shape):
    figure = alignment_pictures("t", "", [picture(*shape, title="a title of some length " * 3)])
    ((_, _, group),) = panels_of(figure)
    boxes = boxes_of(group)
    assert len(boxes) > 4
    for (one, a), (other, b) in itertools.combinations(boxes.items(), 2):
        apart = max(a[0] - b[2], b[0] - a[2], a[1] - b[3], b[1] - a[3])
        assert apart > -0.7, (one, other)
    assert float(ElementTree.fromstring(figure.markup).get("width")) <= 1000


def test_pictures_of_different_sizes_flow_side_by_side_and_stay_apart():
    figure = alignment_pictures("t", "", [picture(*shape) for shape in ((4, 5), (26, 26), (9, 9), (30, 26), (3, 80))])
    root = ElementTree.fromstring(figure.markup)
    areas = []
    for x, y, group in panels_of(figure):
        boxes = np.array(list(boxes_of(group).values()))
        areas.append((x + boxes[:, 0].min(), y + boxes[:, 1].min(), x + boxes[:, 2].max(), y + boxes[:, 3].max()))
    for a, b in itertools.combinations(areas, 2):
        assert max(a[0] - b[2], b[0] - a[2], a[1] - b[3], b[1] - a[3]) >= 0
    areas = np.array(areas)
    assert areas[0, 1] == areas[1, 1]
    assert areas[0, 0] < areas[1, 0]
    assert areas.min() >= 0
    assert areas[:, 2].max() <= float(root.get("width")) <= 1000
    assert areas[:, 3].max() <= float(root.get("height"))


def test_odd_words_are_escaped_and_kept():
    odd = AlignmentPicture(ODD_WORD, [ODD_WORD, "", "two words"], [ODD_WORD], np.ones((1, 3)) / 3, np.ones((1, 3)))
    figure = alignment_pictures(ODD_WORD, ODD_WORD, [odd], value_label=ODD_WORD, link_name=ODD_WORD)
    root = ElementTree.fromstring(figure.markup)
    assert root.get("aria-label") == svg.printable(ODD_WORD)
    assert not list(root.iter(f"{SVG}b"))
    assert {"∅", "two␣words"} <= set(texts_of(figure))
    assert all("\\u202e" in words and "<b" in words for words, _ in cells_of(figure))


def test_a_weight_that_was_not_measured_is_crossed_out():
    figure = alignment_pictures("t", "", [AlignmentPicture("", ["a", "b"], ["c"], np.array([[np.nan, 1.0]]))])
    assert [words.split(": ")[1] for words, _ in cells_of(figure)] == ["not measured", "1.00"]
    assert figure.markup.count('stroke="#999"') == 1


def test_same_pictures_give_the_same_bytes():
    assert alignment_pictures("t", "", [picture(5, 4)]) == alignment_pictures("t", "", [picture(5, 4)])


def test_wrong_pictures_are_refused():
    drawn = picture(3, 4)
    with pytest.raises(ValueError, match="no pictures"):
        alignment_pictures("t", "", [])
    with pytest.raises(ValueError, match=r"weights of shape \(4, 3\) for 3 target and 4 source words"):
        alignment_pictures("t", "", [drawn._replace(weights_TS=drawn.weights_TS.T)])
    with pytest.raises(ValueError, match=r"gold links of shape \(4, 4\)"):
        alignment_pictures("t", "", [drawn._replace(gold_TS=np.eye(4))])
    with pytest.raises(ValueError, match="0 target and 4 source words"):
        alignment_pictures("t", "", [drawn._replace(target=[], weights_TS=np.zeros((0, 4)), gold_TS=None)])
    with pytest.raises(ValueError, match=r"weights from -0.1 to 0"):
        alignment_pictures("t", "", [drawn._replace(weights_TS=drawn.weights_TS * 0 - [0.1, 0, 0, 0])])
    with pytest.raises(ValueError, match="at most 128 words"):
        alignment_pictures("t", "", [picture(3, 129)])
