"""Differences between checkpoints on the same questions: tuned against base, smoothed against not, one data set
against another."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from polycal.analysis import bootstrap
from polycal.analysis.cell_metrics import LEVELS, SERIES, Measured, bounded
from polycal.analysis.score_arrays import CELL
from polycal.metrics.arrays import Array

BASE = {"data": "none", "recipe": "none", "beta": "none", "seed": "none"}
UNSMOOTHED = {"beta": "0"}
REFERENCE = {"tuned_minus_base": "base", "smoothed_minus_unsmoothed": "β = 0"}
"""What each contrast takes away; ``data_minus_data`` names the other data set instead."""
ECE = bootstrap.METRICS.index("ece")
COLUMNS = (
    "contrast",
    *CELL,
    "reference",
    "metric",
    "difference",
    "low",
    "high",
    "p",
    "q",
    "cut",
    "cut_low",
    "cut_high",
)


def pool_seeds(cells: Sequence[Measured], seed: int) -> list[Measured]:
    """For each checkpoint trained with several seeds a cell of seed "all": their mean, seeds as a second level.

    A draw takes the seeds with replacement and each on that draw's questions; the same seeds for every cell,
    so that differences stay paired by seed. Only seeds that all cells of a recipe have are pooled.
    """
    families: dict[tuple[str, ...], dict[tuple[str, ...], dict[str, Measured]]] = {}
    for cell in cells:
        named = cell.cell
        family = (named["model"], named["data"], named["recipe"], named["benchmark"], named["protocol"])
        member = (named["beta"], named["language"])
        families.setdefault(family, {}).setdefault(member, {})[named["seed"]] = cell
    pooled = []
    for members in families.values():
        seeds = sorted(set.intersection(*(set(found) for found in members.values())))
        if len(seeds) < 2:
            continue
        for found in members.values():
            pooled.append(_pool([found[name] for name in seeds], seed))
    return pooled


def _pool(found: list[Measured], seed: int) -> Measured:
    count = len(found)
    pick = np.random.default_rng([seed, count]).integers(0, count, (len(found[0].draws), count))
    row = np.arange(len(pick))[:, None]
    return Measured(
        cell={**found[0].cell, "seed": "all"},
        resource=found[0].resource,
        candidates=found[0].candidates,
        estimate=np.mean([cell.estimate for cell in found], axis=0),
        draws=np.stack([cell.draws for cell in found])[pick, row].mean(1),
        smooth=float(np.mean([cell.smooth for cell in found])),
        smooth_draws=np.stack([cell.smooth_draws for cell in found])[
            pick[: len(found[0].smooth_draws)], row[: len(found[0].smooth_draws)]
        ].mean(1),
    )


def mean_rows(cells: Sequence[Measured]) -> list[dict[str, Any]]:
    """Unweighted means over languages, all and by resource level, with intervals from the joint draws."""
    rows = []
    for series, members in grouped(cells).items():
        for level in ("all", *LEVELS):
            chosen = [cell for cell in members.values() if level in ("all", cell.resource)]
            if not chosen:
                continue
            smooth = np.mean([cell.smooth_draws for cell in chosen], axis=0)
            rows.append(
                {
                    **dict(zip(SERIES, series, strict=True)),
                    "group": level,
                    "languages": len(chosen),
                    **bounded(bootstrap.METRICS, *_mean(chosen)),
                    **bounded(
                        ("smooth_ece",),
                        np.array([np.mean([cell.smooth for cell in chosen])]),
                        smooth[:, None],
                    ),
                }
            )
    return rows


def contrast_rows(cells: Sequence[Measured]) -> list[dict[str, Any]]:
    """Every contrast in every language and for the mean over the languages that both sides have.

    q is the false discovery rate of p over the languages of one contrast, series and metric; the mean, a
    single test, has q = p. cut is 1 - ece / ece of the reference. ``Study`` has seen to it that both sides
    hold the same questions.
    """
    rows: list[dict[str, Any]] = []
    for contrast, members, reference in paired(grouped(cells)):
        shared = sorted(set(members) & set(reference))
        if not shared:
            continue
        against = REFERENCE.get(contrast) or reference[shared[0]].cell["data"]
        sides = [
            (
                members[language].cell,
                (members[language].estimate, members[language].draws),
                (reference[language].estimate, reference[language].draws),
            )
            for language in shared
        ]
        found = [_difference(contrast, cell, one, two) for cell, one, two in sides]
        for place in range(len(bootstrap.METRICS)):
            q = bootstrap.false_discovery(np.array([metrics[place]["p"] for metrics in found]))
            for metrics, value in zip(found, q, strict=True):
                metrics[place]["q"] = float(value)
        mean = _difference(
            contrast,
            {**members[shared[0]].cell, "language": "mean"},
            _mean([members[language] for language in shared]),
            _mean([reference[language] for language in shared]),
        )
        for metric in mean:
            metric["q"] = metric["p"]
        rows.extend({**row, "reference": against} for metrics in [*found, mean] for row in metrics)
    return rows


def grouped(cells: Sequence[Measured]) -> dict[tuple[str, ...], dict[str, Measured]]:
    """Cells by everything but the language, then by language."""
    found: dict[tuple[str, ...], dict[str, Measured]] = {}
    for cell in cells:
        found.setdefault(cell.series, {})[cell.cell["language"]] = cell
    return found


def paired(
    series: Mapping[tuple[str, ...], dict[str, Measured]],
) -> Iterator[tuple[str, dict[str, Measured], dict[str, Measured]]]:
    """(contrast, members, reference) for every series that has a reference."""
    data = sorted({names[SERIES.index("data")] for names in series} - {"none"})
    for names, members in series.items():
        cell = dict(zip(SERIES, names, strict=True))
        if cell["data"] == "none":
            continue
        base = series.get(tuple({**cell, **BASE}.values()))
        if base:
            yield "tuned_minus_base", members, base
        unsmoothed = series.get(tuple({**cell, **UNSMOOTHED}.values()))
        if unsmoothed and cell["beta"] != UNSMOOTHED["beta"]:
            yield "smoothed_minus_unsmoothed", members, unsmoothed
        for other in data[: data.index(cell["data"])]:
            trained = series.get(tuple({**cell, "data": other}.values()))
            if trained:
                yield "data_minus_data", members, trained


def _mean(cells: Sequence[Measured]) -> tuple[Array, Array]:
    return np.mean([cell.estimate for cell in cells], axis=0), np.mean([cell.draws for cell in cells], axis=0)


def _difference(
    contrast: str, cell: Mapping[str, str], one: tuple[Array, Array], two: tuple[Array, Array]
) -> list[dict[str, Any]]:
    estimate, drawn = one[0] - two[0], one[1] - two[1]
    low, high = bootstrap.interval(estimate, drawn)
    p = bootstrap.p_value(estimate, drawn)
    rows: list[dict[str, Any]] = []
    for place, metric in enumerate(bootstrap.METRICS):
        row = {
            "contrast": contrast,
            **{name: cell[name] for name in CELL},
            "metric": metric,
            "difference": float(estimate[place]),
            "low": float(low[place]),
            "high": float(high[place]),
            "p": float(p[place]),
            "q": float("nan"),
            "cut": float("nan"),
            "cut_low": float("nan"),
            "cut_high": float("nan"),
        }
        if metric == "ece":
            row["cut"], row["cut_low"], row["cut_high"] = cut(
                one[0][ECE], one[1][:, ECE], two[0][ECE], two[1][:, ECE]
            )
        rows.append(row)
    return rows


def cut(ece: float, drawn: Array, reference: float, reference_drawn: Array) -> tuple[float, float, float]:
    """1 - ece / reference with its interval; NaN where the reference is zero."""
    if not reference > 0:
        return float("nan"), float("nan"), float("nan")
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = 1 - drawn / reference_drawn
    estimate = 1 - ece / reference
    low, high = bootstrap.interval(np.array(estimate), ratios[np.isfinite(ratios)])
    return float(estimate), float(low), float(high)
