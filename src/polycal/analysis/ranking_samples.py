"""AUROC and Spearman's correlation in bootstrap samples, for every sample from one sorting of the questions.

``weights`` [R, N] is the number of times that each of R samples contains each of N questions. A product with an
indicator of levels would need as many columns as there are different confidences, so sums over equal
values are used.
"""

import numpy as np
from numpy.typing import NDArray

from polycal.metrics.arrays import Array


def auroc_samples(confidence: Array, correct: Array, weights: Array) -> Array:
    """The AUROC of every sample, [R]; NaN for a sample whose answers are all right or all wrong.

    For equal weights it is ``metrics.auroc``: the probability that a right answer is more confident than a
    wrong one. Ties count half.
    """
    order, starts, _ = _levels(confidence)
    right, wrong = (
        np.add.reduceat((weights * part)[:, order], starts, axis=1) for part in (correct, 1 - correct)
    )
    below = np.cumsum(wrong, axis=1) - wrong
    with np.errstate(invalid="ignore", divide="ignore"):
        return (right * (below + wrong / 2)).sum(1) / (right.sum(1) * wrong.sum(1))


def spearman_samples(x: Array, y: Array, weights: Array) -> Array:
    """Spearman's rank correlation of ``x`` and ``y`` [N] in every sample, [R]; NaN if one of them is constant.

    Equal values have their mean rank. The ranks are those within the sample. Source: Spearman 1904.
    """
    total = weights.sum(1, keepdims=True)
    # The mean rank of a sample of n answers is (n + 1) / 2, whatever the ties.
    a, b = (_ranks(values, weights) - (total + 1) / 2 for values in (x, y))
    with np.errstate(invalid="ignore", divide="ignore"):
        product, first, second = ((weights * part).sum(1) for part in (a * b, a * a, b * b))
        return product / np.sqrt(first * second)


def _ranks(values: Array, weights: Array) -> Array:
    """The mean rank, from 1, of every value in every sample, [R, N]."""
    order, starts, level = _levels(values)
    count = np.add.reduceat(weights[:, order], starts, axis=1)
    rank = np.cumsum(count, axis=1) - count + (count + 1) / 2
    return rank[:, level]


def _levels(values: Array) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The order of the values, where each new value starts in it, and the number of each value's level."""
    order = np.argsort(values, kind="stable")
    starts, level = np.unique(values[order], return_index=True)[1], np.empty(len(values), np.int64)
    level[order] = np.repeat(np.arange(len(starts)), np.diff([*starts, len(values)]))
    return order, starts, level
