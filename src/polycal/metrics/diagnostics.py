"""Further calibration errors, and the decomposition of the Brier score.

The arguments are described in ``polycal.metrics.arrays``, the bins in ``polycal.metrics.calibration``. Every
function raises ValueError if an array is empty, not finite or out of range, if two arrays differ in length,
if ``bins`` is below 1, and if ``binning`` is unknown.
"""

from dataclasses import dataclass
from math import erf, exp, pi, sqrt
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from polycal.metrics.arrays import Array, checked_confidence, checked_distributions, checked_options
from polycal.metrics.calibration import Binning, ece, reliability


@dataclass(frozen=True)
class Decomposition:
    """Parts of the binary Brier score of the confidence, as ``brier_decomposition`` defines them.

    The score is reliability − resolution + uncertainty + within.
    """

    reliability: float
    resolution: float
    uncertainty: float
    within: float


def maximum_calibration_error(
    confidence: ArrayLike, correct: ArrayLike, *, bins: int = 15, binning: Binning = "width"
) -> float:
    """Maximum calibration error, max_b |accuracy_b − confidence_b| over the non-empty bins b, in [0, 1].

    Source: Guo et al. 2017, arXiv 1706.04599, eq. 5.

    Examples:
        >>> from polycal.metrics import maximum_calibration_error
        >>> maximum_calibration_error([0.9, 0.8, 0.6], [1, 1, 0])
        0.6
    """
    diagram = reliability(confidence, correct, bins=bins, binning=binning)
    return float(np.abs(diagram.accuracy - diagram.confidence).max())


