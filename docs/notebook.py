"""Makes probing.ipynb of probing.md: its text, its code, and the output that it shows.

python docs/notebook.py
"""

import json
import re
from pathlib import Path

PAGE = Path(__file__).with_name("probing.md")
NOTEBOOK = PAGE.with_suffix(".ipynb")
# Cells run in the repository, wherever the notebook was opened.
PREAMBLE = """import os
import sys

if os.path.basename(os.getcwd()) == "docs":
    os.chdir("..")
sys.path.insert(0, os.getcwd())"""


def cells(page):
    """The notebook's cells for a page: one for each piece of text and of code."""
    found = [code_cell(PREAMBLE, "")]
    for part in re.split(r"(^```python\n.*?^```\n(?:\n(?:    [^\n]*\n)+)?)", page, flags=re.DOTALL | re.MULTILINE):
        code = re.match(r"```python\n(.*?)^```\n(.*)", part, flags=re.DOTALL | re.MULTILINE)
        if code:
            output = re.sub(r"^    ", "", code[2].lstrip("\n"), flags=re.MULTILINE)
            found.append(code_cell(code[1].rstrip(), output))
        elif part.strip():
            found.append({"cell_type": "markdown", "metadata": {}, "source": lines(part.strip())})
    return [{"id": f"cell-{number}", **cell} for number, cell in enumerate(found)]


def code_cell(source, output):
    outputs = [{"output_type": "stream", "name": "stdout", "text": lines(output)}] if output else []
    return {
        "cell_type": "code",
        "execution_count": None,
        "metadata": {},
        "outputs": outputs,
        "source": lines(source),
    }


def lines(text):
    return text.splitlines(keepends=True)


def notebook(page):
    """The whole notebook as text."""
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    made = {"cells": cells(page), "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    NOTEBOOK.write_text(notebook(PAGE.read_text()))
