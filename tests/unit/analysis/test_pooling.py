import dataclasses

import numpy as np
import pandas as pd
import pytest
from helpers.measured import measured_cells
from helpers.score_records import study

from polycal.analysis import contrasts, pooling


def test_several_seeds_are_a_second_level(tmp_path):
    cells = measured_cells(study(tmp_path, seeds=("1", "2", "3"), languages=("en", "yo"), n=100))
    pooled, missing = pooling.pool(cells)
    assert missing == {}
    assert {(one.cell["beta"], one.cell["seed"]) for one in pooled} == {("0", "all"), ("0.1", "all")}
    one = next(one for one in pooled if (one.cell["beta"], one.cell["language"]) == ("0", "en"))
    members = [two for two in cells if two.cell["beta"] == "0" and two.cell["language"] == "en"]
    assert one.estimate == pytest.approx(np.mean([two.estimate for two in members], axis=0))
    # the mean over seeds lies between the least and the greatest seed in each sample
    stack = np.stack([two.samples for two in members])
    assert (one.samples <= stack.max(0) + 1e-12).all()
    assert (one.samples >= stack.min(0) - 1e-12).all()
    rows = pd.DataFrame(contrasts.contrast_rows([*cells, *pooled]))
    both = rows[(rows["seed"] == "all") & (rows["contrast"] == "smoothed_minus_unsmoothed")]
    assert set(both["language"]) == {"en", "yo", "mean"}
    assert len(rows[(rows["seed"] == "all") & (rows["contrast"] == "tuned_minus_base")]) == 2 * 3 * 9
    means = pd.DataFrame(pooling.mean_rows([*cells, *pooled]))
    assert (means["seed"] == "all").sum() == 2 * 3


def of(cells, **names):
    return [one for one in cells if names.items() <= one.cell.items()]


def on_bases(tmp_path, seeds=("1", "2"), bases=("0", "1", "2")):
    """The cells of a study on several base models. Estimates differ by 0.01 times the number of the base."""
    cells = measured_cells(study(tmp_path, seeds=seeds, languages=("en", "yo"), n=100))
    return [
        dataclasses.replace(
            one, cell={**one.cell, "base_seed": base}, estimate=one.estimate + 0.01 * int(base)
        )
        for one in cells
        for base in bases
    ]


def test_base_models_are_a_level_above_the_seeds(tmp_path):
    cells = on_bases(tmp_path)
    pooled, missing = pooling.pool(cells)
    assert missing == {}
    [one] = of(pooled, base_seed="all", beta="0", language="en")
    assert (one.cell["seed"], one.covers) == ("all", ("questions", "seeds", "bases"))
    assert one.clusters == ("0", "1", "2")
    assert [member.cell["seed"] for member in one.members] == ["all"] * 3
    assert one.estimate == pytest.approx(
        np.mean([cell.estimate for cell in of(cells, beta="0", language="en")], axis=0)
    )
    [base] = of(pooled, base_seed="all", beta="none", language="en")
    assert (base.cell["seed"], base.covers) == ("none", ("questions", "bases"))
    [within] = of(pooled, base_seed="1", beta="0", language="en")
    assert (within.clusters, within.covers) == (("1", "2"), ("questions", "seeds"))


def test_a_mean_over_trainings_has_the_columns_of_a_cell_and_the_interval_of_a_mean_over_one_language(
    tmp_path,
):
    cells = on_bases(tmp_path)
    pooled, _ = pooling.pool(cells)
    for keys in (
        {"base_seed": "all", "beta": "0"},
        {"base_seed": "1", "beta": "0.1"},
        {"base_seed": "all", "beta": "none"},
    ):
        [one] = of(pooled, language="en", **keys)
        row = pooling.training_mean_row(one)
        single = of(cells, language="en", beta=keys["beta"])
        assert list(row) == list(single[0].row)
        [mean] = [mean for mean in pooling.mean_rows([one]) if mean["group"] == "all"]
        for name in (
            "accuracy",
            "accuracy_low",
            "gap",
            "gap_high",
            "ece",
            "ece_low",
            "smooth_ece",
            "interval_covers",
        ):
            assert row[name] == mean[name], name
        assert row["n"] == 100
        assert row["chance"] == single[0].row["chance"]
        assert row["above_chance"] == (row["accuracy_low"] > row["chance"])
        assert row["ece_floor"] == pytest.approx(np.mean([cell.row["ece_floor"] for cell in single]))


