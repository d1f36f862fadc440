"""Smoothing compared with temperatures that are fitted after training."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from polycal.report import study_tables, style
from polycal.report.figures import common
from polycal.report.study_tables import BetaSweep, StudyTables

METHODS = {
    "none": "no temperature",
    "english": "one temperature, fitted on English",
    "resource": "one per resource level",
    "language": "one per language",
}
"""Legend entries of the recalibration methods, in their order."""
SUFFIXES = {
    "none": "",
    "english": ", temperature from English",
    "language": ", temperature per language",
}


def mean_ece(study: StudyTables, benchmark: str, protocol: str) -> Figure:
    """Mean ECE by setting and recalibration method; one column per model, one row per data set."""
    sweeps = study.beta_sweeps(benchmark, protocol)
    figure, axes, placed = common.panels(study, sweeps, heading=1.2, height=2.6)
    settings = study_tables.setting_names(pd.concat([study.rows("recalibration", sweep) for sweep in sweeps]))
    for sweep, axis in placed:
        rows = study.rows("recalibration", sweep)
        rows = rows[rows.language == "mean"]
        positions = np.arange(len(settings))
        for number, (method, label) in enumerate(METHODS.items()):
            chosen = rows[rows.method == method].set_index("setting").reindex(settings)
            colour, marker = style.mark(number)
            axis.errorbar(
                positions + (number - 1.5) * 0.18,
                chosen.ece,
                yerr=common.interval_lengths(chosen, "ece"),
                fmt=marker,
                color=colour,
                markersize=5,
                label=label,
            )
        cells = study.rows_with_holes("cells", sweep)
        floor = study_tables.complete_means(cells, "setting", ["ece_floor"]).ece_floor.reindex(settings)
        ends = (positions - 0.4, positions + 0.4)
        axis.hlines(floor, *ends, color="black", linewidth=1, label="noise floor")
        axis.set_xticks(positions, settings, fontsize=style.TICK_SIZE)
    axes[0][0].set_ylim(bottom=0)
    common.axis_labels(figure, "", "expected calibration error, mean over languages")
    common.legend(figure, axes)
    return figure


def ece_by_language(study: StudyTables, sweep: BetaSweep) -> Figure:
    """ECE per language for β = 0 and the largest β up to 0.1, without and with the English temperature.

    If the study has no English, the temperature of each language is used instead.
    """
    rows = study.rows("recalibration", sweep)
    levels = study.levels()
    rows = rows[rows.language != "mean"].assign(resource=lambda table: table.language.map(levels))
    betas = sorted({beta for beta in rows.beta if beta != "none"}, key=float)
    shown = [betas[0], *[beta for beta in betas[1:] if float(beta) <= 0.1][-1:]]
    methods = [method for method in SUFFIXES if (rows.method == method).any()][:2]
    settings = [study_tables.setting_name(beta) + SUFFIXES[method] for method in methods for beta in shown]
    rows = rows.assign(
        setting=[
            study_tables.setting_name(beta) + SUFFIXES.get(method, method)
            for beta, method in zip(rows.beta, rows.method, strict=True)
        ]
    )
    figure, axes = common.language_panel(study, rows, "ece", settings, common.sweep_title(study, sweep))
    axes[0][0].set_xlim(left=0)
    common.axis_labels(figure, "expected calibration error")
    common.legend(figure, axes)
    return figure
