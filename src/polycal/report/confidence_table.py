"""The measures of confidence side by side: how well each of them says whether an answer is right."""

from collections.abc import Mapping

import pandas as pd

from polycal.analysis.confidence_measures import LEVELS, SAID
from polycal.report import study_tables, tables
from polycal.report.study_tables import StudyTables

MEASURES = {
    "likelihood": "probability of the option",
    "p_true": "P(True) of the option",
    "stated": "stated level of confidence",
    "stated_mode": "most likely stated level",
    "agreement": "agreement of other languages",
}
"""Measures of confidence, with their names in the table."""
METRICS = {
    "gap": ("Gap", "+.3f"),
    "ece": ("ECE", ".3f"),
    "binary_brier": ("Brier", ".3f"),
    "auroc": ("AUROC", ".3f"),
    "auarc": ("AUARC", ".3f"),
    "spearman": ("Rank correlation with likelihood", "+.2f"),
    "ceiling_rate": ("Says 100%", ".2f"),
    "level_mass": ("Mass on levels", ".2f"),
}
"""Metrics of the table, with their titles and number formats. SAID are no columns if no measure is in LEVELS."""


def table(study: StudyTables) -> pd.DataFrame:
    """One row for each checkpoint and measure: means over all languages with their 95% intervals, as texts.

    FAILED replaces a value that lacks a cell. A value that is not defined is empty.
    """
    measured = study.get("confidences")
    if measured.empty:
        return pd.DataFrame()
    means = measured[(measured.language == "mean") & (measured.resource == "all")]
    levels = means.measure.isin(LEVELS).any()
    metrics = {metric: about for metric, about in METRICS.items() if levels or metric not in SAID}
    return as_texts(means, MEASURES, metrics)


def as_texts(
    rows: pd.DataFrame, measures: Mapping[str, str], metrics: Mapping[str, tuple[str, str]]
) -> pd.DataFrame:
    """``rows`` by checkpoint and then by measure: their names, and each metric with its 95% interval, as texts.

    ``measures`` are the names of the measures, ``metrics`` the titles and number formats of the metrics.
    """
    places = list(measures)
    by_measure = rows.sort_values("measure", key=lambda names: names.map(places.index), kind="stable")
    rows = tables.ordered(by_measure)
    shown = tables.named(rows)
    shown["Confidence"] = rows.measure.map(measures)
    lost = study_tables.hole_counts(rows) > 0
    for metric, (title, form) in metrics.items():
        failed = lost & rows.measure.isin(LEVELS) if metric in SAID else lost
        shown[title] = tables.with_intervals(rows, metric, form, failed)
    return shown
