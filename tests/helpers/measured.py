"""Measurements of the invented study of ``score_records``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from helpers.score_records import SETTINGS
from helpers.stamps import FixedStamp
from polycal.analysis import measure, score_arrays
from polycal.analysis.cell_metrics import MeasuredCell, measure_cell
from polycal.analysis.score_set import ScoreSet


def measured_cell(score_set: ScoreSet, path: Path) -> MeasuredCell:
    """The measurements of one file of a score set."""
    questions = score_arrays.read(path)
    return measure_cell(score_set, questions, score_set.log_probabilities(questions))


def measured_cells(files: list[Path]) -> list[MeasuredCell]:
    """The measurements of all files of a study, with the default settings."""
    score_set = ScoreSet(files, SETTINGS)
    return [measured_cell(score_set, path) for path in score_set.files]


def write_tables(
    files: Sequence[Path],
    out: Path,
    settings: dict[str, Any] | None = None,
    missing: Sequence[Path] = (),
    **facts: Any,
) -> None:
    """Run the stage ``measure``, which writes its tables to the folder ``out``."""
    cell, stamp = {"settings": settings or SETTINGS}, FixedStamp(**facts)
    measure.measure(cell, scores=files, missing=missing, out=out, stamp=stamp)
