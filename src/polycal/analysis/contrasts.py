"""Differences between checkpoints on the same questions, with intervals and tests.

Contrasts: tuned against base, smoothed against unsmoothed, one data set against another.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from polycal.analysis.bootstrap import ECE, METRICS
from polycal.analysis.cell_metrics import MeasuredCell
from polycal.analysis.conditions import (
    DATA_MINUS_DATA,
    SMOOTHED_MINUS_UNSMOOTHED,
    TUNED_MINUS_BASE,
    Condition,
)
from polycal.analysis.holes import NO_GAPS, Gaps
from polycal.analysis.intervals import false_discovery, interval, p_value
from polycal.analysis.pooling import by_condition, mean
from polycal.metrics.arrays import Array
from polycal.vocabulary import CELL_KEYS, NONE

REFERENCE = {TUNED_MINUS_BASE: "base", SMOOTHED_MINUS_UNSMOOTHED: "β = 0"}
"""What each contrast subtracts; ``data_minus_data`` names the other data set instead."""
REDUCTION = ("relative_ece_reduction", "relative_ece_reduction_low", "relative_ece_reduction_high")
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
)


class Pair(NamedTuple):
    """A condition and the one that it is compared with, both by language.

    ``shared`` are the languages that both have, in order, ``holes`` the number of those that both would have if
    no cell were missing.
    """

    contrast: str
    condition: Condition
    reference: Condition
    members: dict[str, MeasuredCell]
    references: dict[str, MeasuredCell]
    shared: list[str]
    holes: int


def paired(conditions: Mapping[Condition, dict[str, MeasuredCell]], gaps: Gaps = NO_GAPS) -> Iterator[Pair]:
    """Every condition with each of its references, where they share a language, missing or not."""
    for contrast, condition, reference in _comparisons(conditions):
        members, references = conditions[condition], conditions[reference]
        shared = set(members) & set(references)
        grid = (set(members) | set(gaps.get(condition, ()))) & (
            set(references) | set(gaps.get(reference, ()))
        )
        if grid:
            holes = len(grid - shared)
            yield Pair(contrast, condition, reference, members, references, sorted(shared), holes)


def _comparisons(conditions: Collection[Condition]) -> Iterator[tuple[str, Condition, Condition]]:
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

    q is the false discovery rate of p over the ``languages`` of one contrast, condition and metric; the mean is a
    single test and has q = p. ``holes`` are languages that one of the sides lacks by ``gaps``: they have no row, and
    the mean is empty. ``usable_records`` has checked that both sides hold the same questions.
    """
    rows: list[dict[str, Any]] = []
    for pair in paired(by_condition(cells, gaps), gaps):
        contrast, members, reference, shared = pair.contrast, pair.members, pair.references, pair.shared
        counts = {
            "reference": REFERENCE.get(contrast) or pair.reference.data,
            "languages": len(shared),
            "holes": pair.holes,
        }
        by_language = [
            _differences(
                contrast,
                members[language].cell,
                (members[language].estimate, members[language].samples),
                (reference[language].estimate, reference[language].samples),
            )
            for language in shared
        ]
        for column in range(len(METRICS)):
            q = false_discovery(np.array([metrics[column]["p"] for metrics in by_language]))
            for metrics, value in zip(by_language, q, strict=True):
                metrics[column]["q"] = float(value)
        over = {**pair.condition._asdict(), "language": "mean"}
        if pair.holes:
            over_languages = _empty(contrast, over)
        else:
            over_languages = _differences(
                contrast,
                over,
                mean([members[language] for language in shared]),
                mean([reference[language] for language in shared]),
            )
        for metric in over_languages:
            metric["q"] = metric["p"]
        rows.extend({**row, **counts} for metrics in [*by_language, over_languages] for row in metrics)
    return rows


def _empty(contrast: str, cell: Mapping[str, str]) -> list[dict[str, Any]]:
    """One row per metric without an estimate."""
    names = {name: cell[name] for name in CELL_KEYS}
    values = dict.fromkeys(("difference", "low", "high", "p", "q", *REDUCTION), float("nan"))
    return [{"contrast": contrast, **names, "metric": metric, **values} for metric in METRICS]


def _differences(
    contrast: str, cell: Mapping[str, str], tuned: tuple[Array, Array], reference: tuple[Array, Array]
) -> list[dict[str, Any]]:
    """One row per metric; both sides are an estimate [9] and its samples [R, 9]."""
    estimate, samples = tuned[0] - reference[0], tuned[1] - reference[1]
    low, high = interval(estimate, samples)
    p = p_value(estimate, samples)
    rows: list[dict[str, Any]] = []
    for column, metric in enumerate(METRICS):
        reduction = (float("nan"),) * 3
        if metric == "ece":
            reduction = relative_ece_reduction(
                tuned[0][ECE], tuned[1][:, ECE], reference[0][ECE], reference[1][:, ECE]
            )
        rows.append(
            {
                "contrast": contrast,
                **{name: cell[name] for name in CELL_KEYS},
                "metric": metric,
                "difference": float(estimate[column]),
                "low": float(low[column]),
                "high": float(high[column]),
                "p": float(p[column]),
                "q": float("nan"),
                **dict(zip(REDUCTION, reduction, strict=True)),
            }
        )
    return rows


def relative_ece_reduction(
    ece: float, samples: Array, reference: float, reference_samples: Array
) -> tuple[float, float, float]:
    """1 − ece / reference with the bounds of its interval; NaN if the reference is zero or one of both is NaN.

    ``samples`` and ``reference_samples`` [R] are the bootstrap samples of both.
    """
    if not reference > 0 or np.isnan(ece):
        return float("nan"), float("nan"), float("nan")
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = 1 - samples / reference_samples
    estimate = 1 - ece / reference
    low, high = interval(np.array(estimate), ratios[np.isfinite(ratios)])
    return float(estimate), float(low), float(high)
