"""The command ``polycal show``: the first screen of a study's report, in the terminal."""

from pathlib import Path
from typing import Annotated

import typer

from polycal.cli.printed_tables import filled


def add_to(app: typer.Typer) -> None:
    """Add show."""
    app.command()(show)


def show(study: Annotated[Path, typer.Argument(help="Folder of a measured study.")]) -> None:
    """The answer of a study with its intervals, what to be careful about, and the verdicts about the paper's claims."""
    from polycal.report import answer, findings, study_holes, study_tables

    tables = study_tables.read(study, {})
    paragraphs = [f"{', '.join(holes)} have no result."] if (holes := study_holes.counts(tables)) else []
    paragraphs += [f"{statement.sentence} {statement.numbers}" for statement in answer.answer(tables)]
    paragraphs += [f"Careful: {caution}" for caution in answer.cautions(tables)]
    for paragraph in paragraphs:
        print(filled(paragraph), end="\n\n")
    for check in findings.claim_checks(tables):
        verdict = check.agrees + (f", {check.support}" if check.support else "")
        place = check.measured.partition(":")[0]
        print(filled(f"{verdict}: {check.claim} ({place})", "    "))
    if (study / "report.html").is_file():
        print(f"\nThe report: {study / 'report.html'}")
