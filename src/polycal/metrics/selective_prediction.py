"""How well confidence ranks right answers above wrong ones.

The arguments are described in ``polycal.metrics.arrays``. Every function raises ValueError if the input is
empty, of unequal length, not finite or out of range. Each of several answers with equal confidence counts
with their mean correctness, so their order does not matter.
"""

import numpy as np
from numpy.typing import ArrayLike

from polycal.metrics.arrays import Array, checked_confidence


def auroc(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Area under the ROC curve: the probability that a right answer is more confident than a wrong one, in [0, 1].

    Ties count half. The result is NaN if all answers are right or all are wrong. Source: Mann & Whitney 1947.

    Examples:
        >>> from polycal.metrics import auroc
        >>> auroc([0.9, 0.8, 0.7, 0.6], [1, 0, 1, 0])
        0.75
    """
    p, y = checked_confidence(confidence, correct)
    ranked = np.sort(p)
    rank = (np.searchsorted(ranked, p, side="left") + np.searchsorted(ranked, p, side="right") + 1) / 2
    right, wrong = y.sum(), (1 - y).sum()
    if not right or not wrong:
        return float("nan")
    return float((rank @ y - right * (right + 1) / 2) / (right * wrong))


def selective_accuracy(confidence: ArrayLike, correct: ArrayLike, coverage: float = 0.1) -> float:
    """Accuracy over the ⌊coverage · N⌋ + 1 most confident answers, in [0, 1] (``selective_acc@10`` of HELM).

    Also raises ValueError if ``coverage`` is outside [0, 1].

    Examples:
        >>> from polycal.metrics import selective_accuracy
        >>> selective_accuracy([0.9, 0.8, 0.7, 0.6], [1, 0, 1, 0], coverage=0.25)
        0.5
    """
    if not 0 <= coverage <= 1:
        raise ValueError(f"coverage is {coverage}, but must lie in [0, 1]")
    curve = accuracy_by_coverage(confidence, correct)
    return float(curve[min(int(coverage * len(curve)), len(curve) - 1)])


def accuracy_coverage_area(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Mean over k = 1 … N of the accuracy of the k most confident answers, in [0, 1].

    This is ``selective_cov_acc_area`` of HELM, and the area under the accuracy-rejection curve (AUARC) when 0, 1,
    …, N − 1 answers are rejected. Source: Nadeem, Zucker & Hanczar 2009, "Accuracy-rejection curves (ARCs) for
    comparing classification methods with a reject option" (PMLR 8).

    Examples:
        >>> from polycal.metrics import accuracy_coverage_area
        >>> round(accuracy_coverage_area([0.9, 0.8, 0.7, 0.6], [1, 0, 1, 0]), 3)
        0.667
    """
    return float(accuracy_by_coverage(confidence, correct).mean())


def accuracy_by_coverage(confidence: ArrayLike, correct: ArrayLike) -> Array:
    """Accuracy of the k most confident answers for k = 1 … N, [N].

    Examples:
        >>> from polycal.metrics import accuracy_by_coverage
        >>> accuracy_by_coverage([0.9, 0.8, 0.7, 0.6], [1, 0, 1, 0]).round(3).tolist()
        [1.0, 0.5, 0.667, 0.5]
    """
    p, y = checked_confidence(confidence, correct)
    _, group, size = np.unique(-p, return_inverse=True, return_counts=True)
    expected = np.bincount(group, weights=y) / size
    return np.cumsum(np.repeat(expected, size)) / np.arange(1, len(p) + 1)
