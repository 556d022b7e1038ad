"""Tables: cells against the rows given, alignment, escaping, and how matrices are written."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from reporting import page
from reporting.claims import claim, judge
from reporting.tables import cell_text, is_numeric, matrix_text, table

HOSTILE = "<script>alert(\"1\")</script> & 'x' \x00"


def cells_of(figure):
    """[[(text, class)]] of the body's rows."""
    body = ElementTree.fromstring(figure.markup).find("tbody")
    return [[(cell.text, cell.get("class", "")) for cell in row] for row in body]


def heads_of(figure):
    return [(head.text, head.get("class", "")) for head in ElementTree.fromstring(figure.markup).find("thead/tr")]


def test_cells_and_heads_stand_where_they_were_given():
    figure = table("Title", "Caption.", ["arm", "loss (nats)"], [["one", 0.25], ["two", 1 / 3]])
    assert (figure.title, figure.caption) == ("Title", "Caption.")
    assert [text for text, _ in heads_of(figure)] == ["arm", "loss (nats)"]
    assert [[text for text, _ in row] for row in cells_of(figure)] == [["one", "0.25"], ["two", "0.3333"]]


def test_columns_of_numbers_are_right_aligned_with_their_heads():
    figure = table("t", "", ["name", "number", "mixed", "flag"], [["a", 1, 2.5, True], ["b", None, "text", False]])
    expected = ["", "number", "", ""]
    assert [kind for _, kind in heads_of(figure)] == expected
    assert [[kind for _, kind in row] for row in cells_of(figure)] == [expected, expected]


def test_numbers_are_written_as_in_the_claims_and_whole_ones_in_full():
    values = [None, 1234567, np.int64(1000), 0.99999, np.float32(0.5), 1e-12, True, "text"]
    expected = ["–", "1,234,567", "1,000", "0.99999", "0.5", "1e-12", "True", "text"]  # noqa: RUF001
    assert [cell_text(value) for value in values] == expected


def test_only_present_numbers_make_a_column_numeric():
    assert is_numeric([1, None, 2.5])
    assert not is_numeric([1, "2"])
    assert not is_numeric([True, False])
    assert not is_numeric([None, None])
    assert not is_numeric([])


def test_text_is_escaped_and_kept():
    figure = table(HOSTILE, HOSTILE, [HOSTILE], [[HOSTILE]])
    root = ElementTree.fromstring(figure.markup)
    assert {element.tag for element in root.iter()} == {"table", "thead", "tbody", "tr", "th", "td"}
    assert cells_of(figure)[0][0][0] == HOSTILE.replace("\x00", "\\x00")


def test_lines_are_kept_in_letters_of_one_width():
    ((matrix, plain),) = cells_of(table("t", "", ["matrix", "text"], [[matrix_text([[1, -20], [3, 4]]), "one line"]]))
    assert matrix == ("1  -20\n3    4", "lines")
    assert plain == ("one line", "")


def test_a_matrix_is_written_row_by_row():
    matrix = np.array([[2.64, -1.06, 1.61, -4], [1, -5, -1, 3]])
    lines = matrix_text(matrix).split("\n")
    assert len({len(line) for line in lines}) == 1
    np.testing.assert_array_equal([[float(number) for number in line.split()] for line in lines], matrix)
    assert matrix_text(np.array([3, 0])) == "3  0"
    for wrong in (np.float64(1), np.zeros((2, 2, 2)), np.zeros((0, 3))):
        with pytest.raises(ValueError, match="one or two axes"):
            matrix_text(wrong)


def test_rows_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="no columns"):
        table("t", "", [], [])
    with pytest.raises(ValueError, match="Row 2 of table 't' has 1 cells for 2 columns"):
        table("t", "", ["a", "b"], [[1, 2], [3]])


def test_a_page_holds_a_table_as_one_of_its_figures(tmp_path):
    page.write(
        tmp_path / "report.html",
        title="t",
        question="q",
        command="c",
        verdicts=[judge(claim("1", "s", None, of="a", at_least=0), 1.0)],
        figures=[table("Costs", "What each costs.", ["arm", "bytes"], [["gather", 12800]])],
        facts={},
        arms=[],
    )
    text = (tmp_path / "report.html").read_text()
    assert re.search(r"Figure 1\. Costs.*<table>.*12,800.*What each costs\.", text, re.DOTALL)
