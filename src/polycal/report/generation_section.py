"""The measures of confidence in generated answers side by side, and what tuning and smoothing change in each."""

import pandas as pd

from polycal.analysis.conditions import SMOOTHED_MINUS_UNSMOOTHED, TUNED_MINUS_BASE
from polycal.report import confidence_claims, confidence_table, study_tables
from polycal.report.study_tables import StudyTables

MEASURES = {
    "cluster_share": "share of the largest cluster of samples",
    "greedy_share": "share of samples that agree with the answer",
    "entropy": "exp(−semantic entropy)",
    "meaning_share": "share of samples that mean the same",
    "meaning_entropy": "exp(−semantic entropy) by meaning",
    "likelihood": "likelihood of the answer, per token",
    "p_true": "P(True) of the answer",
}
"""Measures of confidence, with their names in the table. Those of meaning need an entailment model."""
METRICS = {
    "accuracy": ("Accuracy", ".3f"),
    **{
        name: confidence_table.METRICS[name]
        for name in ("gap", "ece", "binary_brier", "auroc", "auarc", "spearman")
    },
}
"""Metrics of the table, with their titles and number formats."""
CHANGES = {
    metric: (f"Δ {title}", f"+{form.lstrip('+')}")
    for metric, (title, form) in METRICS.items()
    if metric != "spearman"
}
"""The same for the metrics whose changes are measured."""
CONTRASTS = {
    TUNED_MINUS_BASE: "Tuned minus base, generated answers",
    SMOOTHED_MINUS_UNSMOOTHED: "β minus β = 0, generated answers",
}
"""Contrasts in the order of the page, with their titles."""


def table(study: StudyTables) -> pd.DataFrame:
    """One row for each checkpoint and measure: means over all languages with their 95% intervals, as texts.

    If there are several trainings, their means are shown. A benchmark in a single language is shown in this language.
    FAILED replaces a value that lacks a cell. A value that is not defined is empty.
    """
    shown = _shown(study, "generation")
    return confidence_table.as_texts(shown, MEASURES, METRICS) if len(shown) else pd.DataFrame()


def changes(study: StudyTables) -> dict[str, pd.DataFrame]:
    """For each of CONTRASTS by its title: the differences in the rows of ``table``, with their 95% intervals.

    Both sides answer the same questions. A contrast without rows is left out.
    """
    shown = _shown(study, "generation_contrasts")
    return {
        title: confidence_table.as_texts(shown[shown.contrast == contrast], MEASURES, CHANGES)
        for contrast, title in CONTRASTS.items()
        if len(shown) and (shown.contrast == contrast).any()
    }


def claims(study: StudyTables) -> pd.DataFrame:
    """The study's claims for each measure of confidence in generated answers, as ``confidence_claims.table``."""
    return confidence_claims.table(study, "generation_contrasts", MEASURES)


def _shown(study: StudyTables, name: str) -> pd.DataFrame:
    """The rows of a table that are means over all languages, or of a benchmark in one, over most trainings."""
    rows = study.get(name)
    if rows.empty:
        return rows
    several = set(rows.benchmark[rows.language == "mean"])
    is_mean = (rows.language == "mean") & (rows.resource == "all")
    return study_tables.over_trainings(rows[is_mean | ~rows.benchmark.isin(several)])
