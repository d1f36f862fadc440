"""Figures of further model runs: embedding diversity, next tokens, languages of the instruction data."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from polycal.report import study_tables, style
from polycal.report.figures import common
from polycal.report.figures.calibration import GAP_LABEL
from polycal.report.study_tables import BASE, BetaSweep, StudyTables
from polycal.vocabulary import CELL_KEYS, NONE

MIXTURES = ("english", "natural", "balanced")
"""Last words of the names of data sets that are one set in several mixtures of languages."""


def diversity(study: StudyTables, benchmark: str) -> Figure:
    """Change of ECE against change of diversity from the base model, a panel per model.

    Each point is one checkpoint in one language.
    """
    keys = list(CELL_KEYS)
    rows = study["diversity"].merge(study["cells"][[*keys, "ece"]], on=keys)
    rows = rows[rows.benchmark == benchmark].assign(log=lambda table: np.log(table.smallest_shrunk))
    models = sorted(set(rows.model))
    size = (1 + 3.6 * len(models), 4.0)
    figure, axes = plt.subplots(1, len(models), figsize=size, squeeze=False, sharex=True, sharey=True)
    settings: dict[str, None] = {}
    for model, axis in zip(models, axes[0], strict=True):
        changes = _changes_of_diversity(rows[rows.model == model])
        own = list(dict.fromkeys(changes.setting))
        common.scatter_settings(axis, changes, "log", "ece", own, size=30, alpha=0.75)
        settings |= dict.fromkeys(own)
        axis.axhline(0, color="black", linewidth=0.6)
        axis.axvline(0, color="black", linewidth=0.6)
        axis.set_title(model, fontsize=style.TITLE_SIZE)
    common.axis_labels(figure, "change of log smallest singular value (right: more diverse)", "change of ECE")
    common.legend(figure, axes, common.setting_handles(list(settings)))
    return figure


def _changes_of_diversity(rows: pd.DataFrame) -> pd.DataFrame:
    """``log`` and ``ece`` of tuned checkpoints minus those of their base model, by ascending β."""
    base = rows[rows.beta == NONE].set_index(["base_seed", "language"])[["log", "ece"]]
    tuned = rows[rows.beta != NONE].sort_values("beta", key=lambda betas: betas.astype(float), kind="stable")
    before = base.reindex(pd.MultiIndex.from_frame(tuned[["base_seed", "language"]]))
    return pd.DataFrame(
        {
            "setting": [study_tables.setting_name(beta) for beta in tuned.beta],
            "log": tuned.log.to_numpy() - before.log.to_numpy(),
            "ece": tuned.ece.to_numpy() - before.ece.to_numpy(),
        }
    )


def next_tokens(study: StudyTables, heldout: str) -> Figure:
    """ECE and confidence minus accuracy of the most probable token by setting.

    A column per model, a mark per data set.
    """
    rows = study["next_token"]
    rows = rows[(rows.benchmark == heldout) & (rows.language == "all")]
    rows = rows.assign(setting=[study_tables.setting_name(beta) for beta in rows.beta])
    models, settings = sorted(set(rows.model)), study_tables.setting_names(rows)
    data = sorted(set(rows.data) - {NONE})
    size = (1 + 3.4 * len(models), 5.4)
    figure, axes = plt.subplots(2, len(models), figsize=size, squeeze=False, sharex=True, sharey="row")
    for column, model in enumerate(models):
        for number, name in enumerate(data):
            chosen = rows[(rows.model == model) & rows.data.isin([name, NONE])]
            positions = chosen.setting.map(settings.index) + (number - (len(data) - 1) / 2) * 0.15
            for axis, metric in zip(axes[:, column], ("ece", "gap"), strict=True):
                axis.errorbar(
                    positions,
                    chosen[metric],
                    yerr=common.interval_lengths(chosen, metric),
                    fmt=style.mark(number)[1],
                    color=style.mark(1 + number)[0],
                    markersize=5,
                    label=name,
                )
        axes[0][column].set_title(model, fontsize=style.TITLE_SIZE)
        axes[1][column].axhline(0, color="black", linewidth=0.6)
        axes[1][column].set_xticks(range(len(settings)), settings, fontsize=style.TICK_SIZE)
    axes[0][0].set_ylim(bottom=0)
    axes[0][0].set_ylabel("ECE of the most probable token", fontsize=style.LEGEND_SIZE)
    axes[1][0].set_ylabel("confidence minus accuracy", fontsize=style.LEGEND_SIZE)
    common.legend(figure, axes)
    return figure


def mixtures(sweeps: list[BetaSweep]) -> list[str]:
    """The data sets that are mixtures of one set: ``…-english``, ``…-natural``, ``…-balanced``."""
    names = {sweep.data for sweep in sweeps}
    stems = sorted({name.rsplit("-", 1)[0] for name in names if name.rsplit("-", 1)[-1] in MIXTURES})
    return [f"{stem}-{kind}" for stem in stems for kind in MIXTURES if f"{stem}-{kind}" in names]


def ablation(study: StudyTables, model: str, benchmark: str, protocol: str) -> Figure:
    """Confidence minus accuracy by language and mixture, of the base and of the unsmoothed models."""
    sweeps = [sweep for sweep in study.beta_sweeps(benchmark, protocol) if sweep.model == model]
    names = mixtures(sweeps)
    cells = study["cells"]
    cells = cells[(cells.model == model) & (cells.benchmark == benchmark) & (cells.protocol == protocol)]
    base = cells[cells.beta == NONE].assign(setting=BASE)
    tuned = cells[(cells.beta == "0") & cells.data.isin(names)]
    rows = pd.concat([base, tuned.assign(setting=tuned.data)])
    figure, axes = common.language_panel(study, rows, "gap", [BASE, *names], f"{model}, {benchmark}")
    axes[0][0].axvline(0, color="black", linewidth=0.8)
    common.axis_labels(figure, GAP_LABEL)
    common.legend(figure, axes)
    return figure
