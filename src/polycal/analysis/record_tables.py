"""The tables of any score records, without a grid: those of a study, and differences between runs.

Conventions are those of ``polycal measure RECORDS``: the same bins, bootstrap samples and normalisation.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from polycal.analysis import (
    contrasts,
    group_calibration,
    group_tables,
    pooling,
    run_comparison,
    score_arrays,
    summary,
)
from polycal.analysis.cell_metrics import MeasuredCell, measure_cell
from polycal.analysis.conditions import Condition, cell_key
from polycal.analysis.measure import in_threads
from polycal.analysis.quantities import QUESTIONS
from polycal.analysis.record_checks import CheckedRecord
from polycal.analysis.relative_cut import NO_REDUCTION
from polycal.analysis.resampling import Resamples
from polycal.analysis.run_comparison import MeasuredFile
from polycal.analysis.score_set import ScoreSet
from polycal.vocabulary import CELL_KEYS, NONE

RUN_MINUS_RUN = "run_minus_run"
"""The contrast between two runs that are not tuned from one another."""
NO_LEVEL = ""
"""The resource level of a language whose level is unknown."""
MANY_RUNS = 6
"""Up to this number of untuned runs, each is compared with each."""
RECORDS = "records"
"""The table with one row per record."""
GROUPS = "groups"
SETTINGS: dict[str, Any] = {
    **summary.DEFAULTS,
    "bootstrap_samples": run_comparison.SAMPLES,
    "seed": run_comparison.SEED,
}
"""The conventions of the measurement. Files can have another normalisation, which the table records names."""


class RecordSet(ScoreSet):
    """Score files without a grid. Their cells are those of ``record_checks``, and resource levels may be missing."""

    def __init__(self, found: Sequence[CheckedRecord], levels: Mapping[str, str]) -> None:
        ordered = sorted(found, key=lambda record: cell_key(record.cell))
        self.records = {record.path: record for record in ordered}
        self.files = list(self.records)
        self.cells = [dict(record.cell) for record in ordered]
        self.settings = {**SETTINGS, "sensitivity": {"bins": [], "binning": [], "normalise": []}}
        ids: dict[str, dict[str, None]] = {}
        for record in ordered:
            ids.setdefault(record.cell["benchmark"], {}).update(dict.fromkeys(record.gold))
        self.resamples = {
            name: Resamples(name, names, run_comparison.SAMPLES, run_comparison.SEED)
            for name, names in ids.items()
        }
        self.levels = levels

    def resource(self, cell: Mapping[str, Any]) -> str:
        """The resource level of a cell's language, or NO_LEVEL."""
        return self.levels.get(cell["language"], NO_LEVEL)


def record_tables(
    found: Sequence[CheckedRecord], levels: Mapping[str, str], reference: str | None = None
) -> dict[str, pd.DataFrame]:
    """The tables cells, diagnostics, reliability, means, contrasts, groups and records by name.

    ``levels`` maps languages to resource levels; others have NO_LEVEL. ``contrasts`` has the contrasts of a
    study, and runs minus runs (``reference`` is then the name of the run): every run minus the run
    ``reference`` if it is given, otherwise each untuned run minus each other one, if they are at most
    MANY_RUNS. Raises MeasureError if there is nothing to compare with ``reference``.
    """
    score_set = RecordSet(found, levels)
    ordered = list(score_set.records.values())

    def measured(record: CheckedRecord) -> MeasuredCell:
        questions = score_arrays.read(record.path, record.cell)
        return measure_cell(score_set, questions, questions.log_probabilities(record.normalise))

    cells = list(in_threads(score_set, measured, ordered))
    files = [_as_file(record, cell) for record, cell in zip(ordered, cells, strict=True)]
    rows = {
        "cells": [cell.row for cell in cells],
        "diagnostics": [cell.diagnostics for cell in cells],
        "reliability": [row for cell in cells for row in cell.reliability],
        "means": pooling.mean_rows(cells),
        "contrasts": [*contrasts.contrast_rows(cells), *_between_runs(files, cells, reference)],
        GROUPS: group_rows(ordered),
        RECORDS: [_record_row(record) for record in ordered],
    }
    columns = {"contrasts": contrasts.COLUMNS}
    return {name: pd.DataFrame(table, columns=columns.get(name)) for name, table in rows.items()}


