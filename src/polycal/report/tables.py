"""The tables of a study: Table 1, one data set against another, and a metric by language.

Table 1 has the form of the paper's Table 1: one row per checkpoint, with means over languages and the change
against β = 0. The tables by language have one row per language and one column per checkpoint.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from polycal.artifacts import files
from polycal.report import study_holes, study_tables
from polycal.report.study_tables import StudyTables
from polycal.report.table_formats import latex, markdown
from polycal.vocabulary import NONE

METRICS = {"accuracy": "Accuracy", "confidence": "Confidence", "ece": "ECE", "rms": "RMS"}
"""Metrics that tables show, with their titles."""
CHANGED = ("accuracy", "ece", "rms")
"""Metrics whose change against β = 0 is in Table 1."""
KEYS = ["benchmark", "protocol", "model", "base_seed", "data", "recipe", "seed", "beta"]
"""The columns that identify a checkpoint and how it was scored."""
GROUPS = {"all": "mean", "high": "mean, high", "mid": "mean, mid", "low": "mean, low"}
_ENDS = {"difference": "", "low": "_low", "high": "_high"}


def numbers(study: StudyTables) -> pd.DataFrame:
    """Table 1 as numbers: one row per checkpoint, benchmark and protocol, base models before tuned ones.

    The columns are ``KEYS``, ``languages`` (their number), and the unweighted mean of each metric over
    languages with the bounds of its 95% interval (``_low``, ``_high``). Smoothed checkpoints also have the
    ``_change`` against β = 0 on the same questions, with its own ``_low`` and ``_high``. If the study has a
    missing cell, ``holes`` is the number of languages without a result. A row with holes has no means.
    """
    means = study["means"]
    intervals = [f"{metric}{end}" for metric in METRICS for end in ("", "_low", "_high")]
    counts = ["languages", *(["holes"] if study_tables.hole_counts(means).any() else [])]
    table = means[means.group == "all"][[*KEYS, *counts, *intervals]]
    contrasts = study.get("contrasts")
    for metric in CHANGED:
        names = {column: f"{metric}_change{end}" for column, end in _ENDS.items()}
        if contrasts.empty:
            table = table.assign(**dict.fromkeys(names.values(), float("nan")))
            continue
        changes = contrasts[
            (contrasts.contrast == "smoothed_minus_unsmoothed")
            & (contrasts.language == "mean")
            & (contrasts.metric == metric)
        ]
        table = table.merge(changes.rename(columns=names)[[*KEYS, *names.values()]], on=KEYS, how="left")
    return ordered(table)


def table_one(study: StudyTables) -> pd.DataFrame:
    """Table 1 for reading: every value and every change with its 95% interval, as texts.

    FAILED replaces a value that lacks a cell. Of score records without a tuned checkpoint, it has the columns of
    models only.
    """
    values = numbers(study)
    table, holes = named(values), study_tables.hole_counts(values)
    table["Languages"] = values.languages.astype(str).where(
        holes == 0,
        [f"{there} of {there + lost}" for there, lost in zip(values.languages, holes, strict=True)],
    )
    unchanged = _without_change(study)
    lost_changes = [tuple(row) in unchanged for row in values[KEYS].itertuples(index=False)]
    for metric, title in METRICS.items():
        table[title] = with_intervals(values, metric, ".3f", holes > 0)
        if metric in CHANGED:
            table[f"Δ {title}"] = with_intervals(values, f"{metric}_change", "+.3f", lost_changes)
    if study.of_records and not study.tuned:
        return table.drop(columns=["Data", "Setting", *(f"Δ {METRICS[metric]}" for metric in CHANGED)])
    return table


def _without_change(study: StudyTables) -> set[tuple[str, ...]]:
    """The keys of the smoothed checkpoints whose change against β = 0 lacks a cell."""
    contrasts = study.get("contrasts")
    if contrasts.empty:
        return set()
    chosen = contrasts[
        (contrasts.contrast == "smoothed_minus_unsmoothed") & (study_tables.hole_counts(contrasts) > 0)
    ]
    return set(chosen[KEYS].itertuples(index=False, name=None))


def pairs(study: StudyTables) -> pd.DataFrame:
    """Keys of the rows of ``data_sets``: of the first set's checkpoint, and ``reference``, the second set."""
    contrasts = _pair_contrasts(study)
    return contrasts[contrasts.metric == "ece"][[*KEYS, "reference"]] if len(contrasts) else contrasts


