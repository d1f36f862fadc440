"""The claims for each measure of confidence are counted from the paired differences."""

import pandas as pd

from polycal.report import confidence_claims, main_page
from polycal.report.study_tables import StudyTables


def contrast(difference, low, high, **other):
    values = {
        f"{metric}{end}": value
        for metric in ("gap", "ece", "auroc")
        for end, value in (("", difference), ("_low", low), ("_high", high))
    }
    keys = dict.fromkeys(("data", "recipe", "benchmark", "protocol"), "x")
    return {
        "contrast": "smoothed_minus_unsmoothed",
        **keys,
        "model": "a",
        "base_seed": "none",
        "seed": "1",
        "beta": "0.1",
        "language": "mean",
        "resource": "all",
        "measure": "stated",
        "holes": 0,
        **values,
        **other,
    }


def test_claims_are_counted_over_models_and_languages():
    rows = [
        contrast(-0.2, -0.3, -0.1),
        contrast(-0.1, -0.2, 0.1, model="b"),
        contrast(0.2, 0.1, 0.3, model="c"),
        contrast(-0.2, -0.3, -0.1, language="en", resource="high"),
        contrast(-0.2, -0.3, 0.1, language="de", resource="high"),
        contrast(-0.2, -0.3, -0.1, resource="high"),
    ]
    table = confidence_claims.table(StudyTables({"confidence_contrasts": pd.DataFrame(rows)}, {}))
    by_claim = table.set_index("Claim")
    lowers = by_claim.loc["Smoothing lowers ECE"]
    assert (lowers.Holds, lowers.surely, lowers["Against, surely"]) == ("2 of 3", "1", "1")
    assert lowers["Languages, surely"] == "1 of 2"
    raises = by_claim.loc["Smoothing raises AUROC"]
    assert (raises.Holds, raises.surely, raises["Against, surely"]) == ("1 of 3", "1", "1")
    assert set(table.Confidence) == {"stated level of confidence"}
    assert not set(table.Claim) & {"Tuning raises ECE"}


def test_a_comparison_that_lacks_a_cell_is_failed():
    lost = contrast(float("nan"), float("nan"), float("nan"), holes=2)
    table = confidence_claims.table(StudyTables({"confidence_contrasts": pd.DataFrame([lost])}, {}))
    assert set(table.Holds) == {"1 failed"}
    assert set(table.surely) == {""}


def test_the_page_shows_the_claims_of_each_measure(study):
    table = confidence_claims.table(study)
    assert len(table) == 5 * 2  # five claims with one β each, for the likelihood and the agreement
    page = main_page.render(study, "s", [], [], {})
    assert "Claims by measure of confidence" in page
    assert "P(True)" in page
    bare = StudyTables({**study.tables, "confidence_contrasts": study["confidence_contrasts"][:0]}, {})
    assert confidence_claims.table(bare).empty
    assert "Claims by measure of confidence" not in main_page.render(bare, "s", [], [], {})
