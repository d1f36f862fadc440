"""The command ``polycal show``: the first screen of a study or of score records, and a page of records."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polycal.cli import configfile, record_files
from polycal.cli.printed_tables import filled
from polycal.cli.stage_commands import UsageError

if TYPE_CHECKING:
    from polycal.report.study_tables import StudyTables

MEASURED = "cells.parquet"
"""A folder with this file is a measured study."""


def add_to(app: typer.Typer) -> None:
    """Add show."""
    app.command()(show)


def show(
    given: Annotated[
        list[Path],
        typer.Argument(
            metavar="STUDY|RECORDS...",
            help="Folder of a measured study, or score records and folders of them.",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder to write tables, figures and a page of the records to.")
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="Run that every other run of the records is compared with.")
    ] = None,
    normalise: Annotated[
        str | None, typer.Option(help="sum, token, byte or pmi, of records; default: by candidates.")
    ] = None,
) -> None:
    """The answer of a study or of any score records with intervals, and what to be careful about.

    A study has a report. Of records, --out writes one, without a grid and without a model.
    """
    from polycal.report import study_tables

    studies = [path for path in given if (path / MEASURED).is_file()]
    if studies:
        _check_alone(studies[0], given, {"out": out, "against": against, "normalise": normalise})
        _print(study_tables.read(studies[0], {}))
        if (studies[0] / "report.html").is_file():
            print(f"\nThe report: {studies[0] / 'report.html'}")
        return
    for folder in given:
        if folder.is_dir() and next(folder.rglob("*.parquet"), None) is None:
            raise study_tables.StudyError(
                f"{folder}: {MEASURED} is missing, and there is no score record (.parquet) in the folder; give a measured"
                " study or score records."
            )
    _show_records(record_files.found(given), out, against, normalise)


def _check_alone(study: Path, given: Sequence[Path], options: dict[str, Any]) -> None:
    """Raise UsageError if a study is given with anything that applies to records only."""
    if len(given) > 1:
        raise UsageError(f"{study}: is a measured study, which is shown alone; give it without other paths.")
    for name, value in options.items():
        if value is not None:
            raise UsageError(
                f"--{name}: applies to score records, but {study} is a measured study; give its records, or leave the"
                " option out."
            )


def _show_records(paths: list[Path], out: Path | None, against: str | None, normalise: str | None) -> None:
    from polycal.analysis import record_checks, record_tables
    from polycal.report import records_page
    from polycal.report.study_tables import StudyTables
    from polycal.store import provenance

    if out is not None:
        out = out.resolve()
        records_page.check_output(out)
    found = record_checks.check(paths, normalise)
    if against is not None:
        record_checks.check_reference(found, against)
    languages = _languages()
    names = {code: str(entry.get("name", code)) for code, entry in languages.items()}
    levels = {code: str(entry["resource"]) for code, entry in languages.items() if "resource" in entry}
    measured = record_tables.record_tables(found, levels, against)
    _print(StudyTables(measured, names))
    if out is None:
        print("\nThe option --out FOLDER writes tables, figures and a page.")
        return
    commit, dirty = provenance.repository()
    run = {"settings": record_tables.SETTINGS, "commit": commit, "dirty": dirty}
    print(f"\nThe page: {records_page.write(measured, names, out, run)}")


def _languages() -> dict[str, Any]:
    """Names and resource levels of languages: the catalogue of the working directory, if it has one."""
    from polycal.study import config_files

    catalogue = configfile.BASE[0]
    return dict(config_files.read(catalogue).get("languages") or {}) if catalogue.is_file() else {}


def _print(tables: "StudyTables") -> None:
    """Print the first screen."""
    from polycal.report import answer, findings, run_answer, study_holes

    statements = answer.answer(tables) or (run_answer.answer(tables) if tables.of_records else [])
    paragraphs = [f"{', '.join(holes)} have no result."] if (holes := study_holes.counts(tables)) else []
    paragraphs += [f"{statement.sentence} {statement.numbers}" for statement in statements]
    paragraphs += [f"Careful: {caution}" for caution in answer.cautions(tables)]
    for paragraph in paragraphs:
        print(filled(paragraph), end="\n\n")
    for check in findings.claim_checks(tables):
        verdict = check.agrees + (f", {check.support}" if check.support else "")
        place = check.measured.partition(":")[0]
        print(filled(f"{verdict}: {check.claim} ({place})", "    "))
