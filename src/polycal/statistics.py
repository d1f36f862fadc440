"""What the Score files of a study say: one table a question, each metric with its interval.

``measure`` reads every file once and keeps of it only estimates and draws, so that the paper's grid fits in
memory. The tables are plain Parquet files; the same files and settings give the same bytes.
"""

import itertools
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from polycal import answers, bootstrap, calibration, records
from polycal.answers import CELL, Answers, MeasureError, Outcomes

Array = NDArray[np.float64]

CHECKPOINT = CELL[:5]
SERIES = CELL[:-1]
"""What a mean over languages keeps apart."""
LEVELS = ("high", "mid", "low")
TABLES = ("cells", "reliability", "means")
DEFAULT: dict[str, Any] = {"bins": 15, "binning": "width", "normalise": {"letters": "sum", "texts": "token"}}


@dataclass(frozen=True)
class Measured:
    """One cell: METRICS estimated [9] and drawn [R, 9], and its rows of the tables."""

    cell: dict[str, str]
    resource: str
    question_id: NDArray[np.object_]
    estimate: Array
    draws: Array
    row: dict[str, Any]
    reliability: list[dict[str, Any]]

    @property
    def series(self) -> tuple[str, ...]:
        return tuple(self.cell[name] for name in SERIES)


@dataclass
class Study:
    """The files of a study with what they share: settings, cells and resamples by benchmark."""

    files: list[Path]
    settings: Mapping[str, Any]
    cells: list[dict[str, Any]] = field(default_factory=list)
    resamples: dict[str, bootstrap.Resamples] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.files:
            raise MeasureError("no Score file to measure.")
        found = sorted(((answers.cell_of(path), path) for path in self.files), key=lambda pair: _key(pair[0]))
        for (cell, path), (other, second) in itertools.pairwise(found):
            if _key(cell) == _key(other):
                raise MeasureError(f"{path} and {second} hold the same cell: {', '.join(_key(cell))}.")
        self.cells, self.files = [cell for cell, _ in found], [path for _, path in found]
        self._check()
        ids: dict[str, set[str]] = {}
        for cell, path in zip(self.cells, self.files, strict=True):
            ids.setdefault(str(cell["benchmark"]), set()).update(answers.question_ids(path))
        self.resamples = {
            name: bootstrap.Resamples(name, list(known), self.settings["draws"], self.settings["seed"])
            for name, known in sorted(ids.items())
        }

    def _check(self) -> None:
        for path, cell in zip(self.files, self.cells, strict=True):
            language = str(cell["language"])
            if self.settings["resource"].get(language) not in LEVELS:
                raise MeasureError(
                    f"{path}: resource level of language {language!r} is unknown; it must be high, mid or low."
                )
            form = str((cell.get("settings") or {}).get("candidates", "letters"))
            if form not in self.settings["normalise"]:
                raise MeasureError(f"{path}: no normalisation is set for candidates {form!r}.")

    def each(self, work: Any) -> list[Any]:
        """``work(file)`` of every file, in order, two at a time: numpy lets go of the interpreter."""
        with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
            return list(pool.map(work, self.files))

    def outcomes(self, found: Answers) -> Outcomes:
        """Under the study's own normalisation for the file's candidate form."""
        normalise = self.settings["normalise"][found.candidates]
        return answers.outcomes(found.log_probabilities(normalise), found.gold, found.options)


def measure(files: list[Path], *, settings: dict[str, Any], out: Path, note: dict[str, Any]) -> None:
    """Write the tables of a study into the folder ``out``: cells, reliability, means.

    ``settings``: bins, binning, normalise by candidate form, draws, seed, resource by language, sensitivity.
    ``note`` goes into each file's metadata. Raises MeasureError or RecordError before anything is written.
    """
    study = Study([Path(path) for path in files], settings)
    cells: list[Measured] = study.each(lambda path: measure_cell(study, answers.read(path)))
    tables = {
        "cells": pd.DataFrame([cell.row for cell in cells]),
        "reliability": pd.DataFrame([row for cell in cells for row in cell.reliability]),
        "means": pd.DataFrame(mean_rows(cells)),
    }
    for name, table in tables.items():
        write(table, out / f"{name}.parquet", {**note, "table": name, "settings": settings})


