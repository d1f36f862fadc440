"""How often intervals over trainings contain the truth, by simulation with fixed seeds.

The answer of training s to question q is μ + A_s + Q_q + E_sq. All trainings share the questions, so Q does
not average out over them. Each coverage is from 20,000 simulated studies, which gives a Monte-Carlo standard
error of 0.0018 at a coverage of 0.93.
"""

import numpy as np
import pytest
from scipy import stats

from polycal.analysis import bootstrap, intervals, power
from polycal.analysis.quantities import Clusters, Quantity
from polycal.analysis.question_outcomes import QuestionOutcomes
from polycal.analysis.resampling import Resamples

STUDIES, CHUNK, QUESTIONS, SAMPLES = 20_000, 500, 100, 200
LEAST = {3: 0.92, 5: 0.93, 10: 0.93}
"""The coverage that 95% intervals must reach, by number of trainings."""


@pytest.fixture(scope="module")
def weights():
    return Resamples("x", map(str, range(QUESTIONS)), SAMPLES, 0).weights / QUESTIONS


def simulated(rng, weights, seeds, share, crossed, studies=CHUNK, bases=0.0):
    """A Quantity [studies] whose true value is 0.

    ``share`` is the part of the variance of one training that is between trainings. ``crossed`` is the part
    of the remaining variance that questions cause in each training on its own. If ``bases`` is above zero, it
    is the part of the variance between trainings that is between base models, and each base model has two
    tunings.
    """
    tunings = 2 if bases else 1
    deviation = np.sqrt(share * (1 - bases)) * rng.standard_normal((seeds, tunings, studies))
    deviation += np.sqrt(share * bases) * rng.standard_normal((seeds, 1, studies))
    noise = np.sqrt((1 - share) * QUESTIONS)
    shared = np.sqrt(1 - crossed) * noise * rng.standard_normal((QUESTIONS, studies))
    estimates, samples = [], []
    for training in deviation:
        values = shared + training.mean(0)
        if crossed:
            values = values + np.sqrt(crossed / tunings) * noise * rng.standard_normal((QUESTIONS, studies))
        estimates.append(values.mean(0))
        samples.append(weights @ values)
    by_cluster = Clusters(tuple(map(str, range(seeds))), np.stack(estimates), np.stack(samples))
    return Quantity(np.mean(estimates, axis=0), np.mean(samples, axis=0), by_cluster)


