"""The split of the questions: those on which a temperature is fitted, and those on which it is evaluated."""

import functools
import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from polycal.analysis.conditions import Condition
from polycal.analysis.noise_floor import noise_floor_samples
from polycal.analysis.resampling import COSTLY_SAMPLES
from polycal.analysis.score_arrays import ScoredQuestions
from polycal.analysis.score_set import ScoreSet
from polycal.metrics import recalibration
from polycal.metrics.arrays import Array, Integers

FIT_SHARE = 0.2
"""Share of the question ids that temperatures are fitted on."""


@functools.cache
def is_fit_question(question_id: str) -> bool:
    """Whether a question is used for fitting, decided by a hash of its id.

    It is true for about a fifth of all ids, the same ones in every language, model and run.
    """
    digest = hashlib.sha256(f"temperature {question_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < FIT_SHARE * 2**64


@dataclass(frozen=True)
class QuestionSplit:
    """The questions for fitting or those for evaluation, in one language.

    - ``log_ratio`` [N, K] is log(p / largest p).
    - ``gold``, ``correct`` and ``options`` are [N].
    - ``weights`` [R, N] is the number of times that a bootstrap sample contains each question.
    """

    log_ratio: Array
    gold: Integers
    correct: Array
    options: Integers
    weights: Array


@dataclass(frozen=True)
class LanguageSplit:
    """One language of a condition, split into the questions for fitting and those for evaluation.

    ``floor`` [F] are simulated ECEs of a calibrated model with the same confidences on the evaluation
    questions. It is empty for a smoothed model, which is never a reference.
    """

    cell: dict[str, str]
    resource: str
    fit: QuestionSplit
    evaluation: QuestionSplit
    floor: Array


def split_questions(score_set: ScoreSet, questions: ScoredQuestions, log_p: Array) -> LanguageSplit | None:
    """One Score file with log-probabilities ``log_p`` [N, K], split in two.

    The result is None if one of the parts has no question.
    """
    resamples = score_set.resamples[questions.cell["benchmark"]]
    columns = resamples.columns(questions.question_id)
    weights = resamples.take(resamples.weights[:COSTLY_SAMPLES], columns)
    chosen = np.fromiter((is_fit_question(name) for name in questions.question_id), bool, len(questions.gold))
    if chosen.all() or not chosen.any():
        return None
    log_ratio = recalibration.log_ratios(log_p)
    correct = (log_p.argmax(1) == questions.gold).astype(np.float64)

    def part(rows: NDArray[np.bool_]) -> QuestionSplit:
        return QuestionSplit(
            log_ratio[rows], questions.gold[rows], correct[rows], questions.options[rows], weights[:, rows]
        )

    floor = np.zeros(0)
    condition = Condition.of(questions.cell)
    if condition == condition.unsmoothed():
        floor = noise_floor_samples(
            np.exp(log_p[~chosen].max(1)),
            resamples.take(resamples.uniform, columns)[:, ~chosen],
            bins=score_set.settings["bins"],
            binning=score_set.settings["binning"],
        )
    return LanguageSplit(
        questions.cell, score_set.resource(questions.cell), part(chosen), part(~chosen), floor
    )
