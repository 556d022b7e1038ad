"""The commands as a user runs them, on the experiment beside this file; for tests of faults."""

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import jax
from conftest import QUICK_COMPILATION

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
# Batches that take a while, so that faults come in the middle of training, and often a checkpoint.
SLOW_RUN = (
    "--arms=plain",
    "--config.seconds=0.02",
    "--config.num_steps=100",
    "--config.eval_every=5",
    "--config.checkpoint_every=10",
)


def start(script, *arguments, devices=1):
    """A process that runs a script of the repository's root on so many simulated devices."""
    environment = os.environ | {
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices} {QUICK_COMPILATION}",
        "JAX_COMPILATION_CACHE_DIR": str(jax.config.jax_compilation_cache_dir),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    return subprocess.Popen(
        [sys.executable, script, *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process, expect=0, timeout=120):
    """stderr of a process that ends with the expected code."""
    out, err = process.communicate(timeout=timeout)
    assert process.returncode == expect, out + err
    return err


def start_train(*flags, devices=1):
    """A process that trains the experiment."""
    return start("train.py", f"--experiment={FOLDER}", *flags, devices=devices)


def train(*flags, devices=1, expect=0):
    """stderr of train.py, which ends with the expected code."""
    return finish(start_train(*flags, devices=devices), expect)


def evaluate(*flags, expect=0):
    """stderr of eval.py, which ends with the expected code."""
    return finish(start("eval.py", *flags), expect)


def read_losses(workdir):
    """[(step, split, loss)] as they were logged."""
    lines = [json.loads(line) for line in (workdir / "plain" / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["split"], line["loss"]) for line in lines if "loss" in line]


def logged_step(workdir):
    """The step that was logged last; -1 where there is none."""
    with suppress(OSError, IndexError, ValueError):
        return json.loads((workdir / "plain" / "metrics.jsonl").read_text().splitlines()[-1])["step"]
    return -1


def wait_until(condition, seconds=60):
    """Waits until a condition holds; fails the test where it never does."""
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.02)
