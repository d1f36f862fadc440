"""How the claims depend on conventions: a summary of the table ``sensitivity``, and the tables in full."""

from collections.abc import Mapping

import pandas as pd

from polycal.report import study_holes, study_tables
from polycal.report.study_tables import StudyTables

CLAIMS = {
    "tuning_raises_overconfidence": "Tuning raises confidence minus accuracy",
    "tuning_raises_overconfidence_everywhere": "… in every language",
    "tuning_raises_ece": "Tuning raises ECE",
    "tuning_raises_ece_everywhere": "… in every language",
    "smoothing_cuts_ece": "Smoothing cuts ECE",
    "smoothing_cuts_ece_everywhere": "… in every language",
    "smoothing_keeps_accuracy": "Smoothing keeps accuracy (to 0.005)",
    "smoothing_keeps_accuracy_everywhere": "… in every language",
}
CHOICES = {
    "protocol": "{}",
    "normalise": "{} log-likelihoods",
    "binning": "bins of equal {}",
    "bins": "{} bins",
    "weighting": "weighting by {}",
}
"""Columns of the sensitivity table that are conventions, and how their values are worded."""
IN_FULL = ("claims", "recalibration", "truth", "confidences", "confidence_contrasts")
"""Measured tables that are written as CSV without changes."""


def conventions(study: StudyTables) -> pd.DataFrame:
    """For each claim, over models and data sets: under how many conventions it holds and which reverse it.

    All values are texts. ``Reversed under`` lists the choices (protocol, normalisation, bins, weighting)
    under which the claim fails in at least half of the cases and clearly more often than overall. The table
    ``claims`` lists every convention. A comparison with a missing cell is not counted, and ``Holds`` says so.
    """
    table, claims = study.get("sensitivity"), study.get("claims")
    lost = claims[study_tables.hole_counts(claims) > 0]
    rows = []
    for claim, title in CLAIMS.items():
        keys = set[tuple[str, str]]()
        for part in (table, lost):
            if len(part):
                named = part[part.claim == claim]
                keys |= set(zip(named.beta, named.benchmark, strict=True))
        for beta, benchmark in sorted(keys):
            rows.append(
                {
                    "Claim": title,
                    "β": beta,
                    "Benchmark": benchmark,
                    **_counted(_about(table, claim, beta, benchmark), _about(lost, claim, beta, benchmark)),
                }
            )
    return pd.DataFrame(rows)


def _about(table: pd.DataFrame, claim: str, beta: str, benchmark: str) -> pd.DataFrame:
    if table.empty:
        return table
    return table[(table.claim == claim) & (table.beta == beta) & (table.benchmark == benchmark)]


def _counted(cases: pd.DataFrame, lost: pd.DataFrame) -> dict[str, str]:
    """How often a claim holds in ``cases``, and how many comparisons have a missing cell."""
    not_counted = f"{len(lost)} {study_holes.FAILED}" if len(lost) else ""
    if cases.empty:
        return {"Holds": not_counted, **dict.fromkeys(("Least", "Median", "Most", "Reversed under"), "")}
    return {
        "Holds": "; ".join(filter(None, (f"{cases.holds.sum()} of {len(cases)}", not_counted))),
        "Least": f"{cases.estimate.min():+.3f}",
        "Median": f"{cases.estimate.median():+.3f}",
        "Most": f"{cases.estimate.max():+.3f}",
        "Reversed under": "; ".join(_reversing_choices(cases)),
    }


def _reversing_choices(cases: pd.DataFrame) -> list[str]:
    choices, overall = [], float((~cases.holds).mean())
    for column, text in CHOICES.items():
        for value, chosen in cases.groupby(column):
            failed = int((~chosen.holds).sum())
            if failed / len(chosen) >= max(0.5, overall + 0.1):
                choices.append(f"{text.format(value)} ({failed} of {len(chosen)})")
    return choices


def tables(study: StudyTables) -> Mapping[str, pd.DataFrame]:
    """The tables by name: the conventions as in the report, and the measured tables of ``IN_FULL``."""
    shown = {"conventions": conventions(study), **{name: study.get(name) for name in IN_FULL}}
    return {name: table for name, table in shown.items() if len(table)}
