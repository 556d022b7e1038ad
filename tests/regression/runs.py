"""Runs of the experiment beside this file within the process of a test."""

import json
from dataclasses import replace

from regression.experiment import EXPERIMENT

from training import parallel, run, workdirs
from training.config import override
from training.experiment import Arm


def train(workdir, *, num_seeds=1, stop_at=None, arms=("plain",), experiment=EXPERIMENT, **overrides):
    """What ``training.run.train`` returns, on one device."""
    base = override(experiment.config, overrides)
    arm_configs = run.select_arms(experiment, base, arms, {})
    tasks = run.make_tasks(experiment, arm_configs, parallel.SINGLE)
    with workdirs.open_workdir(workdir, "regression", base, arm_configs, num_seeds, tasks):
        return run.train(experiment, tasks, arm_configs, workdir, parallel.SINGLE, num_seeds, stop_at)


def with_arm(make, experiment=EXPERIMENT):
    """The experiment with one arm, "plain", that another function makes."""
    return replace(experiment, arms=lambda config: {"plain": Arm(make)})


def read_final(workdir, arm="plain"):
    """final.json of an arm."""
    return json.loads((workdir / arm / "final.json").read_text())


def read_lines(workdir, arm="plain"):
    """The lines of an arm's metrics.jsonl, without what the clock says."""
    lines = [json.loads(line) for line in (workdir / arm / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k != "steps_per_second"} for line in lines if line["split"] != "time"]
