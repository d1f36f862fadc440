"""Metrics of confidence and accuracy: pure functions on arrays, which know nothing of polycal.

Throughout, ``confidence`` [N] is the probability of the chosen option in [0, 1], ``correct`` [N] is 0 or 1,
``probabilities`` [N, K] holds one distribution a row with zeros beyond a question's own options, ``gold`` [N]
is the index of the right option, and ``options`` [N] the number of options where it matters. Everything is
computed in float64. Bad input raises ValueError with a sentence that names the argument and the row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Integers = NDArray[np.int64]
Binning = Literal["width", "mass"]
Normalise = Literal["sum", "token", "byte"]

SMOOTH_GRID = 1024
SMOOTH_STEPS = 10


@dataclass(frozen=True)
class Bins:
    """The non-empty bins of a reliability diagram: edges, counts and means, each [B]."""

    low: Array
    high: Array
    count: Integers
    confidence: Array
    accuracy: Array


def mass_sizes(n: int, bins: int) -> Integers:
    """How many of ``n`` sorted values each of ``bins`` equal-mass bins takes: equal to within one, larger first."""
    return np.full(bins, n // bins) + (np.arange(bins) < n % bins)


def bin_edges(confidence: Array, bins: int, binning: Binning = "width") -> Array:
    """The edges of the bins, [bins + 1] from 0 to 1; every bin is right-closed and the first contains 0.

    ``width``: equal intervals. ``mass``: a bin ends with the confidence at its last position among the sorted
    ones, so that equal confidences share a bin and the order of the questions does not matter; with many ties
    a bin may be empty (as in Kumar et al. 2019, arXiv 1909.10155, and HELM).
    """
    if bins < 1:
        raise ValueError(f"bins is {bins}, but must be at least 1")
    if binning == "width":
        return np.arange(bins + 1) / bins  # one division an edge: 9/15 is just the float64 that 0.6 is
    if binning == "mass":
        last = np.maximum(np.cumsum(mass_sizes(len(confidence), bins)) - 1, 0)
        edges = np.concatenate([[0.0], np.sort(confidence)[last]])
        edges[-1] = 1.0
        return edges
    raise ValueError(f"binning is {binning!r}, but must be 'width' or 'mass'")


def bin_index(confidence: Array, bins: int, binning: Binning = "width") -> Integers:
    """The bin of each confidence, [N] of 0 … bins-1 (see ``bin_edges``)."""
    edges = bin_edges(confidence, bins, binning)
    return np.searchsorted(edges[1:-1], confidence, side="left").astype(np.int64)


def reliability(
    confidence: ArrayLike, correct: ArrayLike, *, bins: int = 15, binning: Binning = "width"
) -> Bins:
    """What a reliability diagram shows. Raises ValueError for empty, unequal, non-finite or out-of-range input."""
    p, y = checked(confidence, correct)
    edges = bin_edges(p, bins, binning)
    index = bin_index(p, bins, binning)
    count = np.bincount(index, minlength=bins)
    kept = count > 0
    n = count[kept]
    mean_p = np.bincount(index, weights=p, minlength=bins)[kept] / n
    mean_y = np.bincount(index, weights=y, minlength=bins)[kept] / n
    return Bins(edges[:-1][kept], edges[1:][kept], n, mean_p, mean_y)


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


def smooth_ece(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Smooth ECE, in [0, 1] (Błasiok & Nakkiran 2023, arXiv 2309.12236, the ``smECE`` of relplot).

    smECE_σ = ∫ |1/N Σ_i (confidence_i − correct_i) K_σ(t, confidence_i)| dt with the Gaussian kernel reflected
    at 0 and 1, at the bandwidth σ where σ = smECE_σ, found like there by ten bisections of [0, 1] (the upper
    end, a multiple of 1/1024). Unlike relplot 1.0.3, a confidence of exactly 0 or 1 counts in full.
    """
    p, y = checked(confidence, correct)
    low, high, share = smooth_cells(p)
    cells = np.bincount(low, weights=(p - y) * (1 - share), minlength=SMOOTH_GRID)
    cells += np.bincount(high, weights=(p - y) * share, minlength=SMOOTH_GRID)
    return float(smooth_error(cells[None, :] / len(p))[0])


def smooth_cells(confidence: Array, grid: int = SMOOTH_GRID) -> tuple[Integers, Integers, Array]:
    """Two neighbouring cells of the smoothing grid and the second's share, each [N], for linear splitting."""
    place = confidence * grid - 0.5  # cell i has its centre at (i + ½) / grid
    low = np.floor(place)
    # Beyond the first and last centre the reflected neighbour is the cell itself.
    first = np.clip(low, 0, grid - 1).astype(np.int64)
    second = np.clip(low + 1, 0, grid - 1).astype(np.int64)
    return first, second, place - low


