"""AUROC, AUARC and Spearman's correlation in bootstrap samples, for every sample from one sorting of the questions.

``weights`` [R, N] is the number of times that each of R samples contains each of N questions. A product with an
indicator of levels would need as many columns as there are different confidences, so sums over equal
values are used.
"""

import numpy as np
from numpy.typing import NDArray

from polycal.metrics.arrays import Array

METRICS = ("auroc", "auarc", "spearman")


def measured(confidence: Array, correct: Array, other: Array | None, weights: Array) -> tuple[Array, Array]:
    """METRICS [3] of N answers, and those of the samples ``weights`` [S, N], [S, 3].

    ``spearman`` is the correlation with ``other`` [N]. It is NaN if that is None.
    """

    def metrics(weights: Array) -> Array:
        spearman = np.full(len(weights), np.nan)
        if other is not None:
            spearman = spearman_samples(confidence, other, weights)
        ranked = (samples(confidence, correct, weights) for samples in (auroc_samples, auarc_samples))
        return np.column_stack([*ranked, spearman])

    return metrics(np.ones((1, len(correct))))[0], metrics(weights)


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


def auarc_samples(confidence: Array, correct: Array, weights: Array) -> Array:
    """The area under the accuracy-rejection curve of every sample, [R]; NaN for a sample without answers.

    For equal weights it is ``metrics.accuracy_coverage_area``: the mean over k of the accuracy of the k most
    confident answers. Each of w answers with equal confidence counts with their mean correctness r/w. If C more
    confident answers are there, A of them right, then with h = Σ_{j=1}^{w} 1/(C + j) they add

        Σ_j (A + j·r/w) / (C + j) = A·h + r/w · (w − C·h).
    """
    order, starts, _ = _levels(-confidence)
    right, count = (
        np.add.reduceat((weights * part)[:, order], starts, axis=1)
        for part in (correct, np.ones_like(correct))
    )
    most = int(count.sum(1).max())
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, most + 1))])
    last = np.cumsum(count, axis=1)
    before, right_before = last - count, np.cumsum(right, axis=1) - right
    sums = harmonic[last.astype(np.int64)] - harmonic[before.astype(np.int64)]
    share = np.divide(right, count, out=np.zeros_like(right, dtype=np.float64), where=count > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (right_before * sums + share * (count - before * sums)).sum(1) / last[:, -1]


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
