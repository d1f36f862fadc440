"""ECE against the true distribution of answers, where it is known."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from polycal.report import study_tables, style
from polycal.report.figures import common
from polycal.report.study_tables import StudyTables

SERIES = {"ece": "against the answers", "ece_true": "against the true probabilities"}


def against_truth(study: StudyTables, benchmark: str, protocol: str) -> Figure:
    """Mean ECE by setting, against the benchmark's answers and against the true probabilities.

    There is one column per model and one row per data set. The dotted line is the ECE of the true
    distribution itself.
    """
    sweeps = study.beta_sweeps(benchmark, protocol)
    figure, axes, placed = common.panels(study, sweeps, heading=1.2, height=2.6)
    truth = study["truth"]
    known = truth[(truth.model == "truth") & (truth.benchmark == benchmark)]
    asked = {code for sweep in sweeps for code in study.rows_with_holes("cells", sweep).language}
    chance = known.ece.mean() if asked <= set(known.language) else float("nan")
    looks = {label: style.mark(number) for number, label in enumerate(SERIES.values(), start=1)}
    markers = {"against the answers": "o", "against the true probabilities": "s"}
    rows_of = {sweep: study.rows_with_holes("truth", sweep) for sweep in sweeps}
    settings = study_tables.setting_names(pd.concat(rows_of.values()))
    for sweep, axis in placed:
        means = study_tables.complete_means(rows_of[sweep], "setting", list(SERIES))
        positions = range(len(settings))
        # the line skips a setting that the sweep does not have, and is broken at one that failed
        shown = [position for position in positions if settings[position] in means.index]
        for column, label in SERIES.items():
            values = means[column].reindex([settings[position] for position in shown])
            line = pd.DataFrame({"x": shown, "y": values.to_numpy()})
            look = {"marker": markers[label], "markeredgewidth": 0, "markersize": 7, "color": looks[label][0]}
            common.broken_line(axis, line, "x", "y", **look)
        if not np.isnan(chance):
            axis.axhline(
                chance, color="black", linewidth=0.8, linestyle=":", label="the true distribution itself"
            )
        axis.set(xlabel="", ylabel="")
        axis.set_xticks(positions, settings, fontsize=style.TICK_SIZE)
        axis.margins(x=0.15)
    axes[0][0].set_ylim(bottom=0)
    common.axis_labels(figure, "", "expected calibration error, mean over languages")
    lines = {
        label: Line2D([], [], color=colour, marker=markers[label]) for label, (colour, _) in looks.items()
    }
    common.legend(figure, axes, lines)
    return figure
