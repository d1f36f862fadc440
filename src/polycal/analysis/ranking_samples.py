"""AUROC, AUARC and Spearman's correlation in bootstrap samples, for every sample from one sorting of the questions.

A level is the set of all questions with the same value. Arrays over levels are [r, L] for a block of r samples, which
fits into the processor's cache. A product with an indicator of levels would need as many columns as there are
different confidences, so sums over equal values are used.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from polycal.metrics.arrays import Array

METRICS = ("auroc", "auarc", "spearman")
BLOCK_SAMPLES = 16
"""Samples per block."""


@dataclass(frozen=True)
class Levels:
    """The L levels of N values.

    ``order`` [N] sorts the values, the first value of each level is at ``starts`` [L] of the sorted ones, and ``level``
    [N] is the number of each value's level.
    """

    order: NDArray[np.int64]
    starts: NDArray[np.int64]
    level: NDArray[np.int64]

    @classmethod
    def of(cls, values: Array) -> Self:
        order = np.argsort(values, kind="stable")
        starts, level = np.unique(values[order], return_index=True)[1], np.empty(len(values), np.int64)
        level[order] = np.repeat(np.arange(len(starts)), np.diff([*starts, len(values)]))
        return cls(order, starts, level)

    def sums(self, rows: Array) -> Array:
        """The sums over each level, [r, L], of ``rows`` [r, N] in the order of the values."""
        return rows if len(self.starts) == rows.shape[1] else np.add.reduceat(rows, self.starts, axis=1)


def measured(confidence: Array, correct: Array, other: Array | None, weights: Array) -> tuple[Array, Array]:
    """METRICS [3] of N answers, and those of the samples ``weights`` [S, N], [S, 3].

    ``weights`` is the number of times that each sample contains each answer. ``spearman`` is the correlation with
    ``other`` [N]. It is NaN if that is None.
    """
    levels, of_other = Levels.of(confidence), None if other is None else Levels.of(other)
    harmonic = np.concatenate(
        [[0.0], np.cumsum(1 / np.arange(1, int(weights.sum(1).max(initial=len(correct))) + 1))]
    )
    in_order = correct[levels.order]

    def metrics(weights: Array) -> Array:
        counts = weights[:, levels.order]
        count, right = levels.sums(counts), levels.sums(counts * in_order)
        rho = np.full(len(weights), np.nan)
        if of_other is not None:
            rho = _spearman(levels, of_other, counts, count, weights)
        return np.column_stack([_auroc(right, count), _auarc(right, count, harmonic), rho])

    blocks = [weights[start : start + BLOCK_SAMPLES] for start in range(0, len(weights), BLOCK_SAMPLES)]
    return metrics(np.ones((1, len(correct))))[0], np.concatenate([metrics(block) for block in blocks])


def _auroc(right: Array, count: Array) -> Array:
    """The AUROC of every sample, [r]; NaN for a sample whose answers are all right or all wrong.

    ``right`` and ``count`` [r, L] are the right answers and all answers of each level. For equal weights it is
    ``metrics.auroc``: the probability that a right answer is more confident than a wrong one. Ties count half.
    """
    wrong = count - right
    below = np.cumsum(wrong, axis=1) - wrong / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return (right * below).sum(1) / (right.sum(1) * wrong.sum(1))


def _auarc(right: Array, count: Array, harmonic: Array) -> Array:
    """The area under the accuracy-rejection curve of every sample, [r]; NaN for a sample without answers.

    ``harmonic`` contains the harmonic numbers H_0, H_1, …. For equal weights it is
    ``metrics.accuracy_coverage_area``: the mean over k of the accuracy of the k most confident answers. Each of w answers
    with equal confidence counts with their mean correctness r/w. If C more confident answers are there, A of them
    right, then with h = Σ_{j=1}^{w} 1/(C + j) = H_{C+w} − H_C they add

        Σ_j (A + j·r/w) / (C + j) = A·h + r/w · (w − C·h).
    """
    up_to, right_up_to = np.cumsum(count, axis=1), np.cumsum(right, axis=1)
    n = up_to[:, -1:]
    above, right_above = n - up_to, right_up_to[:, -1:] - right_up_to
    h = harmonic[(above + count).astype(np.intp)] - harmonic[above.astype(np.intp)]
    share = right / np.maximum(count, 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (right_above * h + share * (count - above * h)).sum(1) / n[:, 0]


def _spearman(levels: Levels, of_other: Levels, counts: Array, count: Array, weights: Array) -> Array:
    """Spearman's rank correlation of two values in every sample, [r]; NaN if one of them is constant.

    ``counts`` [r, N] are the ``weights`` [r, N] in the order of the first value, and ``count`` [r, L] their sums.
    Equal values have their mean rank. The ranks are those within the sample. Source: Spearman 1904.
    """
    other_count = of_other.sums(weights[:, of_other.order])
    # The mean rank of a sample of n answers is (n + 1) / 2, whatever the ties.
    mean = (counts.sum(1, keepdims=True) + 1) / 2
    rank, other_rank = (np.cumsum(one, axis=1) - one / 2 + 0.5 - mean for one in (count, other_count))
    beside = other_rank[:, of_other.level[levels.order]]
    with np.errstate(invalid="ignore", divide="ignore"):
        product = (levels.sums(counts * beside) * rank).sum(1)
        return product / np.sqrt((count * rank**2).sum(1) * (other_count * other_rank**2).sum(1))
