"""What a study found, in sentences with numbers: each of the paper's claims beside what was measured here."""

from dataclasses import dataclass

import pandas as pd

from polycal.series import Study

ACCURACY_KEPT = 0.005
"""Change of accuracy that the paper still calls none (arXiv 2601.01362)."""


@dataclass(frozen=True)
class Finding:
    """A claim of the paper, what the records say of it, and whether the two agree."""

    claim: str
    found: str
    agrees: bool


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
                surely == len(gap),
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
                gained <= 0.05 * len(accuracy),
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
        made.append(
            Finding(
                f"Smoothing with β = {beta} lowers ECE, by up to half at β = 0.1 (published: 0.171 to 0.087).",
                f"{where}: ECE fell by {parts}.",
                bool((ece.cut_low > 0).all() and (beta != "0.1" or ece.cut.max() >= 0.4)),
            )
        )
        worst = kept.loc[kept.difference.abs().idxmax()] if len(kept) else None
        if worst is not None:
            made.append(
                Finding(
                    f"Smoothing with β = {beta} moves accuracy by at most {ACCURACY_KEPT}.",
                    f"{where}: the largest change is {worst.difference:+.3f} [{worst.low:+.3f}, {worst.high:+.3f}]"
                    f" ({worst.model} on {worst.data}).",
                    bool(kept.difference.abs().max() <= ACCURACY_KEPT),
                )
            )
    return made
