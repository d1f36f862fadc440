import numpy as np
import pytest

from polycal.analysis import ece_correlations


def test_correlation_is_pearsons_and_ranks_share_ties():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 1, 1, 12))
    assert ece_correlations.correlation(x, y)[0] == pytest.approx(np.corrcoef(x.ravel(), y.ravel())[0, 1])
    assert ece_correlations.ranks(np.array([3.0, 1.0, 3.0])).tolist() == [2.5, 1.0, 2.5]
    assert np.isnan(ece_correlations.correlation(np.ones((1, 1, 4)), rng.normal(size=(1, 1, 4)))[0])
