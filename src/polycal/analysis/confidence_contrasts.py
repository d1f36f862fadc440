"""Differences of measures of confidence between checkpoints: tuned minus base, and smoothed minus unsmoothed.

Both sides answer the same questions, and each bootstrap sample is taken of both, so the intervals are paired.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from polycal.analysis import quantities
from polycal.analysis.conditions import REFERENCE, Condition
from polycal.analysis.measured_confidence import ALL, MEAN, MeasuredConfidence
from polycal.analysis.quantities import Quantity
from polycal.vocabulary import CELL_KEYS

METRICS = ("accuracy", "confidence", "gap", "ece", "binary_brier", "auroc", "auarc")
COLUMNS = (
    "contrast",
    *CELL_KEYS,
    "reference",
    "resource",
    "measure",
    "holes",
    *(name + end for name in METRICS for end in ("", "_low", "_high")),
    "interval_covers",
)


def contrast_rows(
    results: Sequence[MeasuredConfidence], binned: Sequence[str], ranked: Sequence[str]
) -> list[dict[str, Any]]:
    """One row of COLUMNS for each contrast of each result, languages, means and means over trainings alike.

    ``binned`` and ``ranked`` are the names of the metrics of the results, METRICS among them. The columns METRICS are
    the metric of the result minus that of its reference. Means over different sets of seeds or languages are not
    compared. If one side has holes, the differences are NaN.
    """
    by_place = {(Condition.of(result.cell), *result.place): result for result in results}
    languages = _languages(results)
    rows = []
    for result in results:
        for contrast, reference in Condition.of(result.cell).references():
            other = by_place.get((reference, *result.place))
            if other is None or not quantities.same_trainings(result, other):
                continue
            sides = [
                languages.get((one, result.measure), {}) for one in (Condition.of(result.cell), reference)
            ]
            if max(result.holes, other.holes) or _averaged(result, sides[0]) == _averaged(result, sides[1]):
                rows.append(_row(contrast, result, other, (binned, ranked)))
    return rows


def _languages(results: Sequence[MeasuredConfidence]) -> dict[tuple[Condition, str], dict[str, str]]:
    """The languages of each condition and measure, with their resource levels."""
    found: dict[tuple[Condition, str], dict[str, str]] = {}
    for result in results:
        if result.cell["language"] != MEAN:
            key = (Condition.of(result.cell), result.measure)
            found.setdefault(key, {})[result.cell["language"]] = result.resource
    return found


def _averaged(result: MeasuredConfidence, languages: Mapping[str, str]) -> set[str]:
    """Those of ``languages`` that a mean at the place of ``result`` is over; none for a single language."""
    if result.cell["language"] != MEAN:
        return set()
    return {name for name, level in languages.items() if result.resource in (ALL, level)}


def _row(
    contrast: str,
    result: MeasuredConfidence,
    reference: MeasuredConfidence,
    metrics: tuple[Sequence[str], Sequence[str]],
) -> dict[str, Any]:
    holes = max(result.holes, reference.holes)
    differences: dict[str, float] = {}
    covers: tuple[str, ...] = ()
    for names, quantity, other in (
        (metrics[0], result.binned_quantity, reference.binned_quantity),
        (metrics[1], result.ranked_quantity, reference.ranked_quantity),
    ):
        difference = quantity.minus(other)
        covers = difference.covers
        differences |= _with_bounds(names, difference)
    kept = {name + end: differences[name + end] for name in METRICS for end in ("", "_low", "_high")}
    return {
        "contrast": contrast,
        **result.cell,
        "reference": REFERENCE[contrast],
        "resource": result.resource,
        "measure": result.measure,
        "holes": holes,
        **kept,
        "interval_covers": "" if holes else ", ".join(covers),
    }


def _with_bounds(names: Sequence[str], quantity: Quantity) -> dict[str, float]:
    bounds = zip(names, quantity.estimate, *quantity.interval(), strict=True)
    return {
        key: float(np.clip(value, -1.0, 1.0))
        for name, estimate, low, high in bounds
        for key, value in ((name, estimate), (f"{name}_low", low), (f"{name}_high", high))
    }
