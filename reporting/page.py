"""The report of a run: one HTML page that holds its claims, figures and how to reproduce them, and loads nothing."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from etils import epath

from reporting.claims import Verdict
from reporting.figures import Figure
from reporting.tables import cell_text, is_numeric
from reporting.verdict_text import margin_text, number_text, summary
from training import files

TEMPLATE = "page.html.jinja"
DASH, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"
OUTCOMES = {True: ("holds", "✓ PASS"), False: ("fails", "✗ FAIL"), None: ("undecided", f"{DASH} not decided")}


def write(
    path: str | os.PathLike,
    *,
    title: str,
    question: str,
    command: str,
    verdicts: Sequence[Verdict] | None,
    figures: Sequence[Figure],
    facts: Mapping[str, str],
    arms: Sequence[Mapping[str, object]],
    notes: Sequence[str] = (),
) -> None:
    """Writes the report to `path`, whole or not at all: a reader never sees half a page.

    `verdicts` are None on a page that is not about claims: it then has no section of them. `facts` are labelled lines
    such as versions and wall time. `arms` are the rows of a table; its columns are the keys in order of first
    appearance, printed as they are, so a key names its unit: "final loss (nats)". All text is escaped; only the markup
    of `figures` goes in as it is.
    """
    path = epath.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_whole(path, _render(title, question, command, verdicts, figures, facts, arms, notes).encode())


def _render(title, question, command, verdicts, figures, facts, arms, notes) -> str:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    columns = list(dict.fromkeys(column for row in arms for column in row))
    return environment.get_template(TEMPLATE).render(
        title=title,
        question=question,
        command=command,
        summary=summary(verdicts or ()),
        rows=None if verdicts is None else [_verdict_row(verdict) for verdict in verdicts],
        one_seed=max((verdict.seeds for verdict in verdicts or ()), default=0) == 1,
        figures=figures,
        facts=facts,
        columns=[(column, is_numeric(row.get(column) for row in arms)) for column in columns],
        arms=[[cell_text(row.get(column)) for column in columns] for row in arms],
        notes=notes,
    )


def _verdict_row(verdict: Verdict) -> dict[str, object]:
    kind, outcome = OUTCOMES[verdict.passed]
    has_margin = margin_text(verdict) != "-"
    return {
        "verdict": verdict,
        "kind": kind,
        "outcome": outcome,
        "measured": DASH if verdict.measured is None else number_text(verdict.measured),
        "interval": DASH if verdict.interval is None else "[{}, {}]".format(*map(number_text, verdict.interval)),
        "margin": re.sub("^-", MINUS, margin_text(verdict)) if has_margin else DASH,
        "seeds": ", ".join(f"seed {seed + 1}: {number_text(value)}" for seed, value in enumerate(verdict.values)),
    }
