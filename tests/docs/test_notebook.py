"""The notebook is the page on probing, and its cells run."""

import importlib.util
import json
import os
from pathlib import Path

import pytest
from docs.test_pages import python_blocks

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "docs" / "probing.ipynb"


def sources(kind):
    return ["".join(cell["source"]) for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == kind]


def test_the_notebook_is_made_of_the_page():
    spec = importlib.util.spec_from_file_location("docs_notebook", ROOT / "docs" / "notebook.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = NOTEBOOK.with_suffix(".md").read_text()
    assert NOTEBOOK.read_text() == module.notebook(page), "run: python docs/notebook.py"
    assert [code.rstrip() for code in python_blocks(NOTEBOOK.with_suffix(".md"))] == sources("code")[1:]


@pytest.mark.slow
def test_the_notebooks_cells_run_in_order(untrained, monkeypatch):
    monkeypatch.chdir(ROOT / "docs")
    names = {}
    for number, code in enumerate(sources("code")):
        code = code.replace("runs/induction_heads", str(untrained))
        exec(compile(code, f"cell {number}", "exec"), names)
    assert os.getcwd() == str(ROOT)