def measure_cell(study: Study, found: Answers) -> Measured:
    """Estimates, draws and table rows of one Score file."""
    bins, binning = study.settings["bins"], study.settings["binning"]
    resamples = study.resamples[found.cell["benchmark"]]
    places = resamples.places(found.question_id)
    outcome = study.outcomes(found)
    estimate = bootstrap.estimates(outcome, bins=bins, binning=binning)
    drawn = bootstrap.draws(outcome, bootstrap.take(resamples.weights, places), bins=bins, binning=binning)
    floor, floor_high = bootstrap.noise_floor(
        outcome.confidence, bootstrap.take(resamples.uniform, places), bins=bins, binning=binning
    )
    resource = study.settings["resource"][found.cell["language"]]
    row = {
        **found.cell,
        "resource": resource,
        "n": len(found.gold),
        **bounded(bootstrap.METRICS, estimate, drawn),
        "ece_floor": floor,
        "ece_floor_high": floor_high,
        "equal_candidates": outcome.ties,
    }
    shown = calibration.reliability(outcome.confidence, outcome.correct, bins=bins, binning=binning)
    low, high = wilson(shown.accuracy, shown.count)
    index = np.unique(calibration.bin_index(outcome.confidence, bins, binning))
    rows = [
        {
            **found.cell,
            "bin": int(index[b]),
            "low": shown.low[b],
            "high": shown.high[b],
            "n": int(shown.count[b]),
            "confidence": shown.confidence[b],
            "accuracy": shown.accuracy[b],
            "accuracy_low": low[b],
            "accuracy_high": high[b],
        }
        for b in range(len(index))
    ]
    return Measured(found.cell, resource, found.question_id, estimate, drawn, row, rows)


def mean_rows(cells: Sequence[Measured]) -> list[dict[str, Any]]:
    """Unweighted means over languages, all and by resource level, with intervals from the joint draws."""
    rows = []
    for series, members in grouped(cells).items():
        for level in ("all", *LEVELS):
            chosen = [cell for cell in members if level in ("all", cell.resource)]
            if chosen:
                estimate = np.mean([cell.estimate for cell in chosen], axis=0)
                drawn = np.mean([cell.draws for cell in chosen], axis=0)
                rows.append(
                    {
                        **dict(zip(SERIES, series, strict=True)),
                        "group": level,
                        "languages": len(chosen),
                        **bounded(bootstrap.METRICS, estimate, drawn),
                    }
                )
    return rows


def grouped(cells: Iterable[Measured]) -> dict[tuple[str, ...], list[Measured]]:
    """Cells by everything but the language, in order."""
    found: dict[tuple[str, ...], list[Measured]] = {}
    for cell in cells:
        found.setdefault(cell.series, []).append(cell)
    return found


def bounded(names: Sequence[str], estimate: Array, drawn: Array) -> dict[str, float]:
    """Each metric with its interval, within the metric's range."""
    low, high = bootstrap.interval(estimate, drawn)
    row: dict[str, float] = {}
    for place, name in enumerate(names):
        least, most = bootstrap.BOUNDS[name]
        row[name] = float(estimate[place])
        row[f"{name}_low"] = float(np.clip(low[place], least, most))
        row[f"{name}_high"] = float(np.clip(high[place], least, most))
    return row


def wilson(share: Array, n: NDArray[np.int64]) -> tuple[Array, Array]:
    """95% interval of a binomial share (Wilson 1927), which keeps inside [0, 1] at small counts."""
    z = 1.959963984540054
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)


def summary(files: Iterable[Path]) -> pd.DataFrame:
    """METRICS of Score files under the default conventions, one row a file: no intervals, any files together."""
    rows = []
    for path in files:
        cell = records.metadata(path).get("cell") or {}
        found = answers.read(path, cell)
        log_p = found.log_probabilities(DEFAULT["normalise"].get(found.candidates, "sum"))
        outcome = answers.outcomes(log_p, found.gold, found.options)
        estimate = bootstrap.estimates(outcome, bins=DEFAULT["bins"], binning=DEFAULT["binning"])
        named = dict(zip(bootstrap.METRICS, estimate.tolist(), strict=True))
        rows.append({"file": str(path), **found.cell, "n": len(found.gold), **named})
    return pd.DataFrame(rows)


def write(table: pd.DataFrame, path: Path, note: Mapping[str, Any]) -> None:
    """Write a table atomically, with ``note`` as JSON in its metadata under ``polycal``."""
    found = pa.Table.from_pandas(table, preserve_index=False)
    text = json.dumps(note, sort_keys=True, default=str)
    found = found.replace_schema_metadata({**(found.schema.metadata or {}), b"polycal": text.encode()})
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        pq.write_table(found, aside, compression="zstd")
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def _key(cell: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(cell[name]) for name in CELL)
