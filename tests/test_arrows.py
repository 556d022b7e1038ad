"""Who may import whom: the arrows of the house, read from the source."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("experiments", "models", "data", "probes", "reporting", "training")
ALLOWED = {
    "experiments": {"models", "data", "probes", "reporting", "training"},
    "reporting": {"training"},
    "probes": {"models"},
    "models": set(),
    "data": set(),
    "training": set(),
}
COMMANDS_ALLOW = {"experiments", "training", "reporting", "probes"}


def imports(path):
    """The first names of all modules that a file imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_along_the_arrows(package):
    for path in (ROOT / package).rglob("*.py"):
        ours = imports(path) & set(PACKAGES) - {package}
        assert ours <= ALLOWED[package], f"{path.relative_to(ROOT)} imports {ours - ALLOWED[package]}"


@pytest.mark.parametrize(
    ("command", "more"), [("train.py", {"models"}), ("eval.py", set()), ("sample.py", {"models", "data"})]
)
def test_commands_import_only_along_the_arrows_and_stay_short(command, more):
    assert imports(ROOT / command) & set(PACKAGES) <= COMMANDS_ALLOW | more
    assert len((ROOT / command).read_text().splitlines()) < 100


def test_nothing_imports_tensorflow_or_torch():
    for path in ROOT.glob("[!.]*/**/*.py"):
        if path.relative_to(ROOT).parts[0] not in ("benchmarks", "tests"):
            assert not imports(path) & {"tensorflow", "torch", "clu"}, path
