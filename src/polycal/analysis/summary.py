"""The metrics of any Score files under default conventions, without a study."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from polycal.analysis import bootstrap, score_arrays
from polycal.analysis.question_outcomes import outcomes
from polycal.analysis.score_arrays import ScoredQuestions
from polycal.artifacts import records
from polycal.metrics import smooth_calibration

DEFAULTS: dict[str, Any] = {"bins": 15, "binning": "width", "normalise": {"letters": "sum", "texts": "token"}}


def normalisation(questions: ScoredQuestions, normalise: str | None = None) -> str:
    """``normalise`` if it is given, otherwise the default of the file's candidate form.

    The default is ``sum`` for letters and ``token`` for texts. It is ``byte`` for texts of an imported file
    whose log has no numbers of tokens.
    """
    default = DEFAULTS["normalise"].get(questions.candidates, "sum")
    return normalise or ("byte" if default == "token" and questions.tokens is None else default)


def summary(paths: Iterable[Path], normalise: str | None = None) -> pd.DataFrame:
    """One row of metrics per file, without intervals. The files need no cell and no common questions.

    ``normalise`` (sum, token, byte or pmi) replaces the default of each file. ``candidate_mass`` and
    ``order_spread`` are columns if they are defined for a file (``ScoredQuestions``). Raises RecordError or
    MeasureError if a file cannot be measured.
    """
    rows = []
    for path in paths:
        cell = records.metadata(path).get("cell") or {}
        questions = score_arrays.read(path, cell)
        form = normalisation(questions, normalise)
        log_p = questions.log_probabilities(form)
        values = outcomes(log_p, questions.gold, questions.options)
        estimate = bootstrap.estimates(values, bins=DEFAULTS["bins"], binning=DEFAULTS["binning"])
        metrics = dict(zip(bootstrap.METRICS, estimate.tolist(), strict=True))
        smooth = smooth_calibration.smooth_ece(values.confidence, values.correct)
        row = {"file": str(path), **questions.cell, "normalise": form, "n": len(questions.gold)}
        further = {name: float(one.mean()) for name, one in questions.further().items()}
        rows.append({**row, **metrics, "smooth_ece": smooth, **further})
    return pd.DataFrame(rows)
