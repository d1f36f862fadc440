"""Array types of the metrics, and the checks of their arguments.

N is the number of questions and K the largest number of options of a question.

- ``confidence`` [N]: the probability of the chosen option, in [0, 1].
- ``correct`` [N]: 1 if the chosen option is the gold one, otherwise 0.
- ``probabilities`` [N, K]: one distribution per question. Columns beyond a question's last option are zero.
- ``gold`` [N]: the index of the right option, in 0 … K−1.
- ``options`` [N]: the number of options of each question.

All results are computed in float64.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Integers = NDArray[np.int64]


def checked_confidence(confidence: ArrayLike, correct: ArrayLike) -> tuple[Array, Array]:
    """``confidence`` and ``correct`` as float64, each [N].

    Raises ValueError if they are empty, not one-dimensional, of unequal length, not finite or out of range.
    """
    p, y = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    if p.ndim != 1 or p.shape != y.shape or not len(p):
        raise ValueError(
            f"confidence {p.shape} and correct {y.shape} must be one-dimensional,"
            " equal in length and not empty"
        )
    if not (np.isfinite(p).all() and p.min() >= 0 and p.max() <= 1):
        raise ValueError("confidence must lie in [0, 1]")
    if not np.isin(y, (0.0, 1.0)).all():
        raise ValueError("correct must be 0 or 1")
    return p, y


def checked_probabilities(probabilities: ArrayLike) -> Array:
    """``probabilities`` as float64, [N, K].

    Raises ValueError if the array is empty or not two-dimensional, if an entry is negative or not finite, and
    if a row does not sum to 1 within 1e-6.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    if p.ndim != 2 or not p.size:
        raise ValueError(f"probabilities {p.shape} must be [N, K] and not empty")
    if not np.isfinite(p).all() or p.min() < 0:
        raise ValueError("probabilities must be finite and not negative")
    wrong = np.flatnonzero(np.abs(p.sum(1) - 1) > 1e-6)
    if len(wrong):
        raise ValueError(
            f"row {wrong[0]} of probabilities sums to {p[wrong[0]].sum():.6g}, but must sum to 1"
        )
    return p


def checked_distributions(probabilities: ArrayLike, gold: ArrayLike) -> tuple[Array, Integers]:
    """``probabilities`` as float64, [N, K], and ``gold`` as int64, [N].

    Raises ValueError as ``checked_probabilities`` does, and if ``gold`` is not N integers in 0 … K−1.
    """
    p, g = checked_probabilities(probabilities), np.asarray(gold)
    if g.shape != (len(p),) or not np.issubdtype(g.dtype, np.integer):
        raise ValueError(f"gold {g.shape} must contain one integer for each of {len(p)} rows")
    if g.min() < 0 or g.max() >= p.shape[1]:
        raise ValueError(f"gold must lie in 0 … {p.shape[1] - 1}")
    return p, g.astype(np.int64)


def checked_options(p: Array, options: ArrayLike | None) -> Integers:
    """The number of options of each row of ``p`` [N, K], as int64, [N]; K if ``options`` is None.

    Raises ValueError if ``options`` is not N integers of at most K, and if a row has a positive probability
    beyond its last option.
    """
    if options is None:
        return np.full(len(p), p.shape[1])
    count = np.asarray(options)
    if count.shape != (len(p),) or not np.issubdtype(count.dtype, np.integer):
        raise ValueError(f"options {count.shape} must contain one integer for each of {len(p)} rows")
    outside = (np.arange(p.shape[1]) >= count[:, None]) & (p > 0)
    if (count > p.shape[1]).any() or outside.any():
        raise ValueError(
            f"options must be at most {p.shape[1]}, and probabilities must be zero beyond a row's last option"
        )
    return count.astype(np.int64)
