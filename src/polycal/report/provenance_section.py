"""What a study's pages stand on: the results behind its tables, what they cost, and the notes that go with a copy."""

import hashlib
import html
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from polycal.artifacts import files
from polycal.audit import lineage
from polycal.audit.lineage import Step
from polycal.data.sources import checksums
from polycal.store import code_versions, provenance

PRESENT, SOURCES, LANDING = "present.json", lineage.SOURCES, "landing.yaml"
TITLES = {
    "measure": "Measured tables",
    "diversity": "Tables of embedding diversity",
    "tokens": "Tables of next-token calibration",
    "score": "Score records",
    "embed": "Embeddings of prompts",
    "next_token": "Scores of next tokens",
    "select_lr": "Chosen learning rates",
    "finetune": "Fine-tuned checkpoints",
    "fetch_instructions": "Instruction data",
    "fetch_benchmark": "Questions",
    "fetch_model": "Base models",
    "miniature_model": "Pre-training of the miniature",
    "miniature_data": "The miniature's data",
}
"""Of the stages, from the tables back to the sources."""
HOURS = {"wall_seconds": "wall", "cpu_seconds": "cpu", "gpu_seconds": "gpu", "queue_seconds": "queue"}


def behind(study: Path) -> list[Step]:
    """Every result that the measured tables of the folder ``study`` stand on, links followed, nothing recomputed."""
    tables = sorted(study.glob("*.parquet"))
    catalogue = lineage.Catalogue(study / "cells.parquet")
    found: dict[str, Step] = {}
    for path in tables:
        # steps of an earlier table stay: all of them read the same records
        for step in lineage.trace(catalogue, catalogue.owner(path), checked=False):
            found.setdefault(step.product.path, step)
    return list(found.values())


def reads(study: Path, steps: Sequence[Step]) -> dict[str, str]:
    """Checksums of what the pages show: the measured tables of ``study``, and what the results say of themselves."""
    notes = files.canonical_json([dict(step.product.note) for step in steps])
    shown = {path.name: files.sha256(path) for path in sorted(study.glob("*.parquet"))}
    return {**shown, "notes": hashlib.sha256(notes.encode()).hexdigest()}


