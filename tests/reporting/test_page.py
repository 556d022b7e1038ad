"""The report: one page that is well formed, escapes everything, loads nothing and is written whole or not at all."""

import itertools
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from reporting import page
from reporting.claims import absent, claim, judge
from reporting.figures import Figure, heatmap

VOID = {"meta", "link", "br", "img", "hr", "wbr", "input"}
HOSTILE = "<script>alert(\"1\")</script> & 'x' <img src=http://example.org/x>"


class Outline(HTMLParser):
    """Elements in order, with their text; fails where tags do not nest."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.words = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style"} & set(self.open):
            self.words.append(data)

    def named(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def written(tmp_path, **changes):
    contents = {
        "title": "Induction heads",
        "question": "When does the ability appear?",
        "command": "python train.py --experiment=induction_heads --num_seeds=3",
        "verdicts": [
            judge(claim("two_layer", "two layers do", None, of="two_layer", at_least=0.99), [0.99, 1.0, 0.995]),
            judge(claim("one_layer", "one layer does not", None, of="one_layer", at_most=0.25), [0.1, 0.2, 0.3]),
            absent(claim("wired", "written weights do", None, of="wired", at_least=1), "the arm was not in this run"),
        ],
        "figures": [
            heatmap("Ablation", "Which heads matter.", np.eye(2), "ab", "cd", "layer", "head", "loss"),
            heatmap("Composition", "", np.eye(3), "abc", "def", "from", "to", "score"),
        ],
        "facts": {"Versions": "jax 0.10.2", "Wall time": "1 min 48 s"},
        "arms": [
            {"arm": "two_layer", "parameters": 41216},
            {"arm": "one_layer", "final loss (nats)": np.float32(3.25)},
        ],
        "notes": ["A note."],
    } | changes
    path = tmp_path / "new" / "report.html"
    page.write(path, **contents)
    return path.read_text(encoding="utf-8")


def test_page_is_well_formed_and_accessible(tmp_path):
    text = written(tmp_path)
    outline = Outline(text)
    assert text.startswith("<!doctype html>")
    assert outline.named("html") == [{"lang": "en"}]
    ids = [attributes["id"] for _, attributes in outline.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in outline.elements:
        assert attributes.get("aria-labelledby", ids[0]) in ids
    levels = [int(tag[1]) for tag, _ in outline.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    drawings = outline.named("svg")
    assert [(drawing["role"], drawing["aria-label"]) for drawing in drawings] == [
        ("img", "Ablation"),
        ("img", "Composition"),
    ]
    assert len(outline.named("figure")) == 2
    words = "".join(outline.words)
    for expected in ("Figure 1. Ablation", "Figure 2. Composition", "Which heads matter.", "A note.", "1 min 48 s"):
        assert expected in words


def test_page_loads_nothing(tmp_path):
    text = written(tmp_path)
    outline = Outline(text)
    assert not outline.named("script")
    for _, attributes in outline.elements:
        assert "src" not in attributes
        assert attributes.get("href", "data:").startswith(("data:", "#"))
        assert not any(name.startswith("on") for name in attributes)
    assert set(re.findall(r"https?:[^\"\s<]*", text)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"@import|url\((?!#)", text)
    (policy,) = (meta["content"] for meta in outline.named("meta") if meta.get("http-equiv"))
    assert policy.startswith("default-src 'none'")


def test_everything_is_escaped(tmp_path):
    hostile = claim(HOSTILE, HOSTILE, None, of=HOSTILE, at_least=0, unit=HOSTILE)
    verdicts = [judge(hostile, [1.0]), absent(hostile, HOSTILE)]
    drawing = heatmap(HOSTILE, HOSTILE, np.eye(2), [HOSTILE, "b"], [HOSTILE, "d"], HOSTILE, HOSTILE, HOSTILE)
    text = written(
        tmp_path,
        title=HOSTILE,
        question=HOSTILE,
        command=HOSTILE,
        verdicts=verdicts,
        figures=[drawing],
        facts={HOSTILE: HOSTILE},
        arms=[{HOSTILE: HOSTILE}],
        notes=[HOSTILE],
    )
    outline = Outline(text)
    assert not outline.named("script")
    assert not outline.named("img")
    assert "".join(outline.words).count(HOSTILE) >= 12


def test_verdicts_are_words_and_values_of_seeds_are_at_hand(tmp_path):
    text = written(tmp_path)
    outline = Outline(text)
    words = " ".join("".join(outline.words).split())
    for expected in ("✓ PASS", "✗ FAIL", "– not decided", "the arm was not in this run", ">= 0.99", "<= 0.25"):  # noqa: RUF001
        assert expected in words
    assert "1 of 2 claims pass; 1 not decided." in words
    assert outline.named("abbr")[1] == {"title": "seed 1: 0.1, seed 2: 0.2, seed 3: 0.3"}
    margins = re.findall(r"<td class=\"margin\">([^<]*)</td>", text)
    assert margins == ["+1.7 s.e.", "+0.87 s.e.", "–"]  # noqa: RUF001
    assert "[-0.04841, 0.4484]" in words  # 0.2 ± 4.302653 * 0.1 / sqrt(3)


def test_one_seed_is_told_how_to_get_intervals(tmp_path):
    assert "This run has one seed" not in written(tmp_path)
    assert "This run has one seed" in written(
        tmp_path, verdicts=[judge(claim("a", "s", None, of="arm", at_least=0), 1.0)]
    )
    assert "This run has one seed" not in written(
        tmp_path, verdicts=[absent(claim("a", "s", None, of="arm"), "nothing ran")]
    )


def test_arms_have_a_column_for_every_key_and_a_dash_where_one_is_missing(tmp_path):
    text = written(tmp_path)
    table = text[text.index('<h2 id="arms">') :]
    assert re.findall(r"<th[^>]*>([^<]*)</th>", table) == ["arm", "parameters", "final loss (nats)"]
    cells = re.findall(r"<td([^>]*)>([^<]*)</td>", table)
    assert [cell for _, cell in cells] == ["two_layer", "41,216", "–", "one_layer", "–", "3.25"]  # noqa: RUF001
    assert ["number" in attributes for attributes, _ in cells] == [False, True, True] * 2


def test_empty_parts_are_left_out(tmp_path):
    text = written(tmp_path, verdicts=[], figures=[], arms=[], notes=[], facts={})
    Outline(text)
    assert "This run states no claims." in text
    for heading in ("figures", "arms", "notes"):
        assert f'id="{heading}"' not in text


def test_a_page_without_verdicts_has_no_section_of_claims(tmp_path):
    text = written(tmp_path, verdicts=None)
    Outline(text)
    assert 'id="claims"' not in text
    assert "claims pass" not in text
    assert 'id="figures"' in text


def test_a_failure_leaves_the_old_page_and_nothing_else(tmp_path):
    before = written(tmp_path)
    with pytest.raises(AttributeError):
        written(tmp_path, verdicts=["not a verdict"])
    lone_surrogate = Figure("t", "<svg></svg>", "\ud800")
    with pytest.raises(UnicodeEncodeError):
        written(tmp_path, figures=[lone_surrogate])
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["report.html"]
    assert (tmp_path / "new" / "report.html").read_text(encoding="utf-8") == before
    with pytest.raises(OSError, match="directory"):
        page.write(tmp_path / "new", title="t", question="q", command="c", verdicts=[], figures=[], facts={}, arms=[])
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_page_is_as_readable_as_any_new_file(tmp_path):
    written(tmp_path)
    (tmp_path / "plain").write_text("")
    assert (tmp_path / "new" / "report.html").stat().st_mode == (tmp_path / "plain").stat().st_mode
