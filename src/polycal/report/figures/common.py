"""What several figures share: grids of panels, rows of marks per language, axis labels and the legend."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from polycal.report import study_holes, study_tables, style
from polycal.report.study_tables import ALL, BASE, BetaSweep, StudyTables
from polycal.vocabulary import NONE, RESOURCE_LEVELS

LISTED = 8
"""The largest number of groups of missing cells that a figure lists."""
CHARACTERS_PER_INCH = 14
"""Characters per inch of a note."""
MANY_LANGUAGES = 15
"""With more languages than this, rows are narrow and a figure shows one data set only."""
NARROW_ROW = 0.21
"""Height in inches of the row of a language, if there are many."""


def panels(
    study: StudyTables, sweeps: Sequence[BetaSweep], heading: float, height: float
) -> tuple[Figure, Any, list[tuple[BetaSweep, Any]]]:
    """One column per model and one row per data set: the figure, all axes, and each sweep with its axis.

    The figure is ``heading`` inches plus ``height`` per row high. A pair that the study does not contain has
    no panel.
    """
    models, data = sorted({sweep.model for sweep in sweeps}), sorted({sweep.data for sweep in sweeps})
    size = (1 + 3.6 * len(models), heading + height * len(data))
    figure, axes = plt.subplots(len(data), len(models), figsize=size, squeeze=False, sharex=True, sharey=True)
    placed = [(sweep, axes[data.index(sweep.data)][models.index(sweep.model)]) for sweep in sweeps]
    for sweep, axis in placed:
        title = f"{sweep.model} tuned on {sweep.data}"
        if condition := condition_words(study.condition_of(sweep)):
            title += f"\n{condition}"
        axis.set_title(title, fontsize=style.TITLE_SIZE)
    _hide_unused(axes, [axis for _, axis in placed])
    return figure, axes, placed


def _hide_unused(axes: Any, used: Sequence[Any]) -> None:
    """Hide the empty panels. The outermost remaining panel of each row and column gets the axis labels."""
    for axis in axes.flat:
        axis.set_visible(axis in used)
    for line in axes:
        next(axis for axis in line if axis in used).tick_params(labelleft=True)
    for column in axes.T:
        next(axis for axis in reversed(column) if axis in used).tick_params(labelbottom=True)


def sweep_title(study: StudyTables, sweep: BetaSweep) -> str:
    """The title of a figure about one sweep."""
    condition = condition_words(study.condition_of(sweep))
    parts = [f"{sweep.model} tuned on {sweep.data}", sweep.benchmark, condition]
    return ", ".join(part for part in parts if part)


def condition_words(condition: Mapping[str, str]) -> str:
    """Base seed, recipe and seed in words; empty for a study with one of each."""
    named = {key.replace("_", " "): value for key, value in condition.items() if value != NONE}
    means = [key for key, value in named.items() if value == ALL]
    words = [f"mean over {' and '.join(f'{key}s' for key in means)}"] if means else []
    return ", ".join([*words, *(f"{key} {value}" for key, value in named.items() if value != ALL)])


def language_label(study: StudyTables, code: str, with_code: bool = False) -> str:
    """The name of a language, or its code if the font lacks a character of the name.

    The code is added to a name that several languages of the study have. ``with_code`` adds it to any name.
    """
    name = study.language_name(code)
    if name == code or not style.drawable(name):
        return code
    shared = sum(study.language_name(other) == name for other in {*study.languages, code}) > 1
    return f"{name} ({code})" if with_code or shared else name


def language_panel(
    study: StudyTables, rows: pd.DataFrame, metric: str, settings: Sequence[str], title: str
) -> tuple[Figure, Any]:
    """A figure with one panel of ``language_rows``."""
    count = rows.language.nunique()
    height = 0.42 * count if count <= MANY_LANGUAGES else 1.4 * NARROW_ROW * count
    figure, axes = plt.subplots(figsize=(7, 1.1 + height), squeeze=False)
    order = study_tables.languages_in_order(rows)
    language_rows(axes[0][0], study, rows, metric, settings, order, levels=True)
    axes[0][0].set_title(title, fontsize=style.SINGLE_TITLE_SIZE)
    return figure, axes


def language_rows(
    axis: Any,
    study: StudyTables,
    rows: pd.DataFrame,
    metric: str,
    settings: Sequence[str],
    order: Sequence[str],
    *,
    levels: bool,
) -> None:
    """Draw one row per language of ``order``, with one mark and its interval per setting.

    ``settings`` and ``order`` are those of all panels that share axes and legend. ``rows`` has language,
    setting and ``metric`` with ``_low`` and ``_high``. A row without values is marked as failed. With
    ``levels`` the resource levels are written to the right of the axis. The error bars are matplotlib's,
    because seaborn computes intervals itself and cannot draw given ones.
    """
    looks = style.marks(settings)
    for number, name in enumerate(settings):
        chosen = rows[rows.setting == name].sort_values("language", key=lambda codes: codes.map(order.index))
        line_numbers = np.array([order.index(code) for code in chosen.language], dtype=float)
        y = line_numbers + (number - (len(settings) - 1) / 2) * 0.17
        colour, marker = looks[name]
        axis.errorbar(
            chosen[metric],
            y,
            xerr=interval_lengths(chosen, metric),
            fmt=marker,
            color=colour,
            markersize=4.5,
            linewidth=1.1,
            label=name,
        )
        for position in y[chosen[metric].isna()]:
            axis.annotate(
                f"{name}: {study_holes.FAILED}",
                (0.01, position),
                xycoords=axis.get_yaxis_transform(),
                va="center",
                fontsize=style.SMALL_SIZE,
                color=colour,
            )
    names = [language_label(study, code, with_code=True) for code in order]
    size = style.TICK_SIZE if len(order) <= MANY_LANGUAGES else style.SMALL_SIZE
    axis.set_yticks(range(len(order)), names, fontsize=size)
    axis.set_ylim(len(order) - 0.5, -0.5)
    _separate_levels(axis, study, order, levels)
    axis.grid(axis="y", visible=False)


def _separate_levels(axis: Any, study: StudyTables, order: Sequence[str], named: bool) -> None:
    level_of = study.levels()
    levels = [level_of[code] for code in order]
    for number in range(1, len(order)):
        if levels[number] != levels[number - 1]:
            axis.axhline(number - 0.5, color="black", linewidth=0.6, linestyle=":")
    for level in RESOURCE_LEVELS if named else ():
        numbers = [number for number, known in enumerate(levels) if known == level]
        if numbers:
            axis.annotate(
                f"{level}\nresource",
                (1.02, (numbers[0] + numbers[-1]) / 2),
                xycoords=axis.get_yaxis_transform(),
                va="center",
                fontsize=style.NOTE_SIZE,
                color=style.NOTE_COLOUR,
            )


def unbroken(values: pd.Series) -> list[slice]:
    """The runs of rows that have a value. A line is drawn through each run, never across a missing value."""
    runs, start = [], None
    for position, known in enumerate([*values.notna(), False]):
        if known and start is None:
            start = position
        elif not known and start is not None:
            runs.append(slice(start, position))
            start = None
    return runs


def broken_line(axis: Any, rows: pd.DataFrame, x: str, y: str, **look: Any) -> None:
    """Draw a line through ``rows`` in their order, broken where ``y`` is missing."""
    for run in unbroken(rows[y]):
        sns.lineplot(data=rows[run], x=x, y=y, sort=False, estimator=None, legend=False, ax=axis, **look)


def name_holes(figure: Figure, holes: pd.DataFrame, several: Sequence[str]) -> None:
    """Write below the figure which cells have no result, and why.

    ``several`` is that of ``study_holes.grouped``.
    """
    if holes.empty:
        return
    groups = study_holes.grouped(holes, several)
    names = [
        f"{', '.join(filter(None, (group['name'], group['languages'])))} ({_short(group['reason'])})"
        for group in groups[:LISTED]
    ]
    if len(groups) > LISTED:
        names.append(f"and {len(groups) - LISTED} more, which tables/holes.csv lists")
    text = f"Failed cells, not shown here (nor what needs them): {'; '.join(names)}.".replace(
        "β = ", "β\u00a0=\u00a0"
    )
    drawn = "".join(character if style.drawable(character) else "?" for character in text)
    width = max(40, int(CHARACTERS_PER_INCH * figure.get_figwidth()))
    figure.text(
        0.01, -0.01, textwrap.fill(drawn, width), va="top", fontsize=style.NOTE_SIZE, color=style.HOLE_COLOUR
    )


def _short(reason: str) -> str:
    return textwrap.shorten(reason.rstrip("."), 90, placeholder=" …")


def interval_lengths(rows: pd.DataFrame, metric: str) -> np.ndarray:
    """Distances from ``metric`` to ``_low`` and ``_high``, [2, rows], as matplotlib's error bars need."""
    lengths = np.stack([rows[metric] - rows[f"{metric}_low"], rows[f"{metric}_high"] - rows[metric]])
    return np.asarray(np.abs(lengths))


