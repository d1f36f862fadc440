"""What a configuration asks for, result by result, and what each result stands on.

The same graph as the workflow's, in polycal's own words: a task is one record, checkpoint or table with the cell
that determines it and the results that it reads. Whatever compares results with the plan starts here.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from polycal.analysis import embedding_diversity, known_truth, measure, next_token_metrics
from polycal.artifacts import checkpoints, manifests
from polycal.audit import lineage
from polycal.data import sources
from polycal.store import cache
from polycal.study import grid
from polycal.study.config import Config
from polycal.study.grid import NONE


@dataclass(frozen=True)
class Task:
    """One result: the files of it, its cell, what it reads, by role.

    The first file says what made it, or the ``manifest`` where one lies elsewhere. ``together`` is all that its job
    reads, where the job makes other results too.
    """

    stage: str
    outputs: tuple[str, ...]
    cell: Mapping[str, Any]
    inputs: Mapping[str, str] = field(default_factory=dict)
    job: str = ""
    manifest: str = ""
    together: frozenset[str] = frozenset()

    @property
    def out(self) -> str:
        """The first file, which names the result."""
        return self.outputs[0]

    @property
    def note(self) -> str:
        """The file that says what made the result."""
        return self.manifest or self.out


def tasks(config: Config) -> list[Task]:
    """Every result that ``rule all`` of a configuration stands on, what is read before what reads it."""
    return [
        *_sources(config),
        *_checkpoints(config),
        *_scores(config),
        *_embeddings(config),
        *_next_tokens(config),
        *_study(config),
    ]


def _one(stage: str, out: str, cell: str, inputs: Mapping[str, str]) -> Task:
    return Task(stage, (out,), json.loads(cell), inputs, out)


def _sources(config: Config) -> Iterator[Task]:
    blocks, spoken = grid.products(config), grid.spoken(config)
    models = {n: config.models[n] for n in sorted({n for b in blocks for n in b["models"]})}
    read = {*grid.heldout(config), *(n for b in blocks for n in b["data"])}
    data = {n: config.data[n] for n in sorted(read)}
    asked = {n: config.benchmarks[n] for n in spoken}
    for name in sorted({entry.miniature for entry in models.values() if entry.miniature}):
        out = grid.MINIATURE_MODEL.format(architecture=name)
        yield _one("miniature_model", out, grid.miniature_model_cell(config, name), {})
    if any(entry.miniature for entry in [*data.values(), *asked.values()]):
        yield _one("miniature_data", grid.MINIATURE_DATA, grid.miniature_data_cell(config), {})
    for name, model in models.items():
        out, built = grid.MODEL.format(model=name), grid.MINIATURE_MODEL.format(architecture=model.miniature)
        inputs = {"model": built} if model.miniature else {}
        yield _one("fetch_model", out, grid.fetch_model_cell(config, name), inputs)
    for name, entry in data.items():
        inputs = {"data": grid.MINIATURE_DATA} if entry.miniature else {}
        out, cell = grid.INSTRUCTIONS.format(data=name), grid.fetch_instructions_cell(config, name)
        yield _one("fetch_instructions", out, cell, inputs)
    for name, benchmark in asked.items():
        inputs = {"data": grid.MINIATURE_DATA} if benchmark.miniature else {}
        files = {code: grid.QUESTIONS.format(benchmark=name, language=code) for code in spoken[name]}
        for code, out in files.items():
            yield _one("fetch_benchmark", out, grid.fetch_benchmark_cell(config, name, code), inputs)
        if len(files) > 1:
            cell = grid.check_parallel_cell(name, spoken[name])
            yield _one("check_parallel", grid.PARALLEL.format(benchmark=name), cell, files)


CHECKPOINT = ("model", "data", "recipe", "beta", "seed")


def _models(config: Config, tuned: bool = False) -> list[dict[str, str]]:
    """The names of every checkpoint of the grid, once; with ``tuned`` without the base models."""
    found = {tuple(getattr(cell, key) for key in CHECKPOINT) for cell in grid.cells(grid.products(config))}
    named = [dict(zip(CHECKPOINT, one, strict=True)) for one in sorted(found)]
    return [names for names in named if not tuned or names["data"] != NONE]


def _checkpoints(config: Config) -> Iterator[Task]:
    for names in _models(config, tuned=True):
        rates = config.recipes[names["recipe"]].learning_rates
        reads = {"model": grid.MODEL.format(**names), "instructions": grid.INSTRUCTIONS.format(**names)}
        manifests = dict(zip(rates, grid.candidates(config, **names), strict=True))
        for rate, out in manifests.items():
            yield _one("finetune", out, grid.finetune_cell(config, **names, lr=rate), reads)
        if len(rates) > 1:
            out = grid.SELECTED.format(**names)
            yield _one("select_lr", out, grid.select_cell(config, **names), manifests)


def _scores(config: Config) -> Iterator[Task]:
    batches = {(b, code): (number, codes) for b, number, codes in grid.batches(config) for code in codes}
    for cell in grid.cells(grid.products(config)):
        number, codes = batches[cell.benchmark, cell.language]
        told = grid.score_cells(config, [cell.language], **asdict(cell))
        yield _asked(
            "score", grid.SCORES, f"batch-{number}", codes, config, json.loads(told)[0], asdict(cell)
        )


def _embeddings(config: Config) -> Iterator[Task]:
    if (chosen := config.embeddings) is None:
        return
    languages = grid.embedded_languages(config)
    for cell in grid.cells(grid.products(config)):
        if (cell.benchmark, cell.protocol) == (chosen.benchmark, chosen.protocol):
            names = {**asdict(cell), "pooling": chosen.pooling}
            told = {one["language"]: one for one in json.loads(grid.embed_cells(config, **names))}
            yield _asked("embed", grid.EMBEDDINGS, "all", languages, config, told[cell.language], names)


def _asked(
    stage: str,
    path: str,
    batch: str,
    languages: Iterable[str],
    config: Config,
    told: Mapping[str, Any],
    names: dict[str, str],
) -> Task:
    """A record of one language, made by a job of several."""
    model, questions = grid.checkpoint(config, **names), grid.QUESTIONS.format(**names)
    together = {grid.QUESTIONS.format(**{**names, "language": code}) for code in languages}
    inputs, job = {"model": model, "questions": questions}, path.format(**{**names, "language": batch})
    return Task(stage, (path.format(**names),), told, inputs, job, together=frozenset({model, *together}))


def _next_tokens(config: Config) -> Iterator[Task]:
    for names in _models(config) if config.next_token else ():
        for heldout in grid.heldout(config):
            reads = {
                "model": grid.checkpoint(config, **names),
                "instructions": grid.INSTRUCTIONS.format(data=heldout),
            }
            cell = grid.next_token_cell(config, **names, heldout=heldout)
            yield _one("next_token", grid.TOKENS.format(**names, heldout=heldout), cell, reads)


def _study(config: Config) -> Iterator[Task]:
    folder, blocks = grid.STUDY.format(study=config.study), grid.products(config)
    embedded = grid.embedded(blocks, grid.embedding(config))
    predicted = grid.next_tokens(blocks, grid.heldout(config))
    measured = measure.names(grid.measure_settings(config))
    shown: dict[str, str] = {}
    for stage, names, cell, read in (
        ("measure", measured, grid.measure_cell(config), [*grid.scores(blocks), *grid.truths(config)]),
        ("diversity", embedding_diversity.TABLES, grid.diversity_cell(config), embedded),
        ("tokens", next_token_metrics.TABLES, grid.tokens_cell(config), predicted),
    ):
        if read:
            tables = tuple(f"{folder}/{name}.parquet" for name in names)
            inputs = {path: path for path in read}
            if stage == "diversity":
                inputs["cells"] = shown["cells.parquet"]
            yield Task(stage, tables, json.loads(cell), inputs, tables[0])
            shown |= {path.rsplit("/", 1)[1]: path for path in tables}
    parts = ("report.html", "tables/table1.md", "tables/table1.csv", "figures", "provenance/landing.yaml")
    page = tuple(f"{folder}/{part}" for part in parts)
    cell = json.loads(grid.present_cell(config))
    yield Task("report", page, cell, shown, page[0], f"{folder}/provenance/report.json")


class Notes:
    """What results say of themselves, each file read once."""

    def __init__(self) -> None:
        self.known: dict[str, dict[str, Any]] = {}

    def __getitem__(self, path: str) -> dict[str, Any]:
        """The note of the result at ``path``; raises NoteError where it is missing or broken."""
        if path not in self.known:
            self.known[path] = manifests.read(Path(path))
        return self.known[path]

    def weights(self, path: str) -> dict[str, Any]:
        """The manifest of the weights behind a manifest or a selection."""
        note = self[path]
        return self.weights(str(Path(path).parent / note["manifest"])) if "manifest" in note else note


def reads(task: Task, notes: Notes, believe: bool = False) -> dict[str, str]:
    """The content checksums that enter the fingerprint of ``task``, from what lies there now.

    With ``believe``, files of one's own that are older than what was made from them are not hashed again.
    Raises NoteError, SourceError or CheckpointError where something that it reads is missing.
    """
    inputs = task.inputs
    match task.stage:
        case "miniature_model" | "miniature_data":
            return {}
        case "fetch_model" | "fetch_instructions" | "fetch_benchmark":
            if believe and (known := _unchanged(task, notes)) is not None:
                return known
            return sources.input_checksums(task.cell)
        case "finetune" | "score" | "embed" | "next_token":
            others = {role: str(notes[path]["content"]) for role, path in inputs.items() if role != "model"}
            return {"model": str(notes.weights(inputs["model"])["content"]), **others}
        case "select_lr":
            said = {rate: notes[path] for rate, path in inputs.items()}
            return {rate: f"{note['content']} {float(note['heldout_nll'])}" for rate, note in said.items()}
        case "measure":
            found = {path: notes[path] for path in inputs if path != grid.MINIATURE_DATA}
            contents = {path: str(note["content"]) for path, note in found.items()}
            known = task.cell["settings"].get("truth", {})
            asked = {(note["cell"]["benchmark"], note["cell"]["language"]) for note in found.values()}
            files = [known_truth.file(known, b, language) for b, language in asked if b in known]
            return contents | {str(file): files.sha256(file) for file in files}
        case "diversity":
            contents = {path: str(notes[path]["content"]) for role, path in inputs.items() if role != "cells"}
            return {**contents, "cells": embedding_diversity.content(Path(inputs["cells"]))}
        case "report":
            study = Path(task.out).parent
            return lineage.input_checksums(study, lineage.results_behind(study))
        case _:
            return {role: str(notes[path]["content"]) for role, path in inputs.items()}


def _unchanged(task: Task, notes: Notes) -> dict[str, str] | None:
    """The recorded checksums of a local source, where no file of it is newer than the result."""
    source, out = task.cell["source"], Path(task.out)
    if "hub" in source or not out.exists():
        return None
    kind = {"fetch_model": "models", "fetch_instructions": "data"}.get(task.stage, "benchmarks")
    place, note = sources.local_path(source, kind), notes[task.note]
    if kind == "models":
        files, known = checkpoints.parts(place), set(note.get("files", {}))
    else:
        files, known = sources.local_files(place, task.cell.get("language", "")), set(note.get("reads", {}))
    names = {path.name for path in files}
    same = names == {Path(name).name for name in known}
    made = out.stat().st_mtime
    if same and all(path.stat().st_mtime <= made for path in files):
        return dict(note.get("reads", {}))
    return None


def fingerprints(task: Task, found: Mapping[str, str], code: str) -> list[str]:
    """The fingerprint of ``task`` for what it reads, then those accepted as equal."""
    return cache.equivalents(task.stage, task.cell, code, found)
