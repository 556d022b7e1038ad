"""The docs: their code runs, and the flags, fields, paths, names, links and claims that they mention exist."""

import importlib
import importlib.util
import re
import sys
from pathlib import Path

import pytest

import experiments
from training import parallel, run
from training.config import leaves, override

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
GUIDE = ROOT / "docs" / "your_own_experiment.md"
GUIDES_FILE = "experiments/previous_token.py"  # where the guide tells its reader to put the experiment
PACKAGES = ("experiments", "models", "data", "probes", "training", "reporting", "benchmarks", "docs", "tests")
# Of absl, pip, sha256sum, XLA, TensorBoard, SLURM and gcloud.
FOREIGN_FLAGS = {
    *("help", "extra-index-url", "check", "xla_force_host_platform_device_count", "logdir", "nodes", "ntasks-per-node"),
    *("gpus-per-node", "requeue", "open-mode", "time", "signal", "kill-on-bad-exit"),
    *("zone", "accelerator-type", "version", "spot", "worker", "command"),
}
SINGLE = parallel.SINGLE

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def python_blocks(page):
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def text_of(page):
    """The page without commands that are shown for their error."""
    return re.sub(r"^ *\$.*\n(?= *error:)", "", page.read_text(), flags=re.MULTILINE)


@pytest.fixture(scope="module")
def guides_experiment(tmp_path_factory):
    (code,) = python_blocks(GUIDE)
    path = tmp_path_factory.mktemp("guide") / "previous_token.py"
    path.write_text(code)
    spec = importlib.util.spec_from_file_location("previous_token", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["previous_token"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module.EXPERIMENT
    del sys.modules["previous_token"]


def test_the_experiment_of_the_guide_trains_judges_and_draws(guides_experiment, tmp_path):
    experiment = guides_experiment
    config = override(experiment.config, {"num_steps": 2, "batch_size": 4, "eval_every": 1})
    arm_configs = run.select_arms(experiment, config, experiment.default_arms, {})
    tasks = run.make_tasks(experiment, arm_configs, SINGLE)
    with run.open_workdir(tmp_path, "previous_token", config, arm_configs, 2):
        results = run.train(experiment, tasks, arm_configs, tmp_path, SINGLE, num_seeds=2)
    run.save_results(tmp_path, results)
    claims = experiment.claims(results)
    assert [claim.id for claim in claims] == ["1", "2"]
    assert all(claim.seeds == 2 for claim in claims)
    assert claims[0].passed is False  # two steps are not enough
    (figure,) = experiment.figures(results)
    assert "best without" in figure.markup
    only_one = {"without": results["without"]}
    assert experiment.claims(only_one)[0].passed is None
    assert experiment.figures(only_one)


@pytest.mark.parametrize(
    "page",
    [
        # Slow: one has the same code as the notebook, which takes 15 seconds, the other takes 10.
        pytest.param(page, marks=pytest.mark.slow if page.name in ("probing.md", "pretrained.md") else ())
        for page in PAGES
        if page != GUIDE and python_blocks(page)
    ],
    ids=lambda p: p.name,
)
def test_python_blocks_run_in_order(page, untrained):
    names = {}
    for number, code in enumerate(python_blocks(page)):
        code = code.replace("runs/induction_heads", str(untrained))
        exec(compile(code, f"{page.name}, block {number}", "exec"), names)


@each_page
def test_config_fields_exist(page, guides_experiment):
    configs = [experiments.load(name).config for name in experiments.names()] + [guides_experiment.config]
    known = {path for config in configs for path in leaves(config)}
    mentioned = set(re.findall(r"--(?:no)?config\.([a-z][\w.]*\w)", text_of(page)))
    assert mentioned <= known


@each_page
def test_flags_exist(page):
    sources = [*ROOT.glob("*.py"), ROOT / "training" / "command.py", *ROOT.glob("benchmarks/*.py")]
    defined = r'(?:flags\.DEFINE_\w+\(|add_argument\()\s*"(?:--)?(\w+)"'
    known = FOREIGN_FLAGS.union(*(re.findall(defined, path.read_text()) for path in sources))
    mentioned = {name for name in re.findall(r"(?<![\w-])--([a-z][\w-]*)", text_of(page)) if name != "config"}
    assert mentioned - {"noconfig"} <= known


@each_page
def test_paths_and_modules_exist(page):
    text = re.sub(r"https?://\S+", "", text_of(page))
    folders = "|".join(PACKAGES)
    paths = set(re.findall(rf"(?<![\w./-])(?:{folders})/[\w./-]*\w", text)) - {GUIDES_FILE}
    paths |= set(re.findall(r"(?<![\w./-])(\w+\.(?:py|cff|txt))(?![\w/])", text)) - {Path(GUIDES_FILE).name}
    assert {path for path in paths if not (ROOT / path).exists()} == set()
    for name in re.findall(rf"`((?:{folders})(?:\.[a-z]\w*)+)", text) + re.findall(r"python -m ([\w.]+)", text):
        assert importable(name), name


def importable(name):
    """Whether a dotted name is a module of ours or something in one."""
    parts = name.split(".")
    if (ROOT / Path(*parts)).with_suffix(".py").exists():
        return True
    found = importlib.import_module(".".join(parts[:2]))
    for part in parts[2:]:
        found = getattr(found, part, None)
    return found is not None


@each_page
def test_relative_links_resolve(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE) if anchor else []
        slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert not anchor or anchor in slugs, target
