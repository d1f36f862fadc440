"""Measures of confidence beside each other: how far each is from the accuracy, and how well it ranks answers.

Every figure shows the measures of one table: of confidence in chosen options, or in generated answers.
"""

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from polycal.report import confidence_table, generation_section, study_tables, style
from polycal.report.figures import common
from polycal.report.figures.calibration import GAP_LABEL
from polycal.report.study_tables import BetaSweep, StudyTables
from polycal.vocabulary import NONE, RESOURCE_LEVELS

ALL = "all"
LEVEL_NAMES = {ALL: "all languages", **{level: f"{level} resource" for level in RESOURCE_LEVELS}}
"""Titles of the panels of resource levels."""
TITLES = {
    table: {measure: textwrap.fill(text, 22) for measure, text in names.items()}
    for table, names in (
        ("confidences", confidence_table.MEASURES),
        ("generation", generation_section.MEASURES),
    )
}
"""For each table: the names of its measures in lines that fit a narrow panel, in the order of the figures."""


def has_languages(study: StudyTables, sweep: BetaSweep, table: str) -> bool:
    """Whether ``table`` has measures in a language of the sweep's tuned checkpoints."""
    rows = study.rows(table, sweep)
    return bool(((rows.language != "mean") & (rows.data != NONE)).any())


def has_means(study: StudyTables, sweep: BetaSweep, table: str) -> bool:
    """Whether ``table`` has means over several languages of the sweep's tuned checkpoints."""
    rows = study.rows(table, sweep)
    return bool(((rows.language == "mean") & (rows.data != NONE)).any())


def gap_by_language(study: StudyTables, sweep: BetaSweep, table: str) -> Figure:
    """Confidence minus accuracy in each language: one panel per measure of ``table``, one mark for each setting."""
    rows = study.rows(table, sweep)
    rows = rows[rows.language != "mean"]
    measures, settings = _measures_in(rows, table), study_tables.setting_names(rows)
    order = study_tables.languages_in_order(rows)
    narrow = len(order) > common.MANY_LANGUAGES
    height = (1.4 * common.NARROW_ROW if narrow else 0.42) * len(order)
    size = (1.9 + 2.3 * len(measures), 1.5 + height)
    figure, axes = plt.subplots(1, len(measures), figsize=size, squeeze=False, sharex=True, sharey=True)
    for number, measure in enumerate(measures):
        axis, of_measure = axes[0][number], rows[rows.measure == measure]
        last = number == len(measures) - 1
        common.language_rows(axis, study, of_measure, "gap", settings, order, levels=last)
        axis.set_title(TITLES[table][measure], fontsize=style.TITLE_SIZE)
        axis.axvline(0, color="black", linewidth=0.8)
    return _finished(figure, axes, f"{common.sweep_title(study, sweep)}\n{GAP_LABEL}")


def auroc_by_level(study: StudyTables, sweep: BetaSweep, table: str) -> Figure:
    """Mean AUROC of each measure of ``table``: one panel for each resource level, one mark for each setting."""
    rows = study.rows(table, sweep)
    rows = rows[rows.language == "mean"]
    measures, settings = _measures_in(rows, table), study_tables.setting_names(rows)
    levels = [level for level in LEVEL_NAMES if level in set(rows.resource)]
    size = (2.1 + 2.3 * len(levels), 1.6 + 0.55 * len(measures))
    figure, axes = plt.subplots(1, len(levels), figsize=size, squeeze=False, sharex=True, sharey=True)
    for axis, level in zip(axes[0], levels, strict=True):
        _auroc_panel(axis, rows[rows.resource == level], measures, settings)
        axis.set_title(LEVEL_NAMES[level], fontsize=style.TITLE_SIZE)
    names = [TITLES[table][measure] for measure in measures]
    axes[0][0].set_yticks(range(len(measures)), names, fontsize=style.TICK_SIZE)
    axes[0][0].set_ylim(len(measures) - 0.5, -0.5)
    return _finished(figure, axes, f"{common.sweep_title(study, sweep)}\nAUROC (0.5: no better than chance)")


def _measures_in(rows: pd.DataFrame, table: str) -> list[str]:
    return [measure for measure in TITLES[table] if measure in set(rows.measure)]


def _auroc_panel(axis: plt.Axes, rows: pd.DataFrame, measures: list[str], settings: list[str]) -> None:
    looks = style.marks(settings)
    for number, setting in enumerate(settings):
        chosen = rows[rows.setting == setting].set_index("measure").reindex(measures)
        colour, marker = looks[setting]
        axis.errorbar(
            chosen.auroc,
            np.arange(len(measures)) + (number - (len(settings) - 1) / 2) * 0.17,
            xerr=common.interval_lengths(chosen, "auroc"),
            fmt=marker,
            color=colour,
            markersize=4.5,
            linewidth=1.1,
            label=setting,
        )
    axis.axvline(0.5, color="black", linewidth=0.8)
    axis.grid(axis="y", visible=False)


def _finished(figure: Figure, axes: np.ndarray, label: str) -> Figure:
    common.axis_labels(figure, label)
    common.legend(figure, axes)
    return figure
