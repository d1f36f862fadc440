"""What else the records say of the claims: rival cures, other conventions, and the truth where it is known."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from polycal.report import study_tables
from polycal.report.figures import draw
from polycal.report.study_tables import COLOURS, MARKERS, Study

CURES = {
    "none": "as it is",
    "english": "one temperature, from English",
    "resource": "one a resource level",
    "language": "one a language",
}
CLAIMS = {
    "tuning_raises_overconfidence": "Tuning raises confidence less accuracy",
    "tuning_raises_overconfidence_everywhere": "… in every language",
    "tuning_raises_ece": "Tuning raises ECE",
    "tuning_raises_ece_everywhere": "… in every language",
    "smoothing_cuts_ece": "Smoothing cuts ECE",
    "smoothing_cuts_ece_everywhere": "… in every language",
    "smoothing_keeps_accuracy": "Smoothing keeps accuracy (to .005)",
    "smoothing_keeps_accuracy_everywhere": "… in every language",
}
TITLES = {
    "cure": "Smoothing against a temperature fitted afterwards",
    "cures": "Smoothing against a temperature, language by language",
    "truth": "Against the true answers",
}
CAPTIONS = {
    "cure": "Mean ECE over languages with 95% intervals, on the questions that served no fit. A temperature is fitted on a"
    " fifth of the question ids: on English alone, for each resource level, or for each language. Black bars are the noise"
    " floor of the models as they are.",
    "cures": "ECE of each language with 95% intervals: without and with smoothing, each as it is and with the one"
    " temperature fitted on English questions.",
    "truth": "Mean ECE over languages: against the benchmark's answers, which are one draw each, and against the true chance"
    " that the chosen option is right. The dotted line is what the true distribution itself scores: chance alone.",
}


def drawings(study: Study) -> dict[str, Callable[[], Figure]]:
    """Figures by name that the study's tables allow."""
    cures, wanted = study.tables.get("cures", pd.DataFrame()), dict[str, Callable[[], Figure]]()
    asked = sorted({(one[4], one[5]) for one in study.tuned()})
    for benchmark, protocol in asked if len(cures) else ():
        wanted[f"cure-{benchmark}-{protocol}"] = partial(cured_means, study, benchmark, protocol)
    for one in study.tuned() if len(cures) else ():
        name = "-".join((one[0], one[1], one[4], one[5]))
        wanted[f"cures-{name}"] = partial(cured_languages, study, one)
    known = study.tables.get("truth", pd.DataFrame(columns=["benchmark", "protocol"]))
    for benchmark, protocol in asked:
        if ((known.benchmark == benchmark) & (known.protocol == protocol)).any():
            wanted[f"truth-{benchmark}-{protocol}"] = partial(against_truth, study, benchmark, protocol)
    return wanted


def cured_means(study: Study, benchmark: str, protocol: str) -> Figure:
    """Mean ECE by setting and cure; a column a model, a row a data set."""
    figure, axes, chosen = _panels(study, benchmark, protocol)
    for one, axis in chosen:
        found = study.of("cures", one)
        found = found[found.language == "mean"]
        names = study_tables.settings(found)
        floor = study.of("cells", one).groupby("setting").ece_floor.mean()
        for place, (cure, title) in enumerate(CURES.items()):
            rows = found[found.cure == cure].set_index("setting").reindex(names)
            x = np.arange(len(names)) + (place - 1.5) * 0.18
            error = np.abs(np.stack([rows.ece - rows.ece_low, rows.ece_high - rows.ece]))
            axis.errorbar(
                x, rows.ece, yerr=error, fmt=MARKERS[place], color=COLOURS[place], markersize=5, label=title
            )
        at = np.arange(len(names))
        axis.hlines(floor.reindex(names), at - 0.4, at + 0.4, color="black", linewidth=1, label="noise floor")
        axis.set_xticks(at, names, fontsize=9)
        axis.set_title(f"{one[0]} tuned on {one[1]}", fontsize=10)
    axes[0][0].set_ylim(bottom=0)
    draw.label(figure, "", "expected calibration error, mean over languages")
    draw.legend(figure, axes)
    return figure


