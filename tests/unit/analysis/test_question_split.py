import numpy as np
import pytest
from helpers.score_records import SETTINGS, study

from polycal.analysis import question_split, score_arrays
from polycal.analysis.score_set import ScoreSet


def split(score_set, path):
    questions = score_arrays.read(path)
    return question_split.split_questions(score_set, questions, score_set.log_probabilities(questions))


def test_a_fifth_is_for_fitting_the_same_everywhere():
    chosen = [question_split.is_fit_question(f"q{number}") for number in range(10_000)]
    assert np.mean(chosen) == pytest.approx(0.2, abs=0.015)
    assert question_split.is_fit_question("q0") == question_split.is_fit_question("q0")


def test_the_parts_hold_every_question_once(tmp_path):
    score_set = ScoreSet(study(tmp_path, n=100, languages=("en",)), SETTINGS)
    parts = split(score_set, score_set.files[0])
    assert len(parts.fit.gold) + len(parts.evaluation.gold) == 100
    assert parts.resource == "high"
    assert parts.fit.weights.shape == (100, len(parts.fit.gold))


def test_one_question_cannot_be_split(tmp_path):
    score_set = ScoreSet(study(tmp_path, n=1, languages=("en",)), SETTINGS)
    assert split(score_set, score_set.files[0]) is None
