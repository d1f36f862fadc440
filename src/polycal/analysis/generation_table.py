"""The stage ``measure_generation``: accuracy of generated answers, and calibration of each measure of confidence.

A cell is a checkpoint on one language of a benchmark without options. Its protocol is ``generate``. Questions are
resampled, with the same samples for all checkpoints, languages and measures.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from polycal.analysis import (
    answer_confidences,
    correctness_metrics,
    holes,
    quantities,
    ranking_samples,
    usable_records,
)
from polycal.analysis.answer_confidences import MEASURES, AnsweredQuestions
from polycal.analysis.conditions import Condition
from polycal.analysis.holes import Gaps
from polycal.analysis.intervals import with_intervals
from polycal.analysis.resampling import COSTLY_SAMPLES, Resamples
from polycal.analysis.usable_records import RecordKind
from polycal.artifacts import open_records, records, tables
from polycal.artifacts.manifests import Stamp
from polycal.metrics.arrays import Array
from polycal.vocabulary import CELL_KEYS, CHECKPOINT_KEYS, NONE, RESOURCE_LEVELS

HOLES = "generation_holes"
TABLES = ("generation", HOLES)
PROTOCOL = "generate"
MEAN, ALL = "mean", "all"
BINNED = correctness_metrics.METRICS
"""Metrics from all bootstrap samples."""
RANKED = ("auroc", "auarc")
"""Metrics from COSTLY_SAMPLES bootstrap samples."""
COUNTS = ("samples", "empty", "cut", "near_ties", "empty_samples", "cut_samples")
COLUMNS = (
    *CELL_KEYS,
    "resource",
    "measure",
    "n",
    *COUNTS,
    "holes",
    *(name + end for name in (*BINNED, *RANKED) for end in ("", "_low", "_high")),
    "interval_covers",
)


@dataclass(frozen=True)
class MeasuredAnswers:
    """One measure of confidence in one cell or in a mean over languages, with bootstrap samples.

    ``binned`` [5] and ``ranked`` [2] are the metrics BINNED and RANKED, with samples [R, 5] and [S, 2]. ``counts``
    contains COUNTS and ``n``.
    """

    cell: dict[str, str]
    resource: str
    measure: str
    counts: Mapping[str, Any]
    binned: Array
    binned_samples: Array
    ranked: Array
    ranked_samples: Array
    holes: int = 0


def table_names(cell: Mapping[str, Any]) -> tuple[str, ...]:
    """The tables that ``measure_generation`` writes."""
    return TABLES


def input_checksums(
    cell: Mapping[str, Any], *, generations: Sequence[Path], missing: Sequence[Path] = ()
) -> dict[str, str]:
    """The checksum of every generation record, by path.

    Raises RecordError if a record is missing, or if it is broken and its path does not contain its cell.
    """
    return usable_records.checksums(KIND, generations)


def measure_generation(
    cell: Mapping[str, Any],
    *,
    generations: Sequence[Path],
    missing: Sequence[Path] = (),
    out: Path,
    stamp: Stamp,
) -> None:
    """Write the tables of TABLES into the folder ``out``.

    ``cell["settings"]`` has bins, binning, bootstrap_samples, seed and resource (levels by language). ``missing`` are
    the paths of records that do not exist. Missing, failed and unusable records are rows of the table
    generation_holes, and means over languages without them are empty.

    Raises MeasureError or RecordError, before anything is written, if no record is usable.
    """
    settings = cell["settings"]
    usable, found = usable_records.split(KIND, generations, missing)
    answered = []
    for path in sorted(usable):
        names, table = _names(records.metadata(path)["cell"]), open_records.read_generations(path)
        answers = answer_confidences.read(table, names["language"])
        answered.append((names, answers, answer_confidences.counted(table)))
    resamples = _resamples(answered, settings)
    results = [
        one
        for names, answers, counts in answered
        for one in _measure(names, answers, counts, resamples[names["benchmark"]], settings)
    ]
    rows = [_row(one) for one in [*results, *means(results, holes.gaps(found))]]
    facts = stamp()
    for name, written in (
        ("generation", pd.DataFrame(rows, columns=COLUMNS)),
        (HOLES, pd.DataFrame([hole.row for hole in found], columns=holes.COLUMNS)),
    ):
        tables.write(written, out / f"{name}.parquet", {**facts, "table": name})


def _names(cell: Mapping[str, Any]) -> dict[str, str]:
    """CELL_KEYS of a record."""
    checkpoint = {name: str(cell.get(name, NONE)) for name in CHECKPOINT_KEYS}
    named = {name: str(cell[name]) for name in ("model", "benchmark", "language")}
    return {**checkpoint, "protocol": PROTOCOL, **named}


def _question_ids(path: Path) -> list[str]:
    """The ids of a record's questions, after a check of the record. Raises RecordError if it is broken."""
    return [str(name) for name in open_records.read_generations(path)["question_id"].to_pylist()]


