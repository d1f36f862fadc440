"""Correlations over languages between the change of diversity and the change of ECE.

The paper explains over-confidence after tuning by a loss of diversity: the smallest singular value of the
covariance of prompt embeddings falls (arXiv 2601.01362). The paper does not test this.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from polycal.analysis.conditions import Condition
from polycal.analysis.holes import NO_GAPS, Gaps
from polycal.metrics.arrays import Array

MEASURES = ("log_smallest", "log_relative", "effective_rank", "log_trace", "anisotropy")
COLUMNS = (
    "contrast",
    *Condition._fields,
    "measure",
    "languages",
    "holes",
    *(name + end for name in ("change", "pearson", "spearman") for end in ("", "_low", "_high")),
)
ALL = "all"
"""Key value of the rows that combine all conditions of a benchmark and protocol."""


def ece_correlations(
    table: pd.DataFrame, settings: Mapping[str, Any], gaps: Gaps = NO_GAPS
) -> list[dict[str, Any]]:
    """The change of each measure and its correlation over languages with the change of ECE.

    There is one row per contrast (tuned_minus_base, smoothed_minus_unsmoothed), condition and measure. Rows
    of model ``all`` combine all conditions of a benchmark and protocol, each centred over its languages.

    ``table`` has the columns CELL_KEYS, MEASURES and ece. ``settings`` has bootstrap_samples and seed.
    Intervals are 95% and resample the languages, the same ones for all conditions, so with few languages they
    are wide. According to the paper's explanation, the correlation of log_smallest is negative.

    ``holes`` is the number of languages that a condition or its reference lacks according to ``gaps``, summed
    over conditions in rows of model ``all``. A row with holes is empty.
    """
    conditions = {
        Condition(*map(str, names)): part.set_index("language")
        for names, part in table.groupby(list(Condition._fields))
    }
    for condition in sorted(gaps):
        conditions.setdefault(condition, table[:0].set_index("language"))
    changes: dict[str, list[tuple[Condition, Change]]] = {}
    for condition, part in conditions.items():
        for contrast, reference in condition.references():
            if reference not in conditions:
                continue
            columns = [*MEASURES, "ece"]
            before = conditions[reference]
            shared = part.index.intersection(before.index)
            grid = {*part.index, *gaps.get(condition, ())} & {*before.index, *gaps.get(reference, ())}
            values = part.loc[shared, columns] - before.loc[shared, columns]
            changes.setdefault(contrast, []).append((condition, Change(values, len(grid) - len(shared))))
    rows = []
    for contrast, members in changes.items():
        for condition, change in members:
            rows += _correlate(contrast, condition, [change], settings)
        for benchmark, protocol in sorted({(one.benchmark, one.protocol) for one, _ in members}):
            together = [c for one, c in members if (one.benchmark, one.protocol) == (benchmark, protocol)]
            every = Condition(ALL, ALL, ALL, ALL, ALL, ALL, benchmark, protocol)
            rows += _correlate(contrast, every, together, settings)
    return rows


class Change(NamedTuple):
    """Change of the measures and of the ECE, one row per language, and the number of missing languages."""

    values: pd.DataFrame
    holes: int


def _correlate(
    contrast: str, condition: Condition, members: Sequence[Change], settings: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """One row per measure, over all ``members``."""
    if holes := sum(change.holes for change in members):
        return [
            {
                **{"contrast": contrast, **condition._asdict(), "measure": measure},
                **{
                    "languages": len(set.intersection(*(set(c.values.index) for c in members))),
                    "holes": holes,
                },
            }
            for measure in MEASURES
        ]
    changes = [change.values for change in members]
    shared = sorted(set.intersection(*(set(change.index) for change in changes)))
    count = len(shared)
    rng = np.random.default_rng([settings["seed"], count])
    pick = rng.integers(0, count, (settings["bootstrap_samples"], count))
    stacked = {
        name: np.stack([change.loc[shared, name] for change in changes]) for name in (*MEASURES, "ece")
    }
    rows = []
    for measure in MEASURES:
        x, y = stacked[measure], stacked["ece"]
        row = {"contrast": contrast, **condition._asdict(), "measure": measure}
        row |= {"languages": count, "holes": 0}
        row |= _percentiles("change", float(x.mean()), x[:, pick].mean((0, 2)))
        estimate = float(correlation(x[:, None], y[:, None])[0])
        row |= _percentiles("pearson", estimate, correlation(x[:, pick], y[:, pick]))
        estimate = float(correlation(ranks(x)[:, None], ranks(y)[:, None])[0])
        row |= _percentiles("spearman", estimate, correlation(ranks(x[:, pick]), ranks(y[:, pick])))
        rows.append(row)
    return rows


def correlation(x: Array, y: Array) -> Array:
    """Pearson's r of ``x`` and ``y`` [S, R, L] over S conditions and L languages, [R].

    Each condition is centred over its languages. The result is NaN if ``x`` or ``y`` is constant.
    """
    x, y = x - x.mean(-1, keepdims=True), y - y.mean(-1, keepdims=True)
    over = np.sqrt((x * x).sum((0, 2)) * (y * y).sum((0, 2)))
    return np.divide((x * y).sum((0, 2)), over, out=np.full(len(over), np.nan), where=over > 1e-300)


def ranks(values: Array) -> Array:
    """Ranks over the last axis, from 1. Equal values have their mean rank."""
    below = (values[..., None, :] < values[..., :, None]).sum(-1)
    equal = (values[..., None, :] == values[..., :, None]).sum(-1)
    return below + (equal + 1) / 2


def _percentiles(name: str, estimate: float, samples: Array) -> dict[str, float]:
    """An estimate with the 2.5% and 97.5% quantiles of its finite samples."""
    samples = samples[np.isfinite(samples)]
    low, high = np.quantile(samples, [0.025, 0.975]) if len(samples) else (np.nan, np.nan)
    return {name: estimate, f"{name}_low": float(low), f"{name}_high": float(high)}
