"""The tables behind a study's findings: what tuning, smoothing and a temperature change, with intervals.

Each has a form with numbers, published as CSV, and a shorter form with texts for a document.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pandas as pd

from polycal.report import base_accuracy, findings, sensitivity_table
from polycal.report.study_tables import StudyTables, distinguishing
from polycal.vocabulary import NONE

SIGNIFICANT_Q = 0.05
"""A difference in one language counts as significant if its q is below this."""
ENDS = ("", "_low", "_high")
SCORED_ON = ["benchmark", "protocol", "model", "data"]


def _keys(rows: pd.DataFrame) -> list[str]:
    """The columns that identify a tuned checkpoint and how it was scored."""
    return [*SCORED_ON, *distinguishing(rows), "beta"]


def _changes(contrasts: pd.DataFrame, metrics: Iterable[str], keys: list[str]) -> pd.DataFrame:
    """For each checkpoint: the change of the mean over languages of each metric, with its interval."""
    means = contrasts[contrasts.language == "mean"]
    table = means[means.metric == "ece"][keys].sort_values(keys)
    for metric in metrics:
        names = dict(
            zip(("difference", "low", "high"), (f"{metric}_change{end}" for end in ENDS), strict=True)
        )
        change = means[means.metric == metric].rename(columns=names)[[*keys, *names.values()]]
        table = table.merge(change, on=keys, validate="one_to_one")
    return table


def _counts(
    study: StudyTables, contrasts: pd.DataFrame, metric: str, keys: list[str], **found: pd.Series
) -> pd.DataFrame:
    """For each checkpoint: the number of languages, and of those that meet each condition on the metric.

    Languages in which the base model is not above chance are left out.
    """
    chosen = (contrasts.language != "mean") & (contrasts.metric == metric)
    counts = ~base_accuracy.at_chance(study, contrasts)
    counted = {name: values & counts for name, values in found.items()} | {"languages": counts}
    return contrasts[keys].assign(**counted)[chosen].groupby(keys, as_index=False).sum()


def tuning(study: StudyTables) -> pd.DataFrame:
    """For each model tuned with β = 0: the change against its base model.

    ``gap`` is confidence minus accuracy. ``gap_rose`` is the number of languages in which it rose, and
    ``gap_rose_surely`` of those in which the 95% interval is above zero. ``languages`` is the number of languages in
    which the base model is above chance; only these are counted. The changes are means over all languages.
    """
    contrasts = study["contrasts"]
    rows = contrasts[(contrasts.contrast == "tuned_minus_base") & (contrasts.beta == "0")]
    keys = _keys(rows)
    counts = _counts(study, rows, "gap", keys, gap_rose=rows.difference > 0, gap_rose_surely=rows.low > 0)
    return _changes(rows, ("gap", "ece", "accuracy"), keys).merge(counts, on=keys, validate="one_to_one")


def smoothing(study: StudyTables) -> pd.DataFrame:
    """For each model tuned with β > 0: the change against β = 0.

    ``relative_ece_reduction`` is 1 − ECE / (ECE of β = 0), for the means over languages. ``ece_fell`` is the
    number of languages in which ECE fell, and ``ece_fell_surely`` of those with a false discovery rate below
    0.05. Languages are counted as in ``tuning``.
    """
    contrasts = study["contrasts"]
    rows = contrasts[contrasts.contrast == "smoothed_minus_unsmoothed"]
    keys = _keys(rows)
    cuts = rows[(rows.language == "mean") & (rows.metric == "ece")]
    cuts = cuts[[*keys, *(f"relative_ece_reduction{end}" for end in ENDS)]]
    fell = rows.difference < 0
    counts = _counts(study, rows, "ece", keys, ece_fell=fell, ece_fell_surely=fell & (rows.q < SIGNIFICANT_Q))
    changes = _changes(rows, ("accuracy",), keys)
    return changes.merge(cuts, on=keys, validate="one_to_one").merge(counts, on=keys, validate="one_to_one")


def temperature(study: StudyTables) -> pd.DataFrame:
    """For each tuned model, without and with a temperature fitted on English: ECE and its reduction.

    The reduction is against β = 0 without a temperature.
    """
    rows = study["recalibration"]
    chosen = rows[(rows.language == "mean") & (rows.beta != NONE) & rows.method.isin(["none", "english"])]
    columns = [
        "method",
        "temperature",
        *(f"{name}{end}" for name in ("ece", "relative_ece_reduction") for end in ENDS),
    ]
    return chosen[[*_keys(chosen), *columns]].sort_values(_keys(chosen), kind="stable")


def _interval(row: Mapping[Any, Any], name: str) -> str:
    value, low, high = (row[f"{name}{end}"] for end in ENDS)
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"


def _cut(row: Mapping[Any, Any]) -> str:
    """The relative reduction of ECE with its interval, or a text if the reference's ECE may be chance."""
    if pd.isna(row["relative_ece_reduction"]):
        return "none: the reference may be chance"
    return findings.relative_reduction(row)