KIND = RecordKind("generate", "questions", _names, _question_ids)


def _resamples(
    answered: Iterable[tuple[Mapping[str, str], AnsweredQuestions, Any]], settings: Mapping[str, Any]
) -> dict[str, Resamples]:
    """The bootstrap samples of each benchmark, over the questions of all its languages."""
    ids: dict[str, dict[str, None]] = {}
    for names, answers, _ in answered:
        ids.setdefault(names["benchmark"], {}).update(dict.fromkeys(answers.question_id))
    return {
        name: Resamples(name, questions, settings["bootstrap_samples"], settings["seed"])
        for name, questions in ids.items()
    }


def _measure(
    names: dict[str, str],
    answers: AnsweredQuestions,
    counts: Mapping[str, Any],
    resamples: Resamples,
    settings: Mapping[str, Any],
) -> list[MeasuredAnswers]:
    """Every measure of one cell."""
    columns = resamples.columns(np.array(answers.question_id, dtype=object))
    weights = resamples.take(resamples.weights, columns)
    return [
        MeasuredAnswers(
            names,
            settings["resource"].get(names["language"], ""),
            measure,
            {**counts, "n": len(answers.correct)},
            *correctness_metrics.measured(answers.confidence[measure], answers.correct, weights, settings),
            *_ranked(answers.confidence[measure], answers.correct, weights[:COSTLY_SAMPLES]),
        )
        for measure in MEASURES
    ]


def _ranked(confidence: Array, correct: Array, weights: Array) -> tuple[Array, Array]:
    """The metrics RANKED [2] and those of the samples ``weights`` [S, N], [S, 2]."""
    estimate, samples = (
        np.column_stack(
            [
                metric(confidence, correct, one)
                for metric in (ranking_samples.auroc_samples, ranking_samples.auarc_samples)
            ]
        )
        for one in (np.ones((1, len(correct))), weights)
    )
    return estimate[0], samples


def means(results: Sequence[MeasuredAnswers], gaps: Gaps) -> list[MeasuredAnswers]:
    """The unweighted means over all languages of a condition and over each resource level, for each measure.

    There is none over a single language. If a condition lacks a language, its means are empty.
    """
    found = []
    by_condition: dict[Condition, list[MeasuredAnswers]] = {}
    for one in results:
        by_condition.setdefault(Condition.of(one.cell), []).append(one)
    for condition in sorted({*by_condition, *gaps}):
        members, lost = by_condition.get(condition, []), gaps.get(condition, ())
        for measure in MEASURES:
            of_measure = [one for one in members if one.measure == measure]
            for level in (ALL, *RESOURCE_LEVELS):
                of_level = [one for one in of_measure if level in (ALL, one.resource)]
                if lost and level == ALL:
                    found.append(_empty(condition, measure, lost))
                elif not lost and len(of_level) > 1:
                    found.append(_mean(of_level, condition, level))
    return found


def _mean(members: Sequence[MeasuredAnswers], condition: Condition, level: str) -> MeasuredAnswers:
    counts: dict[str, Any] = {
        name: sum(one.counts[name] for one in members) for name in ("n", "empty", "cut", "near_ties")
    }
    counts |= {
        name: float(np.mean([one.counts[name] for one in members]))
        for name in ("samples", "empty_samples", "cut_samples")
    }
    return MeasuredAnswers(
        {**condition._asdict(), "language": MEAN},
        level,
        members[0].measure,
        counts,
        *(
            np.mean([getattr(one, name) for one in members], axis=0)
            for name in ("binned", "binned_samples", "ranked", "ranked_samples")
        ),
    )


def _empty(condition: Condition, measure: str, lost: Collection[str]) -> MeasuredAnswers:
    """The mean of a condition that lacks languages: NaN."""
    binned, ranked = np.full(len(BINNED), np.nan), np.full(len(RANKED), np.nan)
    counts: dict[str, Any] = {"n": 0, "empty": 0, "cut": 0, "near_ties": 0}
    counts |= dict.fromkeys(("samples", "empty_samples", "cut_samples"), float("nan"))
    cell = {**condition._asdict(), "language": MEAN}
    return MeasuredAnswers(cell, ALL, measure, counts, binned, binned[None], ranked, ranked[None], len(lost))


def _row(one: MeasuredAnswers) -> dict[str, Any]:
    """A row of COLUMNS."""
    return {
        **{name: one.cell[name] for name in CELL_KEYS},
        "resource": one.resource,
        "measure": one.measure,
        "n": one.counts["n"],
        **{name: one.counts[name] for name in COUNTS},
        "holes": one.holes,
        **with_intervals(BINNED, one.binned, one.binned_samples),
        **with_intervals(RANKED, one.ranked, one.ranked_samples),
        "interval_covers": "" if one.holes else quantities.QUESTIONS,
    }
