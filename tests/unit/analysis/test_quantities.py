import dataclasses

import numpy as np
import pytest
from scipy import stats

from polycal.analysis import intervals, quantities
from polycal.analysis.quantities import Clusters, Quantity


def several(rng, clusters=4, samples=400, own=1.0, common=0.5, interaction=0.0, width=3):
    """A quantity [width] in several trainings, with bootstrap samples that have these standard deviations."""
    estimates = 1 + own * rng.normal(size=(clusters, width))
    shared = common * rng.normal(size=(1, samples, width))
    single = interaction * rng.normal(size=(clusters, samples, width))
    by_cluster = estimates[:, None] + shared + single
    names = tuple(map(str, range(clusters)))
    return Quantity(
        estimates.mean(0), by_cluster.mean(0), Clusters(names, estimates, by_cluster), ("questions", "seeds")
    )


def test_without_variance_over_questions_the_interval_is_students():
    one = several(np.random.default_rng(0), common=0.0)
    low, high = one.interval()
    for column in range(3):
        values = one.clusters.estimates[:, column]
        expected = stats.t.interval(0.95, 3, values.mean(), stats.sem(values))
        assert (low[column], high[column]) == pytest.approx(expected)
        assert one.p_value()[column] == pytest.approx(stats.ttest_1samp(values, 0).pvalue)
        greater = stats.ttest_1samp(values, 0.5, alternative="greater")
        assert one.p_above(0.5)[column] == pytest.approx(greater.pvalue)


def test_without_variance_between_trainings_the_interval_is_that_over_questions():
    one = several(np.random.default_rng(1), own=0.0, common=0.5)
    low, high = one.interval()
    half = 1.959964 * one.samples.std(0, ddof=1)
    assert high - low == pytest.approx(2 * half, rel=1e-5)


def test_parts_of_the_variance_are_found():
    rng = np.random.default_rng(2)
    found = [
        several(rng, clusters=10, own=0.6, common=0.3, interaction=0.2, width=50).variance for _ in range(40)
    ]
    assert np.mean([parts.common for parts in found]) == pytest.approx(0.09, rel=0.05)
    assert np.mean([parts.interaction for parts in found]) == pytest.approx(0.04, rel=0.05)
    assert np.mean([parts.own for parts in found]) == pytest.approx(0.36, rel=0.05)
    one = found[0]
    assert one.of_mean == pytest.approx(one.common + one.own / 10)
    share = one.own / 10 / one.of_mean
    assert one.freedom == pytest.approx(9 / share**2)


def test_equal_trainings_still_differ_by_what_questions_do_to_each():
    one = several(np.random.default_rng(3), own=0.0, common=0.0, interaction=1.0)
    parts = one.variance
    assert parts.own == pytest.approx(parts.interaction)
    assert (parts.of_mean >= 0.99 * one.samples.var(0, ddof=1)).all()


def test_two_trainings_leave_one_degree_of_freedom():
    one = several(np.random.default_rng(4), clusters=2, own=0.01, common=1.0)
    assert (one.variance.freedom == 1).all()
    low, high = one.interval()
    assert (high - low) / 2 / np.sqrt(one.variance.of_mean) == pytest.approx(stats.t.ppf(0.975, 1))


def test_differences_are_paired_by_training():
    one = several(np.random.default_rng(5))
    shifted = dataclasses.replace(
        one,
        estimate=one.estimate - 0.25,
        samples=one.samples - 0.25,
        clusters=one.clusters._replace(
            estimates=one.clusters.estimates - 0.25, samples=one.clusters.samples - 0.25
        ),
    )
    difference = one.minus(shifted)
    low, high = difference.interval()
    assert low == pytest.approx(0.25)
    assert high == pytest.approx(0.25)
    assert (difference.p_value() < 1e-6).all()
    assert (one.minus(one).p_value() == 1).all()
    assert (one.minus(one).p_above() == 0.5).all()


def test_a_single_reference_is_subtracted_from_every_training():
    rng = np.random.default_rng(6)
    one = several(rng)
    base = Quantity(rng.normal(size=3), rng.normal(size=(400, 3)))
    for difference, sign in ((one.minus(base), 1), (base.minus(one), -1)):
        assert difference.covers == ("questions", "seeds")
        assert difference.clusters.estimates == pytest.approx(sign * (one.clusters.estimates - base.estimate))
        assert difference.estimate == pytest.approx(difference.clusters.estimates.mean(0))
        assert difference.samples == pytest.approx(difference.clusters.samples.mean(0))


def test_a_mean_keeps_what_its_parts_have_in_common():
    one = several(np.random.default_rng(7))
    same = quantities.mean([one, one])
    assert same.interval()[0] == pytest.approx(one.interval()[0])
    opposite = Quantity(
        -one.estimate,
        -one.samples,
        Clusters(one.clusters.names, -one.clusters.estimates, -one.clusters.samples),
        ("questions", "seeds", "bases"),
    )
    nothing = quantities.mean([one, opposite])
    assert nothing.interval()[1] == pytest.approx(0.0)
    assert nothing.covers == ("questions", "seeds", "bases")


def test_one_training_has_the_interval_over_questions():
    rng = np.random.default_rng(8)
    one = Quantity(rng.normal(size=3), rng.normal(size=(200, 3)))
    for ours, plain in zip(one.interval(), intervals.interval(one.estimate, one.samples), strict=True):
        assert np.array_equal(ours, plain)
    assert np.array_equal(one.p_value(), intervals.p_value(one.estimate, one.samples))
    assert (one.p_above() >= 1 / 201).all()
    assert one.p_above(-100.0) == pytest.approx(1 / 201)
    assert one.p_above(100.0) == pytest.approx(1.0)
