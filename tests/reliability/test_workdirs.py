"""Who may use a run's folder, and what a command reads and writes there."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from regression.commands import FOLDER, ROOT, SLOW_RUN, train
from regression.experiment import EXPERIMENT, Config, task
from regression.runs import read_final

from training import checkpoint, files, workdirs
from training.config import override
from training.experiment import UserError
from training.step import abstract_state


def test_a_second_run_on_a_workdir_is_refused(tmp_path):
    with workdirs.open_workdir(tmp_path / "run", str(FOLDER), EXPERIMENT.config, {}, 1):
        err = train("--arms=plain", f"--workdir={tmp_path / 'run'}", expect=2)
        assert re.search(rf"is in use by process {os.getpid()} on ", err)
    with files.lock(tmp_path / "run"):  # the lock went with its holder
        pass


def test_another_seed_batch_size_or_field_on_resume_is_refused_by_name(undisturbed):
    changes = dict(flag.removeprefix("--config.").split("=") for flag in SLOW_RUN if flag.startswith("--config."))
    config = override(EXPERIMENT.config, {path: float(value) for path, value in changes.items()})
    other = override(config, {"seed": 1, "batch_size": 8, "optimizer.b1": 0.8})
    with pytest.raises(UserError) as error, workdirs.open_workdir(undisturbed, str(FOLDER), other, {}, 1):
        pass
    for difference in ("seed (0 there, 1 now)", "batch_size (16 there, 8 now)", "optimizer.b1 (0.9 there, 0.8 now)"):
        assert difference in str(error.value)
    with workdirs.open_workdir(undisturbed, str(FOLDER), config, {}, 1):
        pass


def test_evaluation_reads_no_optimiser_state(undisturbed, tmp_path):
    """That eval.py leaves the folder as it was, test_damage.py sees."""
    shutil.copytree(undisturbed, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "plain" / "checkpoints" / "100" / "rest")
    variables = checkpoint.restore_variables(
        tmp_path / "run" / "plain", 100, abstract_state(task(Config(num_steps=100)), 1)
    )
    assert checkpoint.params_sha256(variables["params"]) == read_final(undisturbed)["params_sha256"]


def test_no_command_imports_tensorflow():
    """Both commands define flags of the same names, so those of the first go before the second comes."""
    code = """if True:
        import sys, train
        from absl import flags
        flags.FLAGS.remove_flag_values([flag.name for flag in flags.FLAGS.flags_by_module_dict()["train"]])
        import eval
        from reporting import report
        from training import run
        print(*sys.modules)
    """
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {"jax", "training.run", "train", "eval"} <= set(answer.stdout.split())
    assert not {"tensorflow", "torch"} & set(answer.stdout.split())
