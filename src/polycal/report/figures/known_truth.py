"""ECE against the true distribution of answers, where it is known."""

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from polycal.report import study_tables, style
from polycal.report.figures import common
from polycal.report.study_tables import StudyTables

SERIES = {"ece": "against the answers", "ece_true": "against the true probabilities"}


def against_truth(study: StudyTables, benchmark: str, protocol: str) -> Figure:
    """Mean ECE by setting, over the benchmark's answers and over the true probabilities.

    A column per model, a row per data set; the dotted line is the ECE of the true distribution itself.
    """
    sweeps = study.beta_sweeps(benchmark, protocol)
    figure, axes, placed = common.panels(study, sweeps, heading=1.2, height=2.6)
    truth = study["truth"]
    chance = truth[(truth.model == "truth") & (truth.benchmark == benchmark)].ece.mean()
    looks = {label: style.mark(number) for number, label in enumerate(SERIES.values(), start=1)}
    markers = {"against the answers": "o", "against the true probabilities": "s"}
    settings = study_tables.setting_names(pd.concat([study.rows("truth", sweep) for sweep in sweeps]))
    for sweep, axis in placed:
        rows = study.rows("truth", sweep)
        means = rows.groupby("setting")[list(SERIES)].mean().reindex(settings)
        positions = range(len(settings))
        for column, label in SERIES.items():
            line = pd.DataFrame({"x": positions, "y": means[column].to_numpy()})
            sns.lineplot(
                data=line,
                x="x",
                y="y",
                estimator=None,
                marker=markers[label],
                markeredgewidth=0,
                markersize=7,
                color=looks[label][0],
                legend=False,
                ax=axis,
            )
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
