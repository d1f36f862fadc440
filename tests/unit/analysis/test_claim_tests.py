import dataclasses

import numpy as np
import pandas as pd
import pytest
from helpers.measured import measured_cells, write_tables
from helpers.score_records import LANGUAGES, SETTINGS, study

from polycal.analysis import claim_tests, contrasts, intervals, sensitivity


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    return measured_cells(study(tmp_path_factory.mktemp("study")))


@pytest.fixture(scope="module")
def tests(cells):
    return {key[0]: found["texts-0shot"] for key, found in claim_tests.claim_tests(cells).items()}


def test_every_claim_has_a_test(tests):
    claims = [*sensitivity.TUNING, *sensitivity.SMOOTHING]
    assert set(tests) == {name + end for name in claims for end in ("", "_everywhere")}
    assert all(test["interval_covers"] == "questions" for test in tests.values())


def test_intervals_are_those_of_the_contrasts(cells, tests):
    rows = (
        pd.DataFrame(contrasts.contrast_rows(cells))
        .query("language == 'mean'")
        .set_index(["contrast", "beta", "metric"])
    )
    gap = rows.loc[("tuned_minus_base", "0", "gap")]
    assert (tests["tuning_raises_overconfidence"]["low"], tests["tuning_raises_overconfidence"]["high"]) == (
        gap.low,
        gap.high,
    )
    cut = rows.loc[("smoothed_minus_unsmoothed", "0.1", "ece")]
    assert tests["smoothing_cuts_ece"]["low"] == cut.relative_ece_reduction_low
    assert tests["tuning_raises_overconfidence"]["p"] == pytest.approx(1 / 201)


def test_a_claim_about_every_language_is_as_uncertain_as_its_worst(cells, tests):
    rows = pd.DataFrame(contrasts.contrast_rows(cells))
    gap = rows[(rows.contrast == "tuned_minus_base") & (rows.beta == "0") & (rows.metric == "gap")]
    worst = gap[gap.language.isin(LANGUAGES)].low.min()
    everywhere = tests["tuning_raises_overconfidence_everywhere"]
    assert everywhere["low"] == worst
    assert np.isnan(everywhere["high"])
    assert everywhere["p"] >= tests["tuning_raises_overconfidence"]["p"]


def test_accuracy_is_kept_only_if_a_loss_is_excluded(cells):
    equal = [dataclasses.replace(one) for one in cells if one.cell["beta"] == "0"]
    smoothed = [dataclasses.replace(one, cell={**one.cell, "beta": "0.1"}) for one in equal]
    base = [one for one in cells if one.cell["beta"] == "none"]
    found = claim_tests.claim_tests([*base, *equal, *smoothed])
    [test] = [value["texts-0shot"] for key, value in found.items() if key[0] == "smoothing_keeps_accuracy"]
    # No question differs, so no sample loses half a point of accuracy and p is 1 / (200 samples + 1).
    assert test["p"] == pytest.approx(1 / 201)
    [test] = [value["texts-0shot"] for key, value in found.items() if key[0] == "smoothing_cuts_ece"]
    assert test["p"] == pytest.approx(1.0)


def test_a_cut_against_a_calibrated_model_is_refused(cells):
    floor = np.full(200, 0.9)
    near = [dataclasses.replace(one, floor=floor) for one in cells]
    found = {key[0]: value["texts-0shot"] for key, value in claim_tests.claim_tests(near).items()}
    assert np.isnan(found["smoothing_cuts_ece"]["low"])
    assert "calibrated" in found["smoothing_cuts_ece"]["reduction_refused"]
    assert found["smoothing_cuts_ece_everywhere"]["reduction_refused"].startswith("4 of 4 languages")
    assert found["tuning_raises_ece"]["reduction_refused"] == ""


def test_the_table_corrects_over_all_its_claims(tmp_path):
    write_tables(study(tmp_path, n=60), tmp_path / "tables")
    table = pd.read_parquet(tmp_path / "tables/claims.parquet")
    assert table.q.to_numpy() == pytest.approx(intervals.false_discovery_any(table.p.to_numpy()))
    rows = pd.read_parquet(tmp_path / "tables/contrasts.parquet")
    assert rows.q_study.to_numpy() == pytest.approx(intervals.false_discovery_any(rows.p.to_numpy()))
    assert set(table.interval_covers) == {"questions"}


def test_claims_over_several_seeds_have_rows_of_their_own(tmp_path):
    write_tables(study(tmp_path, n=60, seeds=("1", "2", "3")), tmp_path / "tables", SETTINGS)
    table = pd.read_parquet(tmp_path / "tables/claims.parquet")
    over = table[table.seed == "all"]
    assert len(over) == 8
    assert set(over.interval_covers) == {"questions, seeds"}
    assert over[["low", "p", "q"]].notna().all(axis=None)
    scaled = pd.read_parquet(tmp_path / "tables/recalibration.parquet")
    scaled = scaled[scaled.seed == "all"]
    assert set(scaled.interval_covers) == {"questions, seeds"}
    assert len(scaled) == 2 * 4 * (len(LANGUAGES) + 1)
    assert (scaled.temperature_low <= scaled.temperature).all()
    mean = scaled[(scaled.language == "mean") & (scaled.method == "none") & (scaled.beta == "0")].iloc[0]
    assert mean.relative_ece_reduction == 0.0
