"""The stage ``measure``: all tables of numbers that the figures and the report are made from.

Each Score file is read for its checks and then measured once. Only estimates and bootstrap samples stay in
memory, so that the paper's grid fits. The tables are plain Parquet files. Equal files and settings give equal
values.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from polycal.analysis import (
    chosen_beta,
    chosen_beta_rows,
    claim_tests,
    confidence_contrasts,
    confidence_measures,
    contrasts,
    cross_fitting,
    holes,
    known_truth,
    pooling,
    said_confidences,
    score_arrays,
    sensitivity,
    temperature_scaling,
    usable_records,
)
from polycal.analysis.cell_metrics import MeasuredCell, measure_cell
from polycal.analysis.chosen_beta import Chosen, SweptLanguage
from polycal.analysis.conditions import Condition, cell_key
from polycal.analysis.cross_fitting import FoldedCell
from polycal.analysis.holes import Gaps, Hole
from polycal.analysis.known_truth import TruthRows
from polycal.analysis.measured_confidence import MeasuredConfidence
from polycal.analysis.question_split import split_questions
from polycal.analysis.score_set import ScoreSet, resource_level
from polycal.analysis.temperature_scaling import Recalibrated
from polycal.analysis.usable_records import RecordKind
from polycal.artifacts import files, tables
from polycal.artifacts.manifests import Stamp
from polycal.progress import ProgressLine

Result = TypeVar("Result")

TRAINING_MEANS = "training_means"
"""The table of means over several trainings, with the columns of the table cells."""
TABLES = (
    "cells",
    TRAINING_MEANS,
    "holes",
    "diagnostics",
    "reliability",
    "means",
    "contrasts",
    "sensitivity",
    "claims",
    "normalisations",
    "recalibration",
    "confidences",
    "confidence_contrasts",
    "chosen_beta",
)
TRUTH = "truth"
"""An additional table, if the true distribution of the answers is known."""
COLUMNS = {
    "holes": (*holes.COLUMNS[:-2], "resource", *holes.COLUMNS[-2:]),
    "contrasts": contrasts.COLUMNS,
    "sensitivity": sensitivity.COLUMNS,
    "claims": sensitivity.CLAIM_COLUMNS,
    "normalisations": sensitivity.NORMALISATION_COLUMNS,
    "recalibration": temperature_scaling.COLUMNS,
    "confidences": confidence_measures.COLUMNS,
    "confidence_contrasts": confidence_contrasts.COLUMNS,
    "chosen_beta": chosen_beta_rows.COLUMNS,
    TRUTH: known_truth.COLUMNS,
}
"""Columns of the tables that can be empty."""
THREADED_FROM = 2000
"""From this number of questions per benchmark on, two threads are faster than one."""


@dataclass
class ConditionResults:
    """The results of one condition over its languages. ``folded`` are its questions by language."""

    cells: list[MeasuredCell] = field(default_factory=list)
    folded: dict[str, FoldedCell] = field(default_factory=dict)
    recalibrated: list[Recalibrated] = field(default_factory=list)
    truth: list[TruthRows] = field(default_factory=list)
    confidences: list[MeasuredConfidence] = field(default_factory=list)


def table_names(cell: Mapping[str, Any]) -> tuple[str, ...]:
    """The tables that ``measure`` writes with the settings of ``cell``."""
    return (*TABLES, TRUTH) if cell["settings"].get("truth") else TABLES


def input_checksums(
    cell: Mapping[str, Any], *, scores: Sequence[Path], missing: Sequence[Path] = ()
) -> dict[str, str]:
    """The checksum of every file that ``measure`` reads, by path.

    It is over the rows of a record, and over the bytes of a truth file. Raises RecordError if a record is
    missing, or if it is broken and its path does not contain its cell.
    """
    kind = _kind(cell["settings"])
    checksums = usable_records.checksums(kind, scores)
    folders = cell["settings"].get("truth") or {}
    scored = usable_records.readable(kind, scores) if folders else []
    for path in sorted(
        {
            known_truth.truth_file(folders, names["benchmark"], names["language"])
            for names in scored
            if names["benchmark"] in folders
        }
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

    ``cell["settings"]`` has bins, binning, normalise (per candidate form), bootstrap_samples, seed, resource
    (per language), sensitivity (bins, binning, normalise), and optionally truth (a folder per benchmark).
    ``missing`` are the paths of records that do not exist. Missing records, failed results and records that
    cannot be measured are rows of the table holes.

    Raises MeasureError or RecordError, before anything is written, if no record can be measured or the
    settings do not fit.
    """
    settings = cell["settings"]
    usable, holes_found = usable_records.split(
        _kind(settings), [Path(path) for path in scores], [Path(path) for path in missing]
    )
    gaps = holes.gaps(holes_found)
    score_set = ScoreSet(usable, settings)
    by_condition = score_set.by_condition()
    sweeps = _sweeps([Condition.of(score_arrays.cell_of(paths[0])) for paths in by_condition], gaps)
    progress = ProgressLine("measuring", len(score_set.files), "records")
    measured = []
    for result in in_threads(
        score_set, lambda sweep: _measure_sweep(score_set, sweep, by_condition, gaps), list(sweeps.items())
    ):
        measured.append(result)
        progress(sum(len(one.cells) for one in result[0].values()))
    # The results are in the order of the conditions, whatever their sweeps.
    by_place = {place: one for conditions, _ in measured for place, one in conditions.items()}
    results = [by_place[place] for place in range(len(by_condition))]
    cells = [cell for result in results for cell in result.cells]
    rows = {"holes": [_hole_row(hole, settings) for hole in holes_found], **_rows(cells, gaps, settings)}
    recalibrated = [one for result in results for one in result.recalibrated]
    confidences = [one for result in results for one in result.confidences]
    for condition in sorted(set(gaps) - {cell.condition for cell in cells}):
        if recalibrated:
            recalibrated += temperature_scaling.empty_means(condition._asdict(), gaps[condition])
        if confidences:
            confidences += confidence_measures.empty_means(condition._asdict(), gaps[condition])
    recalibrated += temperature_scaling.pool(recalibrated)
    confidences += confidence_measures.pool(confidences)
    rows["recalibration"] = temperature_scaling.recalibration_rows(recalibrated)
    rows["confidences"] = confidence_measures.confidence_rows(confidences)
    rows["confidence_contrasts"] = confidence_contrasts.contrast_rows(
        confidences, confidence_measures.BINNED, confidence_measures.RANKED
    )
    choices = [choice for _, found in measured for choice in found]
    rows["chosen_beta"] = chosen_beta_rows.chosen_beta_rows([*choices, *chosen_beta.pool(choices)])
    if settings.get("truth"):
        pairs = [pair for result in results for pair in result.truth]
        # The truth is the same for all models, so one row per benchmark and language is enough.
        truth = {cell_key(pair.truth): pair.truth for pair in pairs}
        rows[TRUTH] = [*(truth[key] for key in sorted(truth)), *(pair.cell for pair in pairs)]
    metadata = stamp()
    for name in table_names(cell):
        columns = list(rows["cells"][0]) if name == TRAINING_MEANS else COLUMNS.get(name)
        table = pd.DataFrame(rows[name], columns=columns)
        tables.write(table, Path(out) / f"{name}.parquet", {**metadata, "table": name, "settings": settings})


