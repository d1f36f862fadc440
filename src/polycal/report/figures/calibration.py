"""Over-confidence and calibration by language: overview, change of confidence, ECE, reliability diagrams."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from polycal.report import study_holes, study_tables, style
from polycal.report.figures import common
from polycal.report.study_tables import ALL, BASE, BetaSweep, StudyTables

GAP_LABEL = "confidence minus accuracy (right of 0: over-confident)"
FEW_LANGUAGES = 5
"""Up to this number of languages, reliability diagrams show all of them."""
MOST_ROWS = 6
"""The largest number of languages in one figure of reliability diagrams."""


def overview(study: StudyTables, benchmark: str, protocol: str, data: str | None = None) -> Figure:
    """Mean confidence minus accuracy by language and setting; one column per model, one row per data set.

    If ``data`` is given, only its row is drawn.
    """
    sweeps = [sweep for sweep in study.beta_sweeps(benchmark, protocol) if data in (None, sweep.data)]
    rows_of = {sweep: study.rows_with_holes("cells", sweep) for sweep in sweeps}
    everything = pd.concat(rows_of.values())
    settings, order = study_tables.setting_names(everything), study_tables.languages_in_order(everything)
    height = 3.1 if len(order) <= common.MANY_LANGUAGES else common.NARROW_ROW * len(order)
    figure, axes, placed = common.panels(study, sweeps, heading=0.9, height=height)
    for sweep, axis in placed:
        last_column = axis in axes[:, -1]
        common.language_rows(axis, study, rows_of[sweep], "gap", settings, order, levels=last_column)
        axis.axvline(0, color="black", linewidth=0.8)
    common.axis_labels(figure, GAP_LABEL)
    common.legend(figure, axes)
    return figure


def ece_by_language(study: StudyTables, sweep: BetaSweep) -> Figure:
    """The ECE of each language with 95% intervals; a tick marks the ECE of a perfectly calibrated model."""
    rows = study.rows_with_holes("cells", sweep)
    return ece_panel(study, rows, study_tables.setting_names(rows), common.sweep_title(study, sweep))


def ece_panel(study: StudyTables, rows: pd.DataFrame, settings: Sequence[str], title: str) -> Figure:
    """The ECE of ``rows``, which have a column ``setting``, in each language, with the noise floor."""
    figure, axes = common.language_panel(study, rows, "ece", settings, title)
    order = study_tables.languages_in_order(rows)
    floor = study_tables.complete_means(rows, "language", ["ece_floor"]).ece_floor
    axes[0][0].scatter(
        [floor[code] for code in order],
        range(len(order)),
        marker="|",
        s=220,
        color="black",
        zorder=5,
        label="noise floor",
    )
    axes[0][0].set_xlim(left=0)
    common.axis_labels(figure, "expected calibration error")
    common.legend(figure, axes)
    return figure


def confidence_and_accuracy(study: StudyTables, benchmark: str, protocol: str) -> Figure:
    """Change of accuracy and of confidence from the base model: one point per language and checkpoint.

    There is one column per model and one row per data set.
    """
    sweeps = study.beta_sweeps(benchmark, protocol)
    figure, axes, placed = common.panels(study, sweeps, heading=1.2, height=3.4)
    settings = study_tables.tuned_setting_names(pd.concat([study.rows("cells", sweep) for sweep in sweeps]))
    for sweep, axis in placed:
        changes = _changes_from_base(study.rows("cells", sweep))
        common.scatter_settings(axis, changes, "accuracy", "confidence", settings, size=34, alpha=0.75)
    ends = np.array([(*axis.get_xlim(), *axis.get_ylim()) for _, axis in placed])
    diagonal = [ends.min(), ends.max()]
    for _, axis in placed:
        axis.plot(diagonal, diagonal, color="black", linewidth=0.8, linestyle="--")
        axis.axhline(0, color="black", linewidth=0.6)
        axis.axvline(0, color="black", linewidth=0.6)
    common.axis_labels(
        figure, "change of accuracy from the base model", "change of confidence from the base model"
    )
    common.legend(figure, axes, common.setting_handles(settings))
    return figure


def _changes_from_base(rows: pd.DataFrame) -> pd.DataFrame:
    """Accuracy and confidence of tuned checkpoints minus the base model's in the same language."""
    base = rows[rows.setting == BASE].set_index("language")
    tuned = rows[(rows.setting != BASE) & rows.language.isin(base.index)]
    tuned = tuned.sort_values("setting", key=lambda names: names.map(study_tables.setting_names(rows).index))
    before = base.reindex(tuned.language)
    return pd.DataFrame(
        {
            "setting": tuned.setting.to_numpy(),
            "accuracy": tuned.accuracy.to_numpy() - before.accuracy.to_numpy(),
            "confidence": tuned.confidence.to_numpy() - before.confidence.to_numpy(),
        }
    )


