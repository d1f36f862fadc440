"""The stage ``measure``: every table of numbers that the figures and the report are made from.

Each Score file is read once, and only estimates and bootstrap samples are kept, so that the paper's grid fits in
memory. The tables are plain Parquet files; the same files and settings give the same values.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from polycal.analysis import contrasts, known_truth, pooling, score_arrays, sensitivity, temperature_scaling
from polycal.analysis.cell_metrics import MeasuredCell, measure_cell
from polycal.analysis.conditions import cell_key
from polycal.analysis.known_truth import TruthRows
from polycal.analysis.question_split import split_questions
from polycal.analysis.score_set import ScoreSet
from polycal.analysis.temperature_scaling import Recalibrated
from polycal.artifacts import files, records, tables
from polycal.artifacts.manifests import Stamp

Result = TypeVar("Result")

TABLES = (
    "cells",
    "diagnostics",
    "reliability",
    "means",
    "contrasts",
    "sensitivity",
    "claims",
    "recalibration",
)
TRUTH = "truth"
"""The additional table of a world whose true answers are known."""
COLUMNS = {
    "contrasts": contrasts.COLUMNS,
    "sensitivity": sensitivity.COLUMNS,
    "claims": sensitivity.CLAIM_COLUMNS,
    "recalibration": temperature_scaling.COLUMNS,
    TRUTH: known_truth.COLUMNS,
}
"""Of the tables that may be empty."""
THREADED_FROM = 2000
"""Questions of a benchmark from which two threads are faster than one."""


@dataclass
class ConditionResults:
    """Results of one condition over its languages."""

    cells: list[MeasuredCell] = field(default_factory=list)
    recalibrated: list[Recalibrated] = field(default_factory=list)
    truth: list[TruthRows] = field(default_factory=list)


def table_names(cell: Mapping[str, Any]) -> tuple[str, ...]:
    """The tables that ``measure`` writes with the settings of ``cell``."""
    return (*TABLES, TRUTH) if cell["settings"].get("truth") else TABLES


def input_checksums(cell: Mapping[str, Any], *, scores: Sequence[Path]) -> dict[str, str]:
    """Checksum of every file that ``measure`` reads, by path: rows of the records, bytes of the true answers.

    Raises RecordError for a record that is missing or broken.
    """
    manifests = {str(path): records.metadata(path) for path in scores}
    checksums = {path: str(manifest["content"]) for path, manifest in manifests.items()}
    folders = cell["settings"].get("truth") or {}
    measured = (
        {(m["cell"]["benchmark"], m["cell"]["language"]) for m in manifests.values()} if folders else set()
    )
    for path in sorted(
        known_truth.truth_file(folders, benchmark, language)
        for benchmark, language in measured
        if benchmark in folders
    ):
        checksums[str(path)] = files.sha256(path)
    return checksums


def measure(
    cell: Mapping[str, Any],
    *,
    scores: Sequence[Path],
    missing: Sequence[Path] = (),
    out: Path,
    stamp: Stamp,
) -> None:
    """Write the tables of a study into the folder ``out``; ``table_names`` lists them.

    ``missing`` are the score records of the grid that do not exist.

    ``cell["settings"]``: bins, binning, normalise per candidate form, bootstrap_samples, seed, resource per
    language, sensitivity (bins, binning, normalise), and optionally truth, a folder of true answers per
    benchmark. Raises MeasureError or RecordError before anything is written.
    """
    settings = cell["settings"]
    score_set = ScoreSet([Path(path) for path in scores], settings)
    results = in_threads(
        score_set, lambda paths: _measure_condition(score_set, paths), score_set.by_condition()
    )
    cells = [cell for result in results for cell in result.cells]
    pooled = [*cells, *pooling.pool_seeds(cells, settings["seed"])]
    conventions = sensitivity.sensitivity_rows(cells)
    recalibrated = [one for result in results for one in result.recalibrated]
    rows: dict[str, list[dict[str, Any]]] = {
        "cells": [cell.row for cell in cells],
        "diagnostics": [cell.diagnostics for cell in cells],
        "reliability": [row for cell in cells for row in cell.reliability],
        "means": pooling.mean_rows(pooled),
        "contrasts": contrasts.contrast_rows(pooled),
        "sensitivity": conventions,
        "claims": sensitivity.claim_rows(conventions, settings),
        "recalibration": temperature_scaling.recalibration_rows(recalibrated),
    }
    if settings.get("truth"):
        pairs = [pair for result in results for pair in result.truth]
        # Every model is scored against the same truth, which needs one row per benchmark and language.
        truth = {cell_key(pair.truth): pair.truth for pair in pairs}
        rows[TRUTH] = [*(truth[key] for key in sorted(truth)), *(pair.cell for pair in pairs)]
    metadata = stamp()
    for name, table_rows in rows.items():
        table = pd.DataFrame(table_rows, columns=COLUMNS.get(name))
        tables.write(table, Path(out) / f"{name}.parquet", {**metadata, "table": name, "settings": settings})


def _measure_condition(score_set: ScoreSet, paths: Sequence[Path]) -> ConditionResults:
    results, splits = ConditionResults(), []
    for path in paths:
        questions = score_arrays.read(path)
        log_p = score_set.log_probabilities(questions)
        results.cells.append(measure_cell(score_set, questions, log_p))
        if split := split_questions(score_set, questions, log_p):
            splits.append(split)
        if score_set.settings.get("truth") and (pair := known_truth.truth_rows(score_set, questions, log_p)):
            results.truth.append(pair)
    results.recalibrated = temperature_scaling.recalibrate(score_set, splits)
    return results


def in_threads(score_set: ScoreSet, work: Callable[[Any], Result], items: Sequence[Any]) -> list[Result]:
    """``work`` of every item, in order; in two threads if arrays are so large that numpy runs beside Python."""
    large = max(len(resamples.ids) for resamples in score_set.resamples.values()) >= THREADED_FROM
    if not large:
        return [work(item) for item in items]
    with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        return list(pool.map(work, items))
