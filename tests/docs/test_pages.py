"""The docs: their code runs, and the flags, fields, paths, names, links and claims that they mention exist."""

import pkgutil
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import experiments
from reporting.claims import judge_all
from training import parallel, run, workdirs
from training.config import leaves, override

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "experiments").glob("*/README.md")),
]
GUIDE = ROOT / "docs" / "your_own_experiment.md"
FILES_OF_RUNS = {"translations.txt", "references.txt", "sources.txt"}  # what arms of seq2seq_attention write
GUIDES_FOLDER = "experiments/previous_token"  # where the guide tells its reader to put the experiment
ANY_EXPERIMENT = {"experiments/NAME", "experiment.py"}  # what pages call any experiment's folder and file
PACKAGES = ("experiments", "models", "data", "probes", "training", "reporting", "benchmarks", "docs", "tests")
# Of absl, pip, sha256sum, XLA, TensorBoard, SLURM and gcloud.
FOREIGN_FLAGS = {
    *("help", "extra-index-url", "check", "xla_force_host_platform_device_count", "logdir", "nodes", "ntasks-per-node"),
    *("gpus-per-node", "requeue", "open-mode", "time", "signal", "kill-on-bad-exit"),
    *("zone", "accelerator-type", "version", "spot", "worker", "command"),
}
SINGLE = parallel.SINGLE


def page_name(page):
    return str(page.relative_to(ROOT))


each_page = pytest.mark.parametrize("page", PAGES, ids=page_name)


def python_blocks(page):
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def text_of(page):
    """The page without commands that are shown for their error."""
    return re.sub(r"^ *\$.*\n(?= *error:)", "", page.read_text(), flags=re.MULTILINE)


@pytest.fixture(scope="module")
def guides_folder(tmp_path_factory):
    """A folder outside the repository with the experiment of the guide."""
    (code,) = python_blocks(GUIDE)
    folder = tmp_path_factory.mktemp("guide") / "previous_token"
    folder.mkdir()
    (folder / "experiment.py").write_text(code)
    return folder


@pytest.fixture(scope="module")
def guides_experiment(guides_folder):
    return experiments.load(str(guides_folder))


def test_the_experiment_of_the_guide_trains_and_is_judged(guides_experiment, tmp_path):
    experiment = guides_experiment
    config = override(experiment.config, {"num_steps": 2, "batch_size": 4, "eval_every": 1})
    arm_configs = run.select_arms(experiment, config, experiment.default_arms, {})
    tasks = run.make_tasks(experiment, arm_configs, SINGLE)
    with workdirs.open_workdir(tmp_path, "previous_token", config, arm_configs, 2):
        results = run.train(experiment, tasks, arm_configs, tmp_path, SINGLE, num_seeds=2)
    verdicts = judge_all(experiment.claims, results)
    assert [verdict.id for verdict in verdicts] == ["1", "2"]
    assert all(verdict.seeds == 2 for verdict in verdicts)
    assert verdicts[0].passed is False  # two steps are not enough
    (figure,) = experiment.figures(results)
    assert "best guess" in figure.markup


def test_the_experiment_of_the_guide_passes_the_tests_of_the_house(guides_folder, tmp_path):
    """As the guide says, there is nothing else to edit: the checks that make test runs on every experiment pass."""
    clone = tmp_path / "clone"
    unwanted = shutil.ignore_patterns(".git", ".venv", "runs", "__pycache__", ".*_cache")
    shutil.copytree(ROOT, clone, ignore=unwanted)
    shutil.rmtree(clone / GUIDES_FOLDER, ignore_errors=True)  # of a reader who has followed the guide
    shutil.copytree(guides_folder, clone / GUIDES_FOLDER, ignore=unwanted)
    command = [sys.executable, "-m", "pytest", "-n", "0", "-k", "previous_token or readme", "-m", ""]
    tests = ["tests/experiments/test_every_experiment.py", "tests/test_arrows.py"]
    done = subprocess.run([*command, *tests], cwd=clone, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\b[6-9] passed", done.stdout), done.stdout


@pytest.mark.parametrize(
    "page",
    [
        # Slow: one has the same code as the notebook, which takes 15 seconds, the other takes 10.
        pytest.param(page, marks=pytest.mark.slow if page.name in ("probing.md", "pretrained.md") else ())
        for page in PAGES
        if page != GUIDE and python_blocks(page)
    ],
    ids=page_name,
)
def test_python_blocks_run_in_order(page, untrained):
    names = {}
    for number, code in enumerate(python_blocks(page)):
        code = code.replace("runs/induction_heads", str(untrained))
        exec(compile(code, f"{page_name(page)}, block {number}", "exec"), names)


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
    paths = set(re.findall(rf"(?<![\w./-])(?:{folders})/[\w./-]*\w", text)) - {GUIDES_FOLDER}
    paths |= set(re.findall(r"(?<![\w./-])(\w+\.(?:py|cff|txt))(?![\w/])", text))
    absent = {path for path in paths if not (ROOT / path).exists() and not (page.parent / path).exists()}
    assert absent <= ANY_EXPERIMENT | FILES_OF_RUNS
    for name in re.findall(rf"`((?:{folders})(?:\.[a-z]\w*)+)", text) + re.findall(r"python -m ([\w.]+)", text):
        assert importable(name), name


def importable(name):
    """Whether a dotted name is a module of ours or something in one."""
    if (ROOT / name.replace(".", "/")).with_suffix(".py").exists():
        return True
    try:
        return pkgutil.resolve_name(name) is not None
    except (ImportError, AttributeError):
        return False


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
