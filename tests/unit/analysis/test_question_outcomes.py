import numpy as np
import pytest
from helpers.score_records import cell, score_row, write

from polycal.analysis import question_outcomes, score_arrays
from polycal.metrics import probability_scores


@pytest.fixture
def path(tmp_path):
    rows = [
        score_row("a", [-1.0, -4.0], 0, option_tokens=[1, 4], option_bytes=[2, 8]),
        score_row("b", [-3.0, -3.0, -6.0], 2, option_tokens=[1, 3, 2], option_bytes=[3, 6, 6]),
    ]
    return write(tmp_path / "scores.parquet", cell(), rows)


def test_outcomes_are_those_of_the_metrics(path):
    found = score_arrays.read(path)
    log_p = found.log_probabilities("token")
    p = np.exp(log_p)
    outcome = question_outcomes.outcomes(log_p, found.gold, found.options)
    assert outcome.correct.mean() == probability_scores.accuracy(p, found.gold)
    assert outcome.brier.mean() == pytest.approx(probability_scores.brier(p, found.gold), abs=1e-15)
    assert outcome.nll.mean() == pytest.approx(probability_scores.nll(p, found.gold), abs=1e-15)
    assert outcome.entropy.mean() == pytest.approx(probability_scores.entropy(p), abs=1e-15)
    normalised = probability_scores.entropy(p, normalised=True, options=found.options)
    assert outcome.entropy_normalised.mean() == pytest.approx(normalised, abs=1e-15)


def test_equal_candidates_are_counted_and_the_first_is_chosen(path):
    found = score_arrays.read(path)
    outcome = question_outcomes.outcomes(found.log_probabilities("sum"), found.gold, found.options)
    assert outcome.ties == 1
    assert outcome.correct.tolist() == [1.0, 0.0]


def test_nll_stays_finite_where_the_probability_underflows():
    log_p = np.array([[0.0, -2000.0]])
    outcome = question_outcomes.outcomes(log_p, np.array([1]), np.array([2]))
    assert outcome.nll.tolist() == [2000.0]
    assert outcome.entropy.tolist() == [0.0]
