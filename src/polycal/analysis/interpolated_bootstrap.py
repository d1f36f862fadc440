"""Bootstrap samples whose outcomes differ between samples, as with a temperature refitted in each.

The outcomes of a sample are interpolated between the outcomes at a few nodes (Chebyshev interpolation).
"""

from collections.abc import Sequence

import numpy as np

from polycal.analysis.bootstrap import METRICS, binned_errors, mass_bin_sums
from polycal.analysis.question_outcomes import QuestionOutcomes
from polycal.metrics import calibration
from polycal.metrics.arrays import Array

BLOCK_SIZE = 1 << 16
"""Array elements per block of samples; a block then fits into the CPU cache."""


def interpolated_samples(
    mix: Array,
    nodes: Sequence[QuestionOutcomes],
    weights: Array,
    *,
    bins: int,
    binning: calibration.Binning,
) -> Array:
    """METRICS of every sample, [R, 9], where the outcomes of sample r are Σ_m mix[r, m] · nodes[m].

    ``mix`` [R, M] are the interpolation weights, and ``weights`` [R, N] are the counts of the questions.
    ``correct`` must be the same at all nodes.
    """
    correct, n = nodes[0].correct, weights.sum(1)
    means = {"accuracy": weights @ correct / n}
    for name in ("entropy", "entropy_normalised", "brier", "nll"):
        total = weights @ np.stack([getattr(node, name) for node in nodes], axis=1)
        means[name] = (mix * total).sum(1) / n
    confidences = np.stack([node.confidence for node in nodes])
    means["confidence"] = (mix * (weights @ confidences.T)).sum(1) / n
    means["gap"] = means["confidence"] - means["accuracy"]
    errors = []
    step = max(1, BLOCK_SIZE // len(correct))
    for start in range(0, len(mix), step):
        block = slice(start, start + step)
        confidence = np.clip(mix[block] @ confidences, 0.0, 1.0)
        bin_sums = width_bin_sums if binning == "width" else mass_bin_sums_of_each
        count, error = bin_sums(confidence, correct - confidence, weights[block], bins)
        errors.append(np.stack(binned_errors(count, error, n[block, None]), axis=1))
    means["ece"], means["rms"] = np.concatenate(errors).T
    return np.column_stack([means[name] for name in METRICS])


def width_bin_sums(confidence: Array, difference: Array, weights: Array, bins: int) -> tuple[Array, Array]:
    """Count and summed ``difference`` [R, N] of every equal-width bin of every sample, each [R, B]."""
    index = np.maximum(np.ceil(confidence * bins) - 1, 0).astype(np.int64)
    index += np.arange(len(index))[:, None] * bins
    slot, size = index.ravel(), len(weights) * bins
    count = np.bincount(slot, weights=weights.ravel(), minlength=size)
    error = np.bincount(slot, weights=(weights * difference).ravel(), minlength=size)
    return count.reshape(-1, bins).astype(np.float64), error.reshape(-1, bins).astype(np.float64)


def mass_bin_sums_of_each(
    confidence: Array, difference: Array, weights: Array, bins: int
) -> tuple[Array, Array]:
    """Count and summed ``difference`` [R, N] of every equal-mass bin of every sample, each [R, B]."""
    rows = zip(confidence, difference, weights, strict=True)
    sums = [mass_bin_sums(values, gaps, counts[None, :], bins) for values, gaps, counts in rows]
    return np.vstack([count for count, _ in sums]), np.vstack([error for _, error in sums])
