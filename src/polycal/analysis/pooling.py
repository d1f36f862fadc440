"""Means of measured cells: over training seeds and over languages."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from polycal.analysis import bootstrap
from polycal.analysis.cell_metrics import MeasuredCell
from polycal.analysis.conditions import Condition
from polycal.analysis.intervals import with_intervals
from polycal.metrics.arrays import Array
from polycal.vocabulary import RESOURCE_LEVELS


def by_condition(cells: Sequence[MeasuredCell]) -> dict[Condition, dict[str, MeasuredCell]]:
    """Cells by condition, then by language."""
    groups: dict[Condition, dict[str, MeasuredCell]] = {}
    for cell in cells:
        groups.setdefault(cell.condition, {})[cell.cell["language"]] = cell
    return groups


def mean(cells: Sequence[MeasuredCell]) -> tuple[Array, Array]:
    """Unweighted mean over cells of the estimates [9] and of the bootstrap samples [R, 9]."""
    return np.mean([cell.estimate for cell in cells], axis=0), np.mean(
        [cell.samples for cell in cells], axis=0
    )


def pool_seeds(cells: Sequence[MeasuredCell], seed: int) -> list[MeasuredCell]:
    """A cell of seed "all" for each checkpoint trained with several seeds: their mean, seeds as a second level.

    Each bootstrap sample draws the training seeds with replacement, each on the sample's questions. The seeds
    drawn are the same for every cell, so that differences stay paired by seed. Only seeds that all cells of a
    recipe have are pooled. ``seed`` is that of the random generator.
    """
    families: dict[Condition, dict[tuple[str, str], dict[str, MeasuredCell]]] = {}
    for cell in cells:
        family = cell.condition._replace(beta="", seed="")
        member = (cell.cell["beta"], cell.cell["language"])
        families.setdefault(family, {}).setdefault(member, {})[cell.cell["seed"]] = cell
    pooled = []
    for members in families.values():
        seeds = sorted(set.intersection(*(set(by_seed) for by_seed in members.values())))
        if len(seeds) < 2:
            continue
        for by_seed in members.values():
            pooled.append(_pool([by_seed[name] for name in seeds], seed))
    return pooled


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


def mean_rows(cells: Sequence[MeasuredCell]) -> list[dict[str, Any]]:
    """Unweighted means over languages, all and per resource level, with intervals from the joint samples."""
    rows = []
    for condition, members in by_condition(cells).items():
        for level in ("all", *RESOURCE_LEVELS):
            chosen = [cell for cell in members.values() if level in ("all", cell.resource)]
            if not chosen:
                continue
            smooth = np.array([np.mean([cell.smooth for cell in chosen])])
            smooth_samples = np.mean([cell.smooth_samples for cell in chosen], axis=0)
            rows.append(
                {
                    **condition._asdict(),
                    "group": level,
                    "languages": len(chosen),
                    **with_intervals(bootstrap.METRICS, *mean(chosen)),
                    **with_intervals(("smooth_ece",), smooth, smooth_samples[:, None]),
                }
            )
    return rows