def _rows(
    cells: Sequence[MeasuredCell], gaps: Gaps, settings: Mapping[str, Any]
) -> dict[str, list[dict[str, Any]]]:
    """The rows of the tables over cells, by table name."""
    over_trainings, gaps_over_trainings = pooling.pool(cells, gaps)
    pooled, all_gaps = [*cells, *over_trainings], holes.joined(gaps, gaps_over_trainings)
    conventions = sensitivity.sensitivity_rows(pooled, all_gaps)
    return {
        "cells": [cell.row for cell in cells],
        TRAINING_MEANS: [pooling.training_mean_row(cell) for cell in over_trainings],
        "diagnostics": [cell.diagnostics for cell in cells],
        "reliability": [row for cell in cells for row in cell.reliability],
        "means": pooling.mean_rows(pooled, all_gaps, settings["resource"]),
        "contrasts": contrasts.contrast_rows(pooled, all_gaps),
        "sensitivity": conventions,
        "claims": sensitivity.claim_rows(
            conventions,
            settings,
            sensitivity.claim_holes(pooled, all_gaps),
            claim_tests.claim_tests(pooled, all_gaps),
        ),
        "normalisations": list(sensitivity.normalisation_rows(cells, settings)),
    }


def _hole_row(hole: Hole, settings: Mapping[str, Any]) -> dict[str, Any]:
    language = hole.cell["language"]
    return {**hole.row, "resource": resource_level(settings, language, ", ".join(cell_key(hole.cell)))}


