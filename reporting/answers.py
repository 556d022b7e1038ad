"""The page of what a trained arm answers to a query of eval.py, and the files that come with it."""

import time

from etils import epath

from reporting import page
from reporting.tables import table
from training import files


def write(workdir, answer, *, title, asked, command, facts, start):
    """Writes an answer's files and report.html into the workdir, each whole or not at all.

    Args:
      answer: a training.experiment.Answer.
      asked: the flag and its value, as they were typed.
      command: what reproduces the answer, as a shell would take it.
      facts: {label: text} of the versions, what was asked and the like.
      start: ``time.monotonic()`` when the command began.
    """
    workdir = epath.Path(workdir)
    for name, content in answer.files.items():
        files.write_whole(workdir / name, content)
    printed = [table("Answer", "As the command prints it.", [asked], [[answer.text]])] if answer.text else []
    written = {"files": ", ".join(answer.files)} if answer.files else {}
    page.write(
        workdir / "report.html",
        title=title.replace("_", " "),
        question=f"What a trained model answers to {asked}.",
        command=command,
        verdicts=None,
        figures=[*printed, *answer.figures],
        facts=facts | written | {"wall time": f"{time.monotonic() - start:.1f} s", "date": time.strftime("%Y-%m-%d")},
        arms=[],
    )
