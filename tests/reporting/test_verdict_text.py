"""Verdicts as text: numbers, margins, the summary, and the table of the terminal."""

import math

import pytest

from reporting.claims import absent, claim, judge
from reporting.verdict_text import margin_text, number_text, summary, table


def test_a_number_just_below_one_does_not_look_like_one():
    assert number_text(0.99996) == "0.99996"
    assert number_text(1.0) == "1"
    assert number_text(0.123456) == "0.1235"
    assert number_text(math.nan) == "nan"


LONG = "two layers complete " + "many " * 30 + "repeats — naïvely, κ ≥ 2 ✗"


def sample():
    return [
        judge(claim("completes", LONG, None, of="two_layer", at_least=0.9), [0.99, 1.0]),
        judge(claim("fails", "one layer does not", None, of="one_layer", at_most=0.25), [0.9]),
        judge(claim("size", "the score itself", None, of="two_layer"), [0.5]),
        absent(claim("wired", "weights do ± 0.1", None, of="wired", at_least=1), "arm hand_wired was not in this run"),
    ]


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_table_fits_the_terminal_in_ascii_and_loses_no_word(width):
    text = table(sample(), width)
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= width
    words = text.split()
    assert words.count("many") == 30
    for word in ("PASS", "FAIL", "----", "completes", "repeats", "naively,", "kappa", "+-", "hand_wired"):
        assert word in words
    assert [line.split()[0] for line in text.splitlines() if line[:4].strip()][:4] == ["PASS", "FAIL", "----", "----"]


def test_table_ends_with_the_summary():
    assert table(sample(), 100).splitlines()[-1] == "1 of 2 claims pass; 2 not decided"
    assert summary([]) == "0 of 0 claims pass; 0 not decided"


def test_the_margin_is_in_standard_errors_where_seeds_differ():
    spread = judge(claim("a", "s", None, of="arm", at_least=1), [2.0, 4.0])  # mean 3, standard error 1
    assert margin_text(spread) == "+2 s.e."
    assert margin_text(judge(claim("a", "s", None, of="arm", at_least=1), [2.0, 2.0])) == "+1"
    assert margin_text(judge(claim("a", "s", None, of="arm", at_most=1), [1.25])) == "-0.25"
    assert margin_text(judge(claim("a", "s", None, of="arm", at_most=1), [1.0])) == "0"
    for undecided in (judge(claim("a", "s", None, of="arm"), [1.0]), absent(claim("a", "s", None, of="arm"), "why")):
        assert margin_text(undecided) == "-"
    assert margin_text(judge(claim("a", "s", None, of="arm", at_least=1), [math.nan])) == "-"
