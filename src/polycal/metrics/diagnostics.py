"""Further diagnostics of confidence: other calibration errors, what a score decomposes into, how well confidence ranks.

Pure functions on the arrays of ``calibration``, with its conventions: ``confidence`` [N] in [0, 1], ``correct``
[N] 0 or 1, right-closed bins, float64, ValueError for bad input.
"""

from dataclasses import dataclass
from math import erf, exp, pi, sqrt
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from polycal.metrics.calibration import (
    Array,
    Binning,
    checked,
    checked_distributions,
    checked_options,
    ece,
    reliability,
)


@dataclass(frozen=True)
class Decomposition:
    """reliability − resolution + uncertainty + within is the Brier score of the confidence."""

    reliability: float
    resolution: float
    uncertainty: float
    within: float


def maximum_calibration_error(
    confidence: ArrayLike, correct: ArrayLike, *, bins: int = 15, binning: Binning = "width"
) -> float:
    """max_b |accuracy_b − confidence_b| over non-empty bins, in [0, 1] (Guo et al. 2017, eq. 4)."""
    found = reliability(confidence, correct, bins=bins, binning=binning)
    return float(np.abs(found.accuracy - found.confidence).max())


def adaptive_calibration_error(
    confidence: ArrayLike,
    correct: ArrayLike,
    *,
    size: int = 100,
    norm: Literal["l1", "l2", "max"] = "l2",
    drop_last: bool = False,
) -> float:
    """Calibration error over bins of ``size`` sorted questions, in [0, 1] (Hendrycks et al. 2019, section 4.3).

    The last bin also takes the remainder, and fewer than ``size`` questions are one bin; equal confidences
    stay in the order given. ``drop_last`` leaves the last, most confident bin out of the sum while it still
    counts in N, as the code that many published numbers come from does: to reproduce those, never else.
    """
    p, y = checked(confidence, correct)
    if size < 1:
        raise ValueError(f"size is {size}, but must be at least 1")
    order = np.argsort(p, kind="stable")
    starts = np.arange(max(len(p) // size, 1)) * size
    gap = np.add.reduceat((p - y)[order], starts)
    count = np.diff(np.append(starts, len(p)))
    if drop_last:
        gap, count = gap[:-1], count[:-1]
    error = np.abs(gap / count)
    if norm == "l1":
        return float(count @ error / len(p))
    if norm == "l2":
        return float(np.sqrt(count @ error**2 / len(p)))
    if norm == "max":
        return float(error.max(initial=0.0))
    raise ValueError(f"norm is {norm!r}, but must be 'l1', 'l2' or 'max'")


def debiased_ece(
    confidence: ArrayLike, correct: ArrayLike, *, bins: int = 15, binning: Binning = "width"
) -> float:
    """ECE less its bias from chance in the labels: 2·ECE − E[ECE*], below zero where ECE is smaller than its noise.

    E[ECE*] is that of labels drawn anew, accuracy_b ~ Normal(accuracy_b, accuracy_b (1 − accuracy_b) / n_b),
    here by the mean of the folded normal (Kumar et al. 2019, arXiv 1909.10155, who sample it).
    """
    found = reliability(confidence, correct, bins=bins, binning=binning)
    gap = found.accuracy - found.confidence
    deviation = np.sqrt(found.accuracy * (1 - found.accuracy) / found.count)
    share = found.count / found.count.sum()
    return float(share @ (2 * np.abs(gap) - _folded(gap, deviation)))


def debiased_rms(
    confidence: ArrayLike, correct: ArrayLike, *, bins: int = 15, binning: Binning = "width"
) -> float:
    """sqrt(max(0, Σ_b n_b/N · [(accuracy_b − confidence_b)² − accuracy_b (1 − accuracy_b)/(n_b − 1)])), in [0, 1].

    Unbiased before the root (Kumar et al. 2019, section 5; Bröcker 2012); a bin of one question, whose
    variance is unknown, counts as zero, as in their code.
    """
    found = reliability(confidence, correct, bins=bins, binning=binning)
    square = (found.accuracy - found.confidence) ** 2
    variance = found.accuracy * (1 - found.accuracy) / np.maximum(found.count - 1, 1)
    term = np.where(found.count > 1, square - variance, 0.0)
    return float(np.sqrt(max(found.count @ term / found.count.sum(), 0.0)))


def _folded(mean: Array, deviation: Array) -> Array:
    """E|X| of X ~ Normal(mean, deviation), |mean| where the deviation is zero."""
    return np.array(
        [
            abs(m) if s == 0 else s * sqrt(2 / pi) * exp(-m * m / (2 * s * s)) + m * erf(m / (s * sqrt(2)))
            for m, s in zip(mean, deviation, strict=True)
        ]
    )


def classwise_ece(
    probabilities: ArrayLike,
    gold: ArrayLike,
    *,
    options: ArrayLike | None = None,
    bins: int = 15,
    binning: Binning = "width",
) -> float:
    """Mean over options k of the ECE of p_k as the probability that k is gold, in [0, 1] (Kull et al. 2019).

    Option k counts over the questions that have it; without ``options`` every question has all K.
    """
    p, g = checked_distributions(probabilities, gold)
    count = checked_options(p, options)
    # The sum over a row may exceed one by rounding, and so may an entry.
    found = [
        ece(np.minimum(p[has, k], 1.0), g[has] == k, bins=bins, binning=binning)
        for k in range(p.shape[1])
        if (has := count > k).any()
    ]
    return float(np.mean(found))


def brier_decomposition(
    confidence: ArrayLike, correct: ArrayLike, *, bins: int = 15, binning: Binning = "width"
) -> Decomposition:
    """Parts of mean (confidence − correct)², the binary Brier score of the chosen option (Murphy 1973).

    reliability Σ n_b/N (confidence_b − accuracy_b)², resolution Σ n_b/N (accuracy_b − accuracy)², uncertainty
    accuracy (1 − accuracy), each in [0, 1]; within is what binning hides, variance of the confidence in its
    bin less twice its covariance with correctness (Stephenson et al. 2008), so that the sum is exact.
    """
    p, y = checked(confidence, correct)
    found = reliability(p, y, bins=bins, binning=binning)
    share, mean = found.count / found.count.sum(), y.mean()
    rel = float(share @ (found.confidence - found.accuracy) ** 2)
    res = float(share @ (found.accuracy - mean) ** 2)
    unc = float(mean * (1 - mean))
    return Decomposition(rel, res, unc, float(np.mean((p - y) ** 2)) - (rel - res + unc))


def auroc(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Chance that a right answer is more confident than a wrong one, ties half, in [0, 1] (Mann & Whitney 1947).

    NaN where all answers are right or all wrong.
    """
    p, y = checked(confidence, correct)
    ranked = np.sort(p)
    rank = (np.searchsorted(ranked, p, side="left") + np.searchsorted(ranked, p, side="right") + 1) / 2
    right, wrong = y.sum(), (1 - y).sum()
    if not right or not wrong:
        return float("nan")
    return float((rank @ y - right * (right + 1) / 2) / (right * wrong))


def selective_accuracy(confidence: ArrayLike, correct: ArrayLike, coverage: float = 0.1) -> float:
    """Accuracy over the ⌊coverage · N⌋ + 1 most confident answers, in [0, 1] (HELM's selective_acc@10).

    Equal confidences count by their mean correctness, whatever their order. ``coverage`` in [0, 1].
    """
    if not 0 <= coverage <= 1:
        raise ValueError(f"coverage is {coverage}, but must lie in [0, 1]")
    curve = accuracy_by_coverage(confidence, correct)
    return float(curve[min(int(coverage * len(curve)), len(curve) - 1)])


def accuracy_coverage_area(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Mean over k = 1 … N of the accuracy among the k most confident, in [0, 1] (HELM's selective_cov_acc_area)."""
    return float(accuracy_by_coverage(confidence, correct).mean())


def accuracy_by_coverage(confidence: ArrayLike, correct: ArrayLike) -> Array:
    """Accuracy among the k most confident answers for k = 1 … N, [N]; ties enter by their mean correctness."""
    p, y = checked(confidence, correct)
    _, group, size = np.unique(-p, return_inverse=True, return_counts=True)
    expected = np.bincount(group, weights=y) / size
    return np.cumsum(np.repeat(expected, size)) / np.arange(1, len(p) + 1)
