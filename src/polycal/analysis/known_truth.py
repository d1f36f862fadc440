"""How far the metrics themselves are off, where the true answer distribution of every question is known.

A benchmark's gold answers are one draw from the truth. The truth's own score under the metrics is the best
that any model can have, its ECE pure chance; and for a model the chance that its chosen option is right is
known, so that its ECE can be taken without the chance in the labels.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from polycal.analysis.cell_metrics import Study
from polycal.analysis.score_arrays import CELL, Answers, MeasureError
from polycal.metrics import calibration
from polycal.metrics.arrays import Array

TRUE = {
    "model": "truth",
    "data": "none",
    "recipe": "none",
    "beta": "none",
    "seed": "none",
    "protocol": "none",
}
COLUMNS = (
    *CELL,
    "n",
    "accuracy",
    "accuracy_true",
    "confidence",
    "ece",
    "ece_true",
    "ece_error",
    "divergence",
)


def file(folders: Mapping[str, str], benchmark: str, language: str) -> Path:
    """The file of the true answers of a benchmark in one language."""
    return Path(folders[benchmark]) / f"{language}.parquet"


def rows(
    study: Study, folders: Mapping[str, str], found: Answers, log_p: Array
) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Rows of the true distribution (model ``truth``) and of one cell; None where its truth is not known.

    accuracy and ece are over the gold answers; accuracy_true and ece_true over the true chance that the
    chosen option is right, so ece_error = ece - ece_true is what chance in the labels adds; divergence is
    the mean Kullback-Leibler divergence of the model from the truth, in nats. ``folders`` names, by benchmark,
    a folder of {language}.parquet with question_id and truth. Raises MeasureError where a file or a question lacks.
    """
    if found.cell["benchmark"] not in folders:
        return None
    source = file(folders, found.cell["benchmark"], found.cell["language"])
    try:
        table = pq.ParquetFile(source).read(columns=["question_id", "truth"])
    except FileNotFoundError:
        raise MeasureError(
            f"{source}: no such file; the true answers of {found.path} must be there."
        ) from None
    by_id = dict(zip(table["question_id"].to_pylist(), table["truth"].to_pylist(), strict=True))
    truth = np.zeros(found.logprob.shape)
    for place, name in enumerate(found.question_id):
        if len(by_id.get(name, ())) != found.options[place]:
            raise MeasureError(
                f"{source}: question_id {name!r} of {found.path} must be there with "
                f"{found.options[place]} options."
            )
        truth[place, : found.options[place]] = by_id[name]
    with np.errstate(divide="ignore"):
        log_truth = np.log(truth)
    own = {**found.cell, **TRUE, **_row(study, log_truth, truth, found.gold)}
    return own, {**found.cell, **_row(study, log_p, truth, found.gold)}


def _row(study: Study, log_p: Array, truth: Array, gold: np.ndarray) -> dict[str, Any]:
    bins, binning = study.settings["bins"], study.settings["binning"]
    chosen = log_p.argmax(1)
    confidence = np.minimum(np.exp(log_p.max(1)), 1.0)
    correct, chance = (chosen == gold).astype(np.float64), truth[np.arange(len(gold)), chosen]
    measured = calibration.ece(confidence, correct, bins=bins, binning=binning)
    index = calibration.bin_index(confidence, bins, binning)
    exact = float(np.abs(np.bincount(index, weights=chance - confidence)).sum() / len(gold))
    inside = truth > 0
    ratio = np.log(truth, out=np.zeros_like(truth), where=inside) - np.where(inside, log_p, 0.0)
    return {
        "n": len(gold),
        "accuracy": float(correct.mean()),
        "accuracy_true": float(chance.mean()),
        "confidence": float(confidence.mean()),
        "ece": measured,
        "ece_true": exact,
        "ece_error": measured - exact,
        "divergence": float((truth * ratio).sum(1).mean()) + 0.0,
    }
