"""The study's claims for each measure of confidence: in how many comparisons each holds, and in how many surely."""

from collections.abc import Mapping

import pandas as pd

from polycal.report import confidence_table, study_holes, study_tables
from polycal.report.study_tables import StudyTables

CLAIMS = {
    "Tuning raises confidence minus accuracy": ("tuned_minus_base", "gap", 1),
    "Tuning raises ECE": ("tuned_minus_base", "ece", 1),
    "Smoothing lowers confidence minus accuracy": ("smoothed_minus_unsmoothed", "gap", -1),
    "Smoothing lowers ECE": ("smoothed_minus_unsmoothed", "ece", -1),
    "Smoothing raises AUROC": ("smoothed_minus_unsmoothed", "auroc", 1),
}
"""Claims, each with its contrast, its metric and the sign of the difference that it predicts."""
UNSMOOTHED = "0"


def table(
    study: StudyTables,
    name: str = "confidence_contrasts",
    measures: Mapping[str, str] = confidence_table.MEASURES,
) -> pd.DataFrame:
    """One row for each claim, measure and β, as texts: over models, data sets, benchmarks and protocols.

    ``name`` is the table with the differences, and ``measures`` are the names of its measures of confidence.

    ``Holds`` counts the comparisons of means over languages whose difference has the sign of the claim, and
    ``surely`` those whose 95% interval excludes zero too. ``Against`` counts the intervals on the other side.
    ``Languages`` counts single languages in the same way. Comparisons that lack a cell are not counted. If there
    are several trainings, their means are compared. Claims about tuning are about β = 0.
    """
    contrasts = study.get(name)
    if contrasts.empty:
        return pd.DataFrame()
    contrasts = study_tables.over_trainings(contrasts)
    rows = []
    for claim, (contrast, metric, sign) in CLAIMS.items():
        of_claim = contrasts[contrasts.contrast == contrast]
        if contrast == "tuned_minus_base":
            of_claim = of_claim[of_claim.beta == UNSMOOTHED]
        for beta in sorted(set(of_claim.beta), key=float):
            of_beta = of_claim[of_claim.beta == beta]
            for measure in [one for one in measures if one in set(of_beta.measure)]:
                chosen = of_beta[of_beta.measure == measure]
                rows.append(
                    {
                        "Claim": claim,
                        "β": beta,
                        "Confidence": measures[measure],
                        **_counted(chosen, metric, sign),
                    }
                )
    return pd.DataFrame(rows)


def _counted(rows: pd.DataFrame, metric: str, sign: int) -> dict[str, str]:
    """How often ``rows`` have the sign of a claim."""
    means = rows[(rows.language == "mean") & (rows.resource == "all")]
    lost = int((study_tables.hole_counts(means) > 0).sum())
    known = means[means[metric].notna()]
    languages = rows[(rows.language != "mean") & rows[metric].notna()]
    texts = [f"{(sign * known[metric] > 0).sum()} of {len(known)}"] if len(known) else []
    return {
        "Holds": "; ".join([*texts, *([f"{lost} {study_holes.FAILED}"] if lost else [])]),
        "surely": str(_surely(known, metric, sign)) if len(known) else "",
        "Against, surely": str(_surely(known, metric, -sign)) if len(known) else "",
        "Languages, surely": f"{_surely(languages, metric, sign)} of {len(languages)}",
    }


def _surely(rows: pd.DataFrame, metric: str, sign: int) -> int:
    """The number of ``rows`` whose whole interval is on the side of ``sign``."""
    bound = rows[f"{metric}_low"] if sign > 0 else -rows[f"{metric}_high"]
    return int((bound > 0).sum())
