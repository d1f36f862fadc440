"""Diversity measures agree with closed forms and with plain loops."""

import numpy as np
import pytest

from polycal.analysis import diversity_measures

X = np.random.default_rng(0).normal(size=(200, 6)) * np.arange(1, 7)


def test_the_spectrum_is_that_of_the_covariance():
    expected = np.linalg.svd(np.cov(X.T), compute_uv=False)
    assert diversity_measures.spectrum(X) == pytest.approx(expected, rel=1e-12)
    few = X[:4]
    found = diversity_measures.spectrum(few)
    assert found[:3] == pytest.approx(np.linalg.svd(np.cov(few.T), compute_uv=False)[:3], rel=1e-9)
    assert (found[3:] == 0).all()


def test_shrinkage_is_ledoit_and_wolfs_by_a_plain_loop():
    centred = X - X.mean(0)
    n, width = X.shape
    s = centred.T @ centred / n
    target = np.trace(s) / width * np.eye(width)
    distance = ((s - target) ** 2).sum()
    error = sum(((np.outer(row, row) - s) ** 2).sum() for row in centred) / n**2
    assert diversity_measures.shrinkage(X) == pytest.approx(error / distance, rel=1e-10)


def test_measures_of_equal_directions():
    x = np.vstack([np.eye(4), -np.eye(4)])
    found = diversity_measures.describe(x)
    assert found["effective_rank"] == pytest.approx(4)
    assert found["condition_number"] == pytest.approx(1)
    assert found["trace"] == pytest.approx(8 / 7)
    assert found["anisotropy"] == pytest.approx(-1 / 7)
    assert diversity_measures.anisotropy(np.ones((3, 2))) == pytest.approx(1)


def test_one_row_and_equal_rows_are_defined():
    for x in (np.ones((1, 3)), np.ones((5, 3))):
        found = diversity_measures.describe(x)
        assert found["smallest_singular_value"] == found["trace"] == 0
        assert np.isnan(found["effective_rank"])


def test_subsamples_halve_the_number_of_prompts():
    curve = diversity_measures.subsample_curve(X, seed=0)
    assert [row["n"] for row in curve] == [200, 100, 50, 25]
    assert curve[0]["trace"] == pytest.approx(diversity_measures.describe(X)["trace"])
