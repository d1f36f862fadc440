"""Means of measured cells: over seeds, over base seeds, and over languages."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from polycal.analysis import bootstrap, noise_floor, quantities, trainings
from polycal.analysis.cell_metrics import FURTHER, MeasuredCell, further_columns
from polycal.analysis.conditions import Condition
from polycal.analysis.holes import NO_GAPS, Gaps
from polycal.analysis.quantities import Quantity, covered
from polycal.analysis.trainings import Found
from polycal.metrics.arrays import Array
from polycal.vocabulary import RESOURCE_LEVELS

EMPTY_MEAN = {
    f"{metric}{end}": float("nan")
    for metric in (*bootstrap.METRICS, "smooth_ece", *FURTHER)
    for end in ("", "_low", "_high")
}
"""The metrics of a mean with a missing cell."""


def by_condition(
    cells: Sequence[MeasuredCell], gaps: Gaps = NO_GAPS
) -> dict[Condition, dict[str, MeasuredCell]]:
    """Cells by condition, then by language. Conditions without any cell (only holes) come last."""
    groups: dict[Condition, dict[str, MeasuredCell]] = {}
    for cell in cells:
        groups.setdefault(cell.condition, {})[cell.cell["language"]] = cell
    for condition in sorted(gaps):
        groups.setdefault(condition, {})
    return groups


def mean(cells: Sequence[MeasuredCell]) -> Quantity:
    """The unweighted mean of the METRICS [9] over cells of several languages."""
    return quantities.mean([cell.quantity for cell in cells])


def pool(
    cells: Sequence[MeasuredCell], gaps: Gaps = NO_GAPS
) -> tuple[list[MeasuredCell], dict[Condition, set[str]]]:
    """The means over several seeds and over several base models, and the means that cannot be computed.

    A mean needs the cell of every seed. The second result is the languages of each condition whose mean lacks
    one.
    """
    found = [Found(cell.condition, cell.cell["language"], cell) for cell in cells]
    found += [Found(missing, language, None) for missing in gaps for language in sorted(gaps[missing])]
    pooled: list[MeasuredCell] = []
    lost: dict[Condition, set[str]] = {}
    for condition, language, cell in trainings.over_trainings(found, _mean_cell):
        if cell is None:
            lost.setdefault(condition, set()).add(language)
        else:
            pooled.append(cell)
    return pooled, lost


def _mean_cell(cells: list[MeasuredCell], condition: Condition, covers: tuple[str, ...]) -> MeasuredCell:
    """The mean of ``cells``, one per training, with the keys of ``condition``."""
    first = cells[0]
    shared = [
        name for name in first.under_conventions if all(name in cell.under_conventions for cell in cells)
    ]
    return MeasuredCell(
        cell={**first.cell, **condition._asdict()},
        resource=first.resource,
        candidates=first.candidates,
        estimate=np.mean([cell.estimate for cell in cells], axis=0),
        samples=np.mean([cell.samples for cell in cells], axis=0),
        smooth=float(np.mean([cell.smooth for cell in cells])),
        smooth_samples=np.mean([cell.smooth_samples for cell in cells], axis=0),
        further=_mean_further(cells),
        under_conventions={
            name: float(np.mean([cell.under_conventions[name] for cell in cells])) for name in shared
        },
        floor=np.mean([cell.floor for cell in cells], axis=0),
        ece_bias=float(np.mean([cell.ece_bias for cell in cells])),
        members=cells,
        covers=covered(first.covers, covers),
    )


def _mean_further(cells: Sequence[MeasuredCell]) -> dict[str, tuple[float, Array]]:
    """The means FURTHER of several trainings, for those that all of them have."""
    means = {}
    for name in FURTHER:
        found = [cell.further[name] for cell in cells if name in cell.further]
        if len(found) == len(cells):
            values, samples = zip(*found, strict=True)
            means[name] = float(np.mean(values)), np.mean(samples, axis=0)
    return means


def training_mean_row(cell: MeasuredCell) -> dict[str, Any]:
    """The row of a mean over several trainings, with the columns of the table cells.

    ``equal_candidates`` is a mean too. All trainings have the same questions.
    """
    trained = _trainings(cell)
    chance = trained[0].row["chance"]
    metrics = _mean_with_intervals([cell])
    floor, floor_high = noise_floor.summary(cell.floor)
    return {
        **cell.cell,
        "resource": cell.resource,
        "n": trained[0].row["n"],
        "chance": chance,
        "above_chance": metrics["accuracy_low"] > chance,
        **metrics,
        "ece_floor": floor,
        "ece_floor_high": floor_high,
        "equal_candidates": float(np.mean([one.row["equal_candidates"] for one in trained])),
        "ece_bias": cell.ece_bias,
        "interval_covers": ", ".join(cell.covers),
    }


def _trainings(cell: MeasuredCell) -> list[MeasuredCell]:
    """The cells of single trainings that a mean is over."""
    return [one for member in cell.members for one in _trainings(member)] if cell.members else [cell]


def mean_rows(
    cells: Sequence[MeasuredCell], gaps: Gaps = NO_GAPS, resource: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """Unweighted means over all languages and over each resource level, with intervals from joint samples.

    ``languages`` is the number of languages with a cell, ``holes`` the number of missing ones according to
    ``gaps``. With holes the mean is empty. ``resource`` is the resource level of each language, needed for
    missing ones.
    """
    rows = []
    conditions = by_condition(cells, gaps)
    for condition, members in conditions.items():
        for level in ("all", *RESOURCE_LEVELS):
            chosen = [cell for cell in members.values() if level in ("all", cell.resource)]
            missing = [
                language
                for language in gaps.get(condition, ())
                if level in ("all", (resource or {}).get(language))
            ]
            if not chosen and not missing:
                continue
            rows.append(
                {
                    **condition._asdict(),
                    "group": level,
                    "languages": len(chosen),
                    "holes": len(missing),
                    **(EMPTY_MEAN if missing else _mean_with_intervals(chosen)),
                    "ece_bias": float("nan") if missing else float(np.mean([one.ece_bias for one in chosen])),
                    "interval_covers": "" if missing else ", ".join(chosen[0].covers),
                }
            )
    return rows


def _mean_with_intervals(cells: Sequence[MeasuredCell]) -> dict[str, float]:
    smooth = quantities.mean([cell.smooth_quantity for cell in cells])
    defined = {}
    for name in FURTHER:
        found = [one for cell in cells if (one := cell.further_quantity(name)) is not None]
        if len(found) == len(cells):
            defined[name] = quantities.with_intervals((name,), quantities.mean(found))
    return {
        **quantities.with_intervals(bootstrap.METRICS, mean(cells)),
        **quantities.with_intervals(("smooth_ece",), smooth),
        **further_columns(defined),
    }
