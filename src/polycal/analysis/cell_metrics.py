"""One cell measured: its metrics with draws, its reliability bins, and what the claims need of it."""

import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from polycal.analysis import bootstrap, score_arrays
from polycal.analysis.score_arrays import CELL, Answers, MeasureError, Outcomes
from polycal.artifacts import records
from polycal.metrics import calibration, diagnostics, recalibration, selective_prediction, smooth_calibration
from polycal.metrics.arrays import Array

Found = TypeVar("Found")

SERIES = CELL[:-1]
"""What a mean over languages keeps apart."""
LEVELS = ("high", "mid", "low")
LARGE = 2000
"""Questions of a benchmark from which on threads gain more than they wait for each other."""


@dataclass(frozen=True)
class Measured:
    """One cell: bootstrap.METRICS estimated [9] and drawn [R, 9], smooth ECE with its fewer draws, table rows.

    ``points`` holds estimates under other conventions, by (normalise, metric, binning, bins).
    """

    cell: dict[str, str]
    resource: str
    candidates: str
    estimate: Array
    draws: Array
    smooth: float
    smooth_draws: Array
    row: dict[str, Any] = field(default_factory=dict)
    reliability: list[dict[str, Any]] = field(default_factory=list)
    points: dict[tuple[str, str, str, int], float] = field(default_factory=dict)

    @property
    def series(self) -> tuple[str, ...]:
        return tuple(self.cell[name] for name in SERIES)