def _as_file(record: CheckedRecord, cell: MeasuredCell) -> MeasuredFile:
    return MeasuredFile(
        path=str(record.path),
        run=record.run,
        keys=record.questions_key,
        normalise=record.normalise,
        gold=record.gold,
        estimate=cell.estimate,
        samples=cell.samples,
    )


def _between_runs(
    files: Sequence[MeasuredFile], cells: Sequence[MeasuredCell], reference: str | None
) -> Iterator[dict[str, Any]]:
    """The differences between runs, as rows of contrasts."""
    conditions = {(file.run, *file.keys[:2]): cell.condition for file, cell in zip(files, cells, strict=True)}
    if reference is not None:
        references, compared = [reference], list(files)
    else:
        compared = [file for file, cell in zip(files, cells, strict=True) if cell.condition.is_base]
        references = sorted({file.run for file in compared})
        if len(references) > MANY_RUNS:
            return
    for name in references:
        keys = {file.keys for file in compared if file.run == name}
        shared = [file for file in compared if file.keys in keys]
        if reference is None and len({file.run for file in shared}) < 2:
            continue
        differences = run_comparison.differences(shared, name).to_dict("records")
        languages = _languages(differences)
        for row in differences:
            condition = conditions[row["run"], row["benchmark"], row["protocol"]]
            yield {
                **_empty(condition, row["language"]),
                **{key: row[key] for key in ("reference", "metric", "difference", "low", "high", "p", "q")},
                "languages": languages[row["run"], row["benchmark"], row["protocol"]],
            }


def _languages(differences: Sequence[Mapping[Any, Any]]) -> dict[tuple[str, ...], int]:
    """The number of languages of each comparison."""
    found: dict[tuple[str, ...], set[str]] = {}
    for row in differences:
        found.setdefault((row["run"], row["benchmark"], row["protocol"]), set()).add(row["language"])
    return {key: len(names) - 1 for key, names in found.items()}  # one of them is the mean


def _empty(condition: Condition, language: str) -> dict[str, Any]:
    """The columns of a contrast that a difference between runs does not fill."""
    cell = {**condition._asdict(), "language": language}
    return {
        **dict.fromkeys(contrasts.COLUMNS, float("nan")),
        **NO_REDUCTION,
        "contrast": RUN_MINUS_RUN,
        **{key: cell[key] for key in CELL_KEYS},
        "holes": 0,
        "interval_covers": QUESTIONS,
        "trainings": 1,
    }


def group_rows(found: Sequence[CheckedRecord]) -> list[dict[str, Any]]:
    """The rows of the table groups. There are none if each benchmark has a single group."""
    by_path = {str(record.path): record for record in found}
    conventions = group_calibration.conventions(lambda questions: by_path[questions.path].normalise)
    return group_tables.table_rows({record.path: record.cell for record in found}, conventions)


def _record_row(record: CheckedRecord) -> dict[str, Any]:
    """Where a record is from: its path, the checksum of its rows, and the tool that made its scores."""
    origin = record.metadata.get("origin") or {}
    tool = " ".join(str(origin[key]) for key in ("tool", "version") if origin.get(key))
    return {
        "run": record.run,
        **dict(zip(CELL_KEYS, cell_key(record.cell), strict=True)),
        "normalise": record.normalise,
        "n": len(record.gold),
        "tool": tool or "polycal score",
        "path": str(record.path),
        "content": str(record.metadata.get("content", NONE)),
    }
