"""A hyperparameter search: trains all trials of an experiment's arms at once, and reports what each axis does."""

import time
from dataclasses import asdict

import numpy as np

from reporting import page, sweeps
from reporting.claims import number_text
from reporting.tables import table
from training import files, run, sweep
from training.experiment import UserError
from training.progress import say

METRIC = "loss"
TRIALS = "trials.json"
SHOWN = 10  # best trials of an arm in the report


def search(workdir, name, experiment, arm_configs, axes, values, *, command, began):
    """Trains all trials in each arm that trains anything, and writes trials.json and report.html.

    Args:
      axes, values: of ``training.sweep``, {path: Axis} and {path: [N]}.
      command, began: as ``reporting.report.write`` takes them.
    Returns:
      the best trial of each arm, as text.
    Raises:
      UserError: axes that cannot be swept at once in some arm, or a workdir that holds a run.
    """
    trained = {arm: run.make_task(experiment, arm, config).optimizer for arm, config in arm_configs.items()}
    arm_configs = {arm: config for arm, config in arm_configs.items() if trained[arm]}
    if not arm_configs:
        raise UserError(f"{name} has no arm here that trains anything: there is nothing to sweep")
    # Traced before anything is written: what cannot be swept is refused here.
    train = {arm: sweep.prepared(experiment.task, c, values, c.num_steps) for arm, c in arm_configs.items()}
    folder = run.make_folder(workdir)
    if not (folder / TRIALS).exists() and any(path.name != ".lock" for path in folder.iterdir()):
        raise UserError(f"{workdir} is not empty and holds no search; choose another --workdir")
    with files.locked(folder):
        found = {arm: _trained(arm, train[arm], config) for arm, config in arm_configs.items()}
        trials = {arm: {"values": t.values, "final": t.final, "diverged": t.diverged} for arm, t in found.items()}
        record = {"experiment": name, "command": command, "arms": {a: asdict(c) for a, c in arm_configs.items()}}
        run.write_json(folder / TRIALS, record | {"trials": trials} | run.environment())
        page.write(
            folder / "report.html",
            title=f"{name.replace('_', ' ')}: search",
            question=experiment.question,
            command=command,
            claims=[],
            figures=figures(axes, found),
            facts={**run.facts(), "wall time": f"{time.monotonic() - began:.1f} s", "date": time.strftime("%Y-%m-%d")},
            arms=[],
            notes=["Trials are compared by their final evaluation, one seed each."],
        )
    return "\n".join(_best_line(arm, trials) for arm, trials in found.items())


def _trained(arm, train, config):
    """The arm's training.sweep.Trials, and a line that says how long they took."""
    start = time.monotonic()
    trials = train(config.seed)
    seconds, lost = time.monotonic() - start, int(trials.diverged.sum())
    say(f"{arm}: {len(trials.diverged)} trials of {config.num_steps} steps in {seconds:.1f} s; {lost} diverged")
    return trials


def figures(axes, found):
    """The best of n trials for all arms; then, for each arm, its slices and its best trials."""
    losses = {arm: trials.final[METRIC] for arm, trials in found.items()}
    finite = np.concatenate([x[np.isfinite(x)] for x in losses.values()] or [np.ones(1)])
    drawn = [sweeps.best_so_far(losses, METRIC, log_y=bool(finite.size and 0 < 100 * finite.min() < finite.max()))]
    for arm, trials in found.items():
        order = _order(trials)[:SHOWN]
        rows = [
            [rank + 1, *(x[i] for x in (*trials.values.values(), *trials.final.values()))]
            for rank, i in enumerate(order)
        ]
        columns = ["rank", *trials.values, *(name.replace("_", " ") for name in trials.final)]
        slices = sweeps.slices(axes, trials.values, trials.final[METRIC], f"final {METRIC}")
        title = f"{arm}: {slices.title[:1].lower()}{slices.title[1:]}"
        drawn += [type(slices)(title, slices.markup, slices.caption)]
        drawn += [table(f"{arm}: the best trials", "By final loss.", columns, rows)]
    return drawn


def _order(trials):
    """Trials from the least final loss to the greatest, the diverged ones last."""
    losses_N = np.where(trials.diverged, np.inf, trials.final[METRIC])
    return np.argsort(np.where(np.isfinite(losses_N), losses_N, np.inf), kind="stable")


def _best_line(arm, trials):
    if trials.diverged.all():
        return f"{arm}: every trial diverged"
    best = _order(trials)[0]
    flags = " ".join(f"--config.{path}={number_text(values[best])}" for path, values in trials.values.items())
    return f"{arm}: best loss {number_text(trials.final[METRIC][best])} with {flags}"
