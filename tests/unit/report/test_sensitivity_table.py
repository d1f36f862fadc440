"""The number of conventions under which each claim holds."""

import pandas as pd

from polycal.report import sensitivity_table
from polycal.report.study_tables import StudyTables


def test_conventions_count_what_the_sensitivity_table_says(study):
    table = sensitivity_table.conventions(study).set_index(["Claim", "β"])
    rows = study["sensitivity"]
    cut = rows[(rows.claim == "smoothing_cuts_ece") & (rows.beta == "0.1")]
    assert table.loc[("Smoothing cuts ECE", "0.1"), "Holds"] == f"{cut.holds.sum()} of {len(cut)}"


def test_a_choice_that_reverses_a_claim_is_named():
    rows = [
        {
            "claim": "smoothing_cuts_ece",
            "beta": "0.1",
            "benchmark": "b",
            "protocol": "texts-0shot",
            "normalise": normalise,
            "binning": "width",
            "bins": bins,
            "weighting": "language",
            "estimate": 0.1 if normalise == "token" else -0.1,
            "holds": normalise == "token",
        }
        for normalise in ("sum", "token", "byte")
        for bins in (10, 15)
        for _ in range(1 if normalise != "token" else 3)
    ]
    study = StudyTables({"sensitivity": pd.DataFrame(rows)}, {})
    [row] = sensitivity_table.conventions(study).to_dict("records")
    assert row["Holds"] == "6 of 10"
    assert row["Reversed under"] == "byte log-likelihoods (2 of 2); sum log-likelihoods (2 of 2)"


def test_tables_that_were_not_measured_are_left_out(study):
    further = {"recalibration", "truth", "confidences", "confidence_contrasts"}
    assert set(sensitivity_table.tables(study)) == {"conventions", "claims", *further}
    bare = {name: table for name, table in study.tables.items() if name not in further}
    assert set(sensitivity_table.tables(StudyTables(bare, {}))) == {"conventions", "claims"}
