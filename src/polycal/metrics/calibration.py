"""Binned calibration errors and the reliability diagram.

Arguments are those of ``polycal.metrics.arrays``: ``confidence`` [N] in [0, 1] and ``correct`` [N] of 0 or 1.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from polycal.metrics.arrays import Array, Integers, checked_confidence

Binning = Literal["width", "mass"]


@dataclass(frozen=True)
class Bins:
    """The B non-empty bins of a reliability diagram; each field is [B].

    ``low`` and ``high`` are the edges of a bin, ``count`` is the number of its answers, and ``confidence``
    and ``accuracy`` are their mean confidence and the share of them that is correct.
    """

    low: Array
    high: Array
    count: Integers
    confidence: Array
    accuracy: Array


def mass_sizes(n: int, bins: int) -> Integers:
    """Sizes of ``bins`` equal-mass bins of ``n`` values, [bins].

    They differ by at most one, larger bins first.
    """
    return np.full(bins, n // bins) + (np.arange(bins) < n % bins)


def bin_edges(confidence: Array, bins: int, binning: Binning = "width") -> Array:
    """The edges of the bins of ``confidence`` [N], [bins + 1] from 0 to 1.

    Every bin contains its upper edge, and the first bin also contains 0. ``width`` makes intervals of equal
    width. ``mass`` makes bins of equally many answers (Kumar et al. 2019, arXiv 1909.10155; HELM): the upper
    edge of a bin is the confidence at the bin's last position in sorted order, and 1 for the last bin. So
    equal confidences share a bin, and the order of the answers does not matter. With many ties a bin can be
    empty. Raises ValueError if ``bins`` is below 1 or ``binning`` is unknown.

    Examples:
        >>> import numpy as np
        >>> from polycal.metrics import bin_edges
        >>> bin_edges(np.array([0.3, 0.5, 0.6, 0.9]), 2).tolist()
        [0.0, 0.5, 1.0]
        >>> bin_edges(np.array([0.3, 0.5, 0.6, 0.9]), 2, "mass").tolist()
        [0.0, 0.5, 1.0]
        >>> bin_edges(np.array([0.6, 0.7, 0.8, 0.9]), 2, "mass").tolist()
        [0.0, 0.7, 1.0]
    """
    if bins < 1:
        raise ValueError(f"bins is {bins}, but must be at least 1")
    if binning == "width":
        # k / bins is the float64 nearest to the edge, so a confidence of 0.6 equals the edge 9/15.
        return np.arange(bins + 1) / bins
    if binning == "mass":
        last = np.maximum(np.cumsum(mass_sizes(len(confidence), bins)) - 1, 0)
        edges = np.concatenate([[0.0], np.sort(confidence)[last]])
        edges[-1] = 1.0
        return edges
    raise ValueError(f"binning is {binning!r}, but must be 'width' or 'mass'")


def bin_index(confidence: Array, bins: int, binning: Binning = "width") -> Integers:
    """The index of the bin of each confidence, [N] in 0 … bins−1.

    The edges are those of ``bin_edges``. Raises ValueError as ``bin_edges`` does.

    Examples:
        >>> import numpy as np
        >>> from polycal.metrics import bin_index
        >>> bin_index(np.array([0.3, 0.5, 0.6, 0.9]), 2).tolist()
        [0, 0, 1, 1]
    """
    edges = bin_edges(confidence, bins, binning)
    return np.searchsorted(edges[1:-1], confidence, side="left").astype(np.int64)


def reliability(
    confidence: ArrayLike, correct: ArrayLike, *, bins: int = 15, binning: Binning = "width"
) -> Bins:
    """The bins of a reliability diagram (DeGroot & Fienberg 1983).

    Raises ValueError if the input is empty, of unequal length, not finite or out of range, if ``bins`` is
    below 1, and if ``binning`` is unknown.

    Examples:
        >>> from polycal.metrics import reliability
        >>> diagram = reliability([0.3, 0.5, 0.6, 0.9], [0, 1, 1, 1], bins=2)
        >>> diagram.count.tolist(), diagram.confidence.tolist(), diagram.accuracy.tolist()
        ([2, 2], [0.4, 0.75], [0.5, 1.0])
    """
    p, y = checked_confidence(confidence, correct)
    edges = bin_edges(p, bins, binning)
    index = bin_index(p, bins, binning)
    count = np.bincount(index, minlength=bins)
    filled = count > 0
    n = count[filled]
    mean_p = np.bincount(index, weights=p, minlength=bins)[filled] / n
    mean_y = np.bincount(index, weights=y, minlength=bins)[filled] / n
    return Bins(edges[:-1][filled], edges[1:][filled], n, mean_p, mean_y)


def ece(confidence: ArrayLike, correct: ArrayLike, *, bins: int = 15, binning: Binning = "width") -> float:
    """Expected calibration error, Σ_b n_b/N · |accuracy_b − confidence_b|, in [0, 1].

    Source: Guo et al. 2017, arXiv 1706.04599, eq. 3. Raises ValueError as ``reliability`` does.

    Examples:
        >>> from polycal.metrics import ece
        >>> round(ece([0.9, 0.8, 0.6], [1, 1, 0], bins=15), 3)
        0.3
        >>> ece([0.9, 1.2], [1, 1])
        Traceback (most recent call last):
        ValueError: confidence must lie in [0, 1]
    """
    diagram = reliability(confidence, correct, bins=bins, binning=binning)
    return float(diagram.count @ np.abs(diagram.accuracy - diagram.confidence) / diagram.count.sum())


def rms_calibration_error(
    confidence: ArrayLike, correct: ArrayLike, *, bins: int = 15, binning: Binning = "width"
) -> float:
    """RMS calibration error, sqrt(Σ_b n_b/N · (accuracy_b − confidence_b)²), in [0, 1].

    Source: Hendrycks et al. 2019, arXiv 1812.04606, section 4.3. Raises ValueError as ``reliability`` does.

    Examples:
        >>> from polycal.metrics import rms_calibration_error
        >>> round(rms_calibration_error([0.9, 0.8, 0.6], [1, 1, 0]), 4)
        0.3697
    """
    diagram = reliability(confidence, correct, bins=bins, binning=binning)
    squared_gap = (diagram.accuracy - diagram.confidence) ** 2
    return float(np.sqrt(diagram.count @ squared_gap / diagram.count.sum()))
