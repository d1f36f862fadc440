"""The stage ``report``: tables, figures, the main page, and a page that links each value to its records."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from polycal.artifacts import files
from polycal.artifacts.manifests import Stamp
from polycal.audit import lineage
from polycal.audit.artifact_index import SOURCES
from polycal.audit.lineage import LineageNode
from polycal.report import (
    best_beta,
    group_table,
    main_page,
    provenance_page,
    sensitivity_table,
    snakemake_report,
    study_tables,
    tables,
)
from polycal.report.figures import draw
from polycal.report.study_tables import StudyTables

MANIFEST, LANDING_PAGE = "report.json", "landing.yaml"
"""Files in the study's folder ``provenance``."""


def input_checksums(
    cell: Mapping[str, Any],
    *,
    measured: Sequence[Path],
    scores: Sequence[Path],
    conversations: Sequence[Path],
) -> dict[str, str]:
    """Checksums of the measured tables, and of the manifests of all results behind them."""
    study = measured[0].parent
    return lineage.input_checksums(study, lineage.results_behind(study))


def report(
    cell: Mapping[str, Any],
    *,
    measured: Sequence[Path],
    scores: Sequence[Path],
    conversations: Sequence[Path],
    out: Path,
    stamp: Stamp,
    processes: int = 1,
    earlier_figures: Path | None = None,
) -> list[Path]:
    """Write tables, figures, the page ``out``, the provenance page and the folder ``provenance`` of a study.

    ``measured`` are the study's tables, in the folder of ``out``. ``scores`` are all score records of the
    grid. Those that do not exist are listed as missing, unless the table of holes contains their cell.
    ``conversations`` are instruction data sets, whose contents the page describes if the file exists.
    ``processes`` draw the figures. Those in the folder ``earlier_figures`` are taken from there, and new ones stored.

    Returns all written files except ``out``. Raises StudyError if a measured table is missing.
    """
    folder = out.parent
    study = study_tables.read(folder, cell["languages"], cell.get("reliability_languages", ()))
    nodes = lineage.results_behind(folder)
    for name in ("tables", "figures"):
        # they may contain files of an earlier configuration of this study
        shutil.rmtree(folder / name, ignore_errors=True)
    written = tables.write(study, folder / "tables", further_tables(study))
    figures = draw.draw(study, folder / "figures", processes, earlier_figures)
    text = main_page.render(study, folder.name, scores, figures, cell, conversations, nodes)
    behind = provenance_page.render(study, folder.name, out.name, nodes, cell)
    files.write_text(out, text)
    files.write_text(folder / provenance_page.FILE, behind)
    print(f"report: {out}", flush=True)
    written += [folder / provenance_page.FILE]
    written += [path for path in sorted((folder / "figures").iterdir()) if path.is_file()]
    return [*written, *_write_provenance(out, written, stamp(), nodes, cell)]


def further_tables(study: StudyTables) -> dict[str, pd.DataFrame]:
    """The tables that are written as CSV only, by name."""
    further = {**sensitivity_table.tables(study), **group_table.tables(study)}
    best = best_beta.best_beta(study)
    if len(best):
        further["best-beta"] = study_tables.without_single_base_seed(best).round(4)
    if len(chosen := study.get("chosen_beta")):
        further["chosen-beta"] = study_tables.without_single_base_seed(chosen)
    return further


def _write_provenance(
    out: Path,
    written: Sequence[Path],
    run: Mapping[str, Any],
    nodes: Sequence[LineageNode],
    settings: Mapping[str, Any],
) -> list[Path]:
    """Write the report's manifest, the manifests of sources outside the results folder, and the landing page.

    With them, a copy of the results folder is enough to trace every value, without the downloads.
    """
    study = out.parent
    folder = study / "provenance"
    results = f"{study.absolute().parent.parent.name}/"
    outside = {
        node.artifact.path: dict(node.artifact.manifest)
        for node in nodes
        if not node.artifact.path.startswith(results)
    }
    files.write_json(folder / SOURCES, outside)
    snakemake_report.write_landing_page(folder / LANDING_PAGE, run, nodes, settings)
    listed = {
        path.relative_to(study).as_posix(): {"bytes": path.stat().st_size, "sha256": files.sha256(path)}
        for path in [*written, out, folder / SOURCES]
    }
    files.write_json(folder / MANIFEST, {**run, "folder": "..", "files": listed})
    return [folder / name for name in (SOURCES, LANDING_PAGE, MANIFEST)]
