"""Untuned runs beside each other: over-confidence, ECE and reliability diagrams in each language."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from polycal.report import study_tables
from polycal.report.figures import calibration, common
from polycal.report.study_tables import StudyTables

MOST = 5
"""Runs of one figure; further ones are in further figures."""


def parts(study: StudyTables, benchmark: str, protocol: str) -> list[list[str]]:
    """The names of the untuned runs of a benchmark and protocol, at most MOST together."""
    names = sorted(set(study.untuned_rows("cells", benchmark, protocol).setting))
    return [names[start : start + MOST] for start in range(0, len(names), MOST)]


def gap_by_language(study: StudyTables, benchmark: str, protocol: str, runs: Sequence[str]) -> Figure:
    """Mean confidence minus accuracy in each language, with one mark per run."""
    rows = _rows(study, "cells", benchmark, protocol, runs)
    figure, axes = common.language_panel(study, rows, "gap", runs, f"{benchmark}, {protocol}")
    axes[0][0].axvline(0, color="black", linewidth=0.8)
    common.axis_labels(figure, calibration.GAP_LABEL)
    common.legend(figure, axes)
    return figure


def ece_by_language(study: StudyTables, benchmark: str, protocol: str, runs: Sequence[str]) -> Figure:
    """The ECE in each language, with one mark per run, and the noise floor."""
    rows = _rows(study, "cells", benchmark, protocol, runs)
    return calibration.ece_panel(study, rows, runs, f"{benchmark}, {protocol}")


def reliability(study: StudyTables, benchmark: str, protocol: str, runs: Sequence[str]) -> Figure:
    """Reliability diagrams: one column per run.

    With many languages there are three: those with the least, the middle and the greatest gap in the mean of
    the runs.
    """
    cells = _rows(study, "cells", benchmark, protocol, runs)
    bins = _rows(study, "reliability", benchmark, protocol, runs)
    order = study_tables.languages_in_order(cells)
    if len(order) > calibration.FEW_LANGUAGES:
        means = study_tables.complete_means(cells, "language", ["gap"]).reset_index()
        order = calibration.least_middle_greatest(order, means)
    return calibration.reliability_panels(study, bins, cells, order, runs)


def _rows(study: StudyTables, table: str, benchmark: str, protocol: str, runs: Sequence[str]) -> pd.DataFrame:
    rows = study.untuned_rows(table, benchmark, protocol)
    return rows[rows.setting.isin(list(runs))]
