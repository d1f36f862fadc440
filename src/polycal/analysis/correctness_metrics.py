"""Calibration of one confidence per answer, with bootstrap samples.

The confidence is taken as a forecast of whether the answer is right. It is only a number for that answer, so the Brier
score is that of a yes-or-no forecast.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from polycal.analysis import bootstrap
from polycal.analysis.question_outcomes import QuestionOutcomes
from polycal.metrics.arrays import Array

METRICS = ("accuracy", "confidence", "gap", "ece", "binary_brier")
COLUMNS = [bootstrap.METRICS.index(name) for name in ("accuracy", "confidence", "gap", "ece", "brier")]


def measured(
    confidence: Array, correct: Array, weights: Array, settings: Mapping[str, Any]
) -> tuple[Array, Array]:
    """The METRICS [5] of N answers, and those of bootstrap samples, [R, 5].

    ``confidence`` and ``correct`` are [N], ``weights`` [R, N] is the number of times that each sample contains each
    answer. ``settings`` has bins and binning.
    """
    zero = np.zeros(len(correct))
    values = QuestionOutcomes(confidence, correct, zero, zero, (confidence - correct) ** 2, zero, 0)
    bins = {name: settings[name] for name in ("bins", "binning")}
    return bootstrap.estimates(values, **bins)[COLUMNS], bootstrap.samples(values, weights, **bins)[
        :, COLUMNS
    ]
