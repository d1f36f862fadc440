"""A study with holes: no value covers fewer cells than its name says, and every hole is listed."""

import numpy as np
import pandas as pd
import pytest
from helpers import holes, score_records
from helpers.measured import write_tables
from helpers.score_records import LANGUAGES, SETTINGS

from polycal.analysis import measure, pooling
from polycal.analysis.score_arrays import MeasureError
from polycal.vocabulary import CELL_KEYS

KEYS = list(CELL_KEYS)
NAMES = (
    "cells",
    "diagnostics",
    "reliability",
    "means",
    "contrasts",
    "sensitivity",
    "claims",
    "recalibration",
    "truth",
)


class Study:
    """The invented study in a folder. Some of its records can be failed, missing or unusable."""

    def __init__(self, folder, seeds=("42",), n=60):
        self.scores, self.out = folder / "scores", folder / "tables"
        self.files = score_records.study(self.scores, n, seeds)
        self.settings = {**SETTINGS, "truth": score_records.write_truth(folder / "truth", n)}

    def measure(self, without=(), missing=()):
        files = [path for path in self.files if path.stem not in without]
        write_tables(files, self.out, self.settings, missing)
        return {path.stem: pd.read_parquet(path) for path in self.out.iterdir()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The tables without a hole."""
    return Study(tmp_path_factory.mktemp("whole")).measure()


@pytest.fixture(scope="module")
def one_hole(tmp_path_factory):
    """The tables of the study if its smoothed model has no result in English."""
    study = Study(tmp_path_factory.mktemp("one"))
    holes.fail(study.scores, "0.1_42_en")
    return study.measure()


def rows_of(table, **keys):
    for key, value in keys.items():
        table = table[table[key] == value]
    return table.reset_index(drop=True)


def same(one, other):
    pd.testing.assert_frame_equal(one.reset_index(drop=True), other.reset_index(drop=True), check_exact=True)


def test_the_table_of_holes_is_there_with_its_columns_where_there_is_none(whole):
    assert list(whole["holes"]) == [*KEYS, "resource", "stage", "reason"]
    assert len(whole["holes"]) == 0
    for name in ("means", "contrasts", "claims", "recalibration"):
        assert (whole[name].holes == 0).all(), name


def test_a_hole_is_named_with_stage_and_reason(one_hole):
    [row] = one_hole["holes"].to_dict("records")
    assert (row["beta"], row["language"], row["resource"]) == ("0.1", "en", "high")
    assert (row["stage"], row["reason"]) == (holes.DIVERGED.stage, holes.DIVERGED.reason)


def test_numbers_that_do_not_need_the_hole_keep_every_bit(whole, one_hole):
    for name in ("cells", "diagnostics", "reliability", "truth"):
        same(one_hole[name], whole[name][~((whole[name].beta == "0.1") & (whole[name].language == "en"))])
    for name in ("means", "contrasts", "sensitivity", "claims", "recalibration"):
        over_the_table = {"contrasts": ["q_study"], "claims": ["q"]}.get(name, [])
        after, before = (rows_of(tables[name], beta="0") for tables in (one_hole, whole))
        same(after.drop(columns=over_the_table), before.drop(columns=over_the_table))
    for language in ("de", "hi", "yo"):
        before, after = (
            rows_of(tables["contrasts"], beta="0.1", language=language) for tables in (whole, one_hole)
        )
        fewer = ["q", "q_study", "languages", "holes"]
        same(after.drop(columns=fewer), before.drop(columns=fewer))


def test_a_mean_over_languages_is_empty_where_one_is_missing(whole, one_hole):
    means = rows_of(one_hole["means"], beta="0.1").set_index("group")
    assert means.loc["all", ["languages", "holes"]].tolist() == [3, 1]
    assert means.loc["high", ["languages", "holes"]].tolist() == [1, 1]
    assert means.loc[["all", "high"], list(pooling.EMPTY_MEAN)].isna().all(axis=None)
    # resource levels without a missing language keep their mean
    for level in ("mid", "low"):
        same(
            rows_of(one_hole["means"], beta="0.1", group=level),
            rows_of(whole["means"], beta="0.1", group=level),
        )


def test_contrasts_without_the_hole_say_over_how_many_languages_p_is_corrected(whole, one_hole):
    for contrast in ("tuned_minus_base", "smoothed_minus_unsmoothed"):
        rows = rows_of(one_hole["contrasts"], contrast=contrast, beta="0.1", metric="ece")
        assert list(rows.language) == ["de", "hi", "yo", "mean"]
        assert set(rows.languages) == {3}
        assert set(rows.holes) == {1}
        mean = rows.iloc[-1]
        assert mean[["difference", "low", "high", "p", "q", "relative_ece_reduction"]].isna().all()
        assert rows.iloc[:-1].difference.notna().all()
        p = np.sort(rows.p.iloc[:3])
        assert rows.q.iloc[:3].min() == pytest.approx(min(p * 3 / np.arange(1, 4)))
        assert set(rows_of(whole["contrasts"], contrast=contrast, beta="0.1").languages) == {4}


def test_claims_that_need_the_hole_count_no_convention_and_name_it(one_hole):
    assert set(one_hole["sensitivity"].beta) == {"0"}
    claims = rows_of(one_hole["claims"], beta="0.1")
    assert set(claims.claim) == {
        f"{claim}{end}"
        for claim in ("smoothing_cuts_ece", "smoothing_keeps_accuracy")
        for end in ("", "_everywhere")
    }
    assert (claims[["conventions", "holes", "holds"]] == [0, 1, 0]).all(axis=None)
    assert claims[["estimate", "least", "most"]].isna().all(axis=None)
    assert (rows_of(one_hole["claims"], beta="0").holes == 0).all()


def test_temperatures_fitted_on_the_hole_are_left_out(whole, one_hole):
    rows = rows_of(one_hole["recalibration"], beta="0.1")
    methods = {language: set(part.method) for language, part in rows.groupby("language")}
    # English is missing, so no temperature is fitted on English or on its resource level
    assert methods == {
        "de": {"none", "language"},
        "hi": {"none", "language", "resource"},
        "yo": {"none", "language", "resource"},
        "mean": {"none", "english", "language", "resource"},
    }
    mean = rows_of(rows, language="mean")
    assert (mean.holes == 1).all()
    assert mean[["temperature", "ece", "ece_low", "relative_ece_reduction"]].isna().all(axis=None)
    for language in ("hi", "yo"):
        before = rows_of(whole["recalibration"], beta="0.1", language=language)
        same(rows_of(rows, language=language), before[before.method != "english"])


@pytest.mark.parametrize("how", ["failed", "missing", "refused"])
def test_a_condition_that_failed_changes_nothing_of_the_others(tmp_path, how):
    study = Study(tmp_path / "all")
    lost = [f"0.1_42_{language}" for language in LANGUAGES]
    paths = [holes.missing("0.1", language, seed="42") for language in LANGUAGES]
    if how == "failed":
        holes.fail(study.scores, *lost)
    for name in lost if how == "refused" else ():
        holes.poison(study.scores / f"{name}.parquet")
    found = study.measure(lost if how == "missing" else (), paths if how == "missing" else ())
    never = Study(tmp_path / "never").measure(lost)
    assert len(found["holes"]) == 4
    assert set(found["holes"].stage) == {
        {"failed": "finetune", "missing": "score", "refused": "measure"}[how]
    }
    for name in NAMES:
        same(found[name][found[name].beta != "0.1"], never[name])
    means = rows_of(found["means"], beta="0.1")
    assert list(means.group) == ["all", "high", "mid", "low"]
    assert list(means.languages) == [0] * 4
    assert list(means.holes) == [4, 2, 1, 1]
    contrast = rows_of(found["contrasts"], beta="0.1", metric="ece")
    assert list(contrast.contrast) == ["tuned_minus_base", "smoothed_minus_unsmoothed"]
    assert list(contrast.language) == ["mean"] * 2
    assert list(contrast.holes) == [4, 4]
    assert list(rows_of(found["recalibration"], beta="0.1").language) == ["mean"] * 4
    assert (rows_of(found["claims"], beta="0.1").holes == 4).all()


def test_a_base_model_without_a_result_empties_what_is_compared_with_it(tmp_path, whole):
    study = Study(tmp_path)
    holes.fail(study.scores, "none_none_yo")
    found = study.measure()
    tuned = rows_of(found["contrasts"], contrast="tuned_minus_base", metric="gap")
    assert set(tuned.language) == {"de", "en", "hi", "mean"}
    assert rows_of(tuned, language="mean").difference.isna().all()
    smoothed = "smoothed_minus_unsmoothed"
    before, after = (rows_of(tables["contrasts"], contrast=smoothed) for tables in (whole, found))
    same(after.drop(columns="q_study"), before.drop(columns="q_study"))
    tuning = found["claims"].claim.str.startswith("tuning")
    assert (found["claims"].holes == tuning.astype(int)).all()


def test_a_mean_over_seeds_is_empty_only_where_a_seed_is_missing(tmp_path):
    seeds = ("1", "2", "3")
    whole, study = Study(tmp_path / "whole", seeds).measure(), Study(tmp_path / "holes", seeds)
    holes.fail(study.scores, "0.1_2_yo")
    found = study.measure()
    before, after = (rows_of(tables["means"], seed="all") for tables in (whole, found))
    same(rows_of(after, beta="0"), rows_of(before, beta="0"))
    for level, count in (("all", 1), ("high", 0), ("mid", 0), ("low", 1)):
        [row] = rows_of(after, beta="0.1", group=level).to_dict("records")
        assert row["holes"] == count
        if count:
            assert np.isnan(row["ece"])
        else:
            # the mean is over three seeds as before, not over the two seeds that all languages have
            same(rows_of(after, beta="0.1", group=level), rows_of(before, beta="0.1", group=level))
    pooled = rows_of(found["contrasts"], seed="all", beta="0.1", metric="ece")
    assert set(pooled.language) == {"de", "en", "hi", "mean"}
    assert rows_of(pooled, language="mean").difference.isna().all()
    for seed in ("1", "3"):
        same(rows_of(found["means"], seed=seed), rows_of(whole["means"], seed=seed))


def test_a_claim_of_two_protocols_counts_those_without_a_hole(tmp_path):
    files = score_records.study(tmp_path / "texts", 40)
    for path in score_records.study(tmp_path / "letters", 40):
        metadata = score_records.records.metadata(path)
        cell = {**metadata["cell"], "protocol": "letters-0shot", "settings": {"candidates": "letters"}}
        score_records.write(path, cell, score_records.records.read_scores(path).to_pylist())
        files.append(path)
    write_tables(files, tmp_path / "whole")
    whole = pd.read_parquet(tmp_path / "whole/claims.parquet")
    holes.poison(tmp_path / "letters/0.1_42_hi.parquet")
    write_tables(files, tmp_path / "holes")
    found = pd.read_parquet(tmp_path / "holes/claims.parquet")
    keys = ["claim", "beta"]
    before, after = (
        table[table.claim.str.startswith("smoothing")].set_index(keys).sort_index()
        for table in (whole, found)
    )
    assert (after.conventions * 2 == before.conventions).all()
    assert (after.holes == 1).all()
    # the estimate is for the first protocol (letters), which has the hole
    assert after.estimate.isna().all()
    assert after.least.notna().all()
    tuning = found[found.claim.str.startswith("tuning")]
    assert tuning.estimate.notna().all()


def test_the_settings_of_a_study_stay_errors(tmp_path):
    study = Study(tmp_path)
    study.settings = {**study.settings, "resource": {"en": "high", "de": "high", "hi": "mid"}}
    with pytest.raises(MeasureError, match="resource level of language 'yo'"):
        study.measure()
    holes.fail(study.scores, "none_none_yo", "0_42_yo", "0.1_42_yo")
    with pytest.raises(MeasureError, match="resource level of language 'yo'"):
        study.measure()
    study.settings = {**SETTINGS, "normalise": {"letters": "sum"}}
    with pytest.raises(MeasureError, match="no normalisation is set for candidates 'texts'"):
        study.measure()
    assert not study.out.exists()


def test_a_record_whose_question_has_no_true_answer_is_a_hole(tmp_path):
    study = Study(tmp_path)
    for beta in ("none", "0", "0.1"):
        path = next(path for path in study.files if path.name.startswith(f"{beta}_") and "_hi" in path.name)
        metadata = score_records.records.metadata(path)
        rows = score_records.records.read_scores(path).to_pylist()
        rows[0]["question_id"] = "unknown"
        score_records.write(path, metadata["cell"], rows)
    found = study.measure()
    assert list(found["holes"].language) == ["hi"] * 3
    assert found["holes"].reason.str.contains("question_id 'unknown'").all()
    assert set(found["truth"].language) == {"de", "en", "yo"}


def test_holes_are_inputs_of_the_fingerprint_but_missing_records_are_none(tmp_path):
    study = Study(tmp_path)
    holes.fail(study.scores, "0.1_42_en")
    paths = [holes.missing("0.2", "en", seed="42")]
    found = measure.input_checksums({"settings": SETTINGS}, scores=study.files, missing=paths)
    assert set(found) == set(map(str, study.files))
    assert found[str(study.scores / "0.1_42_en.parquet")].endswith(holes.DIVERGED.reason)
    with_truth = measure.input_checksums({"settings": study.settings}, scores=study.files)
    assert len(with_truth) == len(study.files) + 4
