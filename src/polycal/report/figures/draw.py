"""The study as pictures. Each is drawn from the measured tables alone, as SVG and PNG."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from polycal.report import best_beta, study_tables
from polycal.report.study_tables import Study

LINES = ["-", "--", ":", "-."]


def _style() -> None:
    sns.set_theme(style="whitegrid", context="notebook", font="DejaVu Sans")
    # equal input gives equal bytes
    mpl.rcParams.update(
        {
            "svg.hashsalt": "polycal",
            "figure.dpi": 110,
            "savefig.bbox": "tight",
            "figure.constrained_layout.use": True,
        }
    )


def overview(study: Study, benchmark: str, protocol: str) -> Figure:
    """Mean confidence less accuracy in each language, by setting; a column a model, a row a data set."""
    chosen = [s for s in study.tuned() if s[4] == benchmark and s[5] == protocol]
    models, data = sorted({s[0] for s in chosen}), sorted({s[1] for s in chosen})
    size = (1 + 3.6 * len(models), 0.9 + 3.1 * len(data))
    figure, axes = plt.subplots(len(data), len(models), figsize=size, squeeze=False, sharex=True, sharey=True)
    for one in chosen:
        axis = axes[data.index(one[1])][models.index(one[0])]
        found = study.of("cells", one)
        by_language(axis, study, found, "gap", named=axis is axes[data.index(one[1])][-1])
        axis.axvline(0, color="black", linewidth=0.8)
        axis.set_title(f"{one[0]} tuned on {one[1]}", fontsize=10)
    label(figure, "confidence less accuracy (right of 0: over-confident)", "")
    legend(figure, axes)
    return figure


def ece_by_language(study: Study, one: tuple[str, ...]) -> Figure:
    """ECE of each language with 95% intervals; the tick marks what a perfectly calibrated model would get."""
    found = study.of("cells", one)
    figure, axis = plt.subplots(figsize=(7, 0.9 + 0.42 * found.language.nunique()), squeeze=False)
    by_language(axis[0][0], study, found, "ece", named=True)
    order = study_tables.in_order(found)
    floor = found.groupby("language").ece_floor.mean()
    axis[0][0].scatter(
        [floor[c] for c in order],
        range(len(order)),
        marker="|",
        s=220,
        color="black",
        zorder=5,
        label="noise floor",
    )
    axis[0][0].set_xlim(left=0)
    axis[0][0].set_title(f"{one[0]} tuned on {one[1]}, {one[4]}", fontsize=11)
    label(figure, "expected calibration error", "")
    legend(figure, axis)
    return figure


def by_language(
    axis: Any,
    study: Study,
    found: pd.DataFrame,
    metric: str,
    *,
    named: bool,
    names: Sequence[str] = (),
    first: int = 0,
) -> None:
    """A row a language, a mark a setting; where ``named``, the resource levels stand right of the axis.

    ``names`` are the settings shown, in order; default: the base, then β rising. The first takes the colour
    and shape numbered ``first``.
    """
    order = study_tables.in_order(found)
    names = names or study_tables.settings(found)
    levels = dict(zip(found.language, found.resource, strict=True))
    for place, name in enumerate(names):
        rows = found[found.setting == name].set_index("language").reindex(order)
        y = np.arange(len(order)) + (place - (len(names) - 1) / 2) * 0.17
        x, (colour, marker) = rows[metric].to_numpy(), study_tables.mark(first + place)
        error = np.abs(np.stack([x - rows[f"{metric}_low"], rows[f"{metric}_high"] - x]))
        axis.errorbar(
            x,
            y,
            xerr=error,
            fmt=marker,
            color=colour,
            markersize=4.5,
            linewidth=1.1,
            label=name,
        )
    axis.set_yticks(range(len(order)), [f"{study.languages.get(c, c)} ({c})" for c in order], fontsize=9)
    axis.set_ylim(len(order) - 0.5, -0.5)
    for at in [n for n in range(1, len(order)) if levels[order[n]] != levels[order[n - 1]]]:
        axis.axhline(at - 0.5, color="black", linewidth=0.6, linestyle=":")
    for level in study_tables.LEVELS if named else ():
        rows_of = [n for n, c in enumerate(order) if levels[c] == level]
        if rows_of:
            axis.annotate(
                f"{level}\nresource",
                (1.02, (rows_of[0] + rows_of[-1]) / 2),
                xycoords=axis.get_yaxis_transform(),
                va="center",
                fontsize=8,
                color="#555555",
            )
    axis.grid(axis="y", visible=False)


def confidence_and_accuracy(study: Study, benchmark: str, protocol: str) -> Figure:
    """Change of accuracy and of confidence from the base, a point a language and checkpoint."""
    figure, axes = plt.subplots(figsize=(6.2, 5.2), squeeze=False)
    axis = axes[0][0]
    names: list[str] = []
    for one in [s for s in study.tuned() if s[4] == benchmark and s[5] == protocol]:
        found = study.of("cells", one)
        base = found[found.beta == "none"].set_index("language")
        for name in [n for n in study_tables.settings(found) if n != "base"]:
            names += [name] if name not in names else []
            rows = (
                found[found.setting == name]
                .set_index("language")
                .reindex(base.index)
                .dropna(subset=["accuracy"])
            )
            colour, marker = study_tables.mark(1 + names.index(name))
            axis.scatter(
                rows.accuracy - base.accuracy.reindex(rows.index),
                rows.confidence - base.confidence.reindex(rows.index),
                color=colour,
                marker=marker,
                s=26,
                alpha=0.75,
                label=name,
            )
    ends = np.array([*axis.get_xlim(), *axis.get_ylim()])
    axis.plot(
        [ends.min(), ends.max()], [ends.min(), ends.max()], color="black", linewidth=0.8, linestyle="--"
    )
    axis.axhline(0, color="black", linewidth=0.6)
    axis.axvline(0, color="black", linewidth=0.6)
    axis.set_title(f"{benchmark}: points above the dashed line became over-confident", fontsize=10)
    label(figure, "change of accuracy from the base model", "change of confidence from the base model")
    legend(figure, axes)
    return figure


def ece_and_accuracy(study: Study, benchmark: str, protocol: str) -> Figure:
    """Mean ECE against mean accuracy over languages as β rises: a panel a model, a line a data set, one the noise."""
    chosen = [s for s in study.tuned() if s[4] == benchmark and s[5] == protocol]
    models, data = sorted({s[0] for s in chosen}), sorted({s[1] for s in chosen})
    size = (1 + 3.4 * len(models), 3.8)
    figure, axes = plt.subplots(1, len(models), figsize=size, squeeze=False, sharex=True, sharey=True)
    for one in chosen:
        axis, style = axes[0][models.index(one[0])], LINES[data.index(one[1]) % len(LINES)]
        found = study.of("means", one)
        best_beta.path(axis, found[found.group == "all"], style, one[1])
        axis.set_title(one[0], fontsize=10)
    cells = study["cells"]
    for axis, model in zip(axes[0], models, strict=True):
        same = (cells.benchmark == benchmark) & (cells.protocol == protocol) & (cells.model == model)
        best_beta.noise_floor(axis, cells[same])
    axes[0][0].set_ylim(bottom=0)
    label(figure, "accuracy, mean over languages", "expected calibration error, mean")
    legend(figure, axes)
    return figure


def reliability(study: Study, one: tuple[str, ...]) -> Figure:
    """Reliability diagrams: a row a language, a column a setting, bars for the share of questions in a bin."""
    found = study.of("reliability", one)
    cells = study.of("cells", one)
    order, names = study_tables.in_order(cells), study_tables.settings(cells)
    size = (0.6 + 2.1 * len(names), 0.8 + 1.75 * len(order))
    figure, axes = plt.subplots(len(order), len(names), figsize=size, squeeze=False, sharex=True, sharey=True)
    for row, language in enumerate(order):
        for column, name in enumerate(names):
            axis = axes[row][column]
            bins = found[(found.language == language) & (found.setting == name)]
            axis.bar(
                bins.low, bins.n / max(bins.n.sum(), 1), bins.high - bins.low, align="edge", color="#dddddd"
            )
            axis.plot([0, 1], [0, 1], color="black", linewidth=0.7, linestyle="--")
            error = np.abs(np.stack([bins.accuracy - bins.accuracy_low, bins.accuracy_high - bins.accuracy]))
            axis.errorbar(
                bins.confidence,
                bins.accuracy,
                yerr=error,
                fmt="o",
                markersize=3,
                linewidth=0.8,
                color=study_tables.mark(column)[0],
            )
            cell = cells[(cells.language == language) & (cells.setting == name)]
            if len(cell):
                said = f"ECE {cell.ece.iloc[0]:.3f}\n{bins.n.sum()} questions"
                axis.text(0.04, 0.94, said, transform=axis.transAxes, va="top", fontsize=7)
            axis.set(xlim=(0, 1), ylim=(0, 1))
            if row == 0:
                axis.set_title(name, fontsize=10)
            if column == 0:
                axis.set_ylabel(f"{study.languages.get(language, language)}\naccuracy", fontsize=8)
    label(figure, "confidence (bars: share of questions)", "")
    return figure


def label(figure: Figure, x: str, y: str) -> None:
    figure.supxlabel(x, fontsize=10)
    if y:
        figure.supylabel(y, fontsize=10)


def legend(figure: Figure, axes: np.ndarray) -> None:
    found: dict[str, Any] = {}
    for axis in axes.flat:
        for handle, name in zip(*axis.get_legend_handles_labels(), strict=True):
            found.setdefault(name, handle)
    # data sets, then settings
    found = dict(sorted(found.items(), key=lambda pair: pair[0] == "base" or pair[0].startswith("β")))
    figure.legend(
        found.values(), found.keys(), loc="outside upper center", ncol=min(len(found), 7), fontsize=9
    )


def draw(study: Study, folder: Path, more: Mapping[str, Callable[[], Figure]] | None = None) -> list[Path]:
    """Draw every figure that the study's cells allow, and ``more``, below ``folder``; SVG and PNG. Returns the PNGs."""
    _style()
    wanted: dict[str, Callable[[], Figure]] = {}
    for benchmark, protocol in sorted({(s[4], s[5]) for s in study.tuned()}):
        at = (study, benchmark, protocol)
        wanted[f"overview-{benchmark}-{protocol}"] = partial(overview, *at)
        wanted[f"confidence-{benchmark}-{protocol}"] = partial(confidence_and_accuracy, *at)
        wanted[f"beta-{benchmark}-{protocol}"] = partial(ece_and_accuracy, *at)
    for one in study.tuned():
        name = "-".join((one[0], one[1], one[4], one[5]))
        wanted[f"ece-{name}"] = partial(ece_by_language, study, one)
        wanted[f"reliability-{name}"] = partial(reliability, study, one)
        if study.of("cells", one).beta.nunique() > 2:
            wanted[f"tradeoff-{name}"] = partial(best_beta.ece_by_accuracy, study, one)
    wanted |= more or {}
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in wanted.items():
        figure = make()
        for suffix, metadata in ((".svg", {"Date": None}), (".png", {"Software": None})):
            aside = folder / f".{name}.part{suffix}"
            figure.savefig(aside, metadata=metadata)
            aside.replace(folder / f"{name}{suffix}")
        plt.close(figure)
    return [folder / f"{name}.png" for name in wanted]
