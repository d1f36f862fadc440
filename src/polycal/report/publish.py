"""Publishing a study of several seeds: figures, tables and provenance in a folder, and tables in two documents."""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd

from polycal.analysis import power
from polycal.artifacts import files, manifests, records
from polycal.errors import PolycalError
from polycal.report import (
    base_accuracy,
    english_names,
    findings,
    published_findings,
    study_holes,
    study_tables,
)
from polycal.report.study_tables import ALL, StudyTables
from polycal.report.table_formats import markdown
from polycal.study import detectable, paths
from polycal.vocabulary import CELL_KEYS, NONE

SHORT_TABLE = "study"
"""Name of the marks around the short table in the README."""
CELL_FORMAT = "%.7g"
"""Numbers in ``cells.csv``, which would be twice as large with all digits."""
PUBLISHED_KEYS = ("fingerprint", "content", "checkpoint", "code_version", "commit", "dirty")
"""Keys of each record's and table's manifest that are published."""


class PublicationError(PolycalError):
    """A study that cannot be published; the message says what is missing."""


def marks(name: str) -> tuple[str, str]:
    """The lines in a document before and after the table ``name``."""
    return f"<!-- {name}: begin -->", f"<!-- {name}: end -->"


def publish(folder: Path, out: Path, readme: Path, results: Path, prefix: str = "") -> list[Path]:
    """Copy Table 1 of the study in ``folder`` and its overviews to ``out``.

    ``provenance.json`` lists the score records and measured tables. ``cells.csv`` has a row for each cell and
    seed, ``variances.csv`` the parts of the variance of each contrast, ``base.csv`` the accuracy of base models
    by language and group, and ``chosen-beta.csv`` what a chosen β achieves, as means over all trainings. The short
    table of the study's first benchmark replaces the text between its marks in ``readme``. The tables of
    ``published_findings`` replace the texts between their marks in ``results``. They and the short table are means
    over all trainings. ``prefix`` is the beginning of the names of all marks, so that one document can show several
    studies.

    Returns the files in ``out``, except ``provenance.json``. Raises PublicationError if a cell has no result,
    if a model was tuned with one seed only, if a record was made by uncommitted code, or if a file or a mark is
    missing.
    """
    _around_table(readme, prefix + SHORT_TABLE)
    for name in published_findings.TABLES:
        _around_table(results, prefix + name)
    study = study_tables.read(folder, {})
    if lost := study_holes.counts(study):
        first = study_holes.of_study(study).iloc[0]
        raise PublicationError(
            f"{folder}: {' and '.join(lost)} have no result, such as {', '.join(first[list(CELL_KEYS)])}"
            f" ({first.stage}: {first.reason.rstrip('.')}); publish a study without missing cells."
        )
    _check_seeds(study, folder)
    sources = sorted((_published(path) for path in _score_records(study)), key=lambda source: source["path"])
    unclean = [source["path"] for source in sources if source["dirty"]]
    if unclean:
        raise PublicationError(
            f"{unclean[0]}: made by uncommitted code, as were {len(unclean) - 1} more; commit and run again."
        )
    short = short_table(study)
    base = base_accuracy.table(study, english_names.shares(_question_manifests(study)))
    means = study.over_trainings()
    copied = _copy(study, folder, out)
    copied += _write_numbers(study, means, base, out)
    measured = {path.name: _published(path) for path in sorted(folder.glob("*.parquet"))}
    files.write_json(out / "provenance.json", {"scores": sources, "measured": measured})
    commits = ", ".join(sorted({str(source["commit"])[:7] for source in sources}))
    _fill(readme, prefix + SHORT_TABLE, f"{short}\nMeasured at commit {commits}.\n")
    for name, table in published_findings.TABLES.items():
        copied.append(out / f"{name}.csv")
        values = table(means)
        files.write_text(copied[-1], values.to_csv(index=False))
        texts = markdown(published_findings.as_texts(name, values))
        _fill(results, prefix + name, f"{texts}\nMeasured at commit {commits}.\n")
    return copied


def _fill(document: Path, name: str, text: str) -> None:
    """Replace the text between the marks of ``name`` in ``document``."""
    before, after = _around_table(document, name)
    begin, end = marks(name)
    files.write_text(document, f"{before}{begin}\n{text}{end}{after}")


def _score_records(study: StudyTables) -> list[Path]:
    cells = study["cells"][list(CELL_KEYS)].itertuples(index=False, name=None)
    return [Path(paths.SCORES.format(**dict(zip(CELL_KEYS, cell, strict=True)))) for cell in cells]


def _question_manifests(study: StudyTables) -> list[Any]:
    """The manifests of the questions of the study, and of those that the workflow generated, if they exist."""
    asked = sorted(set(zip(study["cells"].benchmark, study["cells"].language, strict=True)))
    wanted = [Path(paths.QUESTIONS.format(benchmark=name, language=code)) for name, code in asked]
    return [manifests.read(path) for path in [*wanted, Path(paths.WORLD_MANIFEST)] if path.is_file()]