def smooth_error(residual: Array) -> Array:
    """Smooth ECE of residual mass on a grid, [R, G] summing to mean residuals, one a row; [R]."""
    mirrored = np.concatenate([residual, residual[:, ::-1]], axis=1)
    spectrum = np.fft.rfft(mirrored)
    frequency = np.arange(spectrum.shape[1]) * np.pi

    def at(sigma: Array) -> Array:
        # Bisection gives many rows the same bandwidth, and the kernel is the dear part.
        width, which = np.unique(sigma, return_inverse=True)
        kernel = np.exp(-0.5 * (frequency * width[:, None]) ** 2)
        smoothed = np.fft.irfft(spectrum * kernel[which], n=mirrored.shape[1])
        return np.abs(smoothed[:, : residual.shape[1]]).sum(1)

    high, low = np.ones(len(residual)), np.zeros(len(residual))
    for _ in range(SMOOTH_STEPS):
        middle = (high + low) / 2
        wider = (middle < 0.001) | (middle < at(middle))  # relplot's smallest bandwidth
        low, high = np.where(wider, middle, low), np.where(wider, high, middle)
    return at(high)


def accuracy(probabilities: ArrayLike, gold: ArrayLike) -> float:
    """Share of rows whose most probable option is the gold one; the first of equal options counts as chosen."""
    p, g = checked_distributions(probabilities, gold)
    return float(np.mean(p.argmax(1) == g))


def entropy(probabilities: ArrayLike, *, normalised: bool = False, options: ArrayLike | None = None) -> float:
    """Mean Shannon entropy in nats, in [0, log K]; ``normalised`` divides each row's by log of its options, in [0, 1].

    Without ``options`` a row's options end with its last entry above zero (one of two at least), so give
    them where an option's probability may be exactly zero.
    """
    p = checked_rows(probabilities)
    logs = np.log(p, out=np.zeros_like(p), where=p > 0)
    values = -(p * logs).sum(1)
    if normalised:
        if options is None:
            count = p.shape[1] - (p[:, ::-1] > 0).argmax(1)
            values = values / np.log(np.maximum(count, 2))
        else:
            count = checked_options(p, options)
            if (count < 2).any():
                raise ValueError("options must be at least 2 for a normalised entropy")
            values = values / np.log(count)
    return float(values.mean()) + 0.0


def brier(probabilities: ArrayLike, gold: ArrayLike) -> float:
    """Mean over rows of Σ_k (p_k − [k = gold])², in [0, 2] (Brier 1950)."""
    p, g = checked_distributions(probabilities, gold)
    target = np.zeros_like(p)
    target[np.arange(len(p)), g] = 1.0
    return float(((p - target) ** 2).sum(1).mean())


def nll(probabilities: ArrayLike, gold: ArrayLike) -> float:
    """Mean negative log-likelihood of the gold option in nats; infinite where its probability is zero."""
    p, g = checked_distributions(probabilities, gold)
    with np.errstate(divide="ignore"):
        return float(-np.log(p[np.arange(len(p)), g]).mean()) + 0.0


def option_probabilities(
    option_logprob: Sequence[ArrayLike] | Array,
    normalise: Normalise = "sum",
    *,
    option_tokens: Sequence[ArrayLike] | None = None,
    option_bytes: Sequence[ArrayLike] | None = None,
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
        divisors = [np.asarray(length, dtype=np.float64) for length in by]
        if [len(row) for row in rows] != [len(length) for length in divisors]:
            raise ValueError(f"option_{normalise}s and option_logprob differ in their numbers of options")
        if any((length < 1).any() for length in divisors):
            raise ValueError(f"option_{normalise}s must be at least 1")
        rows = [row / length for row, length in zip(rows, divisors, strict=True)]
    scores = np.full((len(rows), max(map(len, rows))), -np.inf)
    for number, row in enumerate(rows):
        if not np.isfinite(row).all():
            raise ValueError(f"row {number}: a log-likelihood is not finite")
        scores[number, : len(row)] = row
    scores = np.exp(scores - scores.max(1, keepdims=True))
    return scores / scores.sum(1, keepdims=True)


def checked_options(p: Array, options: ArrayLike | None) -> Integers:
    if options is None:
        return np.full(len(p), p.shape[1])
    count = np.asarray(options)
    if count.shape != (len(p),) or not np.issubdtype(count.dtype, np.integer):
        raise ValueError(f"options {count.shape} must hold one integer for each of {len(p)} rows")
    outside = (np.arange(p.shape[1]) >= count[:, None]) & (p > 0)
    if (count > p.shape[1]).any() or outside.any():
        raise ValueError("options must be at most K, and probabilities zero beyond a row's own options")
    return count.astype(np.int64)


def checked(confidence: ArrayLike, correct: ArrayLike) -> tuple[Array, Array]:
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


def checked_rows(probabilities: ArrayLike) -> Array:
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


def checked_distributions(probabilities: ArrayLike, gold: ArrayLike) -> tuple[Array, NDArray[np.int64]]:
    p, g = checked_rows(probabilities), np.asarray(gold)
    if g.shape != (len(p),) or not np.issubdtype(g.dtype, np.integer):
        raise ValueError(f"gold {g.shape} must hold one integer for each of {len(p)} rows")
    if g.min() < 0 or g.max() >= p.shape[1]:
        raise ValueError(f"gold must lie in 0 … {p.shape[1] - 1}")
    return p, g.astype(np.int64)
