"""Intervals and tests: from bootstrap samples, of binomial shares, and corrected for many comparisons."""

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
}
"""Least and greatest value of each metric; intervals are cut there."""


def interval(estimate: NDArray, samples: NDArray, level: float = 0.95) -> tuple[NDArray, NDArray]:
    """Bounds of the ``level`` interval of ``estimate`` [...] from its bootstrap samples [R, ...].

    Percentiles of the samples, moved so that the mean of the samples is the estimate. Resampling adds about as
    much chance error to a binned error as the data have themselves. The samples of an ECE near its noise floor
    therefore all lie above the estimate, and only their spread is informative. The interval is one for the
    expected value of the metric at this number of questions, to be read beside the noise floor.
    """
    with np.errstate(invalid="ignore"):
        centred = samples - np.mean(samples, axis=0) + estimate
    tail = (1 - level) / 2
    low, high = np.quantile(centred, [tail, 1 - tail], axis=0)
    # If all samples are equal, rounding must not put the estimate outside.
    return np.minimum(low, estimate), np.maximum(high, estimate)


def with_intervals(names: Sequence[str], estimate: Array, samples: Array) -> dict[str, float]:
    """Each metric with the bounds of its interval, within the metric's range: NAME, NAME_low, NAME_high.

    ``estimate`` [M] and ``samples`` [R, M] are in the order of ``names``.
    """
    return bounded(names, estimate, *interval(estimate, samples))


def bounded(names: Sequence[str], estimate: Array, low: Array, high: Array) -> dict[str, float]:
    """Each metric with its bounds, which are cut at the metric's range: NAME, NAME_low, NAME_high; arrays are [M]."""
    row: dict[str, float] = {}
    for column, name in enumerate(names):
        least, most = RANGES[name]
        row[name] = float(estimate[column])
        row[f"{name}_low"] = float(np.clip(low[column], least, most))
        row[f"{name}_high"] = float(np.clip(high[column], least, most))
    return row


def p_value(estimate: NDArray, samples: NDArray) -> NDArray:
    """Two-sided bootstrap p of "the difference is zero": how often the centred samples lie as far out.

    (1 + #{|d* − mean d*| ≥ |d|}) / (R + 1), Davison & Hinkley 1997, eq. 4.11; at least 1 / (R + 1).
    ``estimate`` [...], ``samples`` [R, ...]; NaN for an estimate that is NaN.
    """
    with np.errstate(invalid="ignore"):
        spread = np.abs(samples - np.mean(samples, axis=0))
        # The tolerance keeps rounding in the mean from making a difference of exactly zero significant.
        beyond = (spread >= np.abs(estimate) - 1e-12).sum(0)
    return np.where(np.isnan(estimate), np.nan, (1 + beyond) / (len(samples) + 1))


def p_above(estimate: NDArray, samples: NDArray, bound: float = 0.0) -> NDArray:
    """One-sided bootstrap p of "the quantity is at most ``bound``", from the centred samples as in ``p_value``."""
    with np.errstate(invalid="ignore"):
        beyond = (samples - np.mean(samples, axis=0) >= estimate - bound - 1e-12).sum(0)
    return np.where(np.isnan(estimate), np.nan, (1 + beyond) / (len(samples) + 1))


def false_discovery(p: Array) -> Array:
    """Adjusted p values of Benjamini & Hochberg 1995 over the finite entries of ``p`` [M]; NaN stays NaN.

    Valid if the tests are independent or depend positively on each other, as languages of one contrast do.
    """
    return _step_up(p, 1.0)


def false_discovery_any(p: Array) -> Array:
    """Adjusted p values of Benjamini & Yekutieli 2001 (theorem 1.3) over the finite entries of ``p`` [M].

    Valid under every dependence between the tests, for which p is multiplied by 1 + 1/2 + … + 1/M.
    """
    return _step_up(p, float((1 / np.arange(1, np.isfinite(p).sum() + 1)).sum()))


def _step_up(p: Array, factor: float) -> Array:
    q = np.full(len(p), np.nan)
    known = np.flatnonzero(np.isfinite(p))
    falling = known[np.argsort(-p[known], kind="stable")]
    rank = len(known) - np.arange(len(known))
    q[falling] = np.minimum(np.minimum.accumulate(p[falling] * len(known) / rank * factor), 1.0)
    return q


def wilson(share: Array, n: NDArray[np.int64]) -> tuple[Array, Array]:
    """Bounds of the 95% interval of binomial shares [B] of ``n`` [B] trials (Wilson 1927), within [0, 1]."""
    z = 1.959963984540054
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)
