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


def test_auroc_is_that_of_the_repeated_questions(drawn):
    confidence, _, correct, weights = drawn
    found = ranking_samples.auroc_samples(confidence, correct, weights)
    expected = [selective_prediction.auroc(*pair) for pair in repeated(weights, confidence, correct)]
    assert found == pytest.approx(expected, abs=1e-12)
    one = ranking_samples.auroc_samples(confidence, correct, np.ones((1, 80)))
    assert one[0] == pytest.approx(selective_prediction.auroc(confidence, correct), abs=1e-15)


def test_auarc_is_that_of_the_repeated_questions(drawn):
    confidence, _, correct, weights = drawn
    found = ranking_samples.auarc_samples(confidence, correct, weights)
    area = selective_prediction.accuracy_coverage_area
    expected = [area(*pair) for pair in repeated(weights, confidence, correct)]
    assert found == pytest.approx(expected, abs=1e-12)
    one = ranking_samples.auarc_samples(confidence, correct, np.ones((1, 80)))
    assert one[0] == pytest.approx(area(confidence, correct), abs=1e-13)


def test_auarc_in_closed_form():
    n, right = 50, 20
    correct = np.arange(n) < right
    tail = right * (1 / np.arange(right + 1, n + 1)).sum()
    for confidence, expected in (
        (np.linspace(1, 0, n), (right + tail) / n),  # all right answers before all wrong ones
        (np.full(n, 0.5), right / n),  # a constant rejects at random
    ):
        found = ranking_samples.auarc_samples(confidence, correct.astype(float), np.ones((1, n)))
        assert found[0] == pytest.approx(expected, abs=1e-14)


def test_spearman_is_that_of_the_repeated_questions(drawn):
    confidence, other, _, weights = drawn
    found = ranking_samples.spearman_samples(confidence, other, weights)
    expected = [stats.spearmanr(*pair).statistic for pair in repeated(weights, confidence, other)]
    assert found == pytest.approx(expected, abs=1e-12)


def test_what_is_not_defined_is_not_a_number(drawn):
    confidence, other, _, weights = drawn
    assert np.isnan(ranking_samples.auroc_samples(confidence, np.ones(80), weights)).all()
    assert np.isnan(ranking_samples.spearman_samples(np.ones(80), other, weights)).all()