def _pair_contrasts(study: StudyTables) -> pd.DataFrame:
    contrasts = study.get("contrasts")
    if contrasts.empty:
        return pd.DataFrame()
    return contrasts[(contrasts.contrast == "data_minus_data") & (contrasts.language == "mean")]


def data_sets(study: StudyTables) -> pd.DataFrame:
    """One data set against another, as texts: one row per model, β and pair, mean over shared languages.

    Each value is that of the first set minus that of the second on the same questions, with its 95% interval.
    The table is empty if no model was tuned on two sets.
    """
    contrasts = _pair_contrasts(study)
    if contrasts.empty:
        return pd.DataFrame()
    first = contrasts[contrasts.metric == "ece"]
    table = named(first)
    table.insert(list(table).index("Data") + 1, "Minus", first.reference)
    for metric, title in METRICS.items():
        names = {column: f"{metric}{end}" for column, end in _ENDS.items()}
        values = contrasts[contrasts.metric == metric].rename(columns=names)
        lost = study_tables.hole_counts(values) > 0
        table[f"Δ {title}"] = with_intervals(values, metric, "+.3f", lost)
    return table


def by_language(study: StudyTables, benchmark: str, metric: str) -> pd.DataFrame:
    """One metric of a benchmark: one row per language by resource level, then means; checkpoints as columns.

    FAILED replaces a cell without a result and a mean that lacks one.
    """
    cells, means = study["cells"], study["means"]
    cells, means = cells[cells.benchmark == benchmark], means[means.benchmark == benchmark]
    mean = means.assign(language=means.group)
    mean = _marked(mean, metric, study_tables.hole_counts(mean) > 0)[[*KEYS, "language", metric]]
    parts = [cells[[*KEYS, "language", metric]], mean]
    if len(holes := study.get("holes")):
        holes = holes[holes.benchmark == benchmark].assign(**{metric: study_holes.FAILED})
        cells = pd.concat([cells[["language", "resource"]], holes[["language", "resource"]]])
        parts.append(holes[[*KEYS, "language", metric]])
    values = ordered(pd.concat(parts))
    values["checkpoint"] = _checkpoint_names(values)
    columns = list(dict.fromkeys(values.checkpoint))
    keys = ["protocol", "model", "base_seed"]
    wide = values.pivot(index=[*keys, "language"], columns="checkpoint", values=metric).to_dict("index")
    levels = dict(zip(cells.language, cells.resource, strict=True))
    several = "base_seed" in study_tables.distinguishing(values)
    rows = []
    for model in dict.fromkeys(zip(*(values[key] for key in keys), strict=True)):
        protocol, name, base_seed = model
        for language in [*study_tables.languages_in_order(cells), *GROUPS]:
            if (*model, language) not in wide:
                continue
            row = {
                "Protocol": protocol,
                "Model": name,
                **({"Base seed": base_seed} if several else {}),
                "Language": GROUPS.get(language) or study.language_name(language),
                "Code": "" if language in GROUPS else language,
                "Resource": levels.get(language, ""),
            }
            rows.append(row | {column: wide[*model, language][column] for column in columns})
    return pd.DataFrame(rows)


def _marked(table: pd.DataFrame, column: str, lost: pd.Series) -> pd.DataFrame:
    """``table`` with FAILED in the rows ``lost`` of a column."""
    if not lost.any():
        return table
    return table.assign(**{column: table[column].astype(object).mask(lost, study_holes.FAILED)})


