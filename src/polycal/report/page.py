"""One page that tells what a study found and leads each number to the record that it came from."""

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from polycal.artifacts import records
from polycal.audit.lineage import Step
from polycal.report import findings, provenance_section, sensitivity_table, tables
from polycal.report.figures import probes
from polycal.report.study_tables import Study

CAPTIONS = {
    "overview": "Confidence less accuracy in each language, with 95% intervals: right of the line a model is"
    " over-confident. Languages stand by their resource level.",
    "confidence": "Each point is a language and checkpoint. Above the dashed line confidence grew more than accuracy.",
    "beta": "Mean over languages. A line runs from β = 0 on as smoothing rises, one a data set; the grey point is the base"
    " model.",
    "ece": "ECE of each language with 95% intervals. The black tick is the noise floor: the ECE that a perfectly"
    " calibrated model of the same confidences would show on as many questions.",
    "tradeoff": "A panel a language: from β = 0 on as smoothing rises; the grey point is the base model. Left of the dotted"
    " line accuracy has fallen by a point or more.",
    "reliability": "Accuracy in bins of confidence with 95% intervals; bars are the share of questions in a bin."
    " On the dashed line a model is calibrated, below it over-confident.",
    **sensitivity_table.CAPTIONS,
    **probes.CAPTIONS,
}
TITLES = {
    "overview": "Over-confidence in every language",
    "confidence": "Confidence against accuracy",
    "beta": "ECE against accuracy as β rises",
    **sensitivity_table.TITLES,
    **probes.TITLES,
    "tradeoff": "ECE against accuracy, language by language",
    "ece": "ECE by language",
    "reliability": "Reliability diagrams",
}
"""Of the sections of figures, in order."""


def write(
    study: Study,
    folder: Path,
    paths: Sequence[Path],
    shown: Sequence[Path],
    settings: Any,
    conversations: Sequence[Path] = (),
    steps: Sequence[Step] = (),
) -> Path:
    """Write ``folder``/report.html from the measured tables, the score records at ``paths`` and pictures ``shown``.

    Everything is inlined, all text is escaped, and the page loads nothing. Records that are asked for but
    not there are listed as missing. ``settings`` is the study's grid and conventions, shown as JSON. Of each
    file of ``conversations`` that is there, the page says what it holds. ``steps`` are the results that the
    tables stand on: every cell of Table 1 leads to its records, and these to what they read.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("polycal.report"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    rows = tables.numbers(study)[tables.KEYS].to_dict("records")
    page = environment.get_template("report.html.j2").render(
        name=folder.name,
        acceptances=provenance_section.accepted(steps),
        summary=findings.summary(study),
        findings=findings.findings(study),
        first=_table(tables.table_one(study)),
        pairs=_table(tables.data_sets(study)),
        conventions=_table(sensitivity_table.conventions(study)),
        titles=TITLES,
        origins=settings.get("origins", []),
        data=[_data(path, set(study["cells"].language)) for path in conversations if path.exists()],
        figures=[_figure(path) for path in shown],
        numbers=provenance_section.numbers(rows, steps),
        compared=provenance_section.numbers(tables.pairs(study).to_dict("records"), steps),
        measured=provenance_section.measured(steps),
        stages=provenance_section.stages(steps),
        costs=provenance_section.costs(steps),
        missing=[str(path) for path in paths if not path.exists()],
        settings=json.dumps(settings, indent=1, sort_keys=True, ensure_ascii=False),
    )
    out = folder / "report.html"
    aside = out.with_name(".report.html.part")
    aside.write_text(page, encoding="utf-8")
    aside.replace(out)
    return out


def _table(found: pd.DataFrame) -> dict[str, Any]:
    return {"columns": list(found.columns), "rows": found.to_dict("records")}


def _figure(path: Path) -> dict[str, str]:
    kind = path.stem.split("-")[0]
    data = base64.b64encode(path.read_bytes()).decode()
    return {"name": path.stem, "kind": kind, "caption": CAPTIONS[kind], "data": data}


def _data(path: Path, scored: set[str]) -> dict[str, Any]:
    """What an instruction set holds, and how much of it is in languages that the study scores."""
    said: Mapping[str, Any] = records.metadata(path)
    found: dict[str, int] = said["by_language"]
    return {
        "name": path.stem,
        "conversations": said["conversations"],
        "sources": len(said["by_source"]),
        "languages": len(set(found) - {"unknown"}),
        "unknown": found.get("unknown", 0),
        "seen": ", ".join(f"{code} {count}" for code, count in found.items() if code in scored),
        "how": ", ".join(f"{how} {count}" for how, count in said["language_from"].items()),
    }
