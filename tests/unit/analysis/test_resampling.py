import numpy as np

from polycal.analysis.resampling import Resamples


def test_resamples_are_reproducible_and_differ_by_seed_and_benchmark():
    ids = ["b", "a", "c"] * 2
    one = Resamples("x", ids, 5, 0)
    assert (one.weights == Resamples("x", ids, 5, 0).weights).all()
    assert (one.weights.sum(1) == 3).all()
    assert (one.weights != Resamples("x", ids, 5, 1).weights).any()
    assert (one.weights != Resamples("y", ids, 5, 0).weights).any()


def test_columns_follow_the_ids():
    resamples = Resamples("x", ["a", "b", "c"], 5, 0)
    assert resamples.columns(np.array(["a", "b", "c"], object)) is resamples.all_columns
    columns = resamples.columns(np.array(["c", "a"], object))
    assert columns.tolist() == [2, 0]
    assert (resamples.take(resamples.weights, columns) == resamples.weights[:, [2, 0]]).all()
    assert resamples.take(resamples.weights, resamples.all_columns) is resamples.weights
