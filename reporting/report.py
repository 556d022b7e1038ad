"""The verdicts of a run: claims.json, report.html, and the table that the terminal shows."""

import json
import time

from etils import epath

from reporting import claims, page, verdict_text
from training import files


def write(workdir, name, experiment, results, *, command, facts, start, notes=()):
    """Judges an experiment's results and writes what was found into the workdir.

    Args:
      results: {arm: training.experiment.ArmResult}.
      command: what reproduces the run, as a shell would take it.
      facts: {label: text} of the versions, the device and the like.
      start: ``time.monotonic()`` when the command began.
    Returns:
      the table of claims, as text.
    """
    workdir = epath.Path(workdir)
    verdicts = claims.judge_all(experiment.claims, results)
    listed = json.dumps(claims.to_json(verdicts), indent=1, allow_nan=False)
    files.write_whole(workdir / "claims.json", listed + "\n")
    figures = experiment.figures(results)
    facts = {**facts, "seeds": _seeds(results), "wall time": f"{time.monotonic() - start:.1f} s"}
    page.write(
        workdir / "report.html",
        title=epath.Path(name).name.replace("_", " "),
        question=experiment.question,
        command=command,
        verdicts=verdicts,
        figures=figures,
        facts={**facts, "date": time.strftime("%Y-%m-%d")},
        arms=[_row(arm, result) for arm, result in results.items()],
        notes=notes,
    )
    return verdict_text.table(verdicts)


def _seeds(results):
    seeds = {tuple(result.config.seed + i for i in range(result.num_seeds)) for result in results.values()}
    return "; ".join(", ".join(map(str, s)) for s in seeds)


def _row(arm, result):
    """A line of the table of arms: what it is, and its last evaluation (a mean over seeds)."""
    row = {"arm": arm}
    if result.variables is not None:
        row |= {"parameters": result.num_parameters, "steps": result.step}
    row |= {name.replace("_", " "): float(values.mean()) for name, values in result.final.items()}
    return row | {"time of this run (s)": round(result.seconds, 1)}
