"""What a study found, in sentences with numbers: each of the paper's claims beside what was measured here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from polycal.report.study_tables import Study

ACCURACY_KEPT = 0.005
"""Change of accuracy that the paper still calls none (arXiv 2601.01362)."""


@dataclass(frozen=True)
class Finding:
    """A claim of the paper, what the records say of it, and whether the two agree."""

    claim: str
    found: str
    agrees: Literal["yes", "partly", "no"]


def findings(study: Study) -> list[Finding]:
    """One finding a claim and benchmark that the study's contrasts allow; none for a study without tuning."""
    if "contrasts" not in study.tables or study["contrasts"].empty:
        return []
    table = study["contrasts"]
    table = table[table.seed != "all"]
    made = []
    for benchmark, protocol in sorted(set(zip(table.benchmark, table.protocol, strict=True))):
        here = table[(table.benchmark == benchmark) & (table.protocol == protocol)]
        made += _of(here, f"{benchmark}, {protocol}")
    return made


def _of(table: pd.DataFrame, where: str) -> list[Finding]:
    made = []
    each = table[~table.language.isin(["mean", "all", "high", "mid", "low"])]
    tuned = each[(each.contrast == "tuned_minus_base") & (each.beta == "0")]
    gap = tuned[tuned.metric == "gap"]
    if len(gap):
        surely = int((gap.low > 0).sum())
        made.append(
            Finding(
                "Tuning on instruction data makes models over-confident in every language, unseen ones too.",
                f"{where}: confidence less accuracy rose in {int((gap.difference > 0).sum())} of {len(gap)} cells"
                f" (interval above zero in {surely}), by {gap.difference.mean():.3f} on average.",
                _agrees(surely == len(gap), bool((gap.difference > 0).all())),
            )
        )
    accuracy = tuned[tuned.metric == "accuracy"]
    if len(accuracy):
        gained = int((accuracy.low > 0).sum())
        made.append(
            Finding(
                "Tuning does not raise accuracy.",
                f"{where}: accuracy changed by {accuracy.difference.mean():+.3f} on average; it surely rose in"
                f" {gained} of {len(accuracy)} cells.",
                # one cell in twenty may seem to rise by chance
                _agrees(gained <= 0.05 * len(accuracy), bool(accuracy.difference.mean() <= 0)),
            )
        )
    mean = table[(table.contrast == "smoothed_minus_unsmoothed") & (table.language == "mean")]
    for beta in sorted(set(mean.beta), key=float):
        ece = mean[(mean.metric == "ece") & (mean.beta == beta)]
        kept = mean[(mean.metric == "accuracy") & (mean.beta == beta)]
        if not len(ece):
            continue
        parts = "; ".join(
            f"{r.model} on {r.data} {100 * r.cut:.0f}% [{100 * r.cut_low:.0f}, {100 * r.cut_high:.0f}]"
            for r in ece.itertuples()
        )
        published = beta == "0.1"
        made.append(
            Finding(
                f"Smoothing with β = {beta} lowers ECE"
                + (", by up to half (published: 0.171 to 0.087)." if published else "."),
                f"{where}: ECE fell by {parts}.",
                _agrees(
                    bool((ece.cut_low > 0).all() and (not published or ece.cut.max() >= 0.4)),
                    bool((ece.cut > 0).all()),
                ),
            )
        )
        worst = kept.loc[kept.difference.abs().idxmax()] if len(kept) else None
        if worst is not None:
            made.append(
                Finding(
                    f"Smoothing with β = {beta} moves accuracy by at most {ACCURACY_KEPT}.",
                    f"{where}: the largest change is {worst.difference:+.3f} [{worst.low:+.3f}, {worst.high:+.3f}]"
                    f" ({worst.model} on {worst.data}).",
                    _agrees(
                        bool(kept.difference.abs().max() <= ACCURACY_KEPT),
                        bool(kept.difference.min() >= -ACCURACY_KEPT),
                    ),
                )
            )
    return made


def _agrees(wholly: bool, partly: bool) -> Literal["yes", "partly", "no"]:
    return "yes" if wholly else "partly" if partly else "no"


def summary(study: Study) -> list[str]:
    """The study in a few sentences a benchmark and protocol: plain means over models, data sets and languages."""
    means = study["means"]
    means = means[means.group == "all"]
    said = []
    for (benchmark, protocol), found in means.groupby(["benchmark", "protocol"]):
        mean = found.groupby("beta")[["accuracy", "confidence", "ece"]].mean()
        by = {str(beta): levels for beta, levels in mean.to_dict("index").items()}
        parts = [f"{benchmark}, {protocol}, mean over {int(found.languages.max())} languages:"]
        if "none" in by:
            parts.append(f"the base models answer {_levels(by['none'])}.")
        if "0" in by:
            parts.append(f"After tuning without smoothing: {_levels(by['0'])}.")
        for beta in sorted((b for b in by if b not in ("none", "0")), key=float):
            parts.append(f"With β = {beta}: {_levels(by[beta])}.")
        parts.append(_temperature(study, str(benchmark), str(protocol)))
        parts.append(_unlearned(study["cells"], str(benchmark), str(protocol)))
        said.append(" ".join(part for part in parts if part))
    return said


def _levels(row: Mapping[Any, float]) -> str:
    return f"{row['accuracy']:.1%} right at a confidence of {row['confidence']:.1%} (ECE {row['ece']:.3f})"


def _temperature(study: Study, benchmark: str, protocol: str) -> str:
    """What a single number fitted on English does to the unsmoothed models, on the questions left out of the fit."""
    cures = study.tables.get("cures")
    if cures is None or cures.empty:
        return ""
    here = cures[(cures.benchmark == benchmark) & (cures.protocol == protocol) & (cures.language == "mean")]
    ece = here[here.beta == "0"].groupby("cure").ece.mean()
    if not {"none", "english"} <= set(ece.index):
        return ""
    return (
        "A single temperature fitted on English questions afterwards takes the ECE of the unsmoothed models"
        f" from {ece['none']:.3f} to {ece['english']:.3f}."
    )


def _unlearned(cells: pd.DataFrame, benchmark: str, protocol: str) -> str:
    here = cells[(cells.benchmark == benchmark) & (cells.protocol == protocol)]
    lost = int((~here.above_chance).sum()) if "above_chance" in here else 0
    if not lost:
        return ""
    return (
        f"In {lost} of {len(here)} cells accuracy cannot be told from chance: what these cells show of"
        " calibration is that of guessing."
    )
