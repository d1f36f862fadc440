"""The measures of confidence side by side: how well each of them says whether an answer is right."""

import pandas as pd

from polycal.report import study_tables, tables
from polycal.report.study_tables import StudyTables

MEASURES = {
    "likelihood": "probability of the option",
    "p_true": "P(True) of the option alone",
    "agreement": "agreement of other languages",
}
"""Measures of confidence, with their names in the table."""
METRICS = {
    "gap": ("Gap", "+.3f"),
    "ece": ("ECE", ".3f"),
    "binary_brier": ("Brier", ".3f"),
    "auroc": ("AUROC", ".3f"),
    "spearman": ("Rank correlation with likelihood", "+.2f"),
}
"""Metrics of the table, with their titles and number formats."""


def table(study: StudyTables) -> pd.DataFrame:
    """One row for each checkpoint and measure: means over all languages with their 95% intervals, as texts.

    FAILED replaces a value that lacks a cell. A value that is not defined is empty.
    """
    measured = study.get("confidences")
    if measured.empty:
        return pd.DataFrame()
    means = measured[(measured.language == "mean") & (measured.resource == "all")]
    means = tables.ordered(means.sort_values("measure", key=_place, kind="stable"))
    shown = tables.named(means)
    shown["Confidence"] = means.measure.map(MEASURES)
    lost = study_tables.hole_counts(means) > 0
    for metric, (title, form) in METRICS.items():
        shown[title] = tables.with_intervals(means, metric, form, lost)
    return shown


def _place(measures: pd.Series) -> pd.Series:
    return measures.map(list(MEASURES).index)
