"""Metrics of any Score files under default conventions, for a look without a study."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from polycal.analysis import bootstrap, score_arrays
from polycal.analysis.question_outcomes import outcomes
from polycal.artifacts import records
from polycal.metrics import smooth_calibration

DEFAULTS: dict[str, Any] = {"bins": 15, "binning": "width", "normalise": {"letters": "sum", "texts": "token"}}


def summary(paths: Iterable[Path]) -> pd.DataFrame:
    """One row per file, without intervals; the files need no cell and no common questions.

    Raises RecordError or MeasureError for a file that cannot be measured.
    """
    rows = []
    for path in paths:
        cell = records.metadata(path).get("cell") or {}
        questions = score_arrays.read(path, cell)
        log_p = questions.log_probabilities(DEFAULTS["normalise"].get(questions.candidates, "sum"))
        values = outcomes(log_p, questions.gold, questions.options)
        estimate = bootstrap.estimates(values, bins=DEFAULTS["bins"], binning=DEFAULTS["binning"])
        metrics = dict(zip(bootstrap.METRICS, estimate.tolist(), strict=True))
        smooth = smooth_calibration.smooth_ece(values.confidence, values.correct)
        rows.append(
            {"file": str(path), **questions.cell, "n": len(questions.gold), **metrics, "smooth_ece": smooth}
        )
    return pd.DataFrame(rows)
