"""The table of the page about choosing β: does one β serve all languages, and does a temperature do better?"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from polycal.report import findings, study_holes, study_tables
from polycal.report.study_tables import StudyTables

TITLES = {
    ("english", "beta"): "β of English",
    ("resource", "beta"): "β of each level",
    ("language", "beta"): "β of each language",
    ("english", "temperature"): "One temperature, β = 0",
    ("english", "beta_and_temperature"): "β of English and one temperature",
}
"""Column titles by what the choice is made on and what is chosen."""
MOST_NAMES = 9
"""Number of languages that a cell names. More are counted; the table ``chosen_beta`` has them."""
KEYS = ["benchmark", "protocol", "model", "base_seed", "data", "recipe", "seed"]


def chosen_beta(study: StudyTables) -> pd.DataFrame:
    """One row per model, data set and benchmark: the cut of mean ECE by each choice, as texts.

    If there are several trainings, only their mean is shown. The last column counts the languages in which the
    β chosen on English serves as well as the language's own, and names the others if they are few. A choice that lacks a cell
    is FAILED. The table is empty if no β was chosen.
    """
    table = study.get("chosen_beta")
    if table.empty:
        return pd.DataFrame()
    table = study_tables.over_trainings(table)
    several = study_tables.distinguishing(table)
    shown = [key for key in KEYS if key in several or key not in ("base_seed", "recipe", "seed")]
    rows = []
    for names, group in table.groupby(KEYS, sort=True):
        keys = dict(zip(KEYS, names, strict=True))
        means = {
            (row["chosen_on"], row["method"]): row
            for row in group[group.language == "mean"].to_dict("records")
        }
        row: dict[str, Any] = {key.capitalize().replace("_", " "): keys[key] for key in shown}
        row["ECE, β = 0"] = _ece(means["none", "unsmoothed"])
        for choice, title in TITLES.items():
            row[title] = _cut(means[choice]) if choice in means else ""
        row["Does the β of English serve?"] = _served(study, group)
        rows.append(row)
    return pd.DataFrame(rows)


def _ece(row: Mapping[Any, Any]) -> str:
    if row["holes"]:
        return study_holes.FAILED
    return f"{row['ece']:.3f} [{row['ece_low']:.3f}, {row['ece_high']:.3f}]"


def _cut(row: Mapping[Any, Any]) -> str:
    """The cut of ECE with the temperature, or with the change of accuracy and the chosen β."""
    if row["holes"]:
        return study_holes.FAILED
    cut = findings.relative_reduction(row)
    if row["method"] == "temperature":
        return f"{cut}, T = {row['temperature']:.2f}"
    value, low, high = (row[f"accuracy_change{end}"] for end in ("", "_low", "_high"))
    beta = row["choices"] if row["beta"] == "several" else row["beta"]
    return f"{cut}, accuracy {value:+.3f} [{low:+.3f}, {high:+.3f}], β = {beta}"


def _served(study: StudyTables, group: pd.DataFrame) -> str:
    """In how many languages the β of English serves, and the names of the others, or their number if they are many."""
    own = group[(group.language != "mean") & (group.chosen_on == "language")]
    known = own[own.english_serves != ""]
    if known.empty:
        return ""
    parts = [f"{int((known.english_serves == 'yes').sum())} of {len(known)}"]
    for verdict in ("no", "unclear"):
        names = [study.language_name(code) for code in known[known.english_serves == verdict].language]
        if names:
            listed = ", ".join(names) if len(names) <= MOST_NAMES else f"{len(names)} languages"
            parts.append(f"{verdict}: {listed}")
    return "; ".join(parts)