def write(study: StudyTables, folder: Path, further: Mapping[str, pd.DataFrame] | None = None) -> list[Path]:
    """Write all tables into ``folder``, each as CSV, Markdown and LaTeX, and return their paths.

    Cells without a result are written as CSV and Markdown, if there are any. ``further`` tables, by name, are
    written as CSV only.
    """
    one, full = table_one(study), study_tables.without_single_base_seed(numbers(study))
    texts = {
        "table1.csv": full.to_csv(index=False),
        "table1.md": markdown(one),
        "table1.tex": latex(_without_intervals(one), ["Benchmark", "Protocol"]),
    }
    compared = data_sets(study)
    if len(compared):
        texts["data-sets.csv"] = compared.to_csv(index=False)
        texts["data-sets.md"] = markdown(compared)
        texts["data-sets.tex"] = latex(compared, ["Benchmark", "Protocol"])
    for benchmark in sorted(set(study["cells"].benchmark)):
        for metric in METRICS:
            table = by_language(study, benchmark, metric)
            shown = table.map(lambda v: v if isinstance(v, str) else "" if pd.isna(v) else f"{v:.3f}")
            name = f"{benchmark}-{metric}"
            texts[f"{name}.csv"] = table.to_csv(index=False)
            texts[f"{name}.md"] = markdown(shown)
            texts[f"{name}.tex"] = latex(shown, ["Protocol", "Model"], long=True)
    if len(holes := study_holes.of_study(study)):
        texts["holes.csv"], texts["holes.md"] = holes.to_csv(index=False), markdown(holes.fillna(""))
    for name, table in (further or {}).items():
        texts[f"{name}.csv"] = table.to_csv(index=False)
    for name, text in texts.items():
        files.write_text(folder / name, text)
    return [folder / name for name in texts]


def ordered(table: pd.DataFrame) -> pd.DataFrame:
    """Rows by benchmark, protocol and model; base models before tuned ones; then by data, recipe, seed, β."""
    value = [-1.0 if beta == NONE else float(beta) for beta in table.beta]
    ranked = table.assign(tuned=table.data != NONE, value=value)
    ranked = ranked.sort_values([*KEYS[:4], "tuned", *KEYS[4:7], "value"], kind="stable")
    return ranked.drop(columns=["tuned", "value"]).reset_index(drop=True)


def named(table: pd.DataFrame) -> pd.DataFrame:
    """The columns of readable tables that name a row. Seeds and recipe are left out if there is only one."""
    several = study_tables.distinguishing(table)
    shown = [key for key in KEYS[:-1] if key in several or key not in ("base_seed", "recipe", "seed")]
    named = {key.capitalize().replace("_", " "): table[key] for key in shown}
    return pd.DataFrame({**named, "Setting": [study_tables.setting_name(beta) for beta in table.beta]})


def _checkpoint_names(table: pd.DataFrame) -> list[str]:
    several = [key for key in study_tables.distinguishing(table) if key != "base_seed"]
    names = []
    for row in table.to_dict("records"):
        tuned = [str(row[key]) for key in ("data", *several)] if row["data"] != NONE else []
        names.append(", ".join([*tuned, study_tables.setting_name(row["beta"])]))
    return names


def with_intervals(table: pd.DataFrame, name: str, form: str, lost: Iterable[bool]) -> list[str]:
    """The values of a metric with their intervals, as texts. A row that is ``lost`` is FAILED.

    A value that is not defined is empty.
    """
    values = zip(table[name], table[f"{name}_low"], table[f"{name}_high"], lost, strict=True)
    return [
        (study_holes.FAILED if failed else "") if pd.isna(v) else f"{v:{form}} [{low:{form}}, {high:{form}}]"
        for v, low, high, failed in values
    ]


def _without_intervals(table: pd.DataFrame) -> pd.DataFrame:
    """Values without intervals, changes with intervals, so that the table fits on a page."""
    short = table.copy()
    for title in METRICS.values():
        short[title] = [text.partition(" ")[0] for text in table[title]]
    return short
