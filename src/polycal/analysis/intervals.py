"""Intervals and p values from bootstrap samples, intervals of proportions, and multiple testing."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from polycal.metrics.arrays import Array

RANGES = {
    "accuracy": (0.0, 1.0),
    "confidence": (0.0, 1.0),
    "gap": (-1.0, 1.0),
    "entropy": (0.0, np.inf),
    "entropy_normalised": (0.0, 1.0),
    "ece": (0.0, 1.0),
    "rms": (0.0, 1.0),
    "brier": (0.0, 2.0),
    "nll": (0.0, np.inf),
    "smooth_ece": (0.0, 1.0),
    "candidate_mass": (0.0, 1.0),
    "order_spread": (0.0, 1.0),
    "binary_brier": (0.0, 1.0),
    "ceiling_rate": (0.0, 1.0),
    "level_mass": (0.0, 1.0),
    "auroc": (0.0, 1.0),
    "auarc": (0.0, 1.0),
    "spearman": (-1.0, 1.0),
}
"""The smallest and the largest possible value of each metric. Intervals are clipped to them."""


def interval(estimate: NDArray, samples: NDArray, level: float = 0.95) -> tuple[NDArray, NDArray]:
    """Bounds of the ``level`` interval of ``estimate`` [...] from its bootstrap samples [R, ...].

    They are percentiles of the samples, shifted so that the mean of the samples equals the estimate.
    Resampling adds about as much chance error to a binned error as the data already contain. If an ECE is
    near its noise floor, its samples therefore all lie above the estimate, and only their spread is
    informative.

    The interval is about the expected value of the metric at this number of questions. It should be read
    together with the noise floor.
    """
    with np.errstate(invalid="ignore"):
        centred = samples - np.mean(samples, axis=0) + estimate
    tail = (1 - level) / 2
    low, high = np.quantile(centred, [tail, 1 - tail], axis=0)
    # If all samples are equal, rounding could put the estimate outside.
    return np.minimum(low, estimate), np.maximum(high, estimate)


def with_intervals(names: Sequence[str], estimate: Array, samples: Array) -> dict[str, float]:
    """Each metric with the bounds of its 95% interval: NAME, NAME_low, NAME_high.

    ``estimate`` [M] and ``samples`` [R, M] are in the order of ``names``. Bounds are clipped to the metric's
    range.
    """
    return bounded(names, estimate, *interval(estimate, samples))


def bounded(names: Sequence[str], estimate: Array, low: Array, high: Array) -> dict[str, float]:
    """Each metric with given bounds, clipped to the metric's range: NAME, NAME_low, NAME_high.

    All arrays are [M].
    """
    row: dict[str, float] = {}
    for column, name in enumerate(names):
        least, most = RANGES[name]
        row[name] = float(estimate[column])
        row[f"{name}_low"] = float(np.clip(low[column], least, most))
        row[f"{name}_high"] = float(np.clip(high[column], least, most))
    return row


def p_value(estimate: NDArray, samples: NDArray) -> NDArray:
    """Two-sided bootstrap p of "the difference is zero", at least 1 / (R + 1); NaN for an estimate of NaN.

    p = (1 + #{|d* − mean d*| ≥ |d|}) / (R + 1) for ``estimate`` d [...] and ``samples`` d* [R, ...]. Source:
    Davison & Hinkley 1997, eq. 4.11.
    """
    with np.errstate(invalid="ignore"):
        spread = np.abs(samples - np.mean(samples, axis=0))
        # Without the tolerance, rounding of the mean could make a difference of exactly zero significant.
        beyond = (spread >= np.abs(estimate) - 1e-12).sum(0)
    return np.where(np.isnan(estimate), np.nan, (1 + beyond) / (len(samples) + 1))


def p_above(estimate: NDArray, samples: NDArray, bound: float = 0.0) -> NDArray:
    """One-sided bootstrap p of "the quantity is at most ``bound``", from centred samples as in p_value."""
    with np.errstate(invalid="ignore"):
        beyond = (samples - np.mean(samples, axis=0) >= estimate - bound - 1e-12).sum(0)
    return np.where(np.isnan(estimate), np.nan, (1 + beyond) / (len(samples) + 1))


def false_discovery(p: Array) -> Array:
    """p [M] adjusted by Benjamini & Hochberg 1995 over its finite entries; NaN stays NaN.

    The correction is valid if the tests are independent or positively dependent, as languages of one contrast
    are.
    """
    return _step_up(p, 1.0)


def false_discovery_any(p: Array) -> Array:
    """p [M] adjusted by Benjamini & Yekutieli 2001 (theorem 1.3) over its finite entries; NaN stays NaN.

    The correction is valid under any dependence between the tests. It multiplies p by 1 + 1/2 + … + 1/M in
    addition.
    """
    return _step_up(p, float((1 / np.arange(1, np.isfinite(p).sum() + 1)).sum()))


def _step_up(p: Array, factor: float) -> Array:
    """Step-up adjustment of the finite entries of ``p`` [M], multiplied by ``factor``."""
    q = np.full(len(p), np.nan)
    known = np.flatnonzero(np.isfinite(p))
    falling = known[np.argsort(-p[known], kind="stable")]
    rank = len(known) - np.arange(len(known))
    q[falling] = np.minimum(np.minimum.accumulate(p[falling] * len(known) / rank * factor), 1.0)
    return q


def wilson(share: Array, n: NDArray[np.int64]) -> tuple[Array, Array]:
    """Bounds in [0, 1] of the 95% interval of proportions ``share`` [B] of ``n`` [B] trials (Wilson 1927)."""
    z = 1.959963984540054
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)
