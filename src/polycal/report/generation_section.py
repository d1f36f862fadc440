"""The measures of confidence in generated answers side by side: how well each says whether an answer is right."""

import pandas as pd

from polycal.report import study_tables, tables
from polycal.report.study_tables import StudyTables

MEASURES = {
    "cluster_share": "share of the largest cluster of samples",
    "greedy_share": "share of samples that agree with the answer",
    "entropy": "exp(−semantic entropy)",
    "likelihood": "likelihood of the answer, per token",
    "p_true": "P(True) of the answer",
}
"""Measures of confidence, with their names in the table."""
METRICS = {
    "accuracy": ("Accuracy", ".3f"),
    "gap": ("Gap", "+.3f"),
    "ece": ("ECE", ".3f"),
    "binary_brier": ("Brier", ".3f"),
    "auroc": ("AUROC", ".3f"),
}
"""Metrics of the table, with their titles and number formats."""


def table(study: StudyTables) -> pd.DataFrame:
    """One row for each checkpoint and measure: means over all languages with their 95% intervals, as texts.

    A benchmark in a single language is shown in this language. FAILED replaces a value that lacks a cell. A value
    that is not defined is empty.
    """
    measured = study.get("generation")
    if measured.empty:
        return pd.DataFrame()
    several = set(measured.benchmark[measured.language == "mean"])
    is_mean = (measured.language == "mean") & (measured.resource == "all")
    shown_rows = measured[is_mean | ~measured.benchmark.isin(several)]
    shown_rows = tables.ordered(shown_rows.sort_values("measure", key=_place, kind="stable"))
    shown = tables.named(shown_rows)
    shown["Confidence"] = shown_rows.measure.map(MEASURES)
    lost = study_tables.hole_counts(shown_rows) > 0
    for metric, (title, form) in METRICS.items():
        shown[title] = tables.with_intervals(shown_rows, metric, form, lost)
    return shown


def _place(measures: pd.Series) -> pd.Series:
    return measures.map(list(MEASURES).index)
