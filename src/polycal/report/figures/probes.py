"""Figures about embedding diversity, next tokens, and the languages of the instruction data."""

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
"""Last words of the names of data sets that are mixtures of languages of one set."""


def diversity(study: StudyTables, benchmark: str) -> Figure:
    """Change of ECE against change of diversity from the base model.

    Each point is one checkpoint in one language. There is one column per model and one row per data set.
    """
    embedded = study["diversity"]
    embedded = embedded[(embedded.benchmark == benchmark) & (embedded.data != NONE)]
    measured = set(embedded[list(BetaSweep._fields)].itertuples(index=False, name=None))
    sweeps = [sweep for sweep in study.beta_sweeps(benchmark) if tuple(sweep) in measured]
    figure, axes, placed = common.panels(study, sweeps, heading=1.2, height=2.8)
    settings = study_tables.tuned_setting_names(embedded)
    for sweep, axis in placed:
        changes = _changes_of_diversity(study, sweep)
        common.scatter_settings(axis, changes, "log", "ece", settings, size=30, alpha=0.75)
        axis.axhline(0, color="black", linewidth=0.6)
        axis.axvline(0, color="black", linewidth=0.6)
    common.axis_labels(figure, "change of log smallest singular value (right: more diverse)", "change of ECE")
    common.legend(figure, axes, common.setting_handles(settings))
    return figure


def _changes_of_diversity(study: StudyTables, sweep: BetaSweep) -> pd.DataFrame:
    """``log`` and ``ece`` of a sweep's tuned checkpoints minus the base model's, by ascending β."""
    keys = list(CELL_KEYS)
    rows = study.rows("diversity", sweep).merge(study["cells"][[*keys, "ece"]], on=keys)
    rows = rows.assign(log=lambda table: np.log(table.smallest_shrunk))
    base = rows[rows.beta == NONE].set_index("language")[["log", "ece"]]
    tuned = rows[rows.beta != NONE].sort_values("beta", key=lambda betas: betas.astype(float), kind="stable")
    before = base.reindex(tuned.language)
    return pd.DataFrame(
        {
            "setting": tuned.setting.to_numpy(),
            "log": tuned.log.to_numpy() - before.log.to_numpy(),
            "ece": tuned.ece.to_numpy() - before.ece.to_numpy(),
        }
    )


def next_tokens(study: StudyTables, heldout: str) -> Figure:
    """ECE and gap (confidence minus accuracy) of next-token predictions, by setting.

    There is one column per model and one mark per data set.
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
            colour, marker = style.mark(1 + number)
            positions = chosen.setting.map(settings.index) + (number - (len(data) - 1) / 2) * 0.15
            for axis, metric in zip(axes[:, column], ("ece", "gap"), strict=True):
                axis.errorbar(
                    positions,
                    chosen[metric],
                    yerr=common.interval_lengths(chosen, metric),
                    fmt=marker,
                    color=colour,
                    markersize=5,
                    label=name,
                )
        title = "\n".join(filter(None, (model, common.condition_words(study.condition))))
        axes[0][column].set_title(title, fontsize=style.TITLE_SIZE)
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
    """Confidence minus accuracy by language and mixture, of the base model and the unsmoothed models."""
    sweeps = [sweep for sweep in study.beta_sweeps(benchmark, protocol) if sweep.model == model]
    names = mixtures(sweeps)
    cells = study["cells"]
    cells = cells[(cells.model == model) & (cells.benchmark == benchmark) & (cells.protocol == protocol)]
    base = cells[cells.beta == NONE].assign(setting=BASE)
    tuned = cells[(cells.beta == "0") & cells.data.isin(names)]
    rows = pd.concat([base, tuned.assign(setting=tuned.data)])
    title = ", ".join(filter(None, (model, benchmark, common.condition_words(study.condition))))
    figure, axes = common.language_panel(study, rows, "gap", [BASE, *names], title)
    axes[0][0].axvline(0, color="black", linewidth=0.8)
    common.axis_labels(figure, GAP_LABEL)
    common.legend(figure, axes)
    return figure
