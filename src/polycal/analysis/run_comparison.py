"""Score files with intervals, and paired differences between runs, without a study.

A run is a checkpoint. Its name is the checkpoint keys of the cell that are not ``none``, joined by slashes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from polycal.analysis import bootstrap, score_arrays, summary
from polycal.analysis.bootstrap import METRICS
from polycal.analysis.intervals import false_discovery, interval, p_value, with_intervals
from polycal.analysis.question_outcomes import outcomes
from polycal.analysis.resampling import Resamples
from polycal.analysis.score_arrays import MeasureError, ScoredQuestions
from polycal.artifacts import records
from polycal.metrics.arrays import Array
from polycal.vocabulary import CHECKPOINT_KEYS, NONE

SAMPLES, SEED = 1000, 0
"""The number of bootstrap samples and their seed."""
QUESTIONS_KEYS = ("benchmark", "protocol", "language")
"""Keys that must be equal for two cells to be compared."""


class QuestionsFile(Protocol):
    """A file with its normalisation, and the index of the right option of each question by question id."""

    @property
    def path(self) -> str | Path: ...

    @property
    def normalise(self) -> str: ...

    @property
    def gold(self) -> Mapping[str, int]: ...


@dataclass(frozen=True)
class MeasuredFile:
    """One file: bootstrap.METRICS estimated [9] and in bootstrap samples [R, 9].

    ``gold`` is the index of the right option of each question, by question id.
    """

    path: str
    run: str
    keys: tuple[str, ...]
    normalise: str
    gold: Mapping[str, int]
    estimate: Array
    samples: Array


def measure_files(paths: Sequence[Path], normalise: str | None = None) -> list[MeasuredFile]:
    """Every file, measured with the same bootstrap samples for all files of a benchmark.

    Raises RecordError or MeasureError if a file cannot be measured, and MeasureError if two files have the
    same cell.
    """
    read = [score_arrays.read(path, records.metadata(path).get("cell") or {}) for path in paths]
    ids: dict[str, dict[str, None]] = {}
    for questions in read:
        ids.setdefault(questions.cell["benchmark"], {}).update(dict.fromkeys(questions.question_id))
    resamples = {name: Resamples(name, names, SAMPLES, SEED) for name, names in ids.items()}
    measured: dict[tuple[str, ...], MeasuredFile] = {}
    for questions in read:
        file = _measure(questions, resamples[questions.cell["benchmark"]], normalise)
        other = measured.setdefault((file.run, *file.keys), file)
        if other is not file:
            raise MeasureError(
                f"{other.path} and {file.path} hold the same cell: {', '.join((file.run, *file.keys))}; must differ."
            )
    return list(measured.values())


def run_name(cell: Mapping[str, str]) -> str:
    """The name of the checkpoint of a cell."""
    return "/".join(cell[key] for key in CHECKPOINT_KEYS if cell[key] != NONE) or NONE


def _measure(questions: ScoredQuestions, resamples: Resamples, normalise: str | None) -> MeasuredFile:
    form = summary.normalisation(questions, normalise)
    values = outcomes(questions.log_probabilities(form), questions.gold, questions.options)
    weights = resamples.take(resamples.weights, resamples.columns(questions.question_id))
    bins = {name: summary.DEFAULTS[name] for name in ("bins", "binning")}
    cell = questions.cell
    return MeasuredFile(
        path=questions.path,
        run=run_name(cell),
        keys=tuple(cell[key] for key in QUESTIONS_KEYS),
        normalise=form,
        gold=dict(zip(questions.question_id, questions.gold.tolist(), strict=True)),
        estimate=bootstrap.estimates(values, **bins),
        samples=bootstrap.samples(values, weights, **bins),
    )


def estimates(files: Sequence[MeasuredFile]) -> pd.DataFrame:
    """One row per file: run, keys, normalisation, number of questions, and METRICS with 95% intervals."""
    return pd.DataFrame(
        [
            {
                "run": file.run,
                **dict(zip(QUESTIONS_KEYS, file.keys, strict=True)),
                "normalise": file.normalise,
                "n": len(file.gold),
                **with_intervals(METRICS, file.estimate, file.samples),
            }
            for file in files
        ]
    )


def differences(files: Sequence[MeasuredFile], reference: str) -> pd.DataFrame:
    """Every other run minus the run ``reference`` on the same questions, with 95% intervals, p and q.

    There is one row per run, benchmark, protocol, language and metric, and one for the mean over the
    languages that both runs have. q is p adjusted for the false discovery rate over these languages. The mean
    is a single test, so its q is p.

    Raises MeasureError if there is nothing to compare, or if files differ in normalisation, questions or
    right answers.
    """
    runs = sorted({file.run for file in files})
    if reference not in runs:
        raise MeasureError(no_such_run(reference, runs))
    rows = [row for group in _paired(files, reference) for row in _group_rows(group, reference)]
    if not rows:
        raise MeasureError(nothing_to_compare(reference))
    return pd.DataFrame(rows)


def no_such_run(reference: str, runs: Sequence[str]) -> str:
    """The message if ``reference`` is none of ``runs``."""
    return f"there is no record of run {reference!r}; must be one of {', '.join(runs)}."


def nothing_to_compare(reference: str) -> str:
    """The message if no other run has the questions of the run ``reference``."""
    return (
        f"no other run has a benchmark, protocol and language of run {reference!r}; two runs on the same questions are"
        " needed."
    )


Pair = tuple[MeasuredFile, MeasuredFile]


def _paired(files: Sequence[MeasuredFile], reference: str) -> Iterator[list[Pair]]:
    """For each run, benchmark and protocol: pairs of a file and that of the reference, one per language."""
    of_reference = {file.keys: file for file in files if file.run == reference}
    groups: dict[tuple[str, ...], list[Pair]] = {}
    for file in sorted(files, key=lambda file: (file.run, *file.keys)):
        other = of_reference.get(file.keys)
        if file.run != reference and other is not None:
            check_same_questions(file, other)
            groups.setdefault((file.run, *file.keys[:2]), []).append((file, other))
    yield from groups.values()


def check_same_questions(file: QuestionsFile, other: QuestionsFile) -> None:
    """Raise MeasureError if two files differ in normalisation, questions or right answers."""
    if file.normalise != other.normalise:
        raise MeasureError(
            f"{file.path} and {other.path} are normalised by {file.normalise!r} and {other.normalise!r}; must be the"
            " same, which --normalise sets."
        )
    if file.gold == other.gold:
        return
    differing = file.gold.keys() ^ other.gold.keys()
    if differing:
        raise MeasureError(
            f"{file.path} and {other.path} cannot be compared: {len(differing)} question(s) are in one of them only"
            f" (such as {min(differing)!r}); must be runs on the same questions."
        )
    name = min(name for name in file.gold if file.gold[name] != other.gold[name])
    raise MeasureError(
        f"{file.path} and {other.path} cannot be compared: the right option of question {name!r} is"
        f" {file.gold[name]} in one and {other.gold[name]} in the other; must be the same questions."
    )


def _group_rows(pairs: Sequence[Pair], reference: str) -> list[dict[str, Any]]:
    """The rows of one run, benchmark and protocol."""
    first = pairs[0][0]
    estimate = np.array([file.estimate - other.estimate for file, other in pairs])
    samples = np.array([file.samples - other.samples for file, other in pairs])
    sets = [
        *(
            (file.keys[2], value, sample)
            for (file, _), value, sample in zip(pairs, estimate, samples, strict=True)
        ),
        ("mean", estimate.mean(0), samples.mean(0)),
    ]
    p = np.array([p_value(value, sample) for _, value, sample in sets])
    q = p.copy()
    for column in range(len(METRICS)):
        q[:-1, column] = false_discovery(p[:-1, column])
    rows = []
    for number, (language, value, sample) in enumerate(sets):
        low, high = interval(value, sample)
        for column, metric in enumerate(METRICS):
            rows.append(
                {
                    "run": first.run,
                    "reference": reference,
                    **dict(zip(QUESTIONS_KEYS, (*first.keys[:2], language), strict=True)),
                    "metric": metric,
                    "difference": float(value[column]),
                    "low": float(low[column]),
                    "high": float(high[column]),
                    "p": float(p[number, column]),
                    "q": float(q[number, column]),
                }
            )
    return rows
