import numpy as np
import pytest
from scipy import stats

from polycal.analysis.bootstrap import ECE, METRICS
from polycal.analysis.quantities import Clusters, Quantity
from polycal.analysis.relative_cut import REDUCTION, REFUSED, relative_cut

NO_FLOOR = np.zeros(0)


def quantity(ece, samples=None):
    """METRICS with these ECEs (a list for several trainings), without variance over questions."""
    ece = np.atleast_1d(np.asarray(ece, dtype=float))
    estimates = np.zeros((len(ece), len(METRICS)))
    estimates[:, ECE] = ece
    by_cluster = np.repeat(estimates[:, None], 50, axis=1)
    clusters = Clusters(tuple("abcdef"[: len(ece)]), estimates, by_cluster) if len(ece) > 1 else None
    return Quantity(estimates.mean(0), by_cluster.mean(0), clusters)


def test_the_cut_of_one_training():
    cut = relative_cut(quantity(0.1), quantity(0.2), NO_FLOOR)
    assert [cut[name] for name in REDUCTION] == pytest.approx([0.5, 0.5, 0.5])
    assert cut[REFUSED] == ""


def test_the_cut_over_trainings_is_that_of_the_means_and_paired():
    cut = relative_cut(quantity([0.05, 0.1, 0.15]), quantity([0.1, 0.2, 0.3]), NO_FLOOR)
    # each training has the same reduction, so the interval has no width
    assert [cut[name] for name in REDUCTION] == pytest.approx([0.5, 0.5, 0.5])
    cut = relative_cut(quantity([0.10, 0.12, 0.11]), quantity([0.2, 0.2, 0.2]), NO_FLOOR)
    ratio = np.array([0.10, 0.12, 0.11]) / 0.2
    low, high = stats.t.interval(0.95, 2, 1 - ratio.mean(), stats.sem(ratio))
    assert [cut[name] for name in REDUCTION] == pytest.approx([1 - ratio.mean(), low, high])


def test_a_reference_of_one_training_is_shared_by_all():
    one = relative_cut(quantity([0.10, 0.12, 0.11]), quantity(0.2), NO_FLOOR)
    same = relative_cut(quantity([0.10, 0.12, 0.11]), quantity([0.2, 0.2, 0.2]), NO_FLOOR)
    assert one == pytest.approx(same, nan_ok=True)


def test_a_cut_against_a_reference_near_the_noise_floor_is_refused():
    floor = np.linspace(0.0, 0.1, 101)
    cut = relative_cut(quantity(0.05), quantity(0.094), floor)
    assert np.isnan([cut[name] for name in REDUCTION]).all()
    assert "0.0940 is at most 0.0950" in cut[REFUSED]
    assert relative_cut(quantity(0.05), quantity(0.096), floor)[REFUSED] == ""


@pytest.mark.parametrize("reference", [0.0, [0.0, 0.0, 0.0]])
def test_the_cut_of_nothing_is_not_a_number(reference):
    cut = relative_cut(quantity(0.1), quantity(reference), NO_FLOOR)
    assert np.isnan([cut[name] for name in REDUCTION]).all()
