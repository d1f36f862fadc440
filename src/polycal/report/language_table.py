"""The main table of the page: over-confidence and ECE of every language, as text that needs no script."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from polycal.report import base_accuracy, study_holes, study_tables
from polycal.report.english_names import Shares
from polycal.report.study_tables import StudyTables
from polycal.vocabulary import NONE

AT_CHANCE = "chance"
"""The mark of a base model's accuracy that is not above chance."""
METRICS = {"gap": ("Gap", "+.2f"), "ece": ("ECE", ".2f")}
"""Metrics of the table, with their titles and number formats."""
FURTHER = {"candidate_mass": ("Mass on letters", ".2f"), "order_spread": ("Spread over orders", ".2f")}
"""Further metrics, each for protocols whose cells have it."""


def by_benchmark(study: StudyTables, shares: Shares | None = None) -> Iterator[dict[str, Any]]:
    """For each benchmark and protocol: its name, and a table with one row per language, by resource level.

    A value is the mean over models, data sets, recipes and seeds, with the least and the greatest of them in
    brackets. It is FAILED if one of them has no result. Accuracy is that of the base models, if the study has tuned
    ones; AT_CHANCE follows if one of them is not above chance. For benchmarks in ``shares`` there is a column with the
    share of candidates that are spelled as in English.
    """
    cells = study["cells"]
    if len(holes := study.get("holes")):
        cells = pd.concat([cells, holes.drop(columns=["stage", "reason"])], ignore_index=True)
    for (benchmark, protocol), scored in cells.groupby(["benchmark", "protocol"]):
        table = _table(study, scored)
        english = [(shares or {}).get((str(benchmark), code)) for code in table.Code]
        if any(share is not None for share in english):
            table["As in English"] = ["" if share is None else f"{share:.2f}" for share in english]
        yield {"name": f"{benchmark}, {protocol}", "table": table}


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
    if study.tuned:
        columns["Base accuracy"] = _base_accuracy(study, scored, order)
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


def _base_accuracy(study: StudyTables, scored: pd.DataFrame, order: list[str]) -> list[str]:
    """The accuracy of the base models among the cells ``scored`` in each language, marked if one is at chance."""
    base = scored[scored.data == NONE]
    guesses = set(base.language[base_accuracy.at_chance(study, base)])
    values = {str(code): part.accuracy for code, part in base.groupby("language")}
    texts = [_text(values.get(code), ".2f") for code in order]
    return [
        f"{text} {AT_CHANCE}" if code in guesses else text for code, text in zip(order, texts, strict=True)
    ]


def _text(values: pd.Series | None, form: str) -> str:
    if values is None:
        return ""
    if values.isna().any():
        return study_holes.FAILED
    mean = f"{values.mean():{form}}"
    return mean if len(values) == 1 else f"{mean} ({values.min():{form}} to {values.max():{form}})"