def cured_languages(study: Study, one: tuple[str, ...]) -> Figure:
    """ECE of each language: β = 0 and the largest β up to 0.1, as they are and with the English temperature."""
    found = study.of("cures", one)
    levels = study["cells"].drop_duplicates("language").set_index("language").resource
    found = found[found.language != "mean"].assign(resource=lambda t: t.language.map(levels))
    betas = sorted({b for b in found.beta if b != "none"}, key=float)
    shown = [betas[0], *[b for b in betas[1:] if float(b) <= 0.1][-1:]]
    ways = [cure for cure in ("none", "english", "language") if (found.cure == cure).any()][:2]
    words = {"none": "", "english": ", temperature from English", "language": ", temperature of its own"}
    names = [study_tables.setting(beta) + words[way] for way in ways for beta in shown]
    found = found.assign(
        setting=[
            study_tables.setting(b) + words.get(w, w) for b, w in zip(found.beta, found.cure, strict=True)
        ]
    )
    figure, axis = plt.subplots(figsize=(7, 1.1 + 0.42 * found.language.nunique()), squeeze=False)
    draw.by_language(axis[0][0], study, found, "ece", named=True, names=names, first=1)
    axis[0][0].set_xlim(left=0)
    axis[0][0].set_title(f"{one[0]} tuned on {one[1]}, {one[4]}", fontsize=11)
    draw.label(figure, "expected calibration error", "")
    draw.legend(figure, axis)
    return figure


def against_truth(study: Study, benchmark: str, protocol: str) -> Figure:
    """Mean ECE by setting, over the gold answers and over the true chances; a column a model, a row a data set."""
    figure, axes, chosen = _panels(study, benchmark, protocol)
    known = study["truth"]
    chance = known[(known.model == "truth") & (known.benchmark == benchmark)].ece.mean()
    for one, axis in chosen:
        found = study.of("truth", one)
        names = study_tables.settings(found)
        mean = found.groupby("setting")[["ece", "ece_true"]].mean().reindex(names)
        at = np.arange(len(names))
        axis.plot(at, mean.ece, marker="o", color=COLOURS[1], label="against the answers drawn")
        axis.plot(at, mean.ece_true, marker="s", color=COLOURS[2], label="against the true chances")
        axis.axhline(chance, color="black", linewidth=0.8, linestyle=":", label="the truth itself")
        axis.set_xticks(at, names, fontsize=9)
        axis.margins(x=0.15)
        axis.set_title(f"{one[0]} tuned on {one[1]}", fontsize=10)
    axes[0][0].set_ylim(bottom=0)
    draw.label(figure, "", "expected calibration error, mean over languages")
    draw.legend(figure, axes)
    return figure


def _panels(study: Study, benchmark: str, protocol: str) -> tuple[Figure, Any, list[tuple[Any, Any]]]:
    """A grid of axes, models by data sets, and each tuned series of the benchmark with its axis."""
    chosen = [one for one in study.tuned() if one[4] == benchmark and one[5] == protocol]
    models, data = sorted({one[0] for one in chosen}), sorted({one[1] for one in chosen})
    size = (1 + 3.6 * len(models), 1.2 + 2.6 * len(data))
    figure, axes = plt.subplots(len(data), len(models), figsize=size, squeeze=False, sharex=True, sharey=True)
    return figure, axes, [(one, axes[data.index(one[1])][models.index(one[0])]) for one in chosen]


def conventions(study: Study) -> pd.DataFrame:
    """In how many conventions each claim holds, over models and data sets, and which reverse it; as texts.

    ``Reversed under`` names the choices (protocol, normalisation, bins, weighting) under which the claim fails
    at least half of the time and clearly more often than overall; the table ``claims`` names every convention.
    """
    found = study.tables.get("sensitivity", pd.DataFrame())
    rows = []
    for name, title in CLAIMS.items():
        mine = found[found.claim == name] if len(found) else found
        for (beta, benchmark), some in mine.groupby(["beta", "benchmark"]) if len(mine) else ():
            rows.append(
                {
                    "Claim": title,
                    "β": beta,
                    "Benchmark": benchmark,
                    "Holds": f"{some.holds.sum()} of {len(some)}",
                    "Least": f"{some.estimate.min():+.3f}",
                    "Median": f"{some.estimate.median():+.3f}",
                    "Most": f"{some.estimate.max():+.3f}",
                    "Reversed under": "; ".join(_reversing(some)),
                }
            )
    return pd.DataFrame(rows)


def _reversing(some: pd.DataFrame) -> list[str]:
    words = {
        "protocol": "{}",
        "normalise": "{} log-likelihoods",
        "binning": "bins of equal {}",
        "bins": "{} bins",
        "weighting": "weighting by {}",
    }
    said, overall = [], float((~some.holds).mean())
    for column, text in words.items():
        for value, part in some.groupby(column):
            failed = int((~part.holds).sum())
            if failed / len(part) >= max(0.5, overall + 0.1):
                said.append(f"{text.format(value)} ({failed} of {len(part)})")
    return said


def tables(study: Study) -> Mapping[str, pd.DataFrame]:
    """Tables by name: claims and cures in full, and the conventions as the report shows them."""
    found = {"conventions": conventions(study)}
    for name in ("claims", "cures", "truth"):
        if name in study.tables:
            found[name] = study[name]
    return {name: table for name, table in found.items() if len(table)}
