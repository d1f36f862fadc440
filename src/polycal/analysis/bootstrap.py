"""The paired bootstrap: resampled questions as weights, metrics of all draws at once, intervals and tests.

Questions are parallel over languages and settings, so one resample of question ids serves every cell of a
benchmark: differences between cells and means over languages keep what the questions have in common. A
draw is a row of counts, how often each question was drawn; every metric is then a product of the [R, N]
counts with per-question columns.
"""

import zlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from polycal.analysis.score_arrays import Outcomes
from polycal.metrics import calibration, smooth_calibration

Array = NDArray[np.float64]

METRICS = (
    "accuracy",
    "confidence",
    "gap",
    "entropy",
    "entropy_normalised",
    "ece",
    "rms",
    "brier",
    "nll",
)
"""Order of the last axis of every array of draws; gap is confidence minus accuracy."""
BOUNDS = {
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
FLOOR_DRAWS = 200
COSTLY_DRAWS = 100
"""Draws of what must be searched for anew in each: smooth ECE, refitted temperatures."""
DRAW_GRID = 256
CACHED = 1 << 16
"""Numbers of a block of draws that stay in the processor's cache."""


class Resamples:
    """R resamples of a benchmark's question ids, with replacement, reproducible for (seed, benchmark, ids)."""

    def __init__(self, benchmark: str, question_id: Iterable[str], draws: int, seed: int) -> None:
        self.names = np.array(list(dict.fromkeys(question_id)), dtype=object)
        self.place = {name: place for place, name in enumerate(self.names)}
        n = len(self.names)
        self.everything = np.arange(n)
        stream = zlib.crc32(benchmark.encode())
        rng = np.random.default_rng([seed, stream])
        self.weights = np.empty((draws, n))
        for row in self.weights:
            row[:] = np.bincount(rng.integers(0, n, n), minlength=n)
        self.uniform = np.random.default_rng([seed, stream, 1]).random((FLOOR_DRAWS, n), dtype=np.float32)

    def places(self, question_id: NDArray[np.object_]) -> NDArray[np.int64]:
        """Columns of these questions; always the same array where they are all of them in order."""
        if np.array_equal(question_id, self.names):
            return self.everything
        return np.fromiter((self.place[name] for name in question_id), np.int64, len(question_id))

    def take(self, matrix: NDArray, places: NDArray[np.int64]) -> NDArray:
        """Columns ``places`` of ``matrix`` [..., N], without a copy where they are all of them in order."""
        return matrix if places is self.everything else matrix[:, places]


def estimates(found: Outcomes, *, bins: int, binning: calibration.Binning) -> Array:
    """The METRICS of one cell, [9]."""
    shown = calibration.reliability(found.confidence, found.correct, bins=bins, binning=binning)
    share, gap = shown.count / shown.count.sum(), shown.accuracy - shown.confidence
    accuracy, confidence = found.correct.mean(), found.confidence.mean()
    return np.array(
        [
            accuracy,
            confidence,
            confidence - accuracy,
            found.entropy.mean(),
            found.entropy_normalised.mean(),
            share @ np.abs(gap),
            np.sqrt(share @ gap**2),
            found.brier.mean(),
            found.nll.mean(),
        ]
    )


def draws(found: Outcomes, weights: Array, *, bins: int, binning: calibration.Binning) -> Array:
    """The METRICS of every draw, [R, 9]; ``weights`` [R, N] counts each question. NaN for an empty draw."""
    columns = [
        found.correct,
        found.confidence,
        found.entropy,
        found.entropy_normalised,
        found.brier,
        found.nll,
    ]
    difference = found.correct - found.confidence
    if binning == "width":
        index = np.unique(calibration.bin_index(found.confidence, bins, "width"), return_inverse=True)[1]
        member = np.zeros((len(index), index.max() + 1))
        member[np.arange(len(index)), index] = 1.0
        total = weights @ np.column_stack([*columns, member, member * difference[:, None]])
        count, error = np.split(total[:, len(columns) :], 2, axis=1)
    else:
        total = weights @ np.column_stack(columns)
        count, error = _mass_draws(found.confidence, difference, weights, bins)
    n = count.sum(1, keepdims=True)
    with np.errstate(invalid="ignore"):
        mean = total[:, : len(columns)] / n
    ece, rms = _binned(count, error, n)
    accuracy, confidence, entropy, normalised, brier, nll = mean.T
    return np.column_stack(
        [accuracy, confidence, confidence - accuracy, entropy, normalised, ece, rms, brier, nll]
    )


def varying_draws(
    mix: Array, found: Sequence[Outcomes], weights: Array, *, bins: int, binning: calibration.Binning
) -> Array:
    """``draws`` where the outcomes of draw r are Σ_m mix[r, m] · found[m], [R, 9]; all are right on the same."""
    correct, n = found[0].correct, weights.sum(1)
    means = {"accuracy": weights @ correct / n}
    for name in ("entropy", "entropy_normalised", "brier", "nll"):
        total = weights @ np.stack([getattr(one, name) for one in found], axis=1)
        means[name] = (mix * total).sum(1) / n
    values = np.stack([one.confidence for one in found])
    means["confidence"] = (mix * (weights @ values.T)).sum(1) / n
    means["gap"] = means["confidence"] - means["accuracy"]
    errors = []
    step = max(1, CACHED // len(correct))
    for start in range(0, len(mix), step):
        part = slice(start, start + step)
        confidence = np.clip(mix[part] @ values, 0.0, 1.0)
        bin_sums = _varying_bins if binning == "width" else _varying_mass
        count, error = bin_sums(confidence, correct - confidence, weights[part], bins)
        errors.append(np.stack(_binned(count, error, n[part, None]), axis=1))
    means["ece"], means["rms"] = np.concatenate(errors).T
    return np.column_stack([means[name] for name in METRICS])


def _varying_bins(confidence: Array, difference: Array, weights: Array, bins: int) -> tuple[Array, Array]:
    index = np.maximum(np.ceil(confidence * bins) - 1, 0).astype(np.int64)
    index += np.arange(len(index))[:, None] * bins
    place, size = index.ravel(), len(weights) * bins
    count = np.bincount(place, weights=weights.ravel(), minlength=size)
    error = np.bincount(place, weights=(weights * difference).ravel(), minlength=size)
    return count.reshape(-1, bins).astype(np.float64), error.reshape(-1, bins).astype(np.float64)


def _varying_mass(confidence: Array, difference: Array, weights: Array, bins: int) -> tuple[Array, Array]:
    rows = zip(confidence, difference, weights, strict=True)
    parts = [_mass_draws(own, gap, drawn[None, :], bins) for own, gap, drawn in rows]
    return np.vstack([count for count, _ in parts]), np.vstack([error for _, error in parts])


def _binned(count: Array, error: Array, n: Array) -> tuple[Array, Array]:
    """ECE and RMS error of every draw from the counts and summed differences of its bins, [R, B] each."""
    with np.errstate(invalid="ignore", divide="ignore"):
        square = np.divide(error**2, count, out=np.zeros_like(error), where=count > 0)
        return (np.abs(error) / n).sum(1), np.sqrt((square / n).sum(1))


def _mass_draws(confidence: Array, difference: Array, weights: Array, bins: int) -> tuple[Array, Array]:
    """Count and summed difference of every equal-mass bin of every draw, each [R, B].

    The bins are cut anew in each draw, as the metric does on the repeated questions: bin b ends with the
    confidence at its last position among the drawn questions, equal confidences included.
    """
    order = np.argsort(confidence, kind="stable")
    ranked = confidence[order]
    last_equal = np.searchsorted(ranked, ranked, side="right")
    drawn = weights[:, order]
    count, error = np.cumsum(drawn, axis=1), np.cumsum(drawn * difference[order], axis=1)
    zero = np.zeros((len(weights), 1))
    count, error = np.hstack([zero, count]), np.hstack([zero, error])
    ends = np.zeros((len(weights), bins + 1), dtype=np.int64)
    for row, end in enumerate(ends):
        n = int(count[row, -1])
        stop = np.cumsum(calibration.mass_sizes(n, bins))
        hit = np.searchsorted(count[row, 1:], np.maximum(stop, 1), side="left")
        end[1:] = last_equal[np.minimum(hit, len(ranked) - 1)]
    return (
        np.diff(np.take_along_axis(count, ends, 1), axis=1),
        np.diff(np.take_along_axis(error, ends, 1), axis=1),
    )


def smooth_draws(found: Outcomes, weights: Array) -> Array:
    """Smooth ECE of every draw, [R], on a coarser grid: it serves the spread alone."""
    first, second, share = smooth_calibration.linear_binning(found.confidence, DRAW_GRID)
    residual = found.confidence - found.correct
    n, row = len(residual), np.arange(len(residual))
    spread = sparse.csr_array(
        (
            np.concatenate([residual * (1 - share), residual * share]),
            (np.concatenate([first, second]), np.concatenate([row, row])),
        ),
        shape=(DRAW_GRID, n),
    )
    with np.errstate(invalid="ignore"):
        return smooth_calibration.smooth_ece_on_grid((spread @ weights.T).T / weights.sum(1, keepdims=True))


def noise_floor(
    confidence: Array, uniform: NDArray, *, bins: int, binning: calibration.Binning
) -> tuple[float, float]:
    """Mean and 95% quantile of the ECE that a perfectly calibrated model of these confidences would show.

    Its answers are right with just the stated probability, so all of this ECE is chance in ``len(confidence)``
    labels. ``uniform`` [F, N] decides them, the same for every cell.
    """
    index = np.unique(calibration.bin_index(confidence, bins, binning), return_inverse=True)[1]
    member = np.zeros((len(index), index.max() + 1), dtype=np.float32)
    member[np.arange(len(index)), index] = 1.0
    right = (uniform < confidence.astype(np.float32)).astype(np.float32) @ member
    expected = np.bincount(index, weights=confidence)
    floor = np.abs(right - expected).sum(1) / len(confidence)
    return float(floor.mean()), float(np.quantile(floor, 0.95))


def interval(estimate: NDArray, drawn: NDArray, level: float = 0.95) -> tuple[NDArray, NDArray]:
    """Bounds of the ``level`` interval of ``estimate`` [...] from its draws [R, ...].

    Percentiles of the draws, moved so that their mean is the estimate. Resampling adds to a binned error
    about as much chance error as the sample has itself, so that the draws of an ECE near its noise floor
    lie above the estimate altogether; what they tell is the spread. The interval is one for the expected
    value of the metric at this number of questions, to be read beside the noise floor.
    """
    with np.errstate(invalid="ignore"):
        centred = drawn - np.mean(drawn, axis=0) + estimate
    tail = (1 - level) / 2
    low, high = np.quantile(centred, [tail, 1 - tail], axis=0)
    # Where all draws are equal, rounding must not put the estimate outside.
    return np.minimum(low, estimate), np.maximum(high, estimate)


def p_value(estimate: NDArray, drawn: NDArray) -> NDArray:
    """Two-sided bootstrap p of "the difference is zero": how often the centred draws lie as far out.

    (1 + #{|d* - mean d*| ≥ |d|}) / (R + 1), Davison & Hinkley 1997, eq. 4.11; at least 1 / (R + 1).
    """
    with np.errstate(invalid="ignore"):
        spread = np.abs(drawn - np.mean(drawn, axis=0))
        # A hair of tolerance: rounding in the mean must not make a difference of exactly zero significant.
        beyond = (spread >= np.abs(estimate) - 1e-12).sum(0)
    return np.where(np.isnan(estimate), np.nan, (1 + beyond) / (len(drawn) + 1))


def false_discovery(p: Array) -> Array:
    """Adjusted p of Benjamini & Hochberg 1995 over the finite entries; NaN stays NaN."""
    q = np.full(len(p), np.nan)
    known = np.flatnonzero(np.isfinite(p))
    falling = known[np.argsort(-p[known], kind="stable")]
    rank = len(known) - np.arange(len(known))
    q[falling] = np.minimum(np.minimum.accumulate(p[falling] * len(known) / rank), 1.0)
    return q