def telling_languages(cells: pd.DataFrame, named: Sequence[str] = ()) -> list[str]:
    """The languages with the least, the middle and the greatest gap at the lowest β, in this order, then ``named``.

    ``cells`` are the cells of a sweep; names that they lack are left out. If a study has few languages, or
    ``all`` is among ``named``, all are returned in their usual order.
    """
    order = study_tables.languages_in_order(cells)
    if len(order) <= FEW_LANGUAGES or ALL in named:
        return order
    telling = least_middle_greatest(
        order, cells[cells.setting == (study_tables.tuned_setting_names(cells) or [BASE])[0]]
    )
    return list(dict.fromkeys([*telling, *(code for code in named if code in order)]))


def diagram_parts(study: StudyTables, sweep: BetaSweep) -> list[list[str]]:
    """The languages of each figure of reliability diagrams: all that are shown, at most MOST_ROWS together."""
    shown = telling_languages(study.rows_with_holes("cells", sweep), study.diagrams)
    return [shown[start : start + MOST_ROWS] for start in range(0, len(shown), MOST_ROWS)]


def least_middle_greatest(order: Sequence[str], cells: pd.DataFrame) -> list[str]:
    """The languages of the least, the middle and the greatest gap among ``cells``, one cell per language.

    If no cell has a gap, they are the first three of ``order``.
    """
    ranked = list(cells.dropna(subset=["gap"]).sort_values("gap").language)
    if not ranked:
        return list(order[:3])
    return list(dict.fromkeys((ranked[0], ranked[len(ranked) // 2], ranked[-1])))


def reliability(study: StudyTables, sweep: BetaSweep, languages: Sequence[str] = ()) -> Figure:
    """Reliability diagrams: one row per language, one column per setting.

    ``languages`` are one of the ``diagram_parts``, by default the first. Bars show the share of the answers in each
    bin.
    """
    bins, cells = study.rows("reliability", sweep), study.rows_with_holes("cells", sweep)
    settings = study_tables.setting_names(cells)
    order = languages or diagram_parts(study, sweep)[0]
    return reliability_panels(study, bins, cells, order, settings)


def reliability_panels(
    study: StudyTables, bins: pd.DataFrame, cells: pd.DataFrame, order: Sequence[str], settings: Sequence[str]
) -> Figure:
    """Reliability diagrams: one row per language of ``order``, one column per setting.

    ``bins`` and ``cells`` are rows of the tables reliability and cells with a column ``setting``.
    """
    size = (0.6 + 2.1 * len(settings), 0.8 + 1.75 * len(order))
    shape = (len(order), len(settings))
    figure, axes = plt.subplots(*shape, figsize=size, squeeze=False, sharex=True, sharey=True)
    looks = style.marks(settings)
    for line, language in zip(axes, order, strict=True):
        line[0].set_ylabel(f"{common.language_label(study, language)}\naccuracy", fontsize=style.NOTE_SIZE)
        for axis, setting in zip(line, settings, strict=True):
            of_panel = bins[(bins.language == language) & (bins.setting == setting)]
            cell = cells[(cells.language == language) & (cells.setting == setting)]
            _reliability_panel(axis, of_panel, cell, looks[setting][0])
    for axis, setting in zip(axes[0], settings, strict=True):
        axis.set_title(setting, fontsize=style.TITLE_SIZE)
    common.axis_labels(figure, "confidence (bars: share of questions)")
    return figure


def _reliability_panel(axis: Any, bins: pd.DataFrame, cell: pd.DataFrame, colour: str) -> None:
    share = bins.n / max(bins.n.sum(), 1)
    axis.bar(bins.low, share, bins.high - bins.low, align="edge", color=style.BAR_COLOUR)
    axis.plot([0, 1], [0, 1], color="black", linewidth=0.7, linestyle="--")
    points = axis.errorbar(
        bins.confidence,
        bins.accuracy,
        yerr=common.interval_lengths(bins, "accuracy"),
        fmt="o",
        markersize=3,
        linewidth=0.8,
        color=colour,
        clip_on=False,  # a point at an accuracy of 0 or 1 must not be cut in half
        zorder=3,
    )
    for artist in points.get_children():
        # what is not clipped would otherwise take part in the layout
        artist.set_in_layout(False)
    if cell.ece.isna().any():
        axis.set_facecolor(style.BAR_COLOUR)
        axis.text(
            0.5,
            0.5,
            study_holes.FAILED,
            ha="center",
            va="center",
            fontsize=style.LABEL_SIZE,
            color=style.HOLE_COLOUR,
            bbox={"facecolor": "white", "edgecolor": "none"},
        )
    elif len(cell):
        note = f"ECE {cell.ece.iloc[0]:.3f}\n{bins.n.sum()} questions"
        axis.text(
            0.04,
            0.94,
            note,
            transform=axis.transAxes,
            va="top",
            fontsize=style.SMALL_SIZE,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
            zorder=4,
        )
    axis.set(xlim=(0, 1), ylim=(0, 1))
