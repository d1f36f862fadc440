"""The stage ``measure_groups``: accuracy, gap and ECE by group of questions, such as a subject, and language."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from polycal.analysis import bootstrap, holes, noise_floor, score_arrays, usable_records
from polycal.analysis.conditions import Condition
from polycal.analysis.holes import NO_GAPS, Gaps
from polycal.analysis.intervals import with_intervals
from polycal.analysis.question_outcomes import outcomes
from polycal.analysis.resampling import Resamples
from polycal.analysis.score_arrays import ScoredQuestions
from polycal.analysis.score_set import normalisation
from polycal.analysis.usable_records import RecordKind
from polycal.artifacts import records, tables
from polycal.artifacts.manifests import Stamp
from polycal.metrics import calibration
from polycal.metrics.arrays import Array
from polycal.vocabulary import CELL_KEYS, NONE

METRICS = ("accuracy", "gap", "ece")
COLUMNS = [bootstrap.METRICS.index(metric) for metric in METRICS]
NO_GROUP = "none"
"""The group of questions without one."""
MEAN = "mean"
"""The language of rows that are means over languages."""


TABLES = ("groups",)


@dataclass(frozen=True)
class Conventions:
    """How groups are measured: bins, bootstrap samples and their seed, and the normalisation of each file."""

    bins: int
    binning: calibration.Binning
    bootstrap_samples: int
    seed: int
    normalise: Callable[[ScoredQuestions], str]


class _Measured(NamedTuple):
    """One group in one file: METRICS estimated [3] and in bootstrap samples [R, 3], simulated ECEs of a
    calibrated model [F], and the number of questions."""

    estimate: Array
    samples: Array
    floor: Array
    n: int


class GroupRow(NamedTuple):
    """The measurements of one group in one language, or in the mean over ``languages`` languages."""

    condition: Condition
    language: str
    normalise: str
    group: str
    languages: int
    n: int
    values: dict[str, float]
    """METRICS with 95% intervals, ``ece_floor`` and ``ece_floor_high``."""


def table_names(cell: Mapping[str, Any]) -> tuple[str, ...]:
    """The tables that ``measure_groups`` writes."""
    return TABLES


def input_checksums(
    cell: Mapping[str, Any], *, scores: Sequence[Path], missing: Sequence[Path] = ()
) -> dict[str, str]:
    """The checksum of every Score record, by path.

    Raises RecordError if a record is missing, or if it is broken and its path does not contain its cell.
    """
    return usable_records.checksums(KIND, scores)


def measure_groups(
    cell: Mapping[str, Any],
    *,
    scores: Sequence[Path],
    missing: Sequence[Path] = (),
    out: Path,
    stamp: Stamp,
) -> None:
    """Write the table groups of a study into the folder ``out``.

    ``cell["settings"]`` has bins, binning, normalise (per candidate form), bootstrap_samples and seed.
    ``missing`` are the paths of records that do not exist. The table holes of the stage ``measure`` lists
    missing, failed and unusable records. Raises MeasureError if no record is usable.
    """
    settings = cell["settings"]
    usable, found = usable_records.split(KIND, scores, missing)
    conventions = Conventions(
        bins=settings["bins"],
        binning=settings["binning"],
        bootstrap_samples=settings["bootstrap_samples"],
        seed=settings["seed"],
        normalise=lambda questions: normalisation(settings, questions.candidates),
    )
    rows = table_rows({path: score_arrays.cell_of(path) for path in usable}, conventions, holes.gaps(found))
    [name] = TABLES
    metadata = {**stamp(), "table": name, "settings": settings}
    tables.write(pd.DataFrame(rows), out / f"{name}.parquet", metadata)


def _question_ids(path: Path) -> list[str]:
    return sorted(score_arrays.read(path).question_id)


KIND = RecordKind("score", "questions", usable_records.score_names, _question_ids)
"""How score records are read, as in the stage ``measure``."""


def table_rows(
    cells: Mapping[Path, Mapping[str, Any]], conventions: Conventions, gaps: Gaps = NO_GAPS
) -> list[dict[str, Any]]:
    """The rows of the table groups: those of ``measured_groups`` with CELL_KEYS, and ``holes``.

    ``holes`` is the number of languages that a mean lacks according to ``gaps``. The mean is then empty.
    """
    rows = []
    for row in measured_groups(cells, conventions):
        holes = len(gaps.get(row.condition, ())) if row.language == MEAN else 0
        names = {**row.condition._asdict(), "language": row.language}
        rows.append(
            {
                **{key: names[key] for key in CELL_KEYS},
                "group": row.group,
                "languages": row.languages,
                "holes": holes,
                "n": row.n,
                **(dict.fromkeys(row.values, float("nan")) if holes else row.values),
            }
        )
    return rows


def measured_groups(cells: Mapping[Path, Mapping[str, Any]], conventions: Conventions) -> Iterator[GroupRow]:
    """The rows of every condition: one per language and group, then one per group for the mean over languages.

    ``cells`` maps each file to its cell. The mean is over the languages that have the group. Only the samples
    of one condition are in memory.

    Raises RecordError or MeasureError if a file cannot be measured.
    """
    named = {path: {name: str(cell.get(name, NONE)) for name in CELL_KEYS} for path, cell in cells.items()}
    resamples = _resamples({path: names["benchmark"] for path, names in named.items()}, conventions)
    conditions: dict[Condition, list[Path]] = {}
    for path in cells:
        conditions.setdefault(Condition.of(named[path]), []).append(path)
    for condition in sorted(conditions):
        means: dict[tuple[str, str], list[_Measured]] = {}
        for path in conditions[condition]:
            questions = score_arrays.read(path, cells[path])
            form = conventions.normalise(questions)
            for group, measured in _of_file(questions, form, resamples, conventions):
                means.setdefault((form, group), []).append(measured)
                yield _row(condition, questions.cell["language"], form, group, [measured])
        for (form, group), members in means.items():
            yield _row(condition, MEAN, form, group, members)


def _resamples(benchmarks: Mapping[Path, str], conventions: Conventions) -> dict[tuple[str, str], Resamples]:
    """The bootstrap samples of each group of each benchmark; ``benchmarks`` maps files to their benchmark."""
    ids: dict[tuple[str, str], dict[str, None]] = {}
    last: dict[str, tuple[NDArray[np.object_], NDArray[np.object_]]] = {}
    for path, benchmark in benchmarks.items():
        table = records.read_scores(path)
        pair = (
            np.asarray(table["question_id"].to_numpy(), dtype=object),
            _group_names(table["group"].to_pylist()),
        )
        if benchmark in last and all(map(np.array_equal, pair, last[benchmark])):
            continue
        last[benchmark] = pair
        for name, group in zip(*pair, strict=True):
            ids.setdefault((benchmark, group), {})[name] = None
    size = conventions.bootstrap_samples, conventions.seed
    return {key: Resamples(" ".join(key), names, *size) for key, names in ids.items()}


def _group_names(groups: Iterable[str | None]) -> NDArray[np.object_]:
    """The group of each question, [N]; NO_GROUP for a question without one."""
    return np.array([name or NO_GROUP for name in groups], dtype=object)


def _of_file(
    questions: ScoredQuestions,
    form: str,
    resamples: Mapping[tuple[str, str], Resamples],
    conventions: Conventions,
) -> Iterator[tuple[str, _Measured]]:
    """The measurements of each group of one file, with the groups in order."""
    groups, log_p = _group_names(questions.group), questions.log_probabilities(form)
    for group in sorted(set(groups)):
        inside = groups == group
        of_group = resamples[questions.cell["benchmark"], group]
        columns = of_group.columns(questions.question_id[inside])
        weights, uniform = (of_group.take(one, columns) for one in (of_group.weights, of_group.uniform))
        values = outcomes(log_p[inside], questions.gold[inside], questions.options[inside])
        bins: Any = {"bins": conventions.bins, "binning": conventions.binning}
        yield (
            group,
            _Measured(
                bootstrap.estimates(values, **bins)[COLUMNS],
                bootstrap.samples(values, weights, **bins)[:, COLUMNS],
                noise_floor.noise_floor_samples(values.confidence, uniform, **bins),
                int(inside.sum()),
            ),
        )


def _row(
    condition: Condition, language: str, form: str, group: str, members: Sequence[_Measured]
) -> GroupRow:
    """The row of one file, or of the mean over several."""
    estimate, samples, floor = members[0][:3]
    if len(members) > 1:
        estimate, samples, floor = (
            np.mean(values, axis=0) for values in zip(*(one[:3] for one in members), strict=True)
        )
    values = {
        **with_intervals(METRICS, estimate, samples),
        "ece_floor": float(np.mean([float(one.floor.mean()) for one in members])),
        "ece_floor_high": noise_floor.summary(floor)[1],
    }
    return GroupRow(condition, language, form, group, len(members), sum(one.n for one in members), values)
