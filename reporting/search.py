"""A hyperparameter search: trains all trials of an experiment's arms at once, and reports what each axis does."""

import time
from dataclasses import asdict, replace

import numpy as np
from etils import epath

from reporting import page, sweeps
from reporting.tables import table
from reporting.verdict_text import number_text
from training import files, run, sweep, workdirs
from training.experiment import UserError
from training.progress import say

METRIC = "loss"
TRIALS = "trials.json"
NUM_BEST = 10  # trials of an arm in the report's table


def search(workdir, name, experiment, arm_configs, axes, values, *, command, start):
    """Trains all trials in each arm that trains anything, and writes trials.json and report.html.

    Args:
      axes, values: of ``training.sweep``, {path: Axis} and {path: [N]}.
      command, start: as ``reporting.report.write`` takes them.
    Returns:
      the best trial of each arm, as text.
    Raises:
      UserError: axes that cannot be swept at once in some arm, or a workdir that holds a run.
    """
    arm_configs = {
        arm: config for arm, config in arm_configs.items() if run.is_trained(run.make_task(experiment, arm, config))
    }
    if not arm_configs:
        raise UserError(f"{name} has no arm here that trains anything: there is nothing to sweep")
    # Traced before anything is written: what cannot be swept is refused here.
    searches = {
        arm: sweep.compile_search(experiment.arms(config)[arm].make, config, values, config.num_steps)
        for arm, config in arm_configs.items()
    }
    folder = workdirs.make_folder(workdir)
    if not (folder / TRIALS).exists() and any(path.name != ".lock" for path in folder.iterdir()):
        raise UserError(f"{workdir} is not empty and holds no search; choose another --workdir")
    with files.lock(folder):
        trials = {arm: _train_trials(arm, searches[arm], config) for arm, config in arm_configs.items()}
        record = {
            "experiment": name,
            "command": command,
            "arms": {arm: asdict(config) for arm, config in arm_configs.items()},
            "trials": {
                arm: {"values": of_arm.values, "final": of_arm.final, "diverged": of_arm.diverged}
                for arm, of_arm in trials.items()
            },
        }
        workdirs.write_json(folder / TRIALS, record | workdirs.environment())
        page.write(
            folder / "report.html",
            title=f"{epath.Path(name).name.replace('_', ' ')}: search",
            question=experiment.question,
            command=command,
            verdicts=[],
            figures=figures(axes, trials),
            facts={
                **workdirs.facts(),
                "wall time": f"{time.monotonic() - start:.1f} s",
                "date": time.strftime("%Y-%m-%d"),
            },
            arms=[],
            notes=["Trials are compared by their final evaluation, one seed each."],
        )
    return "\n".join(_best_line(arm, of_arm) for arm, of_arm in trials.items())


def _train_trials(arm, train, config):
    """The arm's training.sweep.Trials; says how long they took."""
    start = time.monotonic()
    trials = train(config.seed)
    seconds, num_diverged = time.monotonic() - start, int(trials.diverged.sum())
    say(f"{arm}: {len(trials.diverged)} trials of {config.num_steps} steps in {seconds:.1f} s; {num_diverged} diverged")
    return trials


def figures(axes, trials_by_arm):
    """The best of n trials for all arms; then, for each arm, its slices and its best trials."""
    losses = {arm: trials.final[METRIC] for arm, trials in trials_by_arm.items()}
    finite = np.concatenate([x[np.isfinite(x)] for x in losses.values()] or [np.ones(1)])
    drawn = [sweeps.best_so_far(losses, METRIC, log_y=bool(finite.size and 0 < 100 * finite.min() < finite.max()))]
    for arm, trials in trials_by_arm.items():
        rows = [
            [rank, *(x[i] for x in (*trials.values.values(), *trials.final.values()))]
            for rank, i in enumerate(_rank(trials)[:NUM_BEST], start=1)
        ]
        columns = ["rank", *trials.values, *(name.replace("_", " ") for name in trials.final)]
        slices = sweeps.slices(axes, trials.values, trials.final[METRIC], f"final {METRIC}")
        title = f"{arm}: {slices.title[:1].lower()}{slices.title[1:]}"
        drawn += [replace(slices, title=title)]
        drawn += [table(f"{arm}: the best trials", "By final loss.", columns, rows)]
    return drawn


def _rank(trials):
    """Indices of the trials from the least final loss to the greatest, the diverged ones last."""
    losses_N = np.where(trials.diverged, np.inf, trials.final[METRIC])
    return np.argsort(np.where(np.isfinite(losses_N), losses_N, np.inf), kind="stable")


def _best_line(arm, trials):
    if trials.diverged.all():
        return f"{arm}: every trial diverged"
    best = _rank(trials)[0]
    flags = " ".join(f"--config.{path}={number_text(values[best])}" for path, values in trials.values.items())
    return f"{arm}: best loss {number_text(trials.final[METRIC][best])} with {flags}"
