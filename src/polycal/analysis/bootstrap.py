"""The metrics of a cell, and of all its bootstrap samples at once.

A bootstrap sample is a row of weights: how often it contains each of N questions, or each conversation if
tokens are resampled in clusters. Every metric of R samples then follows from products of the weights [R, N]
with columns [N].
"""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from polycal.analysis.question_outcomes import QuestionOutcomes
from polycal.metrics import calibration, smooth_calibration
from polycal.metrics.arrays import Array

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
"""The order of the last axis of every array of estimates and samples; gap is confidence − accuracy."""
ECE = METRICS.index("ece")
SAMPLE_GRID = 256
"""Grid points of the smooth ECE of bootstrap samples."""


def estimates(outcomes: QuestionOutcomes, *, bins: int, binning: calibration.Binning) -> Array:
    """The METRICS of one cell, [9]. Raises ValueError as ``calibration.reliability`` does."""
    diagram = calibration.reliability(outcomes.confidence, outcomes.correct, bins=bins, binning=binning)
    share, gap = diagram.count / diagram.count.sum(), diagram.accuracy - diagram.confidence
    accuracy, confidence = outcomes.correct.mean(), outcomes.confidence.mean()
    return np.array(
        [
            accuracy,
            confidence,
            confidence - accuracy,
            outcomes.entropy.mean(),
            outcomes.entropy_normalised.mean(),
            share @ np.abs(gap),
            np.sqrt(share @ gap**2),
            outcomes.brier.mean(),
            outcomes.nll.mean(),
        ]
    )


def samples(
    outcomes: QuestionOutcomes,
    weights: Array,
    *,
    bins: int,
    binning: calibration.Binning,
    cluster: NDArray[np.int64] | None = None,
) -> Array:
    """The METRICS of every bootstrap sample, [R, 9]; NaN for a sample without questions.

    ``weights`` [R, N] is the number of times that a sample contains each question. With ``cluster`` [T], the
    outcomes are those of T tokens, ``cluster`` is the cluster number of each token, and ``weights`` is [R, C]
    for C clusters.

    Equal-mass bins are cut anew in each sample, as the metric cuts them. With clusters they are cut once, on
    all tokens.
    """
    if cluster is not None:
        total, count, error = _cluster_sums(outcomes, weights, cluster, bins, binning)
    elif binning == "width":
        total, count, error = _width_sums(outcomes, weights, bins)
    else:
        total = weights @ np.column_stack(outcomes.columns())
        count, error = mass_bin_sums(
            outcomes.confidence, outcomes.correct - outcomes.confidence, weights, bins
        )
    n = count.sum(1, keepdims=True)
    with np.errstate(invalid="ignore"):
        mean = total / n
    ece, rms = binned_errors(count, error, n)
    accuracy, confidence, entropy, normalised, brier, nll = mean.T
    return np.column_stack(
        [accuracy, confidence, confidence - accuracy, entropy, normalised, ece, rms, brier, nll]
    )


def _width_sums(outcomes: QuestionOutcomes, weights: Array, bins: int) -> tuple[Array, Array, Array]:
    """Sums of the outcomes [R, 6], and count and summed correct − confidence per equal-width bin [R, B].

    Empty bins are left out.
    """
    columns = outcomes.columns()
    difference = outcomes.correct - outcomes.confidence
    index = np.unique(calibration.bin_index(outcomes.confidence, bins, "width"), return_inverse=True)[1]
    member = np.zeros((len(index), index.max() + 1))
    member[np.arange(len(index)), index] = 1.0
    total = weights @ np.column_stack([*columns, member, member * difference[:, None]])
    count, error = np.split(total[:, len(columns) :], 2, axis=1)
    return total[:, : len(columns)], count, error


def _cluster_sums(
    outcomes: QuestionOutcomes,
    weights: Array,
    cluster: NDArray[np.int64],
    bins: int,
    binning: calibration.Binning,
) -> tuple[Array, Array, Array]:
    """The sums of ``_width_sums`` for either binning, from sums per cluster; empty bins are included."""
    clusters = weights.shape[1]
    sums = np.stack(
        [np.bincount(cluster, weights=values, minlength=clusters) for values in outcomes.columns()], axis=1
    )
    slot = cluster * bins + calibration.bin_index(outcomes.confidence, bins, binning)
    difference = outcomes.correct - outcomes.confidence
    member = np.bincount(slot, minlength=clusters * bins).reshape(clusters, bins).astype(np.float64)
    gaps = np.bincount(slot, weights=difference, minlength=clusters * bins).reshape(clusters, bins)
    return weights @ sums, weights @ member, weights @ gaps


def binned_errors(count: Array, error: Array, n: Array) -> tuple[Array, Array]:
    """ECE and RMS calibration error of every sample, each [R].

    ``count`` [R, B] is the number of questions in each bin, ``error`` [R, B] their summed correct −
    confidence, and ``n`` [R, 1] the number of questions of each sample.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        squared = np.divide(error**2, count, out=np.zeros_like(error), where=count > 0)
        return (np.abs(error) / n).sum(1), np.sqrt((squared / n).sum(1))


def mass_bin_sums(confidence: Array, difference: Array, weights: Array, bins: int) -> tuple[Array, Array]:
    """Count and summed ``difference`` [N] of every equal-mass bin of every sample, each [R, B].

    The bins are cut anew in each sample, as the metric cuts them if questions are repeated: the upper edge of
    a bin is the confidence at its last position among the sampled questions, and all equal confidences are in
    that bin.
    """
    order = np.argsort(confidence, kind="stable")
    ranked = confidence[order]
    last_equal = np.searchsorted(ranked, ranked, side="right")
    counts = weights[:, order]
    count, error = np.cumsum(counts, axis=1), np.cumsum(counts * difference[order], axis=1)
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


def smooth_ece_samples(outcomes: QuestionOutcomes, weights: Array) -> Array:
    """The smooth ECE of every sample, [R]; NaN for a sample without questions.

    The grid is coarser than that of the estimate, because only the spread of the samples is used.
    """
    first, second, share = smooth_calibration.linear_binning(outcomes.confidence, SAMPLE_GRID)
    residual = outcomes.confidence - outcomes.correct
    n, row = len(residual), np.arange(len(residual))
    spread = sparse.csr_array(
        (
            np.concatenate([residual * (1 - share), residual * share]),
            (np.concatenate([first, second]), np.concatenate([row, row])),
        ),
        shape=(SAMPLE_GRID, n),
    )
    with np.errstate(invalid="ignore"):
        return smooth_calibration.smooth_ece_on_grid((spread @ weights.T).T / weights.sum(1, keepdims=True))
