"""The stage ``measure_generation``: accuracy of generated answers, and calibration of each measure of confidence.

Questions are resampled, with the same samples for all checkpoints, languages and measures.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from polycal.analysis import (
    answer_confidences,
    answer_records,
    confidence_contrasts,
    correctness_metrics,
    holes,
    measured_confidence,
    quantities,
    ranking_samples,
)
from polycal.analysis.answer_confidences import LIKELIHOOD, MEASURES, AnsweredQuestions
from polycal.analysis.conditions import Condition
from polycal.analysis.holes import Gaps
from polycal.analysis.measured_confidence import ALL, MEAN, Counts, MeasuredConfidence
from polycal.analysis.resampling import COSTLY_SAMPLES, Resamples
from polycal.artifacts import open_records, records, tables
from polycal.artifacts.manifests import Stamp
from polycal.vocabulary import CELL_KEYS, RESOURCE_LEVELS

CONTRASTS, HOLES = "generation_contrasts", "generation_holes"
TABLES = ("generation", CONTRASTS, HOLES)
BINNED = correctness_metrics.METRICS
"""Metrics from all bootstrap samples."""
RANKED = ranking_samples.METRICS
"""Metrics from COSTLY_SAMPLES bootstrap samples. ``spearman`` is the rank correlation with the likelihood."""
COUNTS = ("samples", "empty", "cut", "near_ties", "empty_samples", "cut_samples")
SHARES = ("samples", "empty_samples", "cut_samples")
"""Those of COUNTS that are averaged in a mean over languages. The others are summed."""
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


def table_names(cell: Mapping[str, Any]) -> tuple[str, ...]:
    """The tables that ``measure_generation`` writes."""
    return TABLES


def input_checksums(
    cell: Mapping[str, Any],
    *,
    generations: Sequence[Path],
    clusters: Sequence[Path] = (),
    missing: Sequence[Path] = (),
) -> dict[str, str]:
    """The checksum of every record of answers and of clusters, by path.

    Raises RecordError if a record is missing, or if it is broken and its path does not contain its cell.
    """
    return answer_records.checksums(generations, clusters)


def measure_generation(
    cell: Mapping[str, Any],
    *,
    generations: Sequence[Path],
    clusters: Sequence[Path] = (),
    missing: Sequence[Path] = (),
    out: Path,
    stamp: Stamp,
) -> None:
    """Write the tables of TABLES into the folder ``out``.

    ``cell["settings"]`` has bins, binning, bootstrap_samples, seed and resource (levels by language). ``clusters`` are
    the records of the clusters by meaning, if the study has an entailment model: one for each of ``generations``.
    ``missing`` are the paths of records that do not exist. Missing, failed and unusable records are rows of the table
    generation_holes, and means over languages without them are empty. An answer without its clusters is not measured.

    Raises MeasureError or RecordError, before anything is written, if no record is usable.
    """
    settings = cell["settings"]
    usable, found = answer_records.usable(generations, clusters, missing)
    answered = []
    for path in sorted(usable):
        names = answer_records.names(records.metadata(path)["cell"])
        table, clustered = open_records.read_generations(path), usable[path]
        meanings = answer_records.read_clusters(clustered, table) if clustered else None
        answers = answer_confidences.read(table, names["language"], meanings)
        answered.append((names, answers, answer_confidences.counted(table)))
    resamples = _resamples(answered, settings)
    results = [
        one
        for names, answers, counts in answered
        for one in _measure(names, answers, counts, resamples[names["benchmark"]], settings)
    ]
    results += means(results, holes.gaps(found))
    results += measured_confidence.pool(results, _over_trainings)
    rows = [_row(one) for one in results]
    contrasts = confidence_contrasts.contrast_rows(results, BINNED, RANKED)
    facts = stamp()
    for name, written in (
        ("generation", pd.DataFrame(rows, columns=COLUMNS)),
        (CONTRASTS, pd.DataFrame(contrasts, columns=confidence_contrasts.COLUMNS)),
        (HOLES, pd.DataFrame([hole.row for hole in found], columns=holes.COLUMNS)),
    ):
        tables.write(written, out / f"{name}.parquet", {**facts, "table": name})


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
) -> list[MeasuredConfidence]:
    """Every measure of one cell."""
    columns = resamples.columns(np.array(answers.question_id, dtype=object))
    weights = resamples.take(resamples.weights, columns)
    return [
        MeasuredConfidence(
            names,
            settings["resource"].get(names["language"], ""),
            measure,
            {**counts, "n": len(answers.correct)},
            *correctness_metrics.measured(answers.confidence[measure], answers.correct, weights, settings),
            *ranking_samples.measured(
                answers.confidence[measure],
                answers.correct,
                None if measure == LIKELIHOOD else answers.confidence[LIKELIHOOD],
                weights[:COSTLY_SAMPLES],
            ),
        )
        for measure in MEASURES
        if measure in answers.confidence
    ]


def means(results: Sequence[MeasuredConfidence], gaps: Gaps) -> list[MeasuredConfidence]:
    """The unweighted means over all languages of a condition and over each resource level, for each measure.

    There is none over a single language. If a condition lacks a language, its means are empty.
    """
    found = []
    measured = {one.measure for one in results}
    by_condition: dict[Condition, list[MeasuredConfidence]] = {}
    for one in results:
        by_condition.setdefault(Condition.of(one.cell), []).append(one)
    for condition in sorted({*by_condition, *gaps}):
        members, lost = by_condition.get(condition, []), gaps.get(condition, ())
        cell = {**condition._asdict(), "language": MEAN}
        for measure in [name for name in MEASURES if name in measured]:
            of_measure = [one for one in members if one.measure == measure]
            for level in (ALL, *RESOURCE_LEVELS):
                of_level = [one for one in of_measure if level in (ALL, one.resource)]
                if lost and level == ALL:
                    found.append(_empty(cell, measure, len(lost)))
                elif not lost and len(of_level) > 1:
                    counts = _over_languages(of_level)
                    found.append(measured_confidence.mean(of_level, cell, level, counts))
    return found


def _over_languages(members: Sequence[MeasuredConfidence]) -> Counts:
    """The counts of a mean over languages."""
    return {name: _sum_or_mean(name, [one.counts[name] for one in members]) for name in members[0].counts}


def _sum_or_mean(name: str, values: Sequence[float]) -> float:
    return float(np.mean(values)) if name in SHARES else sum(values)


def _over_trainings(members: Sequence[MeasuredConfidence]) -> Counts:
    """The counts of a mean over trainings, which answer the same questions."""
    averaged = {name: float(np.mean([one.counts[name] for one in members])) for name in COUNTS}
    return {**averaged, "n": members[0].counts["n"]}


def _empty(cell: dict[str, str], measure: str, lost: int) -> MeasuredConfidence:
    """The mean of a condition that lacks languages: NaN."""
    counts = {name: float("nan") if name in SHARES else 0 for name in ("n", *COUNTS)}
    return measured_confidence.empty(cell, ALL, measure, counts, (len(BINNED), len(RANKED)), lost)


def _row(one: MeasuredConfidence) -> dict[str, Any]:
    """A row of COLUMNS."""
    return {
        **{name: one.cell[name] for name in CELL_KEYS},
        "resource": one.resource,
        "measure": one.measure,
        "n": one.counts["n"],
        **{name: float(one.counts[name]) for name in COUNTS},
        "holes": one.holes,
        **quantities.with_intervals(BINNED, one.binned_quantity),
        **quantities.with_intervals(RANKED, one.ranked_quantity),
        "interval_covers": "" if one.holes else ", ".join(one.covers),
    }