def _around_table(document: Path, name: str) -> tuple[str, str]:
    """The text of ``document`` before and after the table ``name``.

    Raises PublicationError if a mark is missing.
    """
    mark_begin, mark_end = marks(name)
    before, begin, rest = document.read_text(encoding="utf-8").partition(mark_begin)
    _, end, after = rest.partition(mark_end)
    if not (begin and end):
        raise PublicationError(
            f"{document}: no place for the table; put the lines {mark_begin} and {mark_end} where the table belongs."
        )
    return before, after


def _check_seeds(study: StudyTables, folder: Path) -> None:
    """Raise PublicationError if a model and data set has no mean over several trainings."""
    tuned = study["means"][study["means"].data != NONE]
    several = tuned[(tuned.seed == ALL) | (tuned.base_seed == ALL)]
    keys = ["model", "data", "recipe"]
    alone = {*tuned[keys].itertuples(index=False, name=None)} - {
        *several[keys].itertuples(index=False, name=None)
    }
    if alone:
        model, data, _ = min(alone)
        raise PublicationError(
            f"{folder}: {model} was tuned on {data} with one seed, so its intervals do not cover other trainings;"
            " publish a study of several seeds, which 'make study' makes."
        )


def _copy(study: StudyTables, folder: Path, out: Path) -> list[Path]:
    """Copy Table 1 and the overviews of the mean over trainings, whose names then do not contain its seeds."""
    first = "-".join(["overview", *study.by_condition()[0].condition.values(), ""])
    sources = {
        path: f"overview-{path.name.removeprefix(first)}"
        for path in sorted(folder.glob(f"figures/{first}*.png"))
    }
    sources |= {folder / "tables" / name: name for name in ("table1.md", "table1.csv")}
    for path in sources:
        if not path.is_file():
            raise PublicationError(f"{path} is missing; run the study to its end first.")
    for path, name in sources.items():
        with files.replacing(out / name) as part:
            shutil.copyfile(path, part)
    return [out / name for name in sources.values()]


def _write_numbers(study: StudyTables, means: StudyTables, base: pd.DataFrame, out: Path) -> list[Path]:
    """Write ``cells.csv``, with β as a text and as a number, ``variances.csv``, ``base.csv`` and ``chosen-beta.csv``.

    ``means`` is the study with means over trainings. If no β was chosen, there is no ``chosen-beta.csv``.
    """
    cells = study["cells"].copy()
    values = [float("nan") if beta == NONE else float(beta) for beta in cells.beta]
    cells.insert(list(cells).index("beta") + 1, "beta_value", values)
    variances = power.components(study["contrasts"], study["cells"])
    texts = {
        "cells.csv": cells.to_csv(index=False, float_format=CELL_FORMAT),
        detectable.VARIANCES: variances.to_csv(index=False),
        "base.csv": base.to_csv(index=False, float_format=CELL_FORMAT),
    }
    if len(chosen := means.get("chosen_beta")):
        texts["chosen-beta.csv"] = chosen.to_csv(index=False, float_format=CELL_FORMAT)
    for name, text in texts.items():
        files.write_text(out / name, text)
    return [out / name for name in texts]


def short_table(study: StudyTables) -> str:
    """Mean ECE over languages, with accuracy in brackets, as Markdown: a row per sweep, a column per setting.

    It shows the first benchmark and protocol, as means over several trainings if there are any. Raises
    PublicationError for a study without tuned checkpoints.
    """
    study = study.over_trainings()
    sweeps = study.beta_sweeps(table="means")
    if not sweeps:
        raise PublicationError(
            "The study has no tuned checkpoints, so there is no table of settings to publish."
        )
    rows: list[dict[str, Any]] = []
    tuned = study["means"][study["means"].data != NONE]
    several = study_tables.distinguishing(tuned)
    for sweep in study.beta_sweeps(sweeps[0].benchmark, sweeps[0].protocol, "means"):
        means = study.rows("means", sweep)
        means = means[means.group == "all"].set_index("setting")
        row: dict[str, Any] = {"Model": sweep.model, "Data": sweep.data}
        row |= {key.capitalize().replace("_", " "): getattr(sweep, key) for key in several}
        for name in study_tables.setting_names(means):
            row[name] = f"{means.ece[name]:.3f} ({means.accuracy[name]:.3f})"
        contrasts = study.smoothing_contrasts(sweep)
        if not contrasts.empty:
            contrasts = contrasts[(contrasts.metric == "ece") & (contrasts.language == "mean")]
        for contrast in contrasts.to_dict("records"):
            row[f"ECE cut by β = {contrast['beta']}"] = findings.relative_reduction(contrast)
        rows.append(row)
    return markdown(pd.DataFrame(rows).fillna(""))


def _published(path: Path) -> dict[str, Any]:
    manifest = records.metadata(path)
    return {"path": path.as_posix(), **{key: manifest.get(key) for key in PUBLISHED_KEYS}}
