"""What the Score files of a study say: every table of numbers that the figures and the report stand on.

``measure`` reads every file once and keeps of it only estimates and draws, so that the paper's grid fits in
memory. The tables are plain Parquet files; the same files and settings give the same values.
"""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from polycal.analysis import (
    bootstrap,
    cell_metrics,
    contrasts,
    score_arrays,
    sensitivity,
    temperature_scaling,
)
from polycal.analysis import known_truth as truth
from polycal.analysis.cell_metrics import Study
from polycal.artifacts import records
from polycal.artifacts.manifests import Stamp
from polycal.metrics import smooth_calibration

TABLES = ("cells", "reliability", "means", "contrasts", "sensitivity", "claims", "cures")
TRUTH = "truth"
"""The further table of a world whose true answers are known."""
DEFAULT: dict[str, Any] = {"bins": 15, "binning": "width", "normalise": {"letters": "sum", "texts": "token"}}

COLUMNS = {
    "contrasts": contrasts.COLUMNS,
    "sensitivity": sensitivity.COLUMNS,
    "claims": sensitivity.CLAIM_COLUMNS,
    "cures": temperature_scaling.COLUMNS,
    TRUTH: truth.COLUMNS,
}
"""Of the tables that may be empty."""


def names(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """The tables that ``measure`` writes under these settings."""
    return (*TABLES, TRUTH) if settings.get("truth") else TABLES


def measure(files: list[Path], *, settings: dict[str, Any], out: Path, stamp: Stamp) -> None:
    """Write the tables of a study into the folder ``out``, each with ``note`` in its metadata.

    cells, reliability, means, contrasts, sensitivity, claims, cures; and truth where ``settings`` names, by
    benchmark, the folder of a world's true answers. ``settings``: bins, binning, normalise by candidate form, draws, seed,
    resource by language, sensitivity (bins, binning, normalise), optionally truth. Raises MeasureError or
    RecordError before anything is written.
    """
    study = Study([Path(path) for path in files], settings)
    series = cell_metrics.side_by_side(study, lambda paths: _series(study, paths), study.series())
    found = [cell for part in series for cell in part.measured]
    pooled = [*found, *contrasts.pool_seeds(found, settings["seed"])]
    conventions = sensitivity.rows(found)
    tables: dict[str, list[dict[str, Any]]] = {
        "cells": [cell.row for cell in found],
        "reliability": [row for cell in found for row in cell.reliability],
        "means": contrasts.mean_rows(pooled),
        "contrasts": contrasts.contrast_rows(pooled),
        "sensitivity": conventions,
        "claims": sensitivity.claims(conventions, settings),
        "cures": temperature_scaling.rows([cured for part in series for cured in part.cured]),
    }
    if settings.get("truth"):
        known = [pair for part in series for pair in part.truth]
        own = {cell_metrics.key(row): row for row, _ in known}
        tables[TRUTH] = [*(own[name] for name in sorted(own)), *(row for _, row in known)]
    closed = stamp()
    for name, rows in tables.items():
        table = pd.DataFrame(rows, columns=COLUMNS.get(name))
        write(table, Path(out) / f"{name}.parquet", {**closed, "table": name, "settings": settings})


@dataclass
class Series:
    """What one checkpoint gives on one benchmark, over its languages."""

    measured: list[cell_metrics.Measured] = field(default_factory=list)
    cured: list[temperature_scaling.Cured] = field(default_factory=list)
    truth: list[tuple[dict[str, Any], dict[str, Any]]] = field(default_factory=list)


def _series(study: Study, paths: Iterable[Path]) -> Series:
    found, sides = Series(), []
    for path in paths:
        source = score_arrays.read(path)
        log_p = study.log_probabilities(source)
        found.measured.append(cell_metrics.measure_cell(study, source, log_p))
        if side := temperature_scaling.split(study, source, log_p):
            sides.append(side)
        if study.settings.get("truth") and (
            pair := truth.rows(study, study.settings["truth"], source, log_p)
        ):
            found.truth.append(pair)
    found.cured = temperature_scaling.cure_series(study, sides)
    return found


def summary(files: Iterable[Path]) -> pd.DataFrame:
    """Metrics of Score files under the default conventions, one row a file: no intervals, any files together."""
    rows = []
    for path in files:
        cell = records.metadata(path).get("cell") or {}
        found = score_arrays.read(path, cell)
        log_p = found.log_probabilities(DEFAULT["normalise"].get(found.candidates, "sum"))
        outcome = score_arrays.outcomes(log_p, found.gold, found.options)
        estimate = bootstrap.estimates(outcome, bins=DEFAULT["bins"], binning=DEFAULT["binning"])
        named = dict(zip(bootstrap.METRICS, estimate.tolist(), strict=True))
        smooth = smooth_calibration.smooth_ece(outcome.confidence, outcome.correct)
        rows.append({"file": str(path), **found.cell, "n": len(found.gold), **named, "smooth_ece": smooth})
    return pd.DataFrame(rows)


def write(table: pd.DataFrame, path: Path, note: Mapping[str, Any]) -> None:
    """Write a table atomically, with ``note`` and the rows' checksum as JSON in its metadata under ``polycal``."""
    found = pa.Table.from_pandas(table, preserve_index=False)
    text = json.dumps({**note, "content": records.checksum(found)}, sort_keys=True, default=str)
    found = found.replace_schema_metadata({**(found.schema.metadata or {}), b"polycal": text.encode()})
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        pq.write_table(found, aside, compression="zstd")
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