def _kind(settings: Mapping[str, Any]) -> RecordKind:
    """How score records are read. Each record is checked on its own before any is measured."""

    def question_ids(path: Path) -> list[str]:
        questions = score_arrays.read(path)
        known_truth.check(settings, questions)
        said_confidences.check(settings, questions)
        return sorted(questions.question_id)

    return RecordKind("score", "questions", usable_records.score_names, question_ids)


def _sweeps(conditions: Sequence[Condition], gaps: Gaps) -> dict[Condition, list[int]]:
    """The places of the ``conditions`` of each sweep, which differ only in β. The key has no β.

    A sweep of missing cells only has no place.
    """
    sweeps: dict[Condition, list[int]] = {}
    for place, condition in enumerate(conditions):
        sweeps.setdefault(condition._replace(beta=""), []).append(place)
    for condition in sorted(gaps):
        sweeps.setdefault(condition._replace(beta=""), [])
    return sweeps


def _measure_sweep(
    score_set: ScoreSet,
    sweep: tuple[Condition, list[int]],
    by_condition: Sequence[Sequence[Path]],
    gaps: Gaps,
) -> tuple[dict[int, ConditionResults], list[Chosen]]:
    """The results of the conditions of a sweep by their place, and those of choosing β among them."""
    key, places = sweep
    results = {place: _measure_condition(score_set, by_condition[place], gaps) for place in places}
    if key.is_base:
        return results, []
    betas = {one.cells[0].condition.beta: one for one in results.values()}
    missing = {
        condition.beta: set(gaps[condition]) for condition in gaps if condition._replace(beta="") == key
    }
    ordered = sorted({*betas, *missing}, key=float)
    grid = {*(name for one in betas.values() for name in one.folded), *set().union(*missing.values())}
    complete = {
        name for name in grid if all(beta in betas and name in betas[beta].folded for beta in ordered)
    }
    languages = [
        SweptLanguage(
            cell.cell,
            cell.resource,
            [betas[beta].folded[cell.cell["language"]] for beta in ordered],
            cell.floor,
        )
        for cell in (betas[ordered[0]].cells if ordered[0] in betas else [])
        if cell.cell["language"] in complete
    ]
    levels = {name: score_set.settings["resource"].get(name, "") for name in sorted(grid - complete)}
    found = chosen_beta.choose(score_set, ordered, languages, key, levels)
    for one in results.values():
        one.folded.clear()
    return results, found


def _measure_condition(score_set: ScoreSet, paths: Sequence[Path], gaps: Gaps) -> ConditionResults:
    """The results of one condition. ``paths`` are its Score files, one per language."""
    results, splits, answers = ConditionResults(), [], []
    for path in paths:
        questions = score_arrays.read(path)
        log_p = score_set.log_probabilities(questions)
        results.cells.append(measure_cell(score_set, questions, log_p))
        answers.append(said_confidences.answers(questions, log_p))
        if split := split_questions(score_set, questions, log_p):
            splits.append(split)
        resamples = score_set.resamples[questions.cell["benchmark"]]
        if folded := cross_fitting.fold(resamples, questions, log_p):
            results.folded[questions.cell["language"]] = folded
        if score_set.settings.get("truth") and (pair := known_truth.truth_rows(score_set, questions, log_p)):
            results.truth.append(pair)
    missing = gaps.get(results.cells[0].condition, ())
    results.recalibrated = temperature_scaling.recalibrate(score_set, splits, missing)
    results.confidences = confidence_measures.measured_confidences(score_set, answers, missing)
    return results


def in_threads(score_set: ScoreSet, work: Callable[[Any], Result], items: Sequence[Any]) -> Iterator[Result]:
    """``work`` of every item, in order; each result is yielded as soon as it and those before it are there.

    Two threads are used if arrays are so large that NumPy releases the GIL for most of the time.
    """
    large = max(len(resamples.ids) for resamples in score_set.resamples.values()) >= THREADED_FROM
    if not large:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        yield from pool.map(work, items)
