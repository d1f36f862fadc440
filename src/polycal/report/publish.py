"""Publishing a study: overview figures, Table 1 and provenance in a folder, a short table in a README."""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd

from polycal.artifacts import files, records
from polycal.errors import PolycalError
from polycal.report import findings, study_holes, study_tables
from polycal.report.study_tables import StudyTables
from polycal.report.table_formats import markdown
from polycal.study import paths
from polycal.vocabulary import CELL_KEYS

BEGIN, END = "<!-- study: begin -->", "<!-- study: end -->"
"""Marks of the place for the table in the README."""
PUBLISHED_KEYS = ("fingerprint", "content", "checkpoint", "code_version", "commit", "dirty")
"""What is published of the manifest of each record and table."""


class PublicationError(PolycalError):
    """A study that cannot be published; the message says what is missing."""


def publish(folder: Path, out: Path, readme: Path) -> list[Path]:
    """Copy overview figures and Table 1 of the study in ``folder`` to ``out``, and write its provenance.

    ``provenance.json`` lists the score records and measured tables. The short table of the study's first
    benchmark replaces the text between the marks in ``readme``. Returns the copied files. Raises
    PublicationError if a cell has no result, a record was made by uncommitted code, or a file or the marks are
    missing.
    """
    before, after = _around_table(readme)
    study = study_tables.read(folder, {})
    if lost := study_holes.counts(study):
        first = study_holes.of_study(study).iloc[0]
        raise PublicationError(
            f"{folder}: {' and '.join(lost)} have no result, such as {', '.join(first[list(CELL_KEYS)])}"
            f" ({first.stage}: {first.reason.rstrip('.')}); publish a study without missing cells."
        )
    sources = sorted((_published(path) for path in _score_records(study)), key=lambda source: source["path"])
    unclean = [source["path"] for source in sources if source["dirty"]]
    if unclean:
        raise PublicationError(
            f"{unclean[0]}: made by uncommitted code, as were {len(unclean) - 1} more; commit and run again."
        )
    copied = _copy(folder, out)
    measured = {path.name: _published(path) for path in sorted(folder.glob("*.parquet"))}
    files.write_json(out / "provenance.json", {"scores": sources, "measured": measured})
    commits = ", ".join(sorted({str(source["commit"])[:7] for source in sources}))
    table = f"{BEGIN}\n{short_table(study)}\nMeasured at commit {commits}.\n{END}"
    files.write_text(readme, before + table + after)
    return copied


def _score_records(study: StudyTables) -> list[Path]:
    cells = study["cells"][list(CELL_KEYS)].itertuples(index=False, name=None)
    return [Path(paths.SCORES.format(**dict(zip(CELL_KEYS, cell, strict=True)))) for cell in cells]


def _around_table(readme: Path) -> tuple[str, str]:
    """The text of ``readme`` before and after the marks."""
    before, begin, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise PublicationError(
            f"{readme}: no place for the table; put the lines {BEGIN} and {END} where the table belongs."
        )
    return before, after


def _copy(folder: Path, out: Path) -> list[Path]:
    sources = [
        *sorted(folder.glob("figures/overview-*.png")),
        folder / "tables/table1.md",
        folder / "tables/table1.csv",
    ]
    for path in sources:
        if not path.is_file():
            raise PublicationError(f"{path} is missing; run the study to its end first.")
    for path in sources:
        with files.replacing(out / path.name) as part:
            shutil.copyfile(path, part)
    return [out / path.name for path in sources]


def short_table(study: StudyTables) -> str:
    """Mean ECE over languages, with accuracy in brackets, in Markdown: a row per sweep, a column per setting.

    It shows the first benchmark and protocol. Raises PublicationError for a study without tuned checkpoints.
    """
    sweeps = study.beta_sweeps()
    if not sweeps:
        raise PublicationError(
            "The study has no tuned checkpoints, so there is no table of settings to publish."
        )
    rows: list[dict[str, Any]] = []
    several = study_tables.distinguishing(study["cells"])
    for sweep in study.beta_sweeps(sweeps[0].benchmark, sweeps[0].protocol):
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
