"""The page and the files of an answer of eval.py."""

import re

import numpy as np

from reporting import answers
from reporting.figures import heatmap
from training.experiment import Answer


def write(workdir, answer):
    answers.write(
        workdir,
        answer,
        title="dependency_parser",
        asked="--text=<letter>.txt",
        command="python eval.py --checkpoint=runs/x --text='<letter>.txt'",
        facts={"arm": "plain"},
        start=0.0,
    )
    return (workdir / "report.html").read_text()


def test_the_page_shows_what_was_printed_and_the_figures(tmp_path):
    drawing = heatmap("Trees", "", np.eye(2), "ab", "cd", "row", "column", "value")
    page = write(
        tmp_path, Answer("one <word>\ntwo words", {"parse.conllu": b"1\t<word>\n", "raw.bin": b"\xff"}, [drawing])
    )
    assert (tmp_path / "parse.conllu").read_bytes() == b"1\t<word>\n"
    assert (tmp_path / "raw.bin").read_bytes() == b"\xff"
    assert "<h1>dependency parser</h1>" in page
    assert '<td class="lines">one &lt;word&gt;\ntwo words</td>' in page
    assert re.findall(r'<h3 id="figure-\d">([^<]*)</h3>', page) == ["Figure 1. Answer", "Figure 2. Trees"]
    assert page.count("--text=&lt;letter&gt;.txt") == 2
    assert "<dt>arm</dt><dd>plain</dd>" in page
    assert "<dt>files</dt><dd>parse.conllu, raw.bin</dd>" in page
    assert 'id="claims"' not in page


def test_an_answer_may_be_its_files_alone(tmp_path):
    page = write(tmp_path, Answer("", {"parse.conllu": b""}))
    assert 'id="figures"' not in page
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parse.conllu", "report.html"]
