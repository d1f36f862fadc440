"""AUROC, AUARC and Spearman's correlation in bootstrap samples, for every sample from one sorting of the questions.

``weights`` [R, N] is the number of times that each of R samples contains each of N questions. A product with an
indicator of levels would need as many columns as there are different confidences, so sums over equal
values are used. Arrays over levels and samples are [L, R]: sorting then moves whole rows, and sums run over rows.
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
    right, count = _right_and_count(correct, weights, order, starts)
    wrong = count - right
    below = np.cumsum(wrong, axis=0) - wrong / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return (right * below).sum(0) / (right.sum(0) * wrong.sum(0))


def auarc_samples(confidence: Array, correct: Array, weights: Array) -> Array:
    """The area under the accuracy-rejection curve of every sample, [R]; NaN for a sample without answers.

    For equal weights it is ``metrics.accuracy_coverage_area``: the mean over k of the accuracy of the k most
    confident answers. Each of w answers with equal confidence counts with their mean correctness r/w. If C more
    confident answers are there, A of them right, then with h = Σ_{j=1}^{w} 1/(C + j) they add

        Σ_j (A + j·r/w) / (C + j) = A·h + r/w · (w − C·h).
    """
    order, starts, _ = _levels(-confidence)
    right, count = _right_and_count(correct, weights, order, starts)
    last = np.cumsum(count, axis=0)
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, int(last[-1].max()) + 1))])
    sums = np.diff(harmonic[last.astype(np.intp)], axis=0, prepend=0)
    right_before = np.cumsum(right, axis=0) - right
    share = right / np.maximum(count, 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (right_before * sums + share * (count - (last - count) * sums)).sum(0) / last[-1]


def spearman_samples(x: Array, y: Array, weights: Array) -> Array:
    """Spearman's rank correlation of ``x`` and ``y`` [N] in every sample, [R]; NaN if one of them is constant.

    Equal values have their mean rank. The ranks are those within the sample. Source: Spearman 1904.
    """
    counts = np.ascontiguousarray(weights.T)
    # The mean rank of a sample of n answers is (n + 1) / 2, whatever the ties.
    mean = (counts.sum(0) + 1) / 2
    a, b = (_ranks(values, counts) - mean for values in (x, y))
    with np.errstate(invalid="ignore", divide="ignore"):
        product, first, second = ((counts * part).sum(0) for part in (a * b, a * a, b * b))
        return product / np.sqrt(first * second)


def _ranks(values: Array, counts: Array) -> Array:
    """The mean rank, from 1, of every value in every sample, [N, R]. ``counts`` [N, R] is ``weights`` transposed."""
    order, starts, level = _levels(values)
    count = _level_sums(counts[order], starts)
    rank = np.cumsum(count, axis=0) - count / 2 + 0.5
    return rank[level]


def _right_and_count(
    correct: Array, weights: Array, order: NDArray[np.int64], starts: NDArray[np.int64]
) -> tuple[Array, Array]:
    """The right answers and all answers of each level in each sample, both [L, R]."""
    count = np.ascontiguousarray(weights.T)[order]
    return _level_sums(count * correct[order, None], starts), _level_sums(count, starts)


def _level_sums(rows: Array, starts: NDArray[np.int64]) -> Array:
    """The sums over the rows of each level, [L, R], of ``rows`` [N, R] in the order of the values."""
    return rows if len(starts) == len(rows) else np.add.reduceat(rows, starts, axis=0)


def _levels(values: Array) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The order of the values, where each new value starts in it, and the number of each value's level."""
    order = np.argsort(values, kind="stable")
    starts, level = np.unique(values[order], return_index=True)[1], np.empty(len(values), np.int64)
    level[order] = np.repeat(np.arange(len(starts)), np.diff([*starts, len(values)]))
    return order, starts, level
