"""How far the metrics themselves are off, where the true answer distribution of every question is known.

A benchmark's gold answers are one draw from the truth. The truth's own score under the metrics is the best
that any model can have, its ECE pure chance; and for a model the chance that its chosen option is right is
known, so that its ECE can be taken without the chance in the labels.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from polycal import answers, calibration, cells
from polycal.answers import CELL, MeasureError
from polycal.calibration import Array
from polycal.cells import Study

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


def rows(study: Study, folder: Path) -> list[dict[str, Any]]:
    """One row a cell, and one (model ``truth``) a benchmark and language for the true distribution itself.

    accuracy and ece are over the gold answers; accuracy_true and ece_true over the true chance that the
    chosen option is right, so ece_error = ece - ece_true is what chance in the labels adds; divergence is
    the mean Kullback-Leibler divergence of the model from the truth, in nats. ``folder`` holds
    {benchmark}/{language}.parquet with question_id and truth; cells without such a file are left out.
    """
    known = [
        (path, folder / str(cell["benchmark"]) / f"{cell['language']}.parquet")
        for path, cell in zip(study.files, study.cells, strict=True)
    ]
    both = [pair for pair in known if pair[1].exists()]
    found = cells.side_by_side(lambda pair: _rows(study, *pair), both)
    unique = {tuple(own[name] for name in CELL): own for own, _ in found}
    return [*(unique[name] for name in sorted(unique)), *(row for _, row in found)]


def _rows(study: Study, path: Path, source: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    found = answers.read(path)
    table = pq.ParquetFile(source).read(columns=["question_id", "truth"])
    by_id = dict(zip(table["question_id"].to_pylist(), table["truth"].to_pylist(), strict=True))
    truth = np.zeros(found.logprob.shape)
    for place, name in enumerate(found.question_id):
        if len(by_id.get(name, ())) != found.options[place]:
            raise MeasureError(
                f"{source}: question_id {name!r} of {path} must be there with {found.options[place]} options."
            )
        truth[place, : found.options[place]] = by_id[name]
    log_p = study.log_probabilities(found)
    with np.errstate(divide="ignore"):
        log_truth = np.log(truth)
    cell = {name: found.cell[name] for name in CELL}
    own = {**cell, **TRUE, **_row(study, log_truth, truth, found.gold)}
    return own, {**cell, **_row(study, log_p, truth, found.gold)}


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
