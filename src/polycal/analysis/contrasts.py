"""Differences between checkpoints on the same questions, with intervals and tests.

There are three contrasts: tuned against base, smoothed against unsmoothed, and one data set against another.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from polycal.analysis import quantities
from polycal.analysis.bootstrap import METRICS
from polycal.analysis.cell_metrics import MeasuredCell
from polycal.analysis.conditions import DATA_MINUS_DATA, REFERENCE, Condition
from polycal.analysis.holes import NO_GAPS, Gaps
from polycal.analysis.intervals import false_discovery, false_discovery_any
from polycal.analysis.pooling import by_condition, mean
from polycal.analysis.quantities import Quantity
from polycal.analysis.relative_cut import NO_REDUCTION, REDUCTION, REFUSED, relative_cut
from polycal.metrics.arrays import Array
from polycal.vocabulary import CELL_KEYS, NONE

VARIANCES = ("question_variance", "interaction_variance", "training_variance", "trainings")
"""Columns with the parts of the variance of a difference (``quantities.VarianceParts``).

They are the variance over questions that all trainings share, what questions add in each training on its own,
the variance between trainings (which includes the second), and the number of trainings.
"""
COLUMNS = (
    "contrast",
    *CELL_KEYS,
    "reference",
    "metric",
    "difference",
    "low",
    "high",
    "p",
    "q",
    "languages",
    "holes",
    *REDUCTION,
    REFUSED,
    "q_study",
    "interval_covers",
    *VARIANCES,
)


class Pair(NamedTuple):
    """A condition and its reference, each with its cells by language.

    ``shared`` are the languages that both have, sorted. ``holes`` is the number of further languages that
    both would have if no cell were missing.
    """

    contrast: str
    condition: Condition
    reference: Condition
    members: dict[str, MeasuredCell]
    references: dict[str, MeasuredCell]
    shared: list[str]
    holes: int


def paired(conditions: Mapping[Condition, dict[str, MeasuredCell]], gaps: Gaps = NO_GAPS) -> Iterator[Pair]:
    """Every condition with each of its references, if they have a language in common, missing cells included.

    Means over different sets of seeds are not compared.
    """
    for contrast, condition, reference in _comparisons(conditions):
        members, references = conditions[condition], conditions[reference]
        shared = set(members) & set(references)
        grid = (set(members) | set(gaps.get(condition, ()))) & (
            set(references) | set(gaps.get(reference, ()))
        )
        if grid and quantities.same_trainings(
            *(side[name] for name in sorted(shared)[:1] for side in (members, references))
        ):
            holes = len(grid - shared)
            yield Pair(contrast, condition, reference, members, references, sorted(shared), holes)


def _comparisons(conditions: Collection[Condition]) -> Iterator[tuple[str, Condition, Condition]]:
    """Every contrast whose two conditions are present: (contrast, condition, reference)."""
    data = sorted({condition.data for condition in conditions} - {NONE})
    for condition in conditions:
        for contrast, reference in condition.references():
            if reference in conditions:
                yield contrast, condition, reference
        if condition.is_base:
            continue
        for other in data[: data.index(condition.data)]:
            if (trained := condition._replace(data=other)) in conditions:
                yield DATA_MINUS_DATA, condition, trained


def contrast_rows(cells: Sequence[MeasuredCell], gaps: Gaps = NO_GAPS) -> list[dict[str, Any]]:
    """Every contrast in every language, and for the mean over the languages that both sides have.

    q is p adjusted for the false discovery rate over the languages of one contrast, condition and metric. The
    mean is a single test, so its q is p. q_study is p adjusted over all rows.

    ``holes`` is the number of languages that a side lacks according to ``gaps``. These languages have no row,
    and the mean is then empty. Both sides must contain the same questions, which ``usable_records`` checks.
    """
    rows: list[dict[str, Any]] = []
    for pair in paired(by_condition(cells, gaps), gaps):
        counts = {
            "reference": REFERENCE.get(pair.contrast) or pair.reference.data,
            "languages": len(pair.shared),
            "holes": pair.holes,
        }
        by_language = [
            _differences(pair, pair.members[language].cell, [language]) for language in pair.shared
        ]
        for column in range(len(METRICS)):
            q = false_discovery(np.array([metrics[column]["p"] for metrics in by_language]))
            for metrics, value in zip(by_language, q, strict=True):
                metrics[column]["q"] = float(value)
        over = {**pair.condition._asdict(), "language": "mean"}
        over_languages = _empty(pair, over) if pair.holes else _differences(pair, over, pair.shared)
        for metric in over_languages:
            metric["q"] = metric["p"]
        rows.extend({**row, **counts} for metrics in [*by_language, over_languages] for row in metrics)
    q_study = false_discovery_any(np.array([row["p"] for row in rows]))
    for row, value in zip(rows, q_study, strict=True):
        row["q_study"] = float(value)
    return rows


def _empty(pair: Pair, cell: Mapping[str, str]) -> list[dict[str, Any]]:
    """One row per metric, without an estimate."""
    names = {name: cell[name] for name in CELL_KEYS}
    values = dict.fromkeys(("difference", "low", "high", "p", "q"), float("nan"))
    empty = {**values, **NO_REDUCTION, "interval_covers": "", **dict.fromkeys(VARIANCES[:3], float("nan"))}
    empty["trainings"] = 0
    return [{"contrast": pair.contrast, **names, "metric": metric, **empty} for metric in METRICS]


def _differences(pair: Pair, cell: Mapping[str, str], languages: Sequence[str]) -> list[dict[str, Any]]:
    """One row per metric for the mean over ``languages``. The other columns are the keys of ``cell``."""
    tuned, reference, floor = sides(pair, languages)
    difference = tuned.minus(reference)
    low, high = difference.interval()
    p = difference.p_value()
    parts = difference.variance
    rows: list[dict[str, Any]] = []
    for column, metric in enumerate(METRICS):
        rows.append(
            {
                "contrast": pair.contrast,
                **{name: cell[name] for name in CELL_KEYS},
                "metric": metric,
                "difference": float(difference.estimate[column]),
                "low": float(low[column]),
                "high": float(high[column]),
                "p": float(p[column]),
                "q": float("nan"),
                **(relative_cut(tuned, reference, floor) if metric == "ece" else NO_REDUCTION),
                "interval_covers": ", ".join(difference.covers),
                "question_variance": float(parts.common[column]),
                "interaction_variance": float(parts.interaction[column]),
                "training_variance": float(parts.own[column]),
                "trainings": parts.clusters,
            }
        )
    return rows


def sides(pair: Pair, languages: Sequence[str]) -> tuple[Quantity, Quantity, Array]:
    """The METRICS [9] of both sides as means over ``languages``, and the noise floor of the reference, [F].

    The noise floor is simulated ECEs of a calibrated model, as in ``MeasuredCell``.
    """
    members = [pair.members[language] for language in languages]
    references = [pair.references[language] for language in languages]
    if len(languages) == 1:
        return members[0].quantity, references[0].quantity, references[0].floor
    return mean(members), mean(references), np.mean([cell.floor for cell in references], axis=0)
