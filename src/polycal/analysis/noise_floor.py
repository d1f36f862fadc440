"""The noise floor of the ECE: the ECE of a perfectly calibrated model on the same number of questions."""

import numpy as np
from numpy.typing import NDArray

from polycal.metrics import calibration
from polycal.metrics.arrays import Array


def noise_floor(
    confidence: Array, uniform: NDArray, *, bins: int, binning: calibration.Binning
) -> tuple[float, float]:
    """Mean and 95% quantile of the ECE of a perfectly calibrated model with these confidences [N].

    The answers of such a model are right with exactly the stated probability. All of its ECE is due to chance
    in N labels. ``uniform`` [F, N], in [0, 1), determines the labels of F simulations and is the same for
    every cell.
    """
    return summary(noise_floor_samples(confidence, uniform, bins=bins, binning=binning))


def summary(floor: Array) -> tuple[float, float]:
    """Mean and 95% quantile of the simulated ECEs ``floor`` [F]."""
    return float(floor.mean()), float(np.quantile(floor, 0.95))


def noise_floor_samples(
    confidence: Array, uniform: NDArray, *, bins: int, binning: calibration.Binning
) -> Array:
    """The ECE of each of the F simulations of ``noise_floor``, [F]."""
    index = np.unique(calibration.bin_index(confidence, bins, binning), return_inverse=True)[1]
    member = np.zeros((len(index), index.max() + 1), dtype=np.float32)
    member[np.arange(len(index)), index] = 1.0
    right = (uniform < confidence.astype(np.float32)).astype(np.float32) @ member
    expected = np.bincount(index, weights=confidence)
    return np.abs(right - expected).sum(1) / len(confidence)
