"""The cost of smoothing: ECE against accuracy as β rises."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from polycal.analysis import beta_rule
from polycal.report import best_beta, study_holes, study_tables, style
from polycal.report.figures import common
from polycal.report.study_tables import BASE, BetaSweep, StudyTables

ALLOWED = f"accuracy at β = 0, minus {beta_rule.ALLOWED_LOSS}"


def mean_ece_and_accuracy(study: StudyTables, benchmark: str, protocol: str) -> Figure:
    """Mean ECE against mean accuracy over languages: one column per model, one row per data set."""
    sweeps = study.beta_sweeps(benchmark, protocol)
    figure, axes, placed = common.panels(study, sweeps, heading=1.2, height=2.6)
    settings = study_tables.setting_names(pd.concat([study.rows("means", sweep) for sweep in sweeps]))
    for sweep, axis in placed:
        means = study.rows("means", sweep)
        _paths(axis, [means[means.group == "all"]], settings)
        _noise_floor(axis, study.rows_with_holes("cells", sweep))
    axes[0][0].set_ylim(bottom=0)
    common.axis_labels(figure, "accuracy, mean over languages", "expected calibration error, mean")
    common.legend(figure, axes, common.setting_handles(settings))
    return figure


def ece_and_accuracy(study: StudyTables, sweep: BetaSweep) -> Figure:
    """ECE against accuracy as β rises: one panel per language and one for their mean. The base model is grey.

    If languages are many, there is one panel per resource level instead, with a line for each language.

    Left of the dotted line, accuracy is lower than at β = 0 by ``beta_rule.ALLOWED_LOSS`` or more. The dashed
    line is the noise floor: the ECE of a perfectly calibrated model with these confidences.
    """
    panels = _panels(study, sweep)
    columns = min(4, len(panels))
    lines = -(-len(panels) // columns)
    size = (0.8 + 2.7 * columns, 0.8 + 2.3 * lines)
    figure, axes = plt.subplots(lines, columns, figsize=size, squeeze=False)
    settings = study_tables.setting_names(pd.concat([rows for _, parts in panels for rows in parts]))
    for axis, (title, parts) in zip(axes.flat, panels, strict=False):
        _paths(axis, parts, settings)
        if len(parts) == 1:
            for accuracy in parts[0][parts[0].value == 0].accuracy.dropna():
                axis.axvline(
                    accuracy - beta_rule.ALLOWED_LOSS,
                    color="black",
                    linewidth=0.7,
                    linestyle=":",
                    label=ALLOWED,
                )
        _noise_floor(axis, pd.concat(parts))
        axis.set_title(title, fontsize=style.LEGEND_SIZE)
        axis.tick_params(labelsize=style.SMALL_SIZE)
        axis.locator_params(axis="x", nbins=4)
        axis.set_ylim(bottom=0)
    for axis in list(axes.flat)[len(panels) :]:
        axis.set_visible(False)
    figure.suptitle(common.sweep_title(study, sweep), fontsize=style.SINGLE_TITLE_SIZE, x=0.01, ha="left")
    common.axis_labels(figure, "accuracy", "expected calibration error")
    common.legend(figure, axes, common.setting_handles(settings), at="outside upper right")
    return figure


def _panels(study: StudyTables, sweep: BetaSweep) -> list[tuple[str, list[pd.DataFrame]]]:
    """The title of each panel, and the rows of each of its languages by ascending β."""
    *languages, mean = best_beta.by_language(study, sweep)
    if len(languages) <= common.MANY_LANGUAGES:
        return [(common.language_label(study, name), [rows]) for name, rows in (*languages, mean)]
    level_of = study.levels()
    panels = []
    for level in study_tables.LEVELS:
        if parts := [rows for name, rows in languages if level_of[name] == level]:
            title = f"{level} resource" if level else "level unknown"
            panels.append((f"{title}, {len(parts)} languages", parts))
    return [*panels, (mean[0], [mean[1]])]


def _paths(axis: Any, parts: Sequence[pd.DataFrame], settings: Sequence[str]) -> None:
    """Draw each of ``parts`` (beta, accuracy, ece): settings as points, the tuned ones connected from β = 0 on.

    ``settings`` are those of the whole figure, so that a setting has the same mark in all panels. A panel with
    one part names the settings that failed.
    """
    points = []
    for rows in parts:
        order = study_tables.setting_names(rows)
        named = rows.assign(setting=[study_tables.setting_name(beta) for beta in rows.beta])
        points.append(named.set_index("setting").loc[order].reset_index())
        tuned = points[-1][points[-1].setting != BASE]
        common.broken_line(axis, tuned, "accuracy", "ece", color=style.PATH_COLOUR, linewidth=1)
    shown = pd.concat(points)
    common.scatter_settings(axis, shown, "accuracy", "ece", settings, size=42 if len(parts) == 1 else 22)
    if len(parts) == 1 and (failed := list(shown.setting[shown.ece.isna()])):
        axis.text(
            0.97,
            0.95,
            f"{', '.join(failed)}: {study_holes.FAILED}",
            transform=axis.transAxes,
            ha="right",
            va="top",
            fontsize=style.SMALL_SIZE,
            color=style.HOLE_COLOUR,
        )


def _noise_floor(axis: Any, rows: pd.DataFrame) -> None:
    """Draw the mean noise floor of the tuned checkpoints in ``rows`` (beta, ece_floor), if all exist."""
    floors = rows[rows.beta != "none"].ece_floor
    if floors.isna().any():
        return
    floor = floors.mean()
    axis.axhline(floor, color="black", linewidth=0.9, linestyle="--", label="noise floor")