def _names(row: Mapping[Any, Any]) -> dict[str, str]:
    """The first columns of a row of texts: the keys without protocol and β."""
    keys = list(row)[: list(row).index("beta")]
    return {key.capitalize().replace("_", " "): str(row[key]) for key in keys if key != "protocol"}


def _tuning_texts(row: Mapping[Any, Any]) -> dict[str, str]:
    return {
        **_names(row),
        "Δ gap": _interval(row, "gap_change"),
        "Languages where the gap rose": f"{row['gap_rose']} of {row['languages']}",
        "with interval above 0": f"{row['gap_rose_surely']} of {row['languages']}",
        "Δ ECE": _interval(row, "ece_change"),
        "Δ accuracy": _interval(row, "accuracy_change"),
    }


def _smoothing_texts(row: Mapping[Any, Any]) -> dict[str, str]:
    return {
        **_names(row),
        "β": str(row["beta"]),
        "ECE cut": _cut(row),
        "Languages where ECE fell": f"{row['ece_fell']} of {row['languages']}",
        "with q < 0.05": f"{row['ece_fell_surely']} of {row['languages']}",
        "Δ accuracy": _interval(row, "accuracy_change"),
    }


def _temperature_texts(numbers: pd.DataFrame) -> pd.DataFrame:
    """For each model and data set: ECE of β = 0, and its reduction by smoothing, a temperature and both."""
    shown, columns = [], list(numbers)
    for _, group in numbers.groupby(columns[: columns.index("beta")], sort=False):
        rows = group.to_dict("records")
        texts = _names(rows[0])
        for row in rows:
            if row["beta"] == "0" and row["method"] == "none":
                texts["ECE, β = 0"] = f"{row['ece']:.3f} [{row['ece_low']:.3f}, {row['ece_high']:.3f}]"
                continue
            means = [f"β = {row['beta']}"] * (row["beta"] != "0") + ["temperature"] * (
                row["method"] != "none"
            )
            texts[f"Cut by {' and '.join(means)}"] = _cut(row)
        shown.append(texts)
    return pd.DataFrame(shown)


TABLES: dict[str, Callable[[StudyTables], pd.DataFrame]] = {
    "tuning": tuning,
    "smoothing": smoothing,
    "temperature": temperature,
    "conventions": sensitivity_table.conventions,
}
"""The tables of numbers, by name."""


def as_texts(name: str, numbers: pd.DataFrame) -> pd.DataFrame:
    """The table ``name`` of ``TABLES`` for reading: every value with its 95% interval."""
    if name == "temperature":
        return _temperature_texts(numbers)
    of_row = {"tuning": _tuning_texts, "smoothing": _smoothing_texts}
    if name not in of_row:
        return numbers
    return pd.DataFrame([of_row[name](row) for row in numbers.to_dict("records")])
