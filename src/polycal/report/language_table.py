"""The main table of the page: over-confidence and ECE of every language, as text that needs no script."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from polycal.report import study_holes, study_tables
from polycal.report.study_tables import StudyTables

METRICS = {"gap": ("Gap", "+.2f"), "ece": ("ECE", ".2f")}
"""Metrics of the table, with their titles and number formats."""
FURTHER = {"candidate_mass": ("Mass on letters", ".2f"), "order_spread": ("Spread over orders", ".2f")}
"""Further metrics, each for protocols whose cells have it."""


def by_benchmark(study: StudyTables) -> Iterator[dict[str, Any]]:
    """For each benchmark and protocol: its name, and a table with one row per language, by resource level.

    A value is the mean over models, data sets, recipes and seeds, with the least and the greatest of them in
    brackets. It is FAILED if one of them has no result.
    """
    cells = study["cells"]
    if len(holes := study.get("holes")):
        cells = pd.concat([cells, holes.drop(columns=["stage", "reason"])], ignore_index=True)
    for (benchmark, protocol), scored in cells.groupby(["benchmark", "protocol"]):
        yield {"name": f"{benchmark}, {protocol}", "table": _table(study, scored)}


def _table(study: StudyTables, scored: pd.DataFrame) -> pd.DataFrame:
    order = study_tables.languages_in_order(scored)
    levels = dict(zip(scored.language, scored.resource, strict=True))
    columns: dict[str, list[str]] = {
        "Language": [study.language_name(code) for code in order],
        "Code": order,
        "Level": [levels[code] for code in order],
    }
    if not any(columns["Level"]):
        del columns["Level"]
    named, settings = study.with_settings(scored)
    defined = {metric: about for metric, about in FURTHER.items() if scored[metric].notna().any()}
    for metric, (title, form) in (METRICS | defined).items():
        # A cell without a result has no questions. Another cell without a further metric is left out.
        there = named[named[metric].notna() | named.n.isna()] if metric in FURTHER else named
        for setting in settings:
            chosen = there[there.setting == setting]
            values = {str(code): part[metric] for code, part in chosen.groupby("language")}
            columns[f"{title}, {setting}"] = [_text(values.get(code), form) for code in order]
    floors = scored.groupby("language").ece_floor.mean()
    columns["Noise floor"] = ["" if pd.isna(floors[code]) else f"{floors[code]:.2f}" for code in order]
    return pd.DataFrame(columns)


def _text(values: pd.Series | None, form: str) -> str:
    if values is None:
        return ""
    if values.isna().any():
        return study_holes.FAILED
    mean = f"{values.mean():{form}}"
    return mean if len(values) == 1 else f"{mean} ({values.min():{form}} to {values.max():{form}})"
