"""Eight simulated devices for every test, and quick compilation instead of quick programs; set before jax starts."""

import os
from importlib.metadata import version

QUICK_COMPILATION = "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
if version("jaxlib").startswith("0.10."):
    QUICK_COMPILATION += " --xla_cpu_use_fusion_emitters=false"  # half the time; later versions have no such flag
os.environ["XLA_FLAGS"] = (
    f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8 {QUICK_COMPILATION}"
)

import jax
import pytest


@pytest.fixture(scope="session", autouse=True)
def compile_each_program_once(tmp_path_factory):
    """Many tests trace the same small programs anew."""
    jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.getbasetemp().parent / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


@pytest.fixture(scope="module", autouse=True)
def forget_programs():
    """Files share few programs, and each compiled one keeps a megabyte of memory."""
    yield
    jax.clear_caches()


TINY = {
    "num_steps": 4,
    "batch_size": 8,
    "eval_batch_size": 8,
    "eval_every": 2,
    "checkpoint_every": 2,
    "context_length": 16,
    "repeats.vocab_size": 8,
    "repeats.min_period": 3,
    "d_model": 16,
    "num_heads": 2,
}


@pytest.fixture(scope="session")
def tiny():
    """(arms, overrides) -> (experiment, base config, {arm: config}, {arm: Task}) of the flagship at test size."""
    import experiments
    from training import parallel, run
    from training.config import override

    def make(arms=("two_layer",), **overrides):
        experiment = experiments.load("induction_heads")
        base = override(experiment.config, TINY | {k.replace("__", "."): v for k, v in overrides.items()})
        arm_configs = run.select_arms(experiment, base, arms, {})
        return experiment, base, arm_configs, run.make_tasks(experiment, arm_configs, parallel.SINGLE)

    return make


@pytest.fixture(scope="session")
def untrained(tmp_path_factory):
    """A workdir of the flagship's two-layer arm, saved before its first step."""
    import experiments
    from training import parallel, run, workdirs

    experiment = experiments.load("induction_heads")
    workdir = tmp_path_factory.mktemp("docs") / "run"
    arm_configs = run.select_arms(experiment, experiment.config, ("two_layer",), {})
    tasks = run.make_tasks(experiment, arm_configs, parallel.SINGLE)
    with workdirs.open_workdir(workdir, "induction_heads", experiment.config, arm_configs, 1):
        run.train(experiment, tasks, arm_configs, workdir, parallel.SINGLE, num_seeds=1, stop_at=0)
    return workdir
