import dataclasses

import numpy as np
import pandas as pd
import pytest
from helpers.measured import measured_cell, measured_cells
from helpers.score_records import LANGUAGES, SETTINGS, cell, study, write

from polycal.analysis import bootstrap, contrasts, relative_cut
from polycal.analysis.score_set import ScoreSet
from polycal.artifacts import records
from polycal.vocabulary import CELL_KEYS


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    return measured_cells(study(tmp_path_factory.mktemp("study")))


@pytest.fixture(scope="module")
def rows(cells):
    return pd.DataFrame(contrasts.contrast_rows(cells), columns=contrasts.COLUMNS)


def test_every_contrast_is_there(rows):
    assert len(rows) == 3 * (len(LANGUAGES) + 1) * len(bootstrap.METRICS)
    counts = rows.groupby(["contrast", "beta"]).size()
    assert set(counts.index) == {
        ("tuned_minus_base", "0"),
        ("tuned_minus_base", "0.1"),
        ("smoothed_minus_unsmoothed", "0.1"),
    }


def test_differences_are_those_of_the_cells(cells, rows):
    by_name = {tuple(one.cell.values()): one.estimate for one in cells}
    chosen = rows[(rows["contrast"] == "smoothed_minus_unsmoothed") & (rows["language"] == "yo")]
    smoothed = by_name[tuple(chosen.iloc[0][list(CELL_KEYS)])]
    plain = by_name[tuple({**chosen.iloc[0][list(CELL_KEYS)], "beta": "0"}.values())]
    assert chosen["difference"].to_numpy() == pytest.approx(smoothed - plain, abs=1e-15)
    ece = chosen[chosen["metric"] == "ece"].iloc[0]
    column = bootstrap.METRICS.index("ece")
    reduction = ece["relative_ece_reduction"]
    assert reduction == pytest.approx(1 - smoothed[column] / plain[column], abs=1e-14)
    assert ece["relative_ece_reduction_low"] < reduction < ece["relative_ece_reduction_high"]
    assert rows[rows["metric"] != "ece"]["relative_ece_reduction"].isna().all()


def test_the_mean_is_the_mean(rows):
    chosen = rows[
        (rows["contrast"] == "tuned_minus_base") & (rows["beta"] == "0") & (rows["metric"] == "ece")
    ]
    languages, mean = chosen[chosen["language"] != "mean"], chosen[chosen["language"] == "mean"].iloc[0]
    assert mean["difference"] == pytest.approx(languages["difference"].mean(), abs=1e-14)
    assert mean["q"] == mean["p"]
    # All languages share their bootstrap samples, so the mean of four has a narrower interval than each.
    assert mean["high"] - mean["low"] < (languages["high"] - languages["low"]).min()


def test_an_effect_as_large_as_this_is_found_and_q_is_no_less_than_p(rows):
    chosen = rows[(rows["contrast"] == "tuned_minus_base") & (rows["beta"] == "0")]
    assert (chosen[chosen["metric"] == "confidence"]["q"] < 0.05).all()
    assert (rows["q"] >= rows["p"]).all()


def test_differences_are_paired(cells):
    # If a checkpoint has the same answers as its base, the difference is zero in every sample.
    base = [one for one in cells if one.cell["beta"] == "none"]
    tuned = {"data": "alpaca", "recipe": "paper", "beta": "0", "seed": "42"}
    equal = [dataclasses.replace(one, cell={**one.cell, **tuned}) for one in base]
    same = contrasts.contrast_rows([*base, *equal])
    assert len(same) == (len(LANGUAGES) + 1) * len(bootstrap.METRICS)
    assert all(row["low"] == row["high"] == 0.0 and row["p"] == 1.0 for row in same)


def test_a_model_is_compared_with_the_base_of_its_own_seed(cells):
    other = [dataclasses.replace(one, cell={**one.cell, "base_seed": "1"}) for one in cells]
    shifted = [
        dataclasses.replace(one, estimate=one.estimate + 0.1) if one.cell["beta"] == "none" else one
        for one in other
    ]
    rows = pd.DataFrame(contrasts.contrast_rows([*cells, *shifted]))
    tuned = rows[(rows.contrast == "tuned_minus_base") & (rows.beta == "0")]
    by_seed = {seed: part.difference.to_numpy() for seed, part in tuned.groupby("base_seed")}
    assert by_seed["1"] == pytest.approx(by_seed["none"] - 0.1)
    assert len(contrasts.contrast_rows([one for one in [*cells, *other] if one.cell["beta"] != "0.1"])) == (
        2 * (len(LANGUAGES) + 1) * len(bootstrap.METRICS)
    )


def test_the_order_of_questions_does_not_matter(tmp_path, cells):
    files = study(tmp_path)
    tuned = next(path for path in files if path.name == "0_42_en.parquet")
    write(tuned, cell("0", "en"), records.read_scores(tuned).to_pylist()[::-1])
    again = measured_cell(ScoreSet(files, SETTINGS), tuned)
    before = next(one for one in cells if one.cell == again.cell)
    assert again.samples == pytest.approx(before.samples, abs=1e-12)


def test_reduction_of_nothing_is_not_a_number():
    assert np.isnan(relative_cut.relative_ece_reduction(0.1, np.full(5, 0.1), 0.0, np.zeros(5))).all()


def test_data_sets_are_compared_on_the_same_questions(cells):
    other = [
        dataclasses.replace(one, cell={**one.cell, "data": "tulu"}, estimate=one.estimate + 0.01)
        for one in cells
        if one.cell["data"] == "alpaca"
    ]
    table = pd.DataFrame(contrasts.contrast_rows([*cells, *other]), columns=contrasts.COLUMNS)
    pairs = table[table.contrast == "data_minus_data"]
    assert set(zip(pairs.data, pairs.reference, strict=True)) == {("tulu", "alpaca")}
    assert len(pairs) == 2 * (len(LANGUAGES) + 1) * len(bootstrap.METRICS)
    assert pairs.difference.to_numpy() == pytest.approx(0.01)
    assert set(table[table.contrast == "tuned_minus_base"].reference) == {"base"}
