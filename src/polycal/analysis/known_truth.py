"""The error of the metrics themselves, where the true distribution of the answers is known.

The gold answers of the miniature's benchmarks are one draw from a known distribution. The metrics of this
distribution are the best that a model can reach in expectation, and its ECE is due to chance alone. For any
model, the true probability that its chosen option is right is known, so its ECE can be computed without the
chance in the labels.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from polycal.analysis.score_arrays import MeasureError, ScoredQuestions
from polycal.analysis.score_set import ScoreSet
from polycal.metrics import calibration
from polycal.metrics.arrays import Array
from polycal.vocabulary import CELL_KEYS, CHECKPOINT_KEYS, NONE

TRUE_DISTRIBUTION = {**dict.fromkeys(CHECKPOINT_KEYS, NONE), "model": "truth", "protocol": NONE}
"""Keys of the rows about the true distribution itself."""
COLUMNS = (
    *CELL_KEYS,
    "n",
    "accuracy",
    "accuracy_true",
    "confidence",
    "ece",
    "ece_true",
    "ece_error",
    "divergence",
)


class TruthRows(NamedTuple):
    """A row about the true distribution and a row about one cell."""

    truth: dict[str, Any]
    cell: dict[str, Any]


def truth_file(folders: Mapping[str, str], benchmark: str, language: str) -> Path:
    """The file with the true distribution of a benchmark in one language."""
    return Path(folders[benchmark]) / f"{language}.parquet"


def check(settings: Mapping[str, Any], questions: ScoredQuestions) -> None:
    """Check that the truth file of the record's benchmark contains all questions of the record.

    Raises MeasureError if a question or one of its options is missing. A missing file is not an error here.
    """
    folders, cell = settings.get("truth") or {}, questions.cell
    if cell["benchmark"] in folders:
        path = truth_file(folders, cell["benchmark"], cell["language"])
        if path.exists():  # a missing file is not an error of the record
            _read_truth(path, questions)


def truth_rows(score_set: ScoreSet, questions: ScoredQuestions, log_p: Array) -> TruthRows | None:
    """A row about the true distribution (model ``truth``) and one about the cell; None if no truth is known.

    accuracy and ece use the benchmark's answers. accuracy_true and ece_true use the true probability that the
    chosen option is right. ece_error = ece − ece_true is what chance in the labels adds. divergence is the
    mean Kullback-Leibler divergence of the model from the truth, in nats.

    ``log_p`` [N, K] are the log-probabilities of the cell. The setting ``truth`` has a folder per benchmark,
    which contains a file LANGUAGE.parquet with the columns question_id and truth. Raises MeasureError if a
    file or a question is missing.
    """
    folders = score_set.settings["truth"]
    if questions.cell["benchmark"] not in folders:
        return None
    truth = _read_truth(
        truth_file(folders, questions.cell["benchmark"], questions.cell["language"]), questions
    )
    with np.errstate(divide="ignore"):
        log_truth = np.log(truth)
    return TruthRows(
        truth={
            **questions.cell,
            **TRUE_DISTRIBUTION,
            **_against_truth(score_set, log_truth, truth, questions.gold),
        },
        cell={**questions.cell, **_against_truth(score_set, log_p, truth, questions.gold)},
    )


def _read_truth(path: Path, questions: ScoredQuestions) -> Array:
    """The true distribution of every question, [N, K]. Columns beyond a question's options are zero.

    Raises MeasureError if the file or a question is missing, or if a question has another number of options.
    """
    try:
        table = pq.ParquetFile(path).read(columns=["question_id", "truth"])
    except FileNotFoundError:
        raise MeasureError(
            f"{path}: no such file; the true answers of {questions.path} must be there."
        ) from None
    by_id = dict(zip(table["question_id"].to_pylist(), table["truth"].to_pylist(), strict=True))
    truth = np.zeros(questions.logprob.shape)
    for row, name in enumerate(questions.question_id):
        options = questions.options[row]
        if len(by_id.get(name, ())) != options:
            raise MeasureError(
                f"{path}: question_id {name!r} of {questions.path} must be there with {options} options."
            )
        truth[row, :options] = by_id[name]
    return truth


def _against_truth(
    score_set: ScoreSet, log_p: Array, truth: Array, gold: NDArray[np.int64]
) -> dict[str, Any]:
    """Metrics of a distribution ``log_p`` [N, K] against the answers ``gold`` [N] and the truth [N, K]."""
    bins, binning = score_set.settings["bins"], score_set.settings["binning"]
    chosen = log_p.argmax(1)
    confidence = np.minimum(np.exp(log_p.max(1)), 1.0)
    correct, chance = (chosen == gold).astype(np.float64), truth[np.arange(len(gold)), chosen]
    ece = calibration.ece(confidence, correct, bins=bins, binning=binning)
    index = calibration.bin_index(confidence, bins, binning)
    exact = float(np.abs(np.bincount(index, weights=chance - confidence)).sum() / len(gold))
    inside = truth > 0
    ratio = np.log(truth, out=np.zeros_like(truth), where=inside) - np.where(inside, log_p, 0.0)
    return {
        "n": len(gold),
        "accuracy": float(correct.mean()),
        "accuracy_true": float(chance.mean()),
        "confidence": float(confidence.mean()),
        "ece": ece,
        "ece_true": exact,
        "ece_error": ece - exact,
        "divergence": float((truth * ratio).sum(1).mean()) + 0.0,
    }
