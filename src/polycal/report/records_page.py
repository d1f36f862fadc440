"""A page, tables and figures of any score records, without a grid and without a model."""

import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from polycal.analysis.record_tables import RECORDS
from polycal.artifacts import files, manifests
from polycal.artifacts import tables as table_files
from polycal.errors import PolycalError
from polycal.report import main_page, page, tables
from polycal.report.figures import draw
from polycal.report.study_tables import StudyTables

PAGE, MANIFEST = "report.html", "records.json"
"""The page, and the list of the files that were written with it."""


class OutputError(PolycalError):
    """A folder that the page cannot be written to; the message says what is in it."""


def check_output(out: Path) -> None:
    """Raise OutputError if ``out`` exists and contains anything but an earlier page of records."""
    if not os.path.lexists(out):
        return
    if not out.is_dir():
        raise OutputError(f"--out {out}: is a file; must be a new folder.")
    here = {path.relative_to(out).as_posix() for path in out.rglob("*") if not path.is_dir()}
    listed = manifests.read(out / MANIFEST).get("files", []) if MANIFEST in here else []
    if others := sorted(here - {*listed, MANIFEST}):
        raise OutputError(
            f"--out {out}: contains {others[0]}, which polycal show did not write; must be a new folder or one that it"
            " wrote."
        )


def write(
    measured: Mapping[str, pd.DataFrame], names: Mapping[str, str], out: Path, run: Mapping[str, Any]
) -> Path:
    """Write the tables, figures and page of ``record_tables`` into the folder ``out``; returns the page.

    ``names`` are English names by language, and ``run`` is recorded in every table. An earlier page in
    ``out`` is replaced as a whole, after the new one is complete. Raises OutputError as ``check_output``.
    """
    check_output(out)
    study = StudyTables(measured, names)
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        for name, table in measured.items():
            table_files.write(table, temporary / f"{name}.parquet", {**run, "table": name})
        further = {**page.further_tables(study), RECORDS: study[RECORDS]}
        tables.write(study, temporary / "tables", further)
        figures = draw.draw(study, temporary / "figures")
        files.write_text(temporary / PAGE, main_page.render(study, out.name, (), figures, {}))
        listed = sorted(
            path.relative_to(temporary).as_posix() for path in temporary.rglob("*") if path.is_file()
        )
        files.write_json(temporary / MANIFEST, {**run, "files": listed})
        if out.is_dir():
            shutil.rmtree(out)
        os.rename(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return out / PAGE
