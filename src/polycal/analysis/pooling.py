"""Means of measured cells: over training seeds and over languages."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from polycal.analysis import bootstrap
from polycal.analysis.cell_metrics import MeasuredCell
from polycal.analysis.conditions import Condition
from polycal.analysis.holes import NO_GAPS, Gaps
from polycal.analysis.intervals import with_intervals
from polycal.metrics.arrays import Array
from polycal.vocabulary import RESOURCE_LEVELS

EMPTY_MEAN = {
    f"{metric}{end}": float("nan")
    for metric in (*bootstrap.METRICS, "smooth_ece")
    for end in ("", "_low", "_high")
}
"""The metrics of a mean that a hole prevents."""


def by_condition(
    cells: Sequence[MeasuredCell], gaps: Gaps = NO_GAPS
) -> dict[Condition, dict[str, MeasuredCell]]:
    """Cells by condition, then by language; conditions that have only holes come last, without cells."""
    groups: dict[Condition, dict[str, MeasuredCell]] = {}
    for cell in cells:
        groups.setdefault(cell.condition, {})[cell.cell["language"]] = cell
    for condition in sorted(gaps):
        groups.setdefault(condition, {})
    return groups


def mean(cells: Sequence[MeasuredCell]) -> tuple[Array, Array]:
    """Unweighted mean over cells of the estimates [9] and of the bootstrap samples [R, 9]."""
    return np.mean([cell.estimate for cell in cells], axis=0), np.mean(
        [cell.samples for cell in cells], axis=0
    )


def pool_seeds(
    cells: Sequence[MeasuredCell], seed: int, gaps: Gaps = NO_GAPS
) -> tuple[list[MeasuredCell], dict[Condition, set[str]]]:
    """A cell of seed "all" for each checkpoint trained with several seeds: their mean, seeds as a second level.

    Each bootstrap sample draws the training seeds with replacement, each on the sample's questions. The seeds
    drawn are the same for every cell, so that differences stay paired by seed. Only seeds that all cells of a
    recipe have are pooled. ``seed`` is that of the random generator. A cell that is a hole with one of these seeds
    is not pooled: the second result has the languages of each condition of seed "all" that are missing for that.
    """
    families: dict[Condition, dict[tuple[str, str], dict[str, MeasuredCell | None]]] = {}
    grid: list[tuple[Condition, str, MeasuredCell | None]] = [
        (cell.condition, cell.cell["language"], cell) for cell in cells
    ]
    grid += [(missing, language, None) for missing in gaps for language in sorted(gaps[missing])]
    for condition, language, cell in grid:
        family = condition._replace(beta="", seed="")
        families.setdefault(family, {}).setdefault((condition.beta, language), {})[condition.seed] = cell
    pooled: list[MeasuredCell] = []
    lost: dict[Condition, set[str]] = {}
    for family, members in families.items():
        seeds = sorted(set.intersection(*(set(by_seed) for by_seed in members.values())))
        if len(seeds) < 2:
            continue
        for (beta, language), by_seed in members.items():
            chosen = [cell for name in seeds if (cell := by_seed[name]) is not None]
            if len(chosen) == len(seeds):
                pooled.append(_pool(chosen, seed))
            else:
                lost.setdefault(family._replace(beta=beta, seed="all"), set()).add(language)
    return pooled, lost


def _pool(cells: list[MeasuredCell], seed: int) -> MeasuredCell:
    count, first = len(cells), cells[0]
    pick = np.random.default_rng([seed, count]).integers(0, count, (len(first.samples), count))
    row = np.arange(len(pick))[:, None]
    costly = len(first.smooth_samples)
    return MeasuredCell(
        cell={**first.cell, "seed": "all"},
        resource=first.resource,
        candidates=first.candidates,
        estimate=np.mean([cell.estimate for cell in cells], axis=0),
        samples=np.stack([cell.samples for cell in cells])[pick, row].mean(1),
        smooth=float(np.mean([cell.smooth for cell in cells])),
        smooth_samples=np.stack([cell.smooth_samples for cell in cells])[pick[:costly], row[:costly]].mean(1),
    )


def mean_rows(
    cells: Sequence[MeasuredCell], gaps: Gaps = NO_GAPS, resource: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """Unweighted means over languages, all and per resource level, with intervals from the joint samples.

    ``languages`` are those that are there, ``holes`` those that are missing by ``gaps``; with holes the mean is
    empty. ``resource`` gives the resource level of a missing language.
    """
    rows = []
    conditions = by_condition(cells, gaps)
    for condition, members in conditions.items():
        for level in ("all", *RESOURCE_LEVELS):
            chosen = [cell for cell in members.values() if level in ("all", cell.resource)]
            holes = [
                language
                for language in gaps.get(condition, ())
                if level in ("all", (resource or {}).get(language))
            ]
            if not chosen and not holes:
                continue
            rows.append(
                {
                    **condition._asdict(),
                    "group": level,
                    "languages": len(chosen),
                    "holes": len(holes),
                    **(EMPTY_MEAN if holes else _mean_with_intervals(chosen)),
                }
            )
    return rows


def _mean_with_intervals(cells: Sequence[MeasuredCell]) -> dict[str, float]:
    smooth = np.array([np.mean([cell.smooth for cell in cells])])
    smooth_samples = np.mean([cell.smooth_samples for cell in cells], axis=0)
    return {
        **with_intervals(bootstrap.METRICS, *mean(cells)),
        **with_intervals(("smooth_ece",), smooth, smooth_samples[:, None]),
    }
