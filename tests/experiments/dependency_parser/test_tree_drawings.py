"""Drawn trees: everything is there, nothing overlaps, and errors are marked by more than colour."""

import itertools
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from svg_elements import SVG, texts_of

from data.treebanks import Sentence
from experiments.dependency_parser import tree_drawings
from experiments.dependency_parser.tree_drawings import CROSS, GOLD, WRONG, draw_tree
from reporting import svg
from reporting.figures import WIDTH

LABELS = ("nsubj", "obj", "det", "compound", "advmod")
EXAMPLE = Sentence(
    ("I", "parsed", "this", "sentence", "correctly"),
    ("PRON", "VERB", "DET", "NOUN", "ADV"),
    (2, 0, 4, 2, 2),
    ("nsubj", "root", "det", "obj", "advmod"),
)


def random_heads(first, last, head, rng):
    """{position: head} of a random projective tree over the positions first to last."""
    if first > last:
        return {}
    top = int(rng.integers(first, last + 1))
    heads = {top: head}
    for start, stop in ((first, top - 1), (top + 1, last)):
        while start <= stop:
            end = int(rng.integers(start, stop + 1))
            heads |= random_heads(start, end, top, rng)
            start = end + 1
    return heads


def random_sentence(num_words, rng):
    """A sentence of words of many lengths, with a random projective tree."""
    heads = random_heads(1, num_words, 0, rng)
    heads = tuple(heads[position] for position in range(1, num_words + 1))
    forms = tuple("characteristically"[: rng.integers(1, 18)] for _ in heads)
    labels = tuple("root" if head == 0 else LABELS[rng.integers(5)] for head in heads)
    return Sentence(forms, tuple(("X", "NOUN", "PUNCT")[rng.integers(3)] for _ in heads), heads, labels)


def root_of(figure):
    return ElementTree.fromstring(figure.markup)


def boxes_of(figure):
    """(left, top, right, bottom, text) of every text; letters are about 0.75 of the font's size high."""
    boxes = []
    for element in root_of(figure).iter(f"{SVG}text"):
        x, y, size = (float(element.get(name)) for name in ("x", "y", "font-size"))
        half = svg.text_width(element.text, size) / 2
        boxes.append((x - half, y - 0.4 * size, x + half, y + 0.4 * size, element.text))
    return boxes


def lines_of(figure):
    """The path elements that are arcs (arrow heads are filled)."""
    return [path for path in root_of(figure).iter(f"{SVG}path") if path.get("fill") == "none"]


def size_of(figure):
    return float(root_of(figure).get("width")), float(root_of(figure).get("height"))


def assert_nothing_overlaps(figure):
    boxes, (width, height) = boxes_of(figure), size_of(figure)
    for left, top, right, bottom, text in boxes:
        assert min(left, top) >= 0, text
        assert right <= width, text
        assert bottom <= height, text
    for one, other in itertools.combinations(boxes, 2):
        is_apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
        assert is_apart, (one, other)


def test_the_gold_tree_has_every_word_tag_and_label_and_an_arc_a_word():
    figure = draw_tree("A tree", "", EXAMPLE)
    texts = texts_of(figure)
    for text in (*EXAMPLE.forms, *EXAMPLE.tags, "nsubj", "det", "obj", "advmod", "ROOT"):
        assert texts.count(text) == 1
    assert len(lines_of(figure)) == 5
    assert WRONG not in figure.markup
    assert CROSS not in "".join(texts)
    assert_nothing_overlaps(figure)


def test_errors_are_dashed_and_crossed_and_their_gold_arcs_hang_below():
    labels = ("nsubj", "root", "det", "iobj", "advmod")
    figure = draw_tree("Two errors", "", EXAMPLE, (2, 0, 4, 2, 4), labels)
    dashed = [path for path in lines_of(figure) if path.get("stroke-dasharray")]
    gold = [path for path in lines_of(figure) if path.get("stroke") == GOLD]
    assert [path.get("stroke") for path in dashed] == [WRONG]
    assert (len(lines_of(figure)), len(gold)) == (7, 2)
    assert {text for text in texts_of(figure) if CROSS in text} == {f"{CROSS} iobj", f"{CROSS} advmod"}
    hovers = [element.text for element in root_of(figure).iter(f"{SVG}title")]
    assert "sentence → correctly, advmod; gold: parsed → correctly, advmod" in hovers
    word_y = next(box[1] for box in boxes_of(figure) if box[4] == "parsed")
    above = [box[4] for box in boxes_of(figure) if box[1] < word_y]
    below = [box[4] for box in boxes_of(figure) if box[1] > word_y]
    assert {f"{CROSS} iobj", f"{CROSS} advmod", "nsubj", "ROOT"} <= set(above)
    assert {"obj", "advmod"} <= set(below)
    assert_nothing_overlaps(figure)


