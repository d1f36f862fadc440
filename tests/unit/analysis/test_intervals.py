import numpy as np
import pytest

from polycal.analysis import bootstrap, cell_metrics, confidence_measures, intervals
from polycal.analysis.question_outcomes import QuestionOutcomes
from polycal.analysis.resampling import Resamples


def test_interval_holds_the_estimate_and_the_spread():
    rng = np.random.default_rng(0)
    samples = rng.normal(5.0, 1.0, (20_000, 1))  # all samples are above the estimate
    low, high = intervals.interval(np.array([2.0]), samples)
    assert low[0] == pytest.approx(2.0 - 1.96, abs=0.05)
    assert high[0] == pytest.approx(2.0 + 1.96, abs=0.05)


def test_interval_covers_the_expected_ece_nineteen_times_of_twenty():
    rng = np.random.default_rng(0)
    n, trials = 300, 250

    def sample():
        confidence = rng.uniform(0.4, 1.0, n)
        correct = (rng.random(n) < confidence - 0.15).astype(float)
        zero = np.zeros(n)
        return QuestionOutcomes(confidence, correct, zero, zero, zero, zero, 0)

    ids = [f"q{number}" for number in range(n)]
    weights = Resamples("x", ids, 200, 0).weights
    column = bootstrap.METRICS.index("ece")
    expected = np.mean([bootstrap.estimates(sample(), bins=15, binning="width")[column] for _ in range(2000)])
    inside = 0
    for _ in range(trials):
        outcomes = sample()
        estimate = bootstrap.estimates(outcomes, bins=15, binning="width")
        samples = bootstrap.samples(outcomes, weights, bins=15, binning="width")
        low, high = intervals.interval(estimate, samples)
        inside += low[column] <= expected <= high[column]
    assert 0.90 <= inside / trials <= 0.99


def test_intervals_stay_in_the_range_of_the_metric():
    samples = np.random.default_rng(0).normal(0.5, 3.0, (500, 2))
    row = intervals.with_intervals(("ece", "gap"), np.array([0.5, -0.5]), samples)
    assert row["ece"] == 0.5
    assert (row["ece_low"], row["ece_high"]) == (0.0, 1.0)
    assert (row["gap_low"], row["gap_high"]) == (-1.0, 1.0)
    further = {*cell_metrics.FURTHER, *confidence_measures.BINNED, *confidence_measures.RANKED}
    assert set(intervals.RANGES) == {*bootstrap.METRICS, "smooth_ece", *further}


def test_p_is_uniform_without_an_effect_and_small_with_one():
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(999, 400))
    p = intervals.p_value(rng.normal(size=400), noise)
    assert 0.02 < (p < 0.05).mean() < 0.09
    assert intervals.p_value(np.array([9.0]), noise[:, :1])[0] == pytest.approx(1 / 1000)


def test_no_difference_at_all_has_p_one():
    assert intervals.p_value(np.array([0.0]), np.zeros((99, 1)))[0] == 1.0


def test_false_discovery_of_a_worked_example():
    # Benjamini & Hochberg 1995, section 3.2, the first five of fifteen p values
    p = np.array([0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240])
    p = np.concatenate([p, [0.4262, 0.5719, 0.6528, 0.7590, 1.0]])
    q = intervals.false_discovery(p)
    assert (q <= 0.05).sum() == 4
    assert q[:4] == pytest.approx([0.0015, 0.003, 0.0095, 0.035625])
    assert (np.diff(q) >= 0).all()
    shuffled = np.array([0.04, np.nan, 0.01])
    assert intervals.false_discovery(shuffled) == pytest.approx([0.04, np.nan, 0.02], nan_ok=True)


def test_false_discovery_under_any_dependence_divides_by_the_harmonic_sum():
    p = np.array([0.01, np.nan, 0.04, 0.03])
    harmonic = 1 + 1 / 2 + 1 / 3
    expected = np.array([0.03, np.nan, 0.04, 0.04]) * harmonic
    assert intervals.false_discovery_any(p) == pytest.approx(expected, nan_ok=True)
    assert intervals.false_discovery_any(np.array([0.9, 0.8])) == pytest.approx([1.0, 1.0])
    assert len(intervals.false_discovery_any(np.zeros(0))) == 0


def test_one_sided_p_is_half_the_two_sided_one_where_samples_are_symmetric():
    noise = np.random.default_rng(2).normal(size=(4999, 3))
    noise = np.concatenate([noise, -noise])
    estimate = np.array([0.5, 1.0, 2.0])
    half = intervals.p_value(estimate, noise) / 2
    assert intervals.p_above(estimate, noise) == pytest.approx(half, abs=1e-4)
    assert intervals.p_above(estimate, noise, 0.5)[0] == pytest.approx(0.5, abs=0.01)
    assert np.isnan(intervals.p_above(np.array([np.nan]), noise[:, :1])).all()


def test_wilson_of_published_values():
    # Newcombe 1998, table I, method 3
    low, high = intervals.wilson(np.array([81 / 263, 15 / 148, 0.0, 1 / 29]), np.array([263, 148, 20, 29]))
    assert low == pytest.approx([0.2553, 0.0624, 0.0, 0.0061], abs=5e-5)
    assert high == pytest.approx([0.3662, 0.1605, 0.1611, 0.1718], abs=5e-5)
