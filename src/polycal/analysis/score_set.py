"""The Score files that a study measures, with the settings and bootstrap samples that they share."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from polycal.analysis import score_arrays
from polycal.analysis.conditions import Condition, cell_key
from polycal.analysis.resampling import Resamples
from polycal.analysis.score_arrays import MeasureError, ScoredQuestions
from polycal.artifacts import records
from polycal.artifacts.candidate_forms import P_TRUE
from polycal.metrics.arrays import Array
from polycal.vocabulary import RESOURCE_LEVELS


@dataclass
class ScoreSet:
    """Score files with their cells, in the order of CELL_KEYS, and one set of resamples per benchmark.

    The files must have different cells, and all checkpoints of a model must have the same questions;
    ``usable_records`` selects such files. Raises MeasureError, before anything is measured, if there is no
    file, if a language has no resource level, or if a candidate form has no normalisation.
    """

    files: list[Path]
    settings: Mapping[str, Any]
    cells: list[dict[str, Any]] = field(default_factory=list)
    resamples: dict[str, Resamples] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.files:
            raise MeasureError("no Score file to measure.")
        pairs = sorted(
            ((score_arrays.cell_of(path), path) for path in self.files), key=lambda pair: cell_key(pair[0])
        )
        self.cells, self.files = [cell for cell, _ in pairs], [path for _, path in pairs]
        self._check_settings()
        self.resamples = {
            name: Resamples(name, ids, self.settings["bootstrap_samples"], self.settings["seed"])
            for name, ids in sorted(self._question_ids().items())
        }

    def _check_settings(self) -> None:
        for path, cell in zip(self.files, self.cells, strict=True):
            resource_level(self.settings, str(cell["language"]), path)
            form = str((cell.get("settings") or {}).get("candidates", "letters"))
            if form not in (*self.settings["normalise"], *P_TRUE):
                raise MeasureError(f"{path}: no normalisation is set for candidates {form!r}.")

    def _question_ids(self) -> dict[str, dict[str, None]]:
        """The question ids of each benchmark, in the order of its first file."""
        # Most files have this order, so that their questions need no reordering later.
        ids: dict[str, dict[str, None]] = {}
        last: pa.ChunkedArray | None = None
        for cell, path in zip(self.cells, self.files, strict=True):
            column = _question_id_column(path)
            known = ids.setdefault(str(cell["benchmark"]), {})
            if last is None or not known or not column.equals(last):
                known.update(dict.fromkeys(column.to_pylist()))
            last = column
        return ids

    def log_probabilities(self, questions: ScoredQuestions) -> Array:
        """Log-probabilities [N, K] under the study's normalisation of the file's candidate form."""
        return questions.log_probabilities(normalisation(self.settings, questions.candidates))

    def resource(self, cell: Mapping[str, Any]) -> str:
        """The resource level of a cell's language."""
        return self.settings["resource"][cell["language"]]

    def by_condition(self) -> list[list[Path]]:
        """The files of each condition, one per language."""
        groups: dict[Condition, list[Path]] = {}
        for path, cell in zip(self.files, self.cells, strict=True):
            groups.setdefault(Condition.of(cell), []).append(path)
        return list(groups.values())


def normalisation(settings: Mapping[str, Any], candidates: str) -> str:
    """The study's normalisation of a candidate form; ``sum`` for P(True), which has no length."""
    return "sum" if candidates in P_TRUE else str(settings["normalise"][candidates])


def resource_level(settings: Mapping[str, Any], language: str, where: Path | str) -> str:
    """The resource level of a language.

    Raises MeasureError if it is unknown; ``where`` is the place that the message names.
    """
    level = settings["resource"].get(language)
    if level not in RESOURCE_LEVELS:
        raise MeasureError(
            f"{where}: resource level of language {language!r} is unknown; it must be high, mid or low."
        )
    return str(level)


def _question_id_column(path: Path) -> pa.ChunkedArray:
    try:
        return pq.ParquetFile(path).read(columns=["question_id"])["question_id"]
    except (OSError, KeyError, pa.ArrowInvalid):
        return records.read_scores(path)["question_id"]  # raises a RecordError that gives the reason
