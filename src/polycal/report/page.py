"""The stage ``report``: tables, figures, and a page that links each number to the records behind it."""

import base64
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from polycal.artifacts import cell_paths, files, records
from polycal.artifacts.manifests import Stamp
from polycal.audit import lineage
from polycal.audit.artifact_index import SOURCES
from polycal.audit.lineage import LineageNode
from polycal.report import (
    best_beta,
    captions,
    findings,
    provenance_section,
    sensitivity_table,
    snakemake_report,
    study_holes,
    study_tables,
    tables,
)
from polycal.report.costs import costs
from polycal.report.figures import draw
from polycal.report.study_tables import StudyTables
from polycal.vocabulary import CELL_KEYS, NONE

MANIFEST, LANDING_PAGE = "report.json", "landing.yaml"
"""Files of the study's folder ``provenance``."""


def input_checksums(
    cell: Mapping[str, Any],
    *,
    measured: Sequence[Path],
    scores: Sequence[Path],
    conversations: Sequence[Path],
) -> dict[str, str]:
    """Checksums of what the report shows: the measured tables, and the manifests of all results behind."""
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
) -> list[Path]:
    """Write tables, figures, the page ``out`` and the folder ``provenance`` of a study.

    ``measured`` are its tables; ``out`` is in the same folder. ``scores`` are all score records of the grid;
    those that do not exist are listed as missing, unless the table of holes names their cell. Of each file of
    ``conversations`` that exists, the page says what it contains. Returns all files except ``out``. Raises StudyError
    if a measured table is missing.
    """
    folder = out.parent
    study = study_tables.read(folder, cell["languages"])
    nodes = lineage.results_behind(folder)
    for name in ("tables", "figures"):
        # files of another configuration of this study
        shutil.rmtree(folder / name, ignore_errors=True)
    written = tables.write(study, folder / "tables", _further_tables(study))
    figures = draw.draw(study, folder / "figures")
    files.write_text(out, page(study, folder.name, scores, figures, cell, conversations, nodes))
    print(f"report: {out}", flush=True)
    written += [path for path in sorted((folder / "figures").iterdir()) if path.is_file()]
    return [*written, *_write_provenance(out, written, stamp(), nodes, cell)]


def _further_tables(study: StudyTables) -> dict[str, pd.DataFrame]:
    further = dict(sensitivity_table.tables(study))
    best = best_beta.best_beta(study)
    if len(best):
        further["best-beta"] = study_tables.without_single_base_seed(best).round(4)
    return further


def _write_provenance(
    out: Path,
    written: Sequence[Path],
    run: Mapping[str, Any],
    nodes: Sequence[LineageNode],
    settings: Mapping[str, Any],
) -> list[Path]:
    """Write the report's manifest, the manifests of sources outside of the results, and the landing page.

    A copy of the results folder is then enough to trace every number, without the downloads.
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


def page(
    study: StudyTables,
    name: str,
    scores: Sequence[Path],
    figures: Sequence[Path],
    settings: Mapping[str, Any],
    conversations: Sequence[Path] = (),
    nodes: Sequence[LineageNode] = (),
) -> str:
    """The HTML of the report. All text is escaped, figures (PNG) are inlined, and the page loads nothing.

    ``settings`` is the study's grid and conventions, shown as JSON. ``nodes`` are the results behind the
    tables: every value of Table 1 links to its records, and these to what they read.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("polycal.report"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    first_rows = tables.numbers(study)[tables.KEYS].to_dict("records")
    pair_rows = tables.pairs(study).to_dict("records")
    scored = set(study["cells"].language)
    holes = study_holes.of_study(study)
    return environment.get_template("report.html.j2").render(
        name=name,
        summary=findings.summary(study),
        claims=findings.claim_checks(study),
        failed=study_holes.FAILED,
        hole_counts=study_holes.counts(study),
        holes=study_holes.grouped(holes, study_tables.distinguishing(holes)),
        first=_table(tables.table_one(study)),
        first_reasons=[study_holes.reasons(holes, row) for row in first_rows],
        pairs=_table(tables.data_sets(study)),
        pair_reasons=[study_holes.reasons(holes, row) for row in pair_rows],
        conventions=_table(sensitivity_table.conventions(study)),
        kinds=captions.FIGURE_KINDS,
        figures=[_figure(path) for path in figures],
        data=[_instruction_set(path, scored) for path in conversations if path.exists()],
        origins=settings.get("origins", []),
        mixtures=provenance_section.mixtures(nodes),
        acceptances=lineage.acceptances_behind(nodes),
        missing=_unnamed(scores, holes),
        first_records=provenance_section.records_of_rows(first_rows, nodes),
        pair_records=provenance_section.records_of_rows(pair_rows, nodes),
        table_anchors=provenance_section.table_anchors(nodes),
        stages=provenance_section.stages(nodes),
        costs=costs(nodes),
        settings=json.dumps(settings, indent=1, sort_keys=True, ensure_ascii=False),
    )


def _unnamed(scores: Sequence[Path], holes: pd.DataFrame) -> list[str]:
    """The records that do not exist and whose cell is not among ``holes``."""
    named = set(holes[list(CELL_KEYS)].itertuples(index=False, name=None))
    missing = [path for path in scores if not path.exists()]
    cells = [cell_paths.cell_in(path) for path in missing]
    return [
        str(path)
        for path, cell in zip(missing, cells, strict=True)
        if tuple(cell.get(name, NONE) for name in CELL_KEYS) not in named
    ]


def _table(table: pd.DataFrame) -> dict[str, Any]:
    return {"columns": list(table.columns), "rows": table.to_dict("records")}


def _figure(path: Path) -> dict[str, Any]:
    png = path.read_bytes()
    # bytes 16 to 19 of a PNG are its width in pixels
    several_panels = int.from_bytes(png[16:20], "big") > 1000
    data = base64.b64encode(png).decode()
    return {"name": path.stem, "kind": captions.kind_of(path.stem), "data": data, "wide": several_panels}


def _instruction_set(path: Path, scored: set[str]) -> dict[str, Any]:
    """What an instruction set contains, and how much of it is in languages that the study scores."""
    manifest: Mapping[str, Any] = records.metadata(path)
    by_language: dict[str, int] = manifest["by_language"]
    return {
        "name": path.stem,
        "conversations": manifest["conversations"],
        "sources": len(manifest["by_source"]),
        "languages": len(set(by_language) - {"unknown"}),
        "unknown": by_language.get("unknown", 0),
        "scored": ", ".join(f"{code} {count}" for code, count in by_language.items() if code in scored),
        "identified": ", ".join(f"{how} {count}" for how, count in manifest["language_from"].items()),
    }
