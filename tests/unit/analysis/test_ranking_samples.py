"""AUROC, AUARC and Spearman's correlation of samples, against repeated questions, closed forms and SciPy."""

import numpy as np
import pytest
from scipy import stats

from polycal.analysis import ranking_samples
from polycal.metrics import selective_prediction


@pytest.fixture
def drawn():
    rng = np.random.default_rng(0)
    confidence = rng.integers(0, 6, 80) / 5  # with many ties
    other = np.where(rng.random(80) < 0.5, confidence, rng.random(80))
    correct = (rng.random(80) < confidence).astype(float)
    weights = np.array([np.bincount(rng.integers(0, 80, 80), minlength=80) for _ in range(20)], float)
    return confidence, other, correct, weights


def repeated(weights, *values):
    """The questions of each sample, each repeated as often as the sample contains it."""
    for row in weights.astype(int):
        yield [np.repeat(one, row) for one in values]


def measured(metric, confidence, correct, weights, other=None):
    """One metric of all answers, and of every sample."""
    estimates, samples = ranking_samples.measured(confidence, correct, other, weights)
    column = ranking_samples.METRICS.index(metric)
    return estimates[column], samples[:, column]


def test_auroc_is_that_of_the_repeated_questions(drawn):
    confidence, _, correct, weights = drawn
    found = measured("auroc", confidence, correct, weights)[1]
    expected = [selective_prediction.auroc(*pair) for pair in repeated(weights, confidence, correct)]
    assert found == pytest.approx(expected, abs=1e-12)
    one = measured("auroc", confidence, correct, weights)[0]
    assert one == pytest.approx(selective_prediction.auroc(confidence, correct), abs=1e-15)


def test_auarc_is_that_of_the_repeated_questions(drawn):
    confidence, _, correct, weights = drawn
    found = measured("auarc", confidence, correct, weights)[1]
    area = selective_prediction.accuracy_coverage_area
    expected = [area(*pair) for pair in repeated(weights, confidence, correct)]
    assert found == pytest.approx(expected, abs=1e-12)
    one = measured("auarc", confidence, correct, weights)[0]
    assert one == pytest.approx(area(confidence, correct), abs=1e-13)


def test_auarc_in_closed_form():
    n, right = 50, 20
    correct = np.arange(n) < right
    tail = right * (1 / np.arange(right + 1, n + 1)).sum()
    for confidence, expected in (
        (np.linspace(1, 0, n), (right + tail) / n),  # all right answers before all wrong ones
        (np.full(n, 0.5), right / n),  # a constant rejects at random
    ):
        found = measured("auarc", confidence, correct.astype(float), np.ones((1, n)))[0]
        assert found == pytest.approx(expected, abs=1e-14)


def test_spearman_is_that_of_the_repeated_questions(drawn):
    confidence, other, correct, weights = drawn
    found = measured("spearman", confidence, correct, weights, other)[1]
    expected = [stats.spearmanr(*pair).statistic for pair in repeated(weights, confidence, other)]
    assert found == pytest.approx(expected, abs=1e-12)


def test_what_is_not_defined_is_not_a_number(drawn):
    confidence, other, _, weights = drawn
    assert np.isnan(measured("auroc", confidence, np.ones(80), weights)[1]).all()
    assert np.isnan(measured("spearman", np.ones(80), np.ones(80), weights, other)[1]).all()
    assert np.isnan(measured("spearman", confidence, np.ones(80), weights)[1]).all()
