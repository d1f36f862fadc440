"""What a README shows of a study: figures and Table 1 as they are, a short table, and where the numbers come from."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from polycal.artifacts import files, records
from polycal.errors import PolycalError
from polycal.report import study_tables, tables
from polycal.report.study_tables import Study

BEGIN, END = "<!-- study: begin -->", "<!-- study: end -->"
SAID = ("fingerprint", "content", "checkpoint", "code_version", "commit", "dirty")


class PublicationError(PolycalError):
    """A study that cannot be shown; the message says what is missing."""


def publish(study: Study, folder: Path, sources: Iterable[Path], out: Path, readme: Path) -> list[Path]:
    """Copy the overviews and Table 1 of the study in ``folder`` to ``out``, with the provenance of ``sources``.

    ``sources`` are the score records; the checkpoints that they were scored with are named by their content.
    The short table of the study's first benchmark replaces what stands between the marks in ``readme``.
    Raises PublicationError where records were made by uncommitted code, a file is missing, or the marks are.
    """
    text = readme.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise PublicationError(f"{readme}: no place for the table; put {BEGIN} and {END} where it belongs.")
    made = sorted(_said(path) for path in sources)
    unclean = [one["path"] for _, one in made if one["dirty"]]
    if unclean:
        raise PublicationError(
            f"{unclean[0]}: made by uncommitted code, as were {len(unclean) - 1} more; commit and run again."
        )
    shown = [
        *sorted(folder.glob("figures/overview-*.png")),
        folder / "tables/table1.md",
        folder / "tables/table1.csv",
    ]
    out.mkdir(parents=True, exist_ok=True)
    for path in shown:
        if not path.is_file():
            raise PublicationError(f"{path} is missing; run the study to its end first.")
        aside = out / f".{path.name}.part"
        shutil.copyfile(path, aside)
        aside.replace(out / path.name)
    measured = {path.name: _said(path)[1] for path in sorted(folder.glob("*.parquet"))}
    files.write_json(out / "provenance.json", {"scores": [one for _, one in made], "measured": measured})
    commits = sorted({str(one["commit"])[:7] for _, one in made})
    lines = f"{BEGIN}\n{short_table(study)}\nMeasured at commit {', '.join(commits)}.\n{END}"
    aside = readme.with_name(f".{readme.name}.part")
    aside.write_text(before + lines + after, encoding="utf-8")
    os.replace(aside, readme)
    return [out / path.name for path in shown]


def short_table(study: Study) -> str:
    """ECE with accuracy in brackets, mean over languages: a row a tuned series, a column a setting (Markdown)."""
    chosen = study.tuned()
    if not chosen:
        raise PublicationError("the study tunes no model; there is no table of settings to show.")
    first = chosen[0][4:6]
    rows: list[dict[str, Any]] = []
    for one in [s for s in chosen if s[4:6] == first]:
        found = study.of("means", one)
        found = found[found.group == "all"].set_index("setting")
        row: dict[str, Any] = {"Model": one[0], "Data": one[1]}
        for name in study_tables.settings(found):
            row[name] = f"{found.ece[name]:.3f} ({found.accuracy[name]:.3f})"
        cuts = study.smoothed(one)
        if not cuts.empty:
            cuts = cuts[(cuts.metric == "ece") & (cuts.language == "mean")]
        for cut in cuts.to_dict("records"):
            said = f"{100 * cut['cut']:.0f}% [{100 * cut['cut_low']:.0f}, {100 * cut['cut_high']:.0f}]"
            row[f"ECE cut by β = {cut['beta']}"] = said
        rows.append(row)
    return tables.markdown(pd.DataFrame(rows).fillna(""))


def _said(path: Path) -> tuple[str, dict[str, Any]]:
    told = records.metadata(path)
    name = path.as_posix()
    return name, {"path": name, **{key: told.get(key) for key in SAID}}