def accepted(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """The acceptances by which any of the results counts as one of the present version of its stage."""
    made = {(step.product.stage, str(step.product.note["code_version"])) for step in steps}
    found: list[dict[str, Any]] = []
    for stage, version in sorted(one for one in made if one[0] in code_versions.STAGES):
        found += [entry for entry in code_versions.relied_on(stage, version) if entry not in found]
    return found


def stages(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """The results by stage, from the tables back to the sources, as a page shows them; ``id`` is an anchor."""
    ids = {step.product.path: _anchor(step) for step in steps}
    order = {stage: place for place, stage in enumerate(TITLES)}
    found = []
    for stage in sorted({s.product.stage for s in steps}, key=lambda s: (order.get(s, len(order)), s)):
        own = sorted((s for s in steps if s.product.stage == stage), key=lambda s: s.product.path)
        rows = []
        for step in own:
            reads = [{"id": ids[one.product.path], "name": _name(one)} for one in step.reads]
            rows.append(
                {
                    "id": ids[step.product.path],
                    "name": _name(step),
                    "path": step.product.path,
                    "problems": step.problems,
                    "reads": reads if stage != "measure" else [],
                    "source": " ".join(lineage.origin(step.product.note)),
                    "note": step.product.note,
                    "cost": step.product.note.get("cost", {}),
                }
            )
        found.append({"stage": stage, "title": TITLES.get(stage, stage), "rows": rows})
    return found


def _anchor(step: Step) -> str:
    # the tables of one measuring share their fingerprint
    return f"{step.product.note['fingerprint'][:16]}-{step.product.place.stem}"


def _name(step: Step) -> str:
    """A result in words: its cell's names, else its file's."""
    cell = step.product.note["cell"]
    told = [str(value) for key, value in cell.items() if isinstance(value, str) and key != "stage"]
    if "table" in step.product.note or not told:
        return step.product.place.stem
    keys = ("model", "data", "recipe", "beta", "seed", "lr", "benchmark", "protocol", "language")
    return " ".join(str(cell[key]) for key in keys if cell.get(key, "none") != "none")


def numbers(rows: Sequence[Mapping[Any, Any]], steps: Sequence[Step]) -> list[dict[str, Any]]:
    """For each row of a table, named by its keys, the records that its values are means over, by language.

    A row that sets a data set against another, its ``reference``, stands on the records of both.
    """
    scores = sorted((s for s in steps if s.product.stage == "score"), key=lambda s: s.product.path)
    found = []
    for row in rows:
        data = {row["data"], row.get("reference", row["data"])}
        keys = {key: value for key, value in row.items() if key not in ("data", "reference")}
        cells = [(step, step.product.note["cell"]) for step in scores]
        own = [
            {
                "id": _anchor(step),
                "language": cell["language"] + (f" ({cell['data']})" if len(data) > 1 else ""),
            }
            for step, cell in cells
            if cell.get("data") in data and all(cell.get(key) == value for key, value in keys.items())
        ]
        name = " ".join(str(value) for value in row.values() if value != "none")
        found.append({"name": name, "records": own})
    return found


def measured(steps: Sequence[Step]) -> dict[str, str]:
    """The anchor of each measured table."""
    return {s.product.place.stem: _anchor(s) for s in steps if s.product.stage == "measure"}


def costs(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """Results, jobs, hours (wall, cpu, gpu, queue) and peak memory of each stage, and of all together.

    Wall and GPU hours count attempts that failed; ``failed`` is their number, ``lost`` their wall hours.
    """
    notes: dict[str, list[Mapping[str, Any]]] = {}
    seen: set[str] = set()
    for step in steps:
        # tables that were made together are one result
        if "cost" in step.product.note and step.product.note["fingerprint"] not in seen:
            seen.add(step.product.note["fingerprint"])
            notes.setdefault(step.product.stage, []).append(step.product.note)
    rows = [_cost(stage, notes[stage]) for stage in TITLES if stage in notes]
    rows += [_cost(stage, notes[stage]) for stage in sorted(set(notes) - set(TITLES))]
    every = [note for told in notes.values() for note in told]
    return [*rows, _cost("all", every)] if rows else []


def _cost(stage: str, notes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    spent = [note["cost"] for note in notes]
    failed = [note["attempts"] for note in notes if note.get("attempts")]
    known = {
        name: [one[key] for one in [*spent, *failed] if one.get(key) is not None]
        for key, name in HOURS.items()
    }
    return {
        "stage": stage,
        "results": len(notes),
        "jobs": len({note["job"] for note in notes if note.get("job")}) or None,
        **{name: sum(values) / 3600 if values else None for name, values in known.items()},
        "failed": sum(one["failed"] for one in failed),
        "lost": sum(one["wall_seconds"] for one in failed) / 3600,
        "memory": max(one["peak_memory_bytes"] for one in spent) / 2**30,
    }


def seal(
    study: Path, note: Mapping[str, Any], steps: Sequence[Step], settings: Mapping[str, Any]
) -> list[Path]:
    """Write ``provenance/`` of a study: the manifest of its pages, its sources' notes, the landing page's facts.

    A copy of the results folder is then enough to follow every number, without the downloads.
    """
    folder = study / "provenance"
    outside = {
        step.product.path: dict(step.product.note)
        for step in steps
        if not step.product.path.startswith(f"{study.absolute().parent.parent.name}/")
    }
    files.write_json(folder / SOURCES, outside)
    _landing(folder / LANDING, note, steps, settings)
    shown = [p for part in ("tables", "figures") for p in (study / part).glob("*") if p.is_file()]
    written = [p for p in [*shown, study / "report.html", folder / SOURCES] if not p.name.startswith(".")]
    told = {**provenance.closed(note), "folder": "..", "files": checksums(written, study)}
    files.write_json(folder / PRESENT, told)
    return [folder / name for name in (SOURCES, LANDING, PRESENT)]


def _landing(path: Path, note: Mapping[str, Any], steps: Sequence[Step], settings: Mapping[str, Any]) -> None:
    """What Snakemake's report says on its first page."""
    made = [step.product.note for step in steps]
    commits = sorted({(one["commit"] or "none") + (" (changed)" if one["dirty"] else "") for one in made})
    codes = sorted({f"{one['stage']} {one['code_version']}" for one in made})
    relied = {files.canonical_json(one): one for told in made for one in told["acceptances"]}
    relied |= {files.canonical_json(one): one for one in accepted(steps)}
    total = next((one for one in costs(steps) if one["stage"] == "all"), None)
    configured = {key: value for key, value in settings.items() if key != "languages"}
    facts: dict[str, str | list[str]] = {
        "Commit of this report": f"{note['commit'] or 'none'}{' (with uncommitted changes)' if note['dirty'] else ''}",
        "Commits of its results": commits,
        "Code versions": codes,
        "Accepted changes": [
            f"{one['stage']}: {one['new']} counts as {one['old']}, because {one['because']} ({one['author']})"
            for one in relied.values()
        ]
        or ["none"],
        "Cost": f"{total['gpu']:.2f} GPU-hours, {total['cpu']:.2f} CPU-hours" if total else "unknown",
        "Configuration": json.dumps(configured, sort_keys=True, ensure_ascii=False),
        "Lock file": str(note["lock"]),
        "Python": str(note["python"]),
    }
    # Snakemake shows a value without its key, and a list not at all: all facts are one value, a line each
    lines = [
        f"{key}: {value if isinstance(value, str) else '; '.join(value)}" for key, value in facts.items()
    ]
    text = {"Provenance": r" \<br\> ".join(map(escaped, lines))}
    aside = path.with_name(f".{path.name}.part")
    aside.write_text(yaml.safe_dump(text, allow_unicode=True, sort_keys=False), encoding="utf-8")
    aside.replace(path)


def escaped(text: str) -> str:
    """Text as Snakemake's landing page shows it as text.

    Snakemake reads a value first as a YTE template (a leading question mark is code), then as reStructuredText,
    and puts the outcome as HTML into a script without escaping.
    """
    return re.sub(r"([^\w\s])", r"\\\1", html.escape(" ".join(text.split()), quote=False))
