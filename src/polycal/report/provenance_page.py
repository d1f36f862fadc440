"""The provenance page of the report: all results behind the tables, and the records behind a value."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from polycal.audit import lineage
from polycal.audit.lineage import LineageNode
from polycal.report import tables, templating
from polycal.report.costs import costs, known_speeds
from polycal.report.study_tables import ALL, StudyTables
from polycal.store import acceptances
from polycal.store.stages import STAGES
from polycal.vocabulary import CELL_KEYS, CHECKPOINT_KEYS, NONE

NAMING_KEYS = (*CHECKPOINT_KEYS, "lr", "benchmark", "protocol", "language")
"""Keys of a cell that form the name of its result, in order."""
FILE = "provenance.html"
"""The name of the page, beside the main page."""
OF_SCORES = ("measure", "measure_groups")
"""Stages whose tables are made from all score records."""


def render(
    study: StudyTables, name: str, main_page: str, nodes: Sequence[LineageNode], settings: Mapping[str, Any]
) -> str:
    """The HTML of the page. ``main_page`` is the file name of the report's main page.

    ``nodes`` are the results behind the tables. ``settings`` is the study's grid and conventions, shown as
    JSON.
    """
    spent, means = costs(nodes), study.over_trainings()
    return templating.render(
        "provenance.html.j2",
        name=name,
        main_page=main_page,
        first_records=records_of_rows(tables.numbers(means)[tables.KEYS].to_dict("records"), nodes),
        pair_records=records_of_rows(tables.pairs(means).to_dict("records"), nodes),
        stages=stages(nodes),
        costs=spent,
        speeds=known_speeds(spent),
        settings=json.dumps(settings, indent=1, sort_keys=True, ensure_ascii=False),
    )


def stages(nodes: Sequence[LineageNode]) -> list[dict[str, Any]]:
    """The results by stage, from the tables back to the sources. ``id`` is an anchor on the page."""
    anchors = {node.artifact.path: _anchor(node) for node in nodes}
    present = {node.artifact.stage for node in nodes}
    order = [*(stage for stage in STAGES if stage in present), *sorted(present - set(STAGES))]
    groups = []
    for stage in order:
        of_stage = [node for node in nodes if node.artifact.stage == stage]
        rows = [_row(node, anchors) for node in sorted(of_stage, key=lambda node: node.artifact.path)]
        title = STAGES[stage].title if stage in STAGES else stage
        groups.append({"stage": stage, "title": title, "rows": rows})
    return groups


def mixtures(nodes: Sequence[LineageNode]) -> list[str]:
    """The stages whose results were made by several code versions, in words.

    Versions that an acceptance declares equal count as one.
    """
    versions: dict[str, Counter[str]] = {}
    for node in nodes:
        stage, code = node.artifact.stage, node.artifact.manifest.get("code")
        if stage in STAGES and code:
            versions.setdefault(stage, Counter())[acceptances.accepted_version(stage, code)[0]] += 1
    return [
        f"{STAGES[stage].title}: "
        + ", ".join(f"{number} by version {code}" for code, number in of.most_common())
        for stage, of in versions.items()
        if len(of) > 1
    ]


def _row(node: LineageNode, anchors: Mapping[str, str]) -> dict[str, Any]:
    # measured tables read all score records, which the page shows in their own section
    inputs = node.reads if node.artifact.stage not in OF_SCORES else []
    return {
        "id": anchors[node.artifact.path],
        "name": _name(node),
        "path": node.artifact.path,
        "problems": node.problems,
        "inputs": [{"id": anchors[read.artifact.path], "name": _name(read)} for read in inputs],
        "origin": " ".join(lineage.origin(node.artifact)),
        "manifest": node.artifact.manifest,
        "cost": node.artifact.manifest.get("cost", {}),
    }


def _anchor(node: LineageNode) -> str:
    # tables made by one job have the same fingerprint
    return f"{node.artifact.manifest['fingerprint'][:16]}-{node.artifact.file.stem}"


def _name(node: LineageNode) -> str:
    """The name of a result: the values of its cell, or its file name if it has no cell."""
    cell = node.artifact.manifest["cell"]
    named = any(isinstance(value, str) for key, value in cell.items() if key != "stage")
    if "table" in node.artifact.manifest or not named:
        return node.artifact.file.stem
    return " ".join(str(cell[key]) for key in NAMING_KEYS if cell.get(key, NONE) != NONE)


def records_of_rows(rows: Sequence[Mapping[Any, Any]], nodes: Sequence[LineageNode]) -> list[dict[str, Any]]:
    """For each row of a table, given by its keys, the score records that its values are means of.

    A row that compares two data sets contains the second as ``reference``. It depends on the records of both. A mean over
    trainings depends on those of all of them.
    """
    scores = sorted(
        (node for node in nodes if node.artifact.stage == "score"), key=lambda node: node.artifact.path
    )
    named = []
    for row in rows:
        data = {row["data"], row.get("reference", row["data"])}
        keys = {key: value for key, value in row.items() if key not in ("data", "reference")}
        records = []
        for node in scores:
            cell = node.artifact.manifest["cell"]
            if cell.get("data") in data and all(value in (cell.get(key), ALL) for key, value in keys.items()):
                several = [cell["data"]] if len(data) > 1 else []
                several += [cell[key] for key in ("base_seed", "seed") if keys.get(key) == ALL]
                language = cell["language"] + (f" ({', '.join(several)})" if several else "")
                records.append({"id": _anchor(node), "language": language})
        name = " ".join(str(value) for value in row.values() if value != NONE)
        named.append({"name": name, "records": records})
    return named


def table_anchors(nodes: Sequence[LineageNode]) -> dict[str, str]:
    """The anchor of each measured table, by name."""
    return {node.artifact.file.stem: _anchor(node) for node in nodes if node.artifact.stage in OF_SCORES}


def record_anchors(nodes: Sequence[LineageNode]) -> dict[tuple[str, ...], str]:
    """The anchor of each score record, by the values of CELL_KEYS."""
    scores = [node for node in nodes if node.artifact.stage == "score"]
    cells = [node.artifact.manifest["cell"] for node in scores]
    return {
        tuple(str(cell.get(key, NONE)) for key in CELL_KEYS): _anchor(node)
        for node, cell in zip(scores, cells, strict=True)
    }