def test_contrasts_over_bases_are_paired_by_base(tmp_path):
    cells = on_bases(tmp_path)
    pooled, _ = pooling.pool(cells)
    rows = pd.DataFrame(contrasts.contrast_rows([*cells, *pooled]))
    over = rows[(rows.base_seed == "all") & (rows.language == "mean") & (rows.metric == "accuracy")]
    assert set(over.contrast) == {"tuned_minus_base", "smoothed_minus_unsmoothed"}
    assert set(over.interval_covers) == {"questions, seeds, bases"}
    # an effect of the base on both sides cancels, so the interval of the difference is no wider
    one = rows[(rows.base_seed == "0") & (rows.seed == "all") & (rows.language == "mean")]
    one = one[(one.metric == "accuracy") & (one.contrast == "tuned_minus_base") & (one.beta == "0")].iloc[0]
    over = over[(over.contrast == "tuned_minus_base") & (over.beta == "0")].iloc[0]
    assert over.difference == pytest.approx(one.difference)
    assert one.interval_covers == "questions, seeds"


def test_one_tuning_of_each_base_is_pooled_over_bases(tmp_path):
    pooled, _ = pooling.pool(on_bases(tmp_path, seeds=("42",)))
    assert {(one.cell["base_seed"], one.cell["beta"], one.cell["seed"]) for one in pooled} == {
        ("all", "none", "none"),
        ("all", "0", "all"),
        ("all", "0.1", "all"),
    }


def test_means_over_different_seeds_are_not_compared(tmp_path):
    cells = measured_cells(study(tmp_path, seeds=("1", "2", "3"), languages=("en",), n=50))
    other = [dataclasses.replace(one, cell={**one.cell, "data": "tulu"}) for one in cells]
    other = [one for one in other if one.cell["beta"] != "none" and one.cell["seed"] != "3"]
    pooled, _ = pooling.pool([*cells, *other])
    rows = pd.DataFrame(contrasts.contrast_rows([*cells, *other, *pooled]))
    pairs = rows[rows.contrast == "data_minus_data"]
    assert set(pairs.seed) == {"1", "2"}
    assert (rows[rows.contrast == "tuned_minus_base"].seed == "all").sum() == 2 * 2 * 2 * 9


def test_a_missing_seed_leaves_a_hole_in_the_means_over_it(tmp_path):
    cells = on_bases(tmp_path)
    lost = of(cells, base_seed="1", beta="0.1", seed="2", language="yo")
    gaps = {one.condition: {"yo"} for one in lost}
    pooled, missing = pooling.pool([one for one in cells if one not in lost], gaps)
    names = {(one.base_seed, one.beta, one.seed): languages for one, languages in missing.items()}
    assert names == {("1", "0.1", "all"): {"yo"}, ("all", "0.1", "all"): {"yo"}}
    assert not of(pooled, base_seed="all", beta="0.1", language="yo")
    assert of(pooled, base_seed="all", beta="0.1", language="en")
    [row] = [
        row
        for row in pooling.mean_rows(pooled, missing)
        if (row["base_seed"], row["beta"], row["group"]) == ("all", "0.1", "all")
    ]
    assert (row["languages"], row["holes"], row["interval_covers"]) == (1, 1, "")


def test_one_seed_is_not_pooled(tmp_path):
    assert pooling.pool(measured_cells(study(tmp_path, n=30))) == ([], {})
