"""What further runs of the models say: diversity of prompt embeddings, next tokens, languages of the instructions."""

from collections.abc import Callable
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from polycal.report import study_tables
from polycal.report.figures import draw
from polycal.report.study_tables import COLOURS, MARKERS, Study

TITLES = {
    "diversity": "Do languages that lose diversity lose calibration?",
    "nexttoken": "Calibration of next tokens",
    "ablation": "Languages of the instruction data",
}
CAPTIONS = {
    "diversity": "Each point is a language and checkpoint: change of the log of the smallest singular value of the prompt"
    " embeddings’ covariance (shrunk) from the base model, and change of ECE. The paper’s account asks for points at the"
    " upper left.",
    "nexttoken": "Top token of held-out conversations, all languages together: ECE with 95% intervals from resampled"
    " conversations, and confidence less accuracy.",
    "ablation": "Confidence less accuracy in each language after tuning on English alone, on a set’s own mixture, and on as"
    " many rows of each language; base and tuned models without smoothing.",
}
MIXTURES = ("english", "natural", "balanced")


def drawings(study: Study) -> dict[str, Callable[[], Figure]]:
    """Figures by name that the study's tables allow."""
    wanted: dict[str, Callable[[], Figure]] = {}
    if "diversity" in study.tables:
        for benchmark in sorted(set(study["diversity"].benchmark)):
            wanted[f"diversity-{benchmark}"] = partial(diversity, study, benchmark)
    if "next_token" in study.tables:
        for heldout in sorted(set(study["next_token"].benchmark)):
            wanted[f"nexttoken-{heldout}"] = partial(next_tokens, study, heldout)
    for model, benchmark, protocol in sorted({(one[0], one[4], one[5]) for one in study.tuned()}):
        if len(mixtures(study, model, benchmark, protocol)) > 1:
            name = f"ablation-{model}-{benchmark}-{protocol}"
            wanted[name] = partial(ablation, study, model, benchmark, protocol)
    return wanted


def mixtures(study: Study, model: str, benchmark: str, protocol: str) -> list[str]:
    """The data sets of a series that are one set in several mixtures, named ``…-english``, ``…-natural``, ``…-balanced``."""
    chosen = {one[1] for one in study.tuned() if (one[0], one[4], one[5]) == (model, benchmark, protocol)}
    stems = {name.rsplit("-", 1)[0] for name in chosen if name.rsplit("-", 1)[-1] in MIXTURES}
    return [f"{stem}-{kind}" for stem in sorted(stems) for kind in MIXTURES if f"{stem}-{kind}" in chosen]


def diversity(study: Study, benchmark: str) -> Figure:
    """Change of ECE against change of diversity from the base, a point a language and checkpoint; a panel a model."""
    keys = ["model", "data", "recipe", "beta", "seed", "benchmark", "protocol", "language"]
    found = study["diversity"].merge(study["cells"][[*keys, "ece"]], on=keys)
    found = found[found.benchmark == benchmark].assign(log=lambda t: np.log(t.smallest_shrunk))
    models = sorted(set(found.model))
    size = (1 + 3.6 * len(models), 4.0)
    figure, axes = plt.subplots(1, len(models), figsize=size, squeeze=False, sharex=True, sharey=True)
    for model, axis in zip(models, axes[0], strict=True):
        mine = found[found.model == model]
        base = mine[mine.beta == "none"].set_index("language")[["log", "ece"]]
        for place, beta in enumerate(sorted(set(mine.beta) - {"none"}, key=float), start=1):
            rows = mine[mine.beta == beta]
            before = base.reindex(rows.language)
            colour, marker = study_tables.mark(place)
            axis.scatter(
                rows.log.to_numpy() - before.log.to_numpy(),
                rows.ece.to_numpy() - before.ece.to_numpy(),
                color=colour,
                marker=marker,
                s=22,
                alpha=0.75,
                label=study_tables.setting(beta),
            )
        axis.axhline(0, color="black", linewidth=0.6)
        axis.axvline(0, color="black", linewidth=0.6)
        axis.set_title(model, fontsize=10)
    draw.label(figure, "change of log smallest singular value (right: more diverse)", "change of ECE")
    draw.legend(figure, axes)
    return figure


def next_tokens(study: Study, heldout: str) -> Figure:
    """ECE and confidence less accuracy of the top token by setting; a column a model, a mark a data set."""
    found = study["next_token"]
    found = found[(found.benchmark == heldout) & (found.language == "all")]
    found = found.assign(setting=[study_tables.setting(beta) for beta in found.beta])
    models, names = sorted(set(found.model)), study_tables.settings(found)
    data = sorted(set(found.data) - {"none"})
    size = (1 + 3.4 * len(models), 5.4)
    figure, axes = plt.subplots(2, len(models), figsize=size, squeeze=False, sharex=True, sharey="row")
    for column, model in enumerate(models):
        for place, one in enumerate(data):
            rows = found[(found.model == model) & found.data.isin([one, "none"])]
            rows = rows.set_index("setting").reindex(names)
            x = np.arange(len(names)) + (place - (len(data) - 1) / 2) * 0.15
            for axis, metric in zip(axes[:, column], ("ece", "gap"), strict=True):
                error = np.abs(
                    np.stack([rows[metric] - rows[f"{metric}_low"], rows[f"{metric}_high"] - rows[metric]])
                )
                axis.errorbar(
                    x,
                    rows[metric],
                    yerr=error,
                    fmt=MARKERS[place % len(MARKERS)],
                    color=COLOURS[(1 + place) % len(COLOURS)],
                    markersize=5,
                    label=one,
                )
        axes[0][column].set_title(model, fontsize=10)
        axes[1][column].axhline(0, color="black", linewidth=0.6)
        axes[1][column].set_xticks(range(len(names)), names, fontsize=9)
    axes[0][0].set_ylim(bottom=0)
    axes[0][0].set_ylabel("ECE of the top token", fontsize=9)
    axes[1][0].set_ylabel("confidence less accuracy", fontsize=9)
    draw.legend(figure, axes)
    return figure


def ablation(study: Study, model: str, benchmark: str, protocol: str) -> Figure:
    """Confidence less accuracy by language and mixture, of the base and the unsmoothed models."""
    cells = study["cells"]
    here = cells[(cells.model == model) & (cells.benchmark == benchmark) & (cells.protocol == protocol)]
    chosen = mixtures(study, model, benchmark, protocol)
    base = here[here.beta == "none"].assign(setting="base")
    tuned = here[(here.beta == "0") & here.data.isin(chosen)]
    found = pd.concat([base, tuned.assign(setting=tuned.data)])
    figure, axis = plt.subplots(figsize=(7, 1.1 + 0.42 * found.language.nunique()), squeeze=False)
    draw.by_language(axis[0][0], study, found, "gap", named=True, names=["base", *chosen])
    axis[0][0].axvline(0, color="black", linewidth=0.8)
    axis[0][0].set_title(f"{model}, {benchmark}", fontsize=11)
    draw.label(figure, "confidence less accuracy (right of 0: over-confident)", "")
    draw.legend(figure, axis)
    return figure
