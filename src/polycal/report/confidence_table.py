"""The measures of confidence side by side: how well each of them says whether an answer is right."""

import pandas as pd

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
"""Metrics of the table, with their titles and number formats."""
OF_LEVELS = ("ceiling_rate", "level_mass")
"""Metrics that only stated levels have. Without any, they are no columns."""


def measures_in(rows: pd.DataFrame) -> list[str]:
    """The measures that occur in ``rows`` of the table confidences, in the order of MEASURES."""
    return [name for name in MEASURES if name in set(rows.measure)]


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
    levels = means.measure.isin(["stated", "stated_mode"])
    for metric, (title, form) in METRICS.items():
        if metric in OF_LEVELS and not levels.any():
            continue
        failed = lost & levels if metric in OF_LEVELS else lost
        shown[title] = tables.with_intervals(means, metric, form, failed)
    return shown


def _place(measures: pd.Series) -> pd.Series:
    return measures.map(list(MEASURES).index)
