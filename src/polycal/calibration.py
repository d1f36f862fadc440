"""Metrics of confidence and accuracy: pure functions on arrays, which know nothing of polycal.

Throughout, ``confidence`` [N] is the probability of the chosen option in [0, 1], ``correct`` [N] is 0 or 1,
``probabilities`` [N, K] holds one distribution a row with zeros beyond a question's own options, and
``gold`` [N] is the index of the right option. Bins are right-closed; the first also contains 0.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Binning = Literal["width", "mass"]
Normalise = Literal["sum", "token", "byte"]


@dataclass(frozen=True)
class Bins:
    """The non-empty bins of a reliability diagram: edges, counts and means, each [B]."""

    low: Array
    high: Array
    count: NDArray[np.int64]
    confidence: Array
    accuracy: Array


def bin_index(confidence: Array, bins: int, binning: Binning = "width") -> NDArray[np.int64]:
    """The bin of each confidence, [N] of 0 … bins-1.

    ``width``: equal intervals of [0, 1], right-closed. ``mass``: the sorted confidences cut into ``bins`` runs
    whose sizes differ by at most one; ties are broken by position, so the result depends on the order of
    equal values only.
    """
    if binning == "width":
        edges = np.linspace(0.0, 1.0, bins + 1)
        return np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    if binning == "mass":
        index = np.empty(len(confidence), dtype=np.int64)
        index[np.argsort(confidence, kind="stable")] = np.arange(len(confidence)) * bins // len(confidence)
        return index
    raise ValueError(f"binning is {binning!r}, but must be 'width' or 'mass'")


def reliability(
    confidence: ArrayLike, correct: ArrayLike, *, bins: int = 15, binning: Binning = "width"
) -> Bins:
    """What a reliability diagram shows. Raises ValueError for empty, unequal, non-finite or out-of-range input."""
    p, y = _checked(confidence, correct)
    if bins < 1:
        raise ValueError(f"bins is {bins}, but must be at least 1")
    index = bin_index(p, bins, binning)
    count = np.bincount(index, minlength=bins)
    kept = count > 0
    n = count[kept]
    mean_p = np.bincount(index, weights=p, minlength=bins)[kept] / n
    mean_y = np.bincount(index, weights=y, minlength=bins)[kept] / n
    if binning == "width":
        edges = np.linspace(0.0, 1.0, bins + 1)
        low, high = edges[:-1][kept], edges[1:][kept]
    else:
        low = np.array([p[index == b].min() for b in np.flatnonzero(kept)])
        high = np.array([p[index == b].max() for b in np.flatnonzero(kept)])
    return Bins(low, high, n, mean_p, mean_y)


def ece(confidence: ArrayLike, correct: ArrayLike, *, bins: int = 15, binning: Binning = "width") -> float:
    """Expected calibration error, Σ_b n_b/N · |accuracy_b − confidence_b|, in [0, 1] (Guo et al. 2017, eq. 3)."""
    found = reliability(confidence, correct, bins=bins, binning=binning)
    return float(found.count @ np.abs(found.accuracy - found.confidence) / found.count.sum())


def rms_calibration_error(
    confidence: ArrayLike, correct: ArrayLike, *, bins: int = 15, binning: Binning = "width"
) -> float:
    """sqrt(Σ_b n_b/N · (accuracy_b − confidence_b)²), in [0, 1] (Hendrycks et al. 2019, arXiv 1812.04606)."""
    found = reliability(confidence, correct, bins=bins, binning=binning)
    return float(np.sqrt(found.count @ (found.accuracy - found.confidence) ** 2 / found.count.sum()))


def accuracy(probabilities: ArrayLike, gold: ArrayLike) -> float:
    """Share of rows whose most probable option is the gold one; the first of equal options counts as chosen."""
    p, g = _distribution(probabilities, gold)
    return float(np.mean(p.argmax(1) == g))


def entropy(probabilities: ArrayLike, *, normalised: bool = False) -> float:
    """Mean Shannon entropy in nats; ``normalised`` divides each row's by the log of its number of options.

    A row's options are its entries above zero: an option of probability exactly zero is not told apart from
    one that the question does not have.
    """
    p = _rows(probabilities)
    logs = np.log(p, out=np.zeros_like(p), where=p > 0)
    values = -(p * logs).sum(1)
    if normalised:
        options = np.maximum((p > 0).sum(1), 2)
        values = values / np.log(options)
    return float(values.mean()) + 0.0


def brier(probabilities: ArrayLike, gold: ArrayLike) -> float:
    """Mean over rows of Σ_k (p_k − [k = gold])², in [0, 2] (Brier 1950)."""
    p, g = _distribution(probabilities, gold)
    target = np.zeros_like(p)
    target[np.arange(len(p)), g] = 1.0
    return float(((p - target) ** 2).sum(1).mean())


def nll(probabilities: ArrayLike, gold: ArrayLike) -> float:
    """Mean negative log-likelihood of the gold option in nats; infinite where its probability is zero."""
    p, g = _distribution(probabilities, gold)
    with np.errstate(divide="ignore"):
        return float(-np.log(p[np.arange(len(p)), g]).mean()) + 0.0


def option_probabilities(
    option_logprob: list[ArrayLike],
    normalise: Normalise = "sum",
    *,
    option_tokens: list[ArrayLike] | None = None,
    option_bytes: list[ArrayLike] | None = None,
) -> Array:
    """[N, K] distributions over each question's own options from log-likelihoods in nats.

    ``sum`` takes them as they are, ``token`` and ``byte`` divide by the candidate's length in tokens or
    bytes first (a softmax of mean log-likelihoods is the inverse perplexity, normalised). Questions may
    have different numbers of options; K is the largest.
    """
    lengths = {"sum": None, "token": option_tokens, "byte": option_bytes}
    if normalise not in lengths:
        raise ValueError(f"normalise is {normalise!r}, but must be 'sum', 'token' or 'byte'")
    if normalise != "sum" and lengths[normalise] is None:
        raise ValueError(f"normalise {normalise!r} needs option_{normalise}s")
    rows = [np.asarray(row, dtype=np.float64) for row in option_logprob]
    if not rows or min(map(len, rows)) < 1:
        raise ValueError("option_logprob must hold at least one question, each with at least one option")
    if (by := lengths[normalise]) is not None:
        rows = [row / np.asarray(length, dtype=np.float64) for row, length in zip(rows, by, strict=True)]
    scores = np.full((len(rows), max(map(len, rows))), -np.inf)
    for number, row in enumerate(rows):
        if not np.isfinite(row).all():
            raise ValueError(f"row {number}: a log-likelihood is not finite")
        scores[number, : len(row)] = row
    scores = np.exp(scores - scores.max(1, keepdims=True))
    return scores / scores.sum(1, keepdims=True)


def _checked(confidence: ArrayLike, correct: ArrayLike) -> tuple[Array, Array]:
    p, y = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    if p.ndim != 1 or p.shape != y.shape or not len(p):
        raise ValueError(
            f"confidence {p.shape} and correct {y.shape} must be one-dimensional, equal in length and not empty"
        )
    if not (np.isfinite(p).all() and p.min() >= 0 and p.max() <= 1):
        raise ValueError("confidence must lie in [0, 1]")
    if not np.isin(y, (0.0, 1.0)).all():
        raise ValueError("correct must be 0 or 1")
    return p, y


def _rows(probabilities: ArrayLike) -> Array:
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


def _distribution(probabilities: ArrayLike, gold: ArrayLike) -> tuple[Array, NDArray[np.int64]]:
    p, g = _rows(probabilities), np.asarray(gold)
    if g.shape != (len(p),) or not np.issubdtype(g.dtype, np.integer):
        raise ValueError(f"gold {g.shape} must hold one integer for each of {len(p)} rows")
    if g.min() < 0 or g.max() >= p.shape[1]:
        raise ValueError(f"gold must lie in 0 … {p.shape[1] - 1}")
    return p, g.astype(np.int64)
