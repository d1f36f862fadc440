"""The main page of the report: the answer, the claims, every language, the tables and the figures."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from polycal.artifacts import cell_paths, records
from polycal.audit import lineage
from polycal.audit.lineage import LineageNode
from polycal.report import (
    answer,
    captions,
    chosen_beta_table,
    confidence_claims,
    confidence_table,
    english_names,
    explorer,
    findings,
    generation_section,
    group_table,
    language_table,
    provenance_page,
    reading,
    run_answer,
    sensitivity_table,
    study_holes,
    study_tables,
    tables,
    templating,
)
from polycal.report.study_tables import StudyTables
from polycal.vocabulary import CELL_KEYS, NONE

SHOWN_FIRST = ("overview", "rungap")
"""Kinds of figures of which the first is embedded in the page. All others are separate files."""
QUESTION = "Does instruction tuning make language models over-confident in every language, and does label smoothing help?"
RUNS_QUESTION = "How far are the confidences of these models from their accuracy, in each language?"


def render(
    study: StudyTables,
    name: str,
    scores: Sequence[Path],
    figures: Sequence[Path],
    settings: Mapping[str, Any],
    conversations: Sequence[Path] = (),
    nodes: Sequence[LineageNode] = (),
) -> str:
    """The HTML of the page. All text is escaped, and nothing is loaded from the network.

    The first of ``figures`` (PNG) whose kind is in SHOWN_FIRST is embedded. The others are shown from the folder ``figures``
    beside the page. ``nodes`` are the results behind the tables. Every value of Table 1 links to its records
    on the provenance page.
    """
    # the CSV files of Table 1 and of the data sets have a row for each training too
    means = study.over_trainings()
    first_rows = tables.numbers(means)[tables.KEYS].to_dict("records")
    pair_rows = tables.pairs(means).to_dict("records")
    scored = set(study["cells"].language)
    holes = study_holes.of_study(study)
    shown = [_figure(path) for path in figures]
    shares = english_names.shares(node.artifact.manifest for node in nodes)
    first = next((path for path in figures if captions.kind_of(path.stem) in SHOWN_FIRST), None)
    return templating.render(
        "report.html.j2",
        name=name,
        intervals="questions and trainings" if len(study.get("training_means")) else "questions",
        question=QUESTION if study.tuned or not study.of_records else RUNS_QUESTION,
        runs=not study.tuned,
        records=_records(study),
        answer=answer.answer(study) or (run_answer.answer(study) if study.of_records else []),
        cautions=answer.cautions(study),
        overview=_figure(first) | {"data": base64.b64encode(first.read_bytes()).decode()} if first else None,
        # without tuned checkpoints, a mean over models would be one over unrelated runs
        summary=findings.summary(study) if study.tuned or not study.of_records else [],
        claims=findings.claim_checks(study),
        failed=study_holes.FAILED,
        hole_counts=study_holes.counts(study),
        holes=study_holes.grouped(holes, study_tables.distinguishing(holes)),
        languages=[
            {"name": part["name"], **_table(part["table"])}
            for part in language_table.by_benchmark(study, shares)
        ],
        as_in_english=bool(shares),
        at_chance=language_table.AT_CHANCE,
        groups=[{**part, **_table(part["table"])} for part in group_table.by_benchmark(study)],
        chance=group_table.CHANCE,
        first=_table(tables.table_one(means)),
        first_reasons=[study_holes.reasons(holes, row) for row in first_rows],
        pairs=_table(tables.data_sets(means)),
        pair_reasons=[study_holes.reasons(holes, row) for row in pair_rows],
        chosen_betas=_table(chosen_beta_table.chosen_beta(study)),
        conventions=_table(sensitivity_table.conventions(study)),
        confidences=_table(confidence_table.table(means)),
        measure_claims=_table(confidence_claims.table(study)),
        generated=_table(generation_section.table(study)),
        generated_changes=[
            {"title": title, **_table(part)} for title, part in generation_section.changes(study).items()
        ],
        generated_claims=_table(generation_section.claims(study)),
        kinds={kind: about for kind, about in captions.FIGURE_KINDS.items() if _of_kind(shown, kind)},
        figures=shown,
        data=[_instruction_set(path, scored) for path in conversations if path.exists()],
        origins=_origins(settings.get("origins", []), nodes),
        mixtures=provenance_page.mixtures(nodes),
        acceptances=lineage.acceptances_behind(nodes),
        missing=_unnamed(scores, holes),
        provenance=provenance_page.FILE,
        reading=reading.html(),
        scripts=explorer.scripts(study, nodes),
        table_anchors=provenance_page.table_anchors(nodes),
    )


def _origins(origins: Sequence[Mapping[str, str]], nodes: Sequence[LineageNode]) -> list[dict[str, str]]:
    """The sources of models and data. Models that were converted from another format say so."""
    conversions = {
        node.artifact.manifest["cell"].get("model"): lineage.conversion_in_words(node.artifact)
        for node in nodes
        if node.artifact.stage == "fetch_model"
    }
    return [
        {**origin, "conversion": conversions.get(origin["name"], "") if origin["kind"] == "models" else ""}
        for origin in origins
    ]


def _of_kind(figures: Sequence[Mapping[str, Any]], kind: str) -> bool:
    return any(figure["kind"] == kind for figure in figures)


def _unnamed(scores: Sequence[Path], holes: pd.DataFrame) -> list[str]:
    """The records that do not exist and whose cell is not among ``holes``."""
    named = set(holes[list(CELL_KEYS)].itertuples(index=False, name=None))
    missing = [path for path in scores if not path.exists()]
    cells = [cell_paths.cell_in(path) for path in missing]
    return [
        str(path)
        for path, cell in zip(missing, cells, strict=True)
        if tuple(cell.get(name, NONE) for name in CELL_KEYS) not in named
    ]


def _records(study: StudyTables) -> dict[str, Any] | None:
    """For a page of score records: where those of each run are from, one row per benchmark and protocol."""
    if not study.of_records:
        return None
    keys = ["run", "benchmark", "protocol", "tool", "normalise"]
    counted = study["records"].groupby(keys, sort=True).agg(languages=("language", "nunique"), n=("n", "max"))
    titles = {"languages": "languages", "n": "questions", "tool": "made by", "normalise": "normalisation"}
    table = counted.reset_index().rename(columns=titles)
    return _table(table.rename(columns=str.capitalize))


def _table(table: pd.DataFrame) -> dict[str, Any]:
    return {"columns": list(table.columns), "rows": table.to_dict("records")}


def _figure(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        # a PNG has its width and height, four bytes each, at offset 16
        size = file.read(24)[16:]
    kind, _, about = path.stem.partition("-")
    return {
        "name": path.stem,
        "kind": kind,
        "about": about,
        "width": int.from_bytes(size[:4], "big"),
        "height": int.from_bytes(size[4:], "big"),
    }


def _instruction_set(path: Path, scored: set[str]) -> dict[str, Any]:
    """What an instruction data set contains, and how much of it is in languages that the study scores."""
    manifest: Mapping[str, Any] = records.metadata(path)
    by_language: dict[str, int] = manifest["by_language"]
    return {
        "name": path.stem,
        "conversations": manifest["conversations"],
        "sources": len(manifest["by_source"]),
        "languages": len(set(by_language) - {"unknown"}),
        "unknown": by_language.get("unknown", 0),
        "scored": ", ".join(f"{code} {count}" for code, count in by_language.items() if code in scored),
        "identified": ", ".join(f"{how} {count}" for how, count in manifest["language_from"].items()),
    }