def scatter_settings(
    axis: Any, rows: pd.DataFrame, x: str, y: str, settings: Sequence[str], size: float, alpha: float = 1
) -> None:
    """Draw a point per row (columns ``x``, ``y``, ``setting``), with the colour and marker of its setting."""
    axis.set(xlabel="", ylabel="")
    if rows.empty:
        return
    looks = style.marks(settings)
    sns.scatterplot(
        data=rows,
        x=x,
        y=y,
        hue="setting",
        style="setting",
        hue_order=settings,
        style_order=settings,
        palette={name: colour for name, (colour, _) in looks.items()},
        markers={name: marker for name, (_, marker) in looks.items()},
        s=size,
        alpha=alpha,
        linewidth=0,
        legend=False,
        zorder=3,
        ax=axis,
    )
    axis.set(xlabel="", ylabel="")


def axis_labels(figure: Figure, x: str, y: str = "") -> None:
    """Label the axes of all panels at once."""
    figure.supxlabel(x, fontsize=style.LABEL_SIZE)
    if y:
        figure.supylabel(y, fontsize=style.LABEL_SIZE)


def setting_handles(settings: Sequence[str]) -> dict[str, Line2D]:
    """Legend entries of settings that were drawn with ``scatter_settings``."""
    return {
        name: Line2D([], [], color=colour, marker=marker, linestyle="none", markersize=5.5)
        for name, (colour, marker) in style.marks(settings).items()
    }


def legend(
    figure: Figure,
    axes: np.ndarray,
    handles: Mapping[str, Any] | None = None,
    at: Literal["outside upper center", "outside upper right"] = "outside upper center",
) -> None:
    """One legend for all panels: ``handles`` and what is labelled in ``axes``, settings last."""
    entries: dict[str, Any] = {}
    for axis in axes.flat:
        for handle, name in zip(*axis.get_legend_handles_labels(), strict=True):
            entries.setdefault(name, handle)
    entries = {**(handles or {}), **entries}
    entries = dict(sorted(entries.items(), key=lambda entry: entry[0] == BASE or entry[0].startswith("β")))
    figure.legend(
        entries.values(),
        entries.keys(),
        loc=at,
        ncol=min(len(entries), 7),
        fontsize=style.LEGEND_SIZE,
    )