@dataclass
class Study:
    """The files of a study with what they share: settings, cells and resamples by benchmark.

    Raises MeasureError, before any is measured, for files that cannot stand in one table: none at all, a
    cell twice, a language of unknown level, a candidate form without a normalisation, checkpoints of one
    model scored on different questions of a language.
    """

    files: list[Path]
    settings: Mapping[str, Any]
    cells: list[dict[str, Any]] = field(default_factory=list)
    resamples: dict[str, bootstrap.Resamples] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.files:
            raise MeasureError("no Score file to measure.")
        found = sorted(
            ((score_arrays.cell_of(path), path) for path in self.files), key=lambda pair: key(pair[0])
        )
        for (cell, path), (other, second) in itertools.pairwise(found):
            if key(cell) == key(other):
                raise MeasureError(f"{path} and {second} hold the same cell: {', '.join(key(cell))}.")
        self.cells, self.files = [cell for cell, _ in found], [path for _, path in found]
        self._check()
        # In the order of the first file: the others have the same, and their columns need no sorting.
        ids: dict[str, dict[str, None]] = {}
        sides: dict[tuple[str, ...], tuple[Path, pa.ChunkedArray]] = {}
        last: pa.ChunkedArray | None = None
        for cell, path in zip(self.cells, self.files, strict=True):
            column = _question_ids(path)
            side = tuple(str(cell[name]) for name in ("model", "benchmark", "protocol", "language"))
            _same_questions(*sides.setdefault(side, (path, column)), path, column)
            known = ids.setdefault(str(cell["benchmark"]), {})
            if last is None or not known or not column.equals(last):
                known.update(dict.fromkeys(column.to_pylist()))
            last = column
        self.resamples = {
            name: bootstrap.Resamples(name, known, self.settings["bootstrap_samples"], self.settings["seed"])
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

    def log_probabilities(self, found: Answers) -> Array:
        """Under the study's own normalisation for the file's candidate form."""
        return found.log_probabilities(self.settings["normalise"][found.candidates])

    def series(self) -> list[list[Path]]:
        """The files of each checkpoint, benchmark and protocol, one a language."""
        found: dict[tuple[str, ...], list[Path]] = {}
        for path, cell in zip(self.files, self.cells, strict=True):
            found.setdefault(key(cell)[:-1], []).append(path)
        return list(found.values())


def side_by_side(study: Study, work: Callable[[Any], Found], items: Sequence[Any]) -> list[Found]:
    """``work`` of every item, in order; two at a time where arrays are large enough that numpy runs beside Python."""
    large = max(len(resamples.names) for resamples in study.resamples.values()) >= LARGE
    if not large:
        return [work(item) for item in items]
    with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        return list(pool.map(work, items))


def key(cell: Mapping[str, Any]) -> tuple[str, ...]:
    """A cell's eight names."""
    return tuple(str(cell[name]) for name in CELL)


def measure_cell(study: Study, found: Answers, log_p: Array) -> Measured:
    """Estimates, draws and table rows of one Score file; ``log_p`` is its ``study.log_probabilities``."""
    bins, binning = study.settings["bins"], study.settings["binning"]
    resamples = study.resamples[found.cell["benchmark"]]
    places = resamples.places(found.question_id)
    weights = resamples.take(resamples.weights, places)
    outcome = score_arrays.outcomes(log_p, found.gold, found.options)
    estimate = bootstrap.estimates(outcome, bins=bins, binning=binning)
    drawn = bootstrap.draws(outcome, weights, bins=bins, binning=binning)
    smooth = smooth_calibration.smooth_ece(outcome.confidence, outcome.correct)
    smooth_draws = bootstrap.smooth_draws(outcome, weights[: bootstrap.COSTLY_DRAWS])
    floor, floor_high = bootstrap.noise_floor(
        outcome.confidence, resamples.take(resamples.uniform, places), bins=bins, binning=binning
    )
    resource = study.settings["resource"][found.cell["language"]]
    intervals = bounded(bootstrap.METRICS, estimate, drawn)
    chance = float((1 / found.options).mean())
    row = {
        **found.cell,
        "resource": resource,
        "n": len(found.gold),
        "chance": chance,
        # a form of question that a model has not learned says nothing of its calibration
        "above_chance": intervals["accuracy_low"] > chance,
        **intervals,
        **bounded(("smooth_ece",), np.array([smooth]), smooth_draws[:, None]),
        "ece_floor": floor,
        "ece_floor_high": floor_high,
        "equal_candidates": outcome.ties,
        **battery(np.exp(log_p), found, outcome, bins),
    }
    return Measured(
        cell=found.cell,
        resource=resource,
        candidates=found.candidates,
        estimate=estimate,
        draws=drawn,
        smooth=smooth,
        smooth_draws=smooth_draws,
        row=row,
        reliability=reliability_rows(found.cell, outcome, bins, binning),
        points=points(found, study.settings["sensitivity"]),
    )


def battery(p: Array, found: Answers, outcome: Outcomes, bins: int) -> dict[str, float]:
    """The further metrics of a cell, without intervals."""
    pair = outcome.confidence, outcome.correct
    parts = diagnostics.brier_decomposition(*pair, bins=bins)
    return {
        "ece_mass": calibration.ece(*pair, bins=bins, binning="mass"),
        "maximum_calibration_error": diagnostics.maximum_calibration_error(*pair, bins=bins),
        "debiased_ece": diagnostics.debiased_ece(*pair, bins=bins),
        "debiased_rms": diagnostics.debiased_rms(*pair, bins=bins),
        "adaptive_rms": diagnostics.adaptive_calibration_error(*pair),
        "classwise_ece": diagnostics.classwise_ece(p, found.gold, options=found.options, bins=bins),
        "platt_ece": recalibration.platt_ece(*pair),
        "brier_reliability": parts.reliability,
        "brier_resolution": parts.resolution,
        "brier_uncertainty": parts.uncertainty,
        "auroc": selective_prediction.auroc(*pair),
        "accuracy_coverage_area": selective_prediction.accuracy_coverage_area(*pair),
        "selective_accuracy": selective_prediction.selective_accuracy(*pair),
    }


def reliability_rows(
    cell: Mapping[str, str], outcome: Outcomes, bins: int, binning: calibration.Binning
) -> list[dict[str, Any]]:
    """One row a non-empty bin of the reliability diagram, accuracy with its Wilson interval."""
    shown = calibration.reliability(outcome.confidence, outcome.correct, bins=bins, binning=binning)
    index = np.unique(calibration.bin_index(outcome.confidence, bins, binning))
    low, high = wilson(shown.accuracy, shown.count)
    columns = {
        "bin": index.tolist(),
        "low": shown.low.tolist(),
        "high": shown.high.tolist(),
        "n": shown.count.tolist(),
        "confidence": shown.confidence.tolist(),
        "accuracy": shown.accuracy.tolist(),
        "accuracy_low": low.tolist(),
        "accuracy_high": high.tolist(),
    }
    return [
        {**cell, **dict(zip(columns, values, strict=True))} for values in zip(*columns.values(), strict=True)
    ]


def points(found: Answers, conventions: Mapping[str, Any]) -> dict[tuple[str, str, str, int], float]:
    """Accuracy, gap and ECE under every normalisation and binning, without intervals."""
    table: dict[tuple[str, str, str, int], float] = {}
    for normalise in found.normalisations(conventions["normalise"]):
        log_p = found.log_probabilities(normalise)
        confidence, correct = np.exp(log_p.max(1)), (log_p.argmax(1) == found.gold).astype(np.float64)
        table[normalise, "accuracy", "none", 0] = float(correct.mean())
        table[normalise, "gap", "none", 0] = float(confidence.mean() - correct.mean())
        for binning in conventions["binning"]:
            for bins in conventions["bins"]:
                value = calibration.ece(confidence, correct, bins=bins, binning=binning)
                table[normalise, "ece", binning, bins] = value
    return table


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


def _question_ids(path: Path) -> pa.ChunkedArray:
    try:
        return pq.ParquetFile(path).read(columns=["question_id"])["question_id"]
    except (OSError, KeyError, pa.ArrowInvalid):
        return records.read_scores(path)["question_id"]  # says what is wrong


def _same_questions(first: Path, one: pa.ChunkedArray, second: Path, two: pa.ChunkedArray) -> None:
    if one.equals(two):
        return
    before, after = set(one.to_pylist()), set(two.to_pylist())
    if before != after:
        raise MeasureError(
            f"{first} and {second} cannot be compared: {len(before - after)} question(s) are only in the first "
            f"and {len(after - before)} only in the second (such as {min(before ^ after)!r}); score both on the "
            "same questions."
        )
