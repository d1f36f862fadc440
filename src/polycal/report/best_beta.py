"""What smoothing costs: ECE against accuracy as β rises, and the best β that keeps accuracy, per language."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from polycal.report import study_tables
from polycal.report.study_tables import Study

LOSS = 0.01
"""Accuracy that the best β may lose against β = 0."""
MEAN = "mean over languages"


def best_beta(study: Study) -> pd.DataFrame:
    """A row a tuned series and language, the mean over languages last: the β of lowest ECE whose accuracy is less
    than ``LOSS`` below that of β = 0; of equal ECE the lower β. Series without β = 0, or with nothing else, have no row.

    ``ece_change`` and ``accuracy_change`` against β = 0 have 95% intervals of the chosen β as if it had been
    chosen beforehand: the best of several looks a little better than it is.
    """
    rows = []
    for one in study.tuned():
        for language, found in _by_language(study, one):
            tuned = found[found.value >= 0]
            if not (tuned.value == 0).any() or len(tuned) < 2:
                continue
            start = tuned[tuned.value == 0].iloc[0]
            kept = tuned[tuned.accuracy > start.accuracy - LOSS]
            best = kept.sort_values(["ece", "value"]).iloc[0]
            rows.append(
                {
                    **dict(zip(study_tables.FIXED, one, strict=True)),
                    "language": language,
                    "best_beta": best.beta,
                    "ece": best.ece,
                    "ece_unsmoothed": start.ece,
                    "accuracy": best.accuracy,
                    "accuracy_unsmoothed": start.accuracy,
                    **_changes(study, one, language, best.beta),
                }
            )
    return pd.DataFrame(rows)


def _changes(study: Study, one: tuple[str, ...], language: str, beta: str) -> dict[str, float]:
    """Change of ECE and accuracy from β = 0 to ``beta`` with their intervals; none for β = 0 itself."""
    found = study.smoothed(one)
    if beta == "0" or found.empty:
        return {}
    found = found[(found.beta == beta) & (found.language == ("mean" if language == MEAN else language))]
    changes: dict[str, float] = {}
    for metric in ("ece", "accuracy"):
        for row in found[found.metric == metric].to_dict("records"):
            ends = {"difference": "change", "low": "change_low", "high": "change_high"}
            changes |= {f"{metric}_{name}": row[end] for end, name in ends.items()}
    return changes


def write(study: Study, folder: Path) -> None:
    """Write ``best-beta.csv`` below ``folder``; nothing where no series is smoothed."""
    found = best_beta(study)
    if len(found):
        aside = folder / ".best-beta.csv.part"
        aside.write_text(found.round(4).to_csv(index=False), encoding="utf-8")
        aside.replace(folder / "best-beta.csv")


def ece_by_accuracy(study: Study, one: tuple[str, ...]) -> Figure:
    """ECE against accuracy as β rises, a panel a language and one for their mean; grey is the base model.

    Points left of the dotted line have lost ``LOSS`` of accuracy or more against β = 0. The dashed line is the
    noise floor: what a perfectly calibrated model of these confidences would show.
    """
    panels = _by_language(study, one)
    columns = min(4, len(panels))
    lines = -(-len(panels) // columns)
    size = (0.8 + 2.7 * columns, 0.8 + 2.3 * lines)
    figure, axes = plt.subplots(lines, columns, figsize=size, squeeze=False)
    for axis, (language, found) in zip(axes.flat, panels, strict=False):
        path(axis, found)
        for start in found[found.value == 0].accuracy:
            axis.axvline(start - LOSS, color="black", linewidth=0.7, linestyle=":")
        noise_floor(axis, found)
        axis.set_title(study.languages.get(language, language), fontsize=9)
        axis.tick_params(labelsize=7)
        axis.locator_params(axis="x", nbins=4)
        axis.set_ylim(bottom=0)
    for axis in list(axes.flat)[len(panels) :]:
        axis.set_visible(False)
    figure.suptitle(f"{one[0]} tuned on {one[1]}, {one[4]}", fontsize=11, x=0.01, ha="left")
    figure.supxlabel("accuracy", fontsize=10)
    figure.supylabel("expected calibration error", fontsize=10)
    handles, names = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper right", ncol=len(names), fontsize=9)
    return figure


def path(axis: Any, found: pd.DataFrame, line: str = "-", name: str = "") -> None:
    """Draw ECE against accuracy from β = 0 on: settings keep their colour and shape, the base stands alone.

    ``found`` has beta, accuracy and ece, a row a setting; ``line`` is the style of the connecting line and
    ``name`` its entry in the legend.
    """
    order = sorted(found.beta, key=lambda beta: -1.0 if beta == "none" else float(beta))
    rows = found.set_index("beta").loc[order]
    tuned = rows[rows.index != "none"]
    axis.plot(tuned.accuracy, tuned.ece, color="#999999", linewidth=1, linestyle=line, label=name or None)
    for place, beta in enumerate(order, start=int("none" not in order)):
        at, (colour, marker) = rows.loc[beta], study_tables.mark(place)
        axis.scatter(at.accuracy, at.ece, color=colour, marker=marker, s=32, label=study_tables.setting(beta))


def noise_floor(axis: Any, found: pd.DataFrame) -> None:
    """Draw the mean noise floor of the tuned checkpoints among ``found``, which has beta and ece_floor."""
    floor = found[found.beta != "none"].ece_floor.mean()
    axis.axhline(floor, color="black", linewidth=0.9, linestyle="--", label="noise floor")


def _by_language(study: Study, one: tuple[str, ...]) -> list[tuple[str, pd.DataFrame]]:
    """(language, its cells by rising β, the base at -1), in the order of resource levels; then the mean."""
    cells: Any = study.of("cells", one)
    means = study.of("means", one)
    floors = cells.groupby("beta").ece_floor.mean()
    overall = means[means.group == "all"].assign(language=MEAN)
    overall["ece_floor"] = overall.beta.map(floors)
    columns = ["language", "beta", "accuracy", "ece", "ece_floor"]
    found = pd.concat([cells[columns], overall[columns]])
    found["value"] = np.array([-1.0 if beta == "none" else float(beta) for beta in found.beta])
    order = [*study_tables.in_order(cells), MEAN]
    return [(name, found[found.language == name].sort_values("value")) for name in order]