def coverage(rng, weights, seeds, share, crossed, bases=0.0):
    """The share of intervals with the truth, and their mean width relative to one over questions only."""
    inside, widths = [], []
    for _ in range(STUDIES // CHUNK):
        found = simulated(rng, weights, seeds, share, crossed, bases=bases)
        low, high = found.interval()
        inside.append(((low <= 0) & (high >= 0)).mean())
        plain = intervals.interval(found.estimate, found.samples)
        widths.append((high - low).mean() / (plain[1] - plain[0]).mean())
    return np.mean(inside), np.mean(widths)


@pytest.mark.parametrize("crossed", [0.0, 1.0])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_intervals_over_seeds_cover_the_truth(weights, seeds, share, crossed, record_property):
    rng = np.random.default_rng([seeds, int(10 * share), int(crossed)])
    reached, width = coverage(rng, weights, seeds, share, crossed)
    record_property("coverage", float(reached))
    record_property("width", float(width))
    print(f"{seeds} seeds, share {share}, crossed {crossed}: coverage {reached:.3f}, width {width:.2f}")
    assert reached >= LEAST[seeds]


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_five_bases_of_two_tunings_cover_the_truth(weights, share):
    reached, width = coverage(np.random.default_rng(7), weights, 5, share, 0.5, bases=0.6)
    print(f"5 bases of 2 tunings, share {share}: coverage {reached:.3f}, width {width:.2f}")
    assert reached >= LEAST[5]


def test_an_interval_over_questions_alone_does_not_cover_other_trainings(weights):
    """With 90% of the variance between seeds, its coverage is about 0.72 instead of 0.95."""
    rng, inside = np.random.default_rng(8), []
    for _ in range(4):
        found = simulated(rng, weights, 5, 0.9, 0.0)
        low, high = intervals.interval(found.estimate, found.samples)
        inside.append(((low <= 0) & (high >= 0)).mean())
    assert np.mean(inside) < 0.8


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("seeds", [5, 10])
def test_the_smallest_difference_is_shown_in_four_studies_of_five(weights, seeds, share):
    """The power is about 0.8 in 4,000 studies (standard error 0.006).

    It is not exactly 0.8, because the degrees of freedom are estimated.
    """
    rng, found = np.random.default_rng([12, seeds, int(10 * share)]), []
    variances = power.Components(QUESTIONS, 1 - share, 0.0, share, float("nan"))
    difference = power.smallest_difference(variances, power.Design(QUESTIONS, seeds, 1))
    for _ in range(8):
        low, high = simulated(rng, weights, seeds, share, 0.0).interval()
        found.append(((low + difference > 0) | (high + difference < 0)).mean())
    print(f"{seeds} seeds, share {share}: power {np.mean(found):.3f}")
    assert 0.77 <= np.mean(found) <= 0.84


def outcomes(rng, shift, truth, uniform):
    """Answers to the same questions of a model with confidences ``shift`` log-odds above the truth."""
    odds = truth + 0.3 * rng.standard_normal(len(truth))
    confidence = 1 / (1 + np.exp(-np.clip(odds + shift, -4, 4)))
    correct = (uniform < 1 / (1 + np.exp(-odds))).astype(float)
    zero = np.zeros(len(truth))
    return QuestionOutcomes(confidence, correct, zero, zero, zero, zero, 0)


@pytest.mark.parametrize("deviation", [0.0, 0.15, 0.4])
def test_intervals_of_a_biased_metric_cover_its_expectation(deviation):
    """Coverage for the ECE of 5 trainings on 200 questions: 500 studies, a standard error of 0.011 at 0.93.

    It is a little lower than for a mean, because the bootstrap finds nine tenths of the variance of an ECE
    over questions.
    """
    rng = np.random.default_rng(9)
    weights = Resamples("x", map(str, range(200)), 500, 0).weights

    def estimate(one):
        return bootstrap.estimates(one, bins=10, binning="width")

    def study():
        truth, uniform = rng.normal(1, 1, 200), rng.random(200)
        return [outcomes(rng, rng.normal(0.8, deviation), truth, uniform) for _ in range(5)]

    expected = np.mean([[estimate(one) for one in study()] for _ in range(1000)], axis=(0, 1))
    inside = 0
    for _ in range(500):
        answers = study()
        estimates = np.stack([estimate(one) for one in answers])
        samples = np.stack([bootstrap.samples(one, weights, bins=10, binning="width") for one in answers])
        low, high = Quantity(
            estimates.mean(0), samples.mean(0), Clusters(("1", "2", "3", "4", "5"), estimates, samples)
        ).interval()
        inside += low[bootstrap.ECE] <= expected[bootstrap.ECE] <= high[bootstrap.ECE]
    print(f"ECE, deviation {deviation} of the log-odds: coverage {inside / 500:.3f}")
    assert inside / 500 >= 0.91


def test_false_discoveries_are_as_rare_as_promised_under_negative_dependence():
    """4,000 studies of 60 claims, of which 45 are false.

    Half of the statistics are negatively correlated with the other half.
    """
    rng, rates = np.random.default_rng(10), []
    for _ in range(4000):
        common, own = rng.standard_normal(), rng.standard_normal(60)
        sign = np.where(np.arange(60) % 2, 1, -1)
        z = np.sqrt(0.8) * sign * common + np.sqrt(0.2) * own + np.where(np.arange(60) < 15, 4.0, 0.0)
        p = 2 * stats.norm.sf(np.abs(z))
        found = intervals.false_discovery_any(p) <= 0.05
        rates.append(found[15:].sum() / max(found.sum(), 1))
    print(f"false discovery rate {np.mean(rates):.4f}")
    assert np.mean(rates) <= 0.05 * 45 / 60
