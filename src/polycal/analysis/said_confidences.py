"""The answers of a score file, with what the model says of the options that it chose."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from polycal.analysis.confidence_measures import P_TRUE as SAID_TRUE
from polycal.analysis.confidence_measures import STATED, STATED_MODE
from polycal.analysis.language_agreement import Answers
from polycal.analysis.score_arrays import MeasureError, ScoredQuestions
from polycal.analysis.score_set import normalisation
from polycal.artifacts.candidate_forms import LEVEL_VALUES, LEVELS, P_TRUE
from polycal.metrics.arrays import Array

TIE = 1e-6
"""Options whose log-probabilities differ by less are equally good: the record rounds to float32."""


def check(settings: Mapping[str, Any], questions: ScoredQuestions) -> None:
    """Raise MeasureError if the follow-ups of a file are about other options than those that the study chooses."""
    asked = questions.follow_ups
    if asked is None or questions.candidates not in settings["normalise"]:
        return
    log_p = questions.log_probabilities(normalisation(settings, questions.candidates))
    chosen, row = log_p.argmax(1), np.arange(len(log_p))
    outside = (asked.option < 0) | (asked.option >= questions.options)
    better = log_p[row, chosen] - log_p[row, np.where(outside, 0, asked.option)]
    other = outside | (better > TIE)
    if other.any():
        place = int(other.argmax())
        raise MeasureError(
            f"{questions.path}: row {place}: the follow-up is about option {asked.option[place]}, but option"
            f" {chosen[place]} is chosen with this study's normalisation; score the questions again with it."
        )


def answers(questions: ScoredQuestions, log_p: Array) -> Answers:
    """The answers of one file with the log-probabilities ``log_p`` [N, K]."""
    chosen, said, ceiling, mass = log_p.argmax(1), dict[str, Array](), None, None
    asked = questions.follow_ups
    if questions.candidates in P_TRUE:
        said[SAID_TRUE] = np.exp(questions.logprob[np.arange(len(chosen)), chosen])
    elif asked is not None and asked.form == LEVELS:
        said = {STATED: asked.expected_level(), STATED_MODE: asked.modal_level()}
        ceiling = (said[STATED_MODE] == LEVEL_VALUES[-1] / 100).astype(np.float64)
        mass = asked.mass()
    elif asked is not None:
        said[SAID_TRUE] = asked.p_true()
    names = (questions.question_id, questions.gold, questions.options)
    return Answers(questions.cell, *names, chosen, np.exp(log_p.max(1)), said, ceiling, mass)
