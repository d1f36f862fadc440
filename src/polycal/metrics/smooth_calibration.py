"""Smooth ECE: the calibration error with a Gaussian kernel instead of bins.

The residuals confidence − correct are distributed on a grid of equal cells over [0, 1]. A Fourier transform
then smooths them, with reflection at 0 and 1.
"""

import numpy as np
from numpy.typing import ArrayLike

from polycal.metrics.arrays import Array, Integers, checked_confidence

GRID_CELLS = 1024
BISECTIONS = 10
MIN_BANDWIDTH = 0.001
"""The smallest bandwidth, as in relplot."""


def smooth_ece(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Smooth ECE, in [0, 1] (Błasiok & Nakkiran 2023, arXiv 2309.12236; ``smECE`` of relplot).

    smECE_σ = ∫ |1/N Σ_i (confidence_i − correct_i) K_σ(t, confidence_i)| dt, with the Gaussian kernel K_σ
    reflected at 0 and 1. The result is smECE_σ at the bandwidth σ that equals it. As in relplot, σ is found
    by ten bisections of [0, 1], rounded up to a multiple of 1/1024, and at least 0.001. Unlike in relplot
    1.0.3, an answer with a confidence of exactly 0 or 1 counts in full. Raises ValueError if the input is
    empty, of unequal length, not finite or out of range.

    Examples:
        >>> from polycal.metrics import smooth_ece
        >>> round(smooth_ece([0.9, 0.8, 0.6], [1, 1, 0]), 3)
        0.165
    """
    p, y = checked_confidence(confidence, correct)
    low, high, share = linear_binning(p)
    residual = np.bincount(low, weights=(p - y) * (1 - share), minlength=GRID_CELLS)
    residual += np.bincount(high, weights=(p - y) * share, minlength=GRID_CELLS)
    return float(smooth_ece_on_grid(residual[None, :] / len(p))[0])


def linear_binning(confidence: Array, cells: int = GRID_CELLS) -> tuple[Integers, Integers, Array]:
    """Two neighbouring grid cells of each confidence, and the share of its weight in the second; each [N]."""
    position = confidence * cells - 0.5  # cell i has its centre at (i + ½) / cells
    low = np.floor(position)
    # Below the first centre and above the last one, the reflected neighbour is the cell itself.
    first = np.clip(low, 0, cells - 1).astype(np.int64)
    second = np.clip(low + 1, 0, cells - 1).astype(np.int64)
    return first, second, position - low


def smooth_ece_on_grid(residual: Array) -> Array:
    """Smooth ECE of R samples, [R].

    ``residual`` [R, G] contains each sample's residuals, summed in each of G grid cells and divided by N.
    """
    mirrored = np.concatenate([residual, residual[:, ::-1]], axis=1)
    spectrum = np.fft.rfft(mirrored)
    frequency = np.arange(spectrum.shape[1]) * np.pi

    def error_at(sigma: Array) -> Array:
        # Bisection gives many samples the same bandwidth, and the kernel is the expensive part.
        bandwidth, which = np.unique(sigma, return_inverse=True)
        kernel = np.exp(-0.5 * (frequency * bandwidth[:, None]) ** 2)
        smoothed = np.fft.irfft(spectrum * kernel[which], n=mirrored.shape[1])
        return np.abs(smoothed[:, : residual.shape[1]]).sum(1)

    high, low = np.ones(len(residual)), np.zeros(len(residual))
    for _ in range(BISECTIONS):
        middle = (high + low) / 2
        wider = (middle < MIN_BANDWIDTH) | (middle < error_at(middle))
        low, high = np.where(wider, middle, low), np.where(wider, high, middle)
    return error_at(high)
