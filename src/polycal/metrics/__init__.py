"""Calibration metrics in NumPy. They can be used without the rest of polycal.

The arguments are described in ``polycal.metrics.arrays``. A metric raises ValueError for bad input. The
helpers ``bin_edges``, ``bin_index``, ``log_ratios`` and ``fit_temperature`` do not check their arrays.
"""

from polycal.metrics.calibration import Bins, bin_edges, bin_index, ece, reliability, rms_calibration_error
from polycal.metrics.diagnostics import (
    Decomposition,
    adaptive_calibration_error,
    brier_decomposition,
    classwise_ece,
    debiased_ece,
    debiased_rms,
    maximum_calibration_error,
)
from polycal.metrics.probability_scores import accuracy, brier, entropy, nll, option_probabilities
from polycal.metrics.recalibration import fit_platt, fit_temperature, log_ratios, platt_ece
from polycal.metrics.selective_prediction import (
    accuracy_by_coverage,
    accuracy_coverage_area,
    auroc,
    selective_accuracy,
)
from polycal.metrics.smooth_calibration import smooth_ece

__all__ = [
    "Bins",
    "Decomposition",
    "accuracy",
    "accuracy_by_coverage",
    "accuracy_coverage_area",
    "adaptive_calibration_error",
    "auroc",
    "bin_edges",
    "bin_index",
    "brier",
    "brier_decomposition",
    "classwise_ece",
    "debiased_ece",
    "debiased_rms",
    "ece",
    "entropy",
    "fit_platt",
    "fit_temperature",
    "log_ratios",
    "maximum_calibration_error",
    "nll",
    "option_probabilities",
    "platt_ece",
    "reliability",
    "rms_calibration_error",
    "selective_accuracy",
    "smooth_ece",
]
