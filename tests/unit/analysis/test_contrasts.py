import dataclasses

import numpy as np
import pandas as pd
import pytest
from helpers.score_records import LANGUAGES, SETTINGS, cell, study, write

from polycal.analysis import bootstrap, cell_metrics, contrasts, measure, score_arrays
from polycal.artifacts import records


def measured(folder, **how):
    shared = cell_metrics.Study(study(folder, **how), SETTINGS)
    found = []
    for path in shared.files:
        source = score_arrays.read(path)
        found.append(cell_metrics.measure_cell(shared, source, shared.log_probabilities(source)))
    return shared, found


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return measured(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def rows(found):
    return pd.DataFrame(contrasts.contrast_rows(found[1]), columns=contrasts.COLUMNS)


def test_every_contrast_is_there(rows):
    assert len(rows) == 3 * (len(LANGUAGES) + 1) * len(bootstrap.METRICS)
    counts = rows.groupby(["contrast", "beta"]).size()
    assert set(counts.index) == {
        ("tuned_minus_base", "0"),
        ("tuned_minus_base", "0.1"),
        ("smoothed_minus_unsmoothed", "0.1"),
    }


def test_differences_are_those_of_the_cells(found, rows):
    by_name = {tuple(one.cell.values()): one.estimate for one in found[1]}
    kept = rows[(rows["contrast"] == "smoothed_minus_unsmoothed") & (rows["language"] == "yo")]
    smoothed = by_name[tuple(kept.iloc[0][list(score_arrays.CELL)])]
    plain = by_name[tuple({**kept.iloc[0][list(score_arrays.CELL)], "beta": "0"}.values())]
    assert kept["difference"].to_numpy() == pytest.approx(smoothed - plain, abs=1e-15)
    ece = kept[kept["metric"] == "ece"].iloc[0]
    place = bootstrap.METRICS.index("ece")
    assert ece["cut"] == pytest.approx(1 - smoothed[place] / plain[place], abs=1e-14)
    assert ece["cut_low"] < ece["cut"] < ece["cut_high"]
    assert rows[rows["metric"] != "ece"]["cut"].isna().all()


def test_the_mean_is_the_mean(rows):
    kept = rows[(rows["contrast"] == "tuned_minus_base") & (rows["beta"] == "0") & (rows["metric"] == "ece")]
    languages, mean = kept[kept["language"] != "mean"], kept[kept["language"] == "mean"].iloc[0]
    assert mean["difference"] == pytest.approx(languages["difference"].mean(), abs=1e-14)
    assert mean["q"] == mean["p"]
    # joint draws: the mean of four is surer than each
    assert mean["high"] - mean["low"] < (languages["high"] - languages["low"]).min()


def test_an_effect_as_large_as_this_is_found_and_q_is_no_less_than_p(rows):
    kept = rows[(rows["contrast"] == "tuned_minus_base") & (rows["beta"] == "0")]
    assert (kept[kept["metric"] == "confidence"]["q"] < 0.05).all()
    assert (rows["q"] >= rows["p"]).all()


def test_differences_are_paired(found):
    # The same cell on both sides differs by nothing, in every draw.
    one = found[1][0]
    _, members, reference = next(iter(contrasts.paired(contrasts.grouped(found[1]))))
    assert set(members) == set(reference)
    same = contrasts._difference("x", one.cell, (one.estimate, one.draws), (one.estimate, one.draws))
    assert all(row["low"] == row["high"] == 0.0 and row["p"] == 1.0 for row in same)


def test_unequal_questions_are_refused(tmp_path):
    files = study(tmp_path, n=30)
    tuned = next(path for path in files if path.name.startswith("0_"))
    rows = records.read_scores(tuned).to_pylist()
    write(tuned, cell("0", "en"), [*rows[1:], {**rows[0], "question_id": "other"}])
    with pytest.raises(
        score_arrays.MeasureError, match=r"cannot be compared: 1 question.* 1 only in the second"
    ) as e:
        measure.measure(files, settings=SETTINGS, out=tmp_path / "out", note={})
    assert "such as 'other'" in str(e.value)
    assert "score both on the same questions" in str(e.value)
    assert not (tmp_path / "out").exists()


def test_the_order_of_questions_does_not_matter(tmp_path, found):
    files = study(tmp_path)
    tuned = next(path for path in files if path.name == "0_42_en.parquet")
    write(tuned, cell("0", "en"), records.read_scores(tuned).to_pylist()[::-1])
    shared = cell_metrics.Study(files, SETTINGS)
    source = score_arrays.read(tuned)
    again = cell_metrics.measure_cell(shared, source, shared.log_probabilities(source))
    before = next(one for one in found[1] if one.cell == again.cell)
    assert again.draws == pytest.approx(before.draws, abs=1e-12)


def test_several_seeds_are_a_second_level(tmp_path):
    _, found = measured(tmp_path, seeds=("1", "2", "3"), languages=("en", "yo"), n=100)
    pooled = contrasts.pool_seeds(found, 0)
    assert {(one.cell["beta"], one.cell["seed"]) for one in pooled} == {("0", "all"), ("0.1", "all")}
    one = next(one for one in pooled if (one.cell["beta"], one.cell["language"]) == ("0", "en"))
    members = [two for two in found if two.cell["beta"] == "0" and two.cell["language"] == "en"]
    assert one.estimate == pytest.approx(np.mean([two.estimate for two in members], axis=0))
    # a mean over drawn seeds lies between the least and the most of that draw
    stack = np.stack([two.draws for two in members])
    assert (one.draws <= stack.max(0) + 1e-12).all()
    assert (one.draws >= stack.min(0) - 1e-12).all()
    rows = pd.DataFrame(contrasts.contrast_rows([*found, *pooled]))
    both = rows[(rows["seed"] == "all") & (rows["contrast"] == "smoothed_minus_unsmoothed")]
    assert set(both["language"]) == {"en", "yo", "mean"}
    assert len(rows[(rows["seed"] == "all") & (rows["contrast"] == "tuned_minus_base")]) == 2 * 3 * 9
    means = pd.DataFrame(contrasts.mean_rows([*found, *pooled]))
    assert (means["seed"] == "all").sum() == 2 * 3


def test_one_seed_is_not_pooled(found):
    assert contrasts.pool_seeds(found[1], 0) == []


def test_cut_of_nothing_is_not_a_number():
    assert np.isnan(contrasts.cut(0.1, np.full(5, 0.1), 0.0, np.zeros(5))).all()


def test_data_sets_are_set_against_each_other_on_the_same_questions(found):
    ours = found[1]
    other = [
        dataclasses.replace(one, cell={**one.cell, "data": "tulu"}, estimate=one.estimate + 0.01)
        for one in ours
        if one.cell["data"] == "alpaca"
    ]
    table = pd.DataFrame(contrasts.contrast_rows([*ours, *other]), columns=contrasts.COLUMNS)
    pairs = table[table.contrast == "data_minus_data"]
    assert set(zip(pairs.data, pairs.reference, strict=True)) == {("tulu", "alpaca")}
    assert len(pairs) == 2 * (len(LANGUAGES) + 1) * len(bootstrap.METRICS)
    assert pairs.difference.to_numpy() == pytest.approx(0.01)
    assert set(table[table.contrast == "tuned_minus_base"].reference) == {"base"}
