import numpy as np
import pandas as pd
import pytest
from helpers.measured import measured_cells
from helpers.score_records import study

from polycal.analysis import contrasts, pooling


def test_several_seeds_are_a_second_level(tmp_path):
    cells = measured_cells(study(tmp_path, seeds=("1", "2", "3"), languages=("en", "yo"), n=100))
    pooled, missing = pooling.pool_seeds(cells, 0)
    assert missing == {}
    assert {(one.cell["beta"], one.cell["seed"]) for one in pooled} == {("0", "all"), ("0.1", "all")}
    one = next(one for one in pooled if (one.cell["beta"], one.cell["language"]) == ("0", "en"))
    members = [two for two in cells if two.cell["beta"] == "0" and two.cell["language"] == "en"]
    assert one.estimate == pytest.approx(np.mean([two.estimate for two in members], axis=0))
    # a mean over drawn seeds lies between the least and the greatest of that sample
    stack = np.stack([two.samples for two in members])
    assert (one.samples <= stack.max(0) + 1e-12).all()
    assert (one.samples >= stack.min(0) - 1e-12).all()
    rows = pd.DataFrame(contrasts.contrast_rows([*cells, *pooled]))
    both = rows[(rows["seed"] == "all") & (rows["contrast"] == "smoothed_minus_unsmoothed")]
    assert set(both["language"]) == {"en", "yo", "mean"}
    assert len(rows[(rows["seed"] == "all") & (rows["contrast"] == "tuned_minus_base")]) == 2 * 3 * 9
    means = pd.DataFrame(pooling.mean_rows([*cells, *pooled]))
    assert (means["seed"] == "all").sum() == 2 * 3


def test_one_seed_is_not_pooled(tmp_path):
    assert pooling.pool_seeds(measured_cells(study(tmp_path, n=30)), 0) == ([], {})
