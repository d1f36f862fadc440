"""Accuracy, gap and ECE by group of questions (such as a subject) and language, for any Score files."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from polycal.analysis import bootstrap, run_comparison, score_arrays, summary
from polycal.analysis.intervals import with_intervals
from polycal.analysis.noise_floor import noise_floor
from polycal.analysis.question_outcomes import QuestionOutcomes, outcomes
from polycal.analysis.resampling import Resamples
from polycal.artifacts import records
from polycal.metrics.arrays import Array

METRICS = ("accuracy", "gap", "ece")
COLUMNS = [bootstrap.METRICS.index(metric) for metric in METRICS]
NO_GROUP = "none"
"""The group of questions without one."""


@dataclass(frozen=True)
class _Part:
    """The questions of one group in one file."""

    run: str
    keys: tuple[str, ...]
    normalise: str
    group: str
    question_id: NDArray[np.object_]
    values: QuestionOutcomes


def by_group(paths: Sequence[Path], normalise: str | None = None) -> pd.DataFrame:
    """One row per run, benchmark, protocol, language and group, with 95% intervals over its questions.

    Language ``mean`` is the unweighted mean over the languages that have the group, if there are several.
    ``ece_floor`` is the mean ECE of a perfectly calibrated model; groups are small, so it is large. Each
    group is resampled on its own, with the same bootstrap samples in every language and run.

    Raises RecordError or MeasureError if a file cannot be measured.
    """
    parts: dict[tuple[str, ...], list[_Part]] = {}
    for path in paths:
        for part in _parts(path, normalise):
            parts.setdefault((part.keys[0], part.group), []).append(part)
    rows = [row for key in sorted(parts) for row in _rows(" ".join(key), parts[key])]
    order = ["run", *run_comparison.QUESTIONS_KEYS]
    is_mean = [row["language"] == "mean" for row in rows]
    table = (
        pd.DataFrame(rows).assign(is_mean=is_mean).sort_values([*order[:3], "is_mean", "language", "group"])
    )
    return table.drop(columns="is_mean").reset_index(drop=True)


def _parts(path: Path, normalise: str | None) -> Iterator[_Part]:
    """The groups of one file."""
    questions = score_arrays.read(path, records.metadata(path).get("cell") or {})
    form = summary.normalisation(questions, normalise)
    log_p = questions.log_probabilities(form)
    named = records.read_scores(path)["group"].to_pylist()
    groups = np.array([name or NO_GROUP for name in named], dtype=object)
    for group in sorted(set(groups)):
        inside = groups == group
        yield _Part(
            run=run_comparison.run_name(questions.cell),
            keys=tuple(questions.cell[key] for key in run_comparison.QUESTIONS_KEYS),
            normalise=form,
            group=group,
            question_id=questions.question_id[inside],
            values=outcomes(log_p[inside], questions.gold[inside], questions.options[inside]),
        )


def _rows(stream: str, parts: Sequence[_Part]) -> Iterator[dict[str, Any]]:
    """The rows of one group of a benchmark: one per part, and the means over languages."""
    ids = [name for part in parts for name in part.question_id]
    resamples = Resamples(stream, ids, run_comparison.SAMPLES, run_comparison.SEED)
    languages: dict[tuple[str, ...], list[tuple[Array, Array, float, int]]] = {}
    for part in parts:
        measured = _measure(part, resamples)
        languages.setdefault((part.run, *part.keys[:2], part.normalise), []).append(measured)
        yield _row((part.run, *part.keys, part.normalise), part.group, *measured)
    for (run, benchmark, protocol, form), measured_in in languages.items():
        if len(measured_in) > 1:
            estimates, samples, floors, counts = zip(*measured_in, strict=True)
            mean = np.mean(estimates, axis=0), np.mean(samples, axis=0), float(np.mean(floors)), sum(counts)
            yield _row((run, benchmark, protocol, "mean", form), parts[0].group, *mean)


def _measure(part: _Part, resamples: Resamples) -> tuple[Array, Array, float, int]:
    """Estimates [3], bootstrap samples [R, 3], mean noise floor and number of questions of one part."""
    bins = {name: summary.DEFAULTS[name] for name in ("bins", "binning")}
    columns = resamples.columns(part.question_id)
    weights, uniform = (resamples.take(matrix, columns) for matrix in (resamples.weights, resamples.uniform))
    floor, _ = noise_floor(part.values.confidence, uniform, **bins)
    return (
        bootstrap.estimates(part.values, **bins)[COLUMNS],
        bootstrap.samples(part.values, weights, **bins)[:, COLUMNS],
        float(floor),
        len(part.question_id),
    )


def _row(
    keys: tuple[str, ...], group: str, estimate: Array, samples: Array, floor: float, n: int
) -> dict[str, Any]:
    names = ("run", *run_comparison.QUESTIONS_KEYS, "normalise")
    return {
        **dict(zip(names, keys, strict=True)),
        "group": group,
        "n": n,
        **with_intervals(METRICS, estimate, samples),
        "ece_floor": floor,
    }
