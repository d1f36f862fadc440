"""The measures of confidence in generated answers side by side: how well each says whether an answer is right."""

import pandas as pd

from polycal.report import confidence_table
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
    **{name: confidence_table.METRICS[name] for name in ("gap", "ece", "binary_brier", "auroc", "auarc")},
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
    shown = measured[is_mean | ~measured.benchmark.isin(several)]
    return confidence_table.as_texts(shown, MEASURES, METRICS)
