"""The report of a run: one HTML page that holds its claims, figures and how to reproduce them, and loads nothing."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from etils import epath

from reporting import claims as claims_module
from reporting.claims import Claim
from reporting.figures import Figure
from reporting.tables import cell_text, is_numeric
from training import files

TEMPLATE = "page.html.jinja"
VERDICTS = {True: ("holds", "✓ PASS"), False: ("fails", "✗ FAIL"), None: ("undecided", "– not decided")}  # noqa: RUF001


def write(
    path: str | os.PathLike,
    *,
    title: str,
    question: str,
    command: str,
    claims: Sequence[Claim],
    figures: Sequence[Figure],
    facts: Mapping[str, str],
    arms: Sequence[Mapping[str, object]],
    notes: Sequence[str] = (),
) -> None:
    """Writes the report to `path`, whole or not at all: a reader never sees half a page.

    `facts` are labelled lines such as versions and wall time. `arms` are the rows of a table; its columns are the keys
    in order of first appearance, printed as they are, so a key names its unit: "final loss (nats)". All text is
    escaped; only the markup of `figures` goes in as it is.
    """
    path = epath.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_whole(path, _render(title, question, command, claims, figures, facts, arms, notes).encode())


def _render(title, question, command, claims, figures, facts, arms, notes) -> str:
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
        summary=claims_module.summary(claims),
        rows=[_claim_row(claim) for claim in claims],
        one_seed=any(claim.seeds for claim in claims) and max(claim.seeds for claim in claims) == 1,
        figures=figures,
        facts=facts,
        columns=[(column, is_numeric(row.get(column) for row in arms)) for column in columns],
        arms=[[cell_text(row.get(column)) for column in columns] for row in arms],
        notes=notes,
    )


def _claim_row(claim: Claim) -> dict[str, object]:
    number = claims_module.number_text
    kind, verdict = VERDICTS[None if claim.passed is None else bool(claim.passed)]
    return {
        "claim": claim,
        "kind": kind,
        "verdict": verdict,
        "measured": "–" if claim.measured is None else number(claim.measured),  # noqa: RUF001
        "interval": "–" if claim.interval is None else "[{}, {}]".format(*map(number, claim.interval)),  # noqa: RUF001
        "seeds": ", ".join(f"seed {seed + 1}: {number(value)}" for seed, value in enumerate(claim.values)),
    }
