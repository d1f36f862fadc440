"""The best β that keeps accuracy."""

import pandas as pd

from polycal.report import best_beta
from polycal.report.study_tables import StudyTables

FIXED = {
    "model": "m",
    "base_seed": "none",
    "data": "d",
    "recipe": "r",
    "seed": "0",
    "benchmark": "b",
    "protocol": "p",
}
BASE = {"data": "none", "recipe": "none", "seed": "none"}


def study(cells):
    rows = [
        {**FIXED, **(BASE if beta == "none" else {}), "language": lang, "beta": beta, "accuracy": a, "ece": e}
        for lang, beta, a, e in cells
    ]
    table = pd.DataFrame(rows).assign(resource="high", ece_floor=0.02)
    means = table.groupby([*FIXED, "beta"], as_index=False)[["accuracy", "ece"]].mean().assign(group="all")
    return StudyTables({"cells": table, "means": means}, {"en": "English", "yo": "Yoruba"})


FOUND = study(
    [
        ("en", "none", 0.5, 0.05),
        ("en", "0", 0.600, 0.20),
        ("en", "0.1", 0.595, 0.10),
        # the lowest ECE, but it loses a full point of accuracy
        ("en", "0.2", 0.590, 0.04),
        ("yo", "none", 0.3, 0.05),
        ("yo", "0", 0.300, 0.30),
        ("yo", "0.1", 0.310, 0.30),
        ("yo", "0.2", 0.305, 0.40),
    ]
)


def test_the_best_beta_loses_less_than_a_point_of_accuracy():
    table = best_beta.best_beta(FOUND).set_index("language")
    # in Yoruba two β have the same ECE, so the lower one is best
    assert table.best_beta.to_dict() == {"en": "0.1", "yo": "0", best_beta.MEAN: "0.1"}
    assert (table.ece["en"], table.ece_unsmoothed["en"]) == (0.10, 0.20)


def test_a_series_without_the_unsmoothed_has_no_best_beta():
    cells = FOUND["cells"]
    means = FOUND["means"]
    alone = StudyTables({"cells": cells[cells.beta != "0"], "means": means[means.beta != "0"]}, {})
    assert best_beta.best_beta(alone).empty
