"""Who may import whom: the arrows of the house, read from the source; and one form for every experiment's folder."""

import ast
from pathlib import Path

import pytest

import experiments

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
COMMANDS = {
    "train.py": {"experiments", "training", "reporting", "models"},
    "eval.py": {"experiments", "training", "reporting", "probes"},
    "sample.py": {"experiments", "training", "models"},
}
# The registry finds experiments by their folders' names, and TFDS's builders are found by theirs.
IMPORT_BY_NAME = {"experiments/__init__.py", "data/tfds_builders/__init__.py"}


def imported(path):
    """The dotted names of all modules that a file imports, inside functions too; those imported by name included.

    Of ``from models import rotary`` the name is models.rotary, so that single files can be told apart.
    """
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and called(node) in ("import_module", "__import__"):
            (argument, *_) = node.args
            literal = isinstance(argument, ast.Constant)
            assert literal or str(path.relative_to(ROOT)) in IMPORT_BY_NAME, f"{path} imports what no reader can see"
            names |= {argument.value} if literal else set()
    return names


def called(call):
    """The last name of what is called: import_module of importlib.import_module(...)."""
    return getattr(call.func, "attr", getattr(call.func, "id", None))


def packages_of(path):
    return {name.split(".")[0] for name in imported(path)} & set(PACKAGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_along_the_arrows(package):
    for path in (ROOT / package).rglob("*.py"):
        ours = packages_of(path) - {package}
        assert ours <= ALLOWED[package], f"{path.relative_to(ROOT)} imports {ours - ALLOWED[package]}"


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_import_only_along_the_arrows(command):
    assert packages_of(ROOT / command) <= COMMANDS[command]


@pytest.mark.parametrize("name", experiments.names())
def test_experiments_do_not_import_each_other(name):
    for path in (ROOT / "experiments" / name).rglob("*.py"):
        others = {module.split(".")[1] for module in imported(path) if module.startswith("experiments.")} - {name}
        assert not others, f"{path.relative_to(ROOT)} imports {others}: move what both need down"


@pytest.mark.parametrize("name", experiments.names())
def test_an_experiments_folder_is_read_from_experiment_py_down(name):
    """Claims and figures know nothing of the experiment that lists them."""
    for path in (ROOT / "experiments" / name).rglob("*.py"):
        above = {module for module in imported(path) if module.startswith(f"experiments.{name}.experiment.")}
        assert not above, f"{path.relative_to(ROOT)} imports {above}"


def test_nothing_imports_tensorflow_or_torch():
    for path in ROOT.glob("[!.]*/**/*.py"):
        if path.relative_to(ROOT).parts[0] not in ("benchmarks", "tests"):
            names = {name.split(".")[0] for name in imported(path)}
            assert not names & {"tensorflow", "torch", "clu"}, path


def test_imports_by_name_are_seen(tmp_path):
    file = tmp_path / "file.py"
    file.write_text('import importlib\nimportlib.import_module("experiments.cnn.experiment")\n__import__("probes")\n')
    assert {"experiments.cnn.experiment", "probes"} <= imported(file)


@pytest.mark.parametrize("package", ["data", "models", "probes", "reporting", "training"])
def test_every_module_has_a_test_file_of_its_name_or_one_that_says_it_covers_it(package):
    docstrings = "".join(
        ast.get_docstring(ast.parse(path.read_text())) or "" for path in ROOT.glob("tests/**/test_*.py")
    )
    for path in (ROOT / package).rglob("*.py"):
        module = path.relative_to(ROOT)
        has_code = path.name != "__init__.py" or any(
            isinstance(node, ast.FunctionDef) for node in ast.parse(path.read_text()).body
        )
        name = path.parent.name if path.name == "__init__.py" else path.stem
        mirrored = ROOT / "tests" / (module.parent.parent if path.name == "__init__.py" else module.parent)
        assert not has_code or (mirrored / f"test_{name}.py").exists() or str(module) in docstrings, (
            f"{module} has no test of its own, and no test's docstring names it"
        )