def test_without_labels_heads_alone_are_judged():
    figure = draw_tree("No labels", "", EXAMPLE, (2, 0, 4, 2, 4))
    assert [text for text in texts_of(figure) if CROSS in text] == [CROSS]
    assert len([path for path in lines_of(figure) if path.get("stroke") == GOLD]) == 1


@pytest.mark.parametrize("num_words", [1, 2, 7, 18, 60])
def test_nothing_overlaps_and_all_fits_the_page(num_words):
    rng = np.random.default_rng(num_words)
    for _ in range(4):
        sentence = random_sentence(num_words, rng)
        other = random_sentence(num_words, rng)
        figure = draw_tree("Random", "", sentence, other.heads, other.labels)
        assert size_of(figure)[0] <= WIDTH
        assert_nothing_overlaps(figure)
        texts = texts_of(figure)
        for form in sentence.forms:
            assert texts.count(form) >= sentence.forms.count(form)


def test_trees_that_cross_and_have_several_roots_are_drawn_too():
    rng = np.random.default_rng(5)
    sentence = random_sentence(12, rng)
    heads = [int(rng.choice([p for p in range(13) if p != word])) for word in range(1, 12)] + [0]
    figure = draw_tree("Crossing", "", sentence, heads, ["obj"] * 12)
    assert_nothing_overlaps(figure)
    assert len([path for path in lines_of(figure) if path.get("stroke") != GOLD]) == 12


def test_the_arcs_of_a_projective_tree_do_not_cross():
    rng = np.random.default_rng(6)
    arc = re.compile(r"M([\d.]+) ([\d.]+)V([\d.]+)q[^H]*H([\d.]+)q")
    for _ in range(10):
        figure = draw_tree("Projective", "", random_sentence(9, rng), width=5000)
        corner = tree_drawings.CORNER
        matches = [arc.match(path.get("d")) for path in lines_of(figure)]
        arcs = [tuple(map(float, match.groups())) for match in matches if match]  # ROOT's arrow is a line
        assert len(arcs) == 8
        for (left, _, top, right), (other_left, _, other_top, other_right) in itertools.permutations(arcs, 2):
            for x in (left, right + corner):
                assert top >= other_top or not other_left < x < other_right + corner


def test_a_long_sentence_breaks_into_rows_and_each_arc_enters_the_rows_of_its_ends():
    rng = np.random.default_rng(7)
    sentence = random_sentence(300, rng)
    figure = draw_tree("Long", "", sentence)
    assert size_of(figure)[0] <= WIDTH
    word_rows = {box[1] for box in boxes_of(figure) if box[4] in sentence.forms}
    assert len(word_rows) > 5
    arrow_heads = [path for path in root_of(figure).iter(f"{SVG}path") if path.get("fill") != "none"]
    assert len(arrow_heads) == 300


def test_text_is_escaped_and_long_words_are_shortened_but_whole_on_hover():
    word, long_word = '<b>&"', "http://example.com/" + "a" * 80
    sentence = Sentence((word, long_word, "\x07"), ("<X>", "X", "X"), (0, 1, 1), ("root", "a&b", "c"))
    figure = draw_tree("Escaped & <so>", "", sentence)
    texts = texts_of(figure)
    assert {word, "<X>", "a&b"} <= set(texts)
    assert long_word not in texts
    assert any(long_word in (title.text or "") for title in root_of(figure).iter(f"{SVG}title"))
    assert "<b>" not in figure.markup
    assert_nothing_overlaps(figure)


def test_trees_of_other_lengths_are_refused():
    with pytest.raises(ValueError, match="a tree of 5 words has 4 heads"):
        draw_tree("Short", "", EXAMPLE, (2, 0, 4, 2))
    with pytest.raises(ValueError, match="at least one word"):
        draw_tree("Empty", "", Sentence((), (), (), ()))


def test_the_table_of_transitions_has_a_row_a_step_and_escapes_words():
    steps = [("[ROOT]", "[I, <b>]", "", ""), ("[ROOT, I]", "[<b>]", "", "SHIFT")]
    markup = tree_drawings.transition_table("Steps", "", steps).markup
    assert markup.count("<tr>") == 3
    assert "[I, &lt;b&gt;]" in markup
    for column in ("stack", "buffer", "new arc", "transition"):
        assert f'<th scope="col">{column}</th>' in markup
