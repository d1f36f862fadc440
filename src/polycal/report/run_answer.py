"""The answer about untuned runs in sentences: where each is over-confident, and which is better calibrated."""

from collections.abc import Iterator
from itertools import combinations

import pandas as pd

from polycal.report import study_tables
from polycal.report.answer import Statement
from polycal.report.study_tables import StudyTables
from polycal.vocabulary import NONE

MOST_PAIRS = 3
"""Up to this number of pairs of runs on one benchmark, each has a sentence."""
SIGNIFICANT = 0.05
"""Largest q of a difference that counts."""


def answer(study: StudyTables) -> list[Statement]:
    """One statement per run, benchmark and protocol, then one per pair of runs; of untuned runs only."""
    cells = study["cells"]
    scored = cells[cells.data == NONE][["benchmark", "protocol"]].drop_duplicates()
    statements: list[Statement] = []
    for benchmark, protocol in sorted(scored.itertuples(index=False, name=None)):
        rows = study.untuned_rows("cells", benchmark, protocol)
        statements += [_run(study, str(name), part) for name, part in rows.groupby("setting", sort=True)]
        statements += _pairs(study, benchmark, protocol, rows)
    return statements


def _run(study: StudyTables, name: str, cells: pd.DataFrame) -> Statement:
    """How one run is calibrated. ``cells`` are its cells on one benchmark, one per language."""
    first = cells.iloc[0]
    over, under = int((cells.gap_low > 0).sum()), int((cells.gap_high < 0).sum())
    languages = f"{len(cells)} languages" if len(cells) > 1 else "1 language"
    ranked = cells.sort_values("gap")
    means = study.untuned_rows("means", first.benchmark, first.protocol)
    mean = means[(means.setting == name) & (means.group == "all")].iloc[0]
    extremes = (
        f", from {_gap(study, ranked.iloc[0])} to {_gap(study, ranked.iloc[-1])}" if len(cells) > 1 else ""
    )
    within = int((cells.ece <= cells.ece_floor_high).sum())
    return Statement(
        f"{name} on {first.benchmark} ({first.protocol}) is over-confident in {over} of {languages} and"
        f" under-confident in {under}, beyond chance.",
        f"Confidence minus accuracy: {mean.gap:+.3f} [{mean.gap_low:+.3f}, {mean.gap_high:+.3f}]{extremes}. Accuracy:"
        f" {mean.accuracy:.3f} [{mean.accuracy_low:.3f}, {mean.accuracy_high:.3f}]. ECE: {mean.ece:.3f}"
        f" [{mean.ece_low:.3f}, {mean.ece_high:.3f}]; in {within} of {languages} a calibrated model could have it by"
        " chance.",
    )


def _gap(study: StudyTables, cell: pd.Series) -> str:
    return f"{cell.gap:+.3f} ({study.language_name(cell.language)})"


def _pairs(study: StudyTables, benchmark: str, protocol: str, cells: pd.DataFrame) -> Iterator[Statement]:
    """Which of two runs has the lower ECE on the same questions."""
    table = study.get("contrasts")
    if table.empty:
        return
    chosen = (table.contrast == "run_minus_run") & (table.metric == "ece") & (table.data == NONE)
    chosen &= (table.benchmark == benchmark) & (table.protocol == protocol)
    rows = table[chosen].assign(setting=study_tables.untuned_names(table[chosen]))
    pairs = list(combinations(sorted(set(cells.setting)), 2))
    if len(pairs) > MOST_PAIRS:
        return
    for reference, name in pairs:
        pair = rows[(rows.setting == name) & (rows.reference == reference)]
        if pair.empty:
            continue
        by_language, [mean] = pair[pair.language != "mean"], pair[pair.language == "mean"].itertuples()
        certain = by_language[by_language.q < SIGNIFICANT]
        lower, higher = int((certain.difference < 0).sum()), int((certain.difference > 0).sum())
        yield Statement(
            f"Compared with {reference} on the same questions, the ECE of {name} is lower in {lower} of"
            f" {len(by_language)} languages and higher in {higher}, beyond chance (q < {SIGNIFICANT}).",
            f"Mean difference over languages: {mean.difference:+.3f} [{mean.low:+.3f}, {mean.high:+.3f}].",
        )
