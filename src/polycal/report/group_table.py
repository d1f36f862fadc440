"""Accuracy, gap and ECE by group of questions, such as a subject: tables of the page, the explorer and CSV files."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from polycal.report import study_holes, study_tables
from polycal.report.answer import FEW_QUESTIONS
from polycal.report.study_tables import StudyTables

MEAN = "mean"
METRICS = {"accuracy": ("Accuracy", ".2f"), "gap": ("Gap", "+.2f"), "ece": ("ECE", ".2f")}
"""Metrics of the table, with their titles and number formats."""
CHANCE = "chance"
"""The mark of an ECE that a calibrated model could have by chance."""


def means(study: StudyTables) -> pd.DataFrame:
    """The rows of the table groups that are means over languages, of benchmarks with several groups."""
    table = study.get("groups")
    if table.empty:
        return table
    rows = table[table.language == MEAN]
    several = rows.groupby(["benchmark", "protocol"]).group.transform("nunique") > 1
    return rows[several]


def by_benchmark(study: StudyTables) -> Iterator[dict[str, Any]]:
    """For each benchmark and protocol with several groups: its name, a table with one row per group, and its CSV.

    Values are means over languages. There is a column per setting, or per run in a study without tuned
    checkpoints, with 95% intervals. If a setting has several models, data sets, recipes or seeds, its value is
    their mean, with the least and the greatest of them.
    """
    shown = means(study)
    if shown.empty:
        return
    for (benchmark, protocol), rows in shown.groupby(["benchmark", "protocol"]):
        yield {
            "name": f"{benchmark}, {protocol}",
            "table": _table(study, rows),
            "file": f"tables/{file_name(str(benchmark))}",
        }


def _table(study: StudyTables, rows: pd.DataFrame) -> pd.DataFrame:
    rows, settings = study.with_settings(rows)
    groups = sorted(set(rows.group))
    counts = (rows.n / rows.languages).groupby(rows.group).max()
    columns: dict[str, list[str]] = {"Group": groups, "Questions": [_count(counts[name]) for name in groups]}
    for metric, (title, form) in METRICS.items():
        for setting in settings:
            parts = dict(tuple(rows[rows.setting == setting].groupby("group")))
            columns[f"{title}, {setting}"] = [_text(parts.get(name), metric, form) for name in groups]
    floors = rows.groupby("group").ece_floor.mean()
    columns["Noise floor"] = ["" if pd.isna(floors[name]) else f"{floors[name]:.2f}" for name in groups]
    return pd.DataFrame(columns)


def _count(questions: float) -> str:
    return f"{questions:.0f}" + (" (few)" if questions < FEW_QUESTIONS else "")


def _text(rows: pd.DataFrame | None, metric: str, form: str) -> str:
    if rows is None:
        return ""
    values = rows[metric]
    if values.isna().any():
        return study_holes.FAILED
    text = f"{values.mean():{form}}"
    if len(rows) == 1:
        [low], [high] = rows[f"{metric}_low"], rows[f"{metric}_high"]
        text += f" [{low:{form}}, {high:{form}}]"
    else:
        text += f" ({values.min():{form}} to {values.max():{form}})"
    return f"{text} {CHANCE}" if metric == "ece" and (rows.ece <= rows.ece_floor_high).all() else text


def file_name(benchmark: str) -> str:
    """The name of the CSV file of a benchmark in the folder of tables."""
    return f"{benchmark}-groups.csv"


def tables(study: StudyTables) -> dict[str, pd.DataFrame]:
    """By file name without suffix: the rows of each benchmark with several groups, by language and in the mean."""
    shown = means(study)
    if shown.empty:
        return {}
    table = study_tables.without_single_base_seed(study["groups"])
    scored = sorted(set(zip(shown.benchmark, shown.protocol, strict=True)))
    rows = table[[pair in scored for pair in zip(table.benchmark, table.protocol, strict=True)]]
    return {
        file_name(str(benchmark)).removesuffix(".csv"): part.round(6)
        for benchmark, part in rows.groupby("benchmark")
    }