def adaptive_calibration_error(
    confidence: ArrayLike,
    correct: ArrayLike,
    *,
    size: int = 100,
    norm: Literal["l1", "l2", "max"] = "l2",
) -> float:
    """Calibration error over bins of ``size`` answers in order of confidence, in [0, 1].

    With gap_b = accuracy_b − confidence_b, ``l2`` is sqrt(Σ_b n_b/N · gap_b²), ``l1`` is Σ_b n_b/N · |gap_b|,
    and ``max`` is max_b |gap_b|. The last bin also contains the remainder. Fewer than ``size`` answers are
    one bin. Equal confidences keep the given order, so the result can depend on that order. Source: Hendrycks
    et al. 2019, arXiv 1812.04606, section 4.3. Also raises ValueError if ``size`` is below 1 or ``norm`` is
    unknown.

    Examples:
        >>> from polycal.metrics import adaptive_calibration_error
        >>> round(adaptive_calibration_error([0.6, 0.7, 0.8, 0.9], [0, 1, 1, 1], size=2, norm="l1"), 3)
        0.15
    """
    p, y = checked_confidence(confidence, correct)
    if size < 1:
        raise ValueError(f"size is {size}, but must be at least 1")
    order = np.argsort(p, kind="stable")
    starts = np.arange(max(len(p) // size, 1)) * size
    residual_sum = np.add.reduceat((p - y)[order], starts)
    count = np.diff(np.append(starts, len(p)))
    gap = np.abs(residual_sum / count)
    if norm == "l1":
        return float(count @ gap / len(p))
    if norm == "l2":
        return float(np.sqrt(count @ gap**2 / len(p)))
    if norm == "max":
        return float(gap.max())
    raise ValueError(f"norm is {norm!r}, but must be 'l1', 'l2' or 'max'")


def debiased_ece(
    confidence: ArrayLike, correct: ArrayLike, *, bins: int = 15, binning: Binning = "width"
) -> float:
    """ECE minus an estimate of its bias from the finite number of answers: 2·ECE − E[ECE*], in [−1, 1].

    E[ECE*] is the expected ECE if the labels of each bin were drawn again: the accuracy of bin b is then
    Normal(accuracy_b, accuracy_b (1 − accuracy_b) / n_b). Kumar et al. (2019, arXiv 1909.10155, section 5)
    sample it. Here it is computed as the mean of a folded normal distribution. The result can be negative,
    namely if the estimated bias E[ECE*] − ECE is larger than the ECE.

    Examples:
        >>> from polycal.metrics import debiased_ece, ece
        >>> confidence, correct = [0.6, 0.6, 0.6, 0.6, 0.6], [1, 1, 1, 1, 0]
        >>> round(ece(confidence, correct), 3), round(debiased_ece(confidence, correct), 3)
        (0.2, 0.176)
    """
    diagram = reliability(confidence, correct, bins=bins, binning=binning)
    gap = diagram.accuracy - diagram.confidence
    deviation = np.sqrt(diagram.accuracy * (1 - diagram.accuracy) / diagram.count)
    share = diagram.count / diagram.count.sum()
    return float(share @ (2 * np.abs(gap) - _folded_normal_mean(gap, deviation)))


def debiased_rms(
    confidence: ArrayLike, correct: ArrayLike, *, bins: int = 15, binning: Binning = "width"
) -> float:
    """RMS calibration error minus its bias from the finite number of answers, in [0, 1].

    The result is sqrt(max(0, Σ_b n_b/N · [(accuracy_b − confidence_b)² − accuracy_b (1 − accuracy_b)/(n_b −
    1)])). The sum is an unbiased estimate of the squared error (Kumar et al. 2019, arXiv 1909.10155, section
    5; Bröcker 2012). The variance of a bin of one answer cannot be estimated. Such a bin counts as zero, as
    in the code of Kumar et al.

    Examples:
        >>> from polycal.metrics import debiased_rms
        >>> round(debiased_rms([0.5, 0.5, 0.5, 0.5, 0.5, 0.5], [1, 1, 1, 1, 1, 0]), 3)
        0.289
    """
    diagram = reliability(confidence, correct, bins=bins, binning=binning)
    squared_gap = (diagram.accuracy - diagram.confidence) ** 2
    variance = diagram.accuracy * (1 - diagram.accuracy) / np.maximum(diagram.count - 1, 1)
    term = np.where(diagram.count > 1, squared_gap - variance, 0.0)
    return float(np.sqrt(max(diagram.count @ term / diagram.count.sum(), 0.0)))


def _folded_normal_mean(mean: Array, deviation: Array) -> Array:
    """E|X| of X ~ Normal(mean, deviation²); |mean| if the deviation is zero."""
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
    """Class-wise ECE: the mean over options k of the ECE of p_k as the probability that k is gold, in [0, 1].

    The ECE of option k is taken over the questions that have this option. Without ``options`` every question
    has K options. Source: Kull et al. 2019, arXiv 1910.12656. Also raises ValueError as ``brier`` does, and
    if ``options`` does not fit ``probabilities``.

    Examples:
        >>> from polycal.metrics import classwise_ece
        >>> round(classwise_ece([[0.8, 0.2], [0.3, 0.7]], [0, 1]), 3)
        0.25
    """
    p, g = checked_distributions(probabilities, gold)
    count = checked_options(p, options)
    # A row may sum to slightly more than 1, and then an entry may be slightly above 1.
    per_option = [
        ece(np.minimum(p[has, k], 1.0), g[has] == k, bins=bins, binning=binning)
        for k in range(p.shape[1])
        if (has := count > k).any()
    ]
    return float(np.mean(per_option))


def brier_decomposition(
    confidence: ArrayLike, correct: ArrayLike, *, bins: int = 15, binning: Binning = "width"
) -> Decomposition:
    """Parts of the binary Brier score of the chosen option, mean (confidence − correct)² (Murphy 1973).

    - reliability: Σ_b n_b/N (confidence_b − accuracy_b)², in [0, 1].
    - resolution: Σ_b n_b/N (accuracy_b − accuracy)², in [0, 1].
    - uncertainty: accuracy (1 − accuracy), in [0, 1].
    - within: the variance of the confidence within bins minus twice its covariance with correctness within
      bins (Stephenson et al. 2008). Binning hides this part. With it the decomposition is exact.

    Examples:
        >>> from polycal.metrics import brier_decomposition
        >>> parts = brier_decomposition([0.8, 0.8, 0.6, 0.6], [1, 1, 1, 0])
        >>> round(parts.reliability, 4), round(parts.resolution, 4), round(parts.uncertainty, 4)
        (0.025, 0.0625, 0.1875)
    """
    p, y = checked_confidence(confidence, correct)
    diagram = reliability(p, y, bins=bins, binning=binning)
    share, mean = diagram.count / diagram.count.sum(), y.mean()
    rel = float(share @ (diagram.confidence - diagram.accuracy) ** 2)
    res = float(share @ (diagram.accuracy - mean) ** 2)
    unc = float(mean * (1 - mean))
    return Decomposition(rel, res, unc, float(np.mean((p - y) ** 2)) - (rel - res + unc))
