"""The way of a result back to its sources, on an invented results folder: what holds, and what breaks it."""

import json
import shutil

import jsonschema
import pyarrow.parquet as pq
import pytest
from helpers.score_records import score_row

from polycal.artifacts import checkpoints, files, records
from polycal.audit import lineage
from polycal.store import cache, manifest_schema, provenance
from polycal.study import config_reference

COST = {
    "wall_seconds": 1.5, "cpu_seconds": 1.0, "gpus": 0, "gpu_seconds": 0.0, "peak_memory_bytes": 1, "queue_seconds": None,
}  # fmt: skip
TRAINING = "results/checkpoints/model=m/data=d/recipe=r/beta=0/seed=1/lr=0.1"
RECORD = (
    "results/scores/model=m/data=d/recipe=r/beta=0/seed=1/benchmark=b/protocol=p/language=en/scores.parquet"
)


def note(stage, cell, reads):
    code = provenance.versions.code_class(stage)[0]
    cell = {"stage": stage, **cell}
    said = provenance.note(stage, cell, cache.fingerprint(cell, code, reads), reads)
    return {**said, "cost": COST}


def weights(folder, text):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_text(text)
    return checkpoints.describe(folder)


@pytest.fixture
def root(tmp_path):
    """Base model, instructions and questions; a checkpoint; its record; a table; the study's pages."""
    root = tmp_path / "whole"
    base = weights(root / "resources/models/m/abc", "base")
    told = note("fetch_model", {"model": "m"}, {})
    told |= {"source": {"hub": "a/m", "revision": "c" * 40}, "revision": "c" * 40, "folder": "abc", **base}
    files.write_json(root / "resources/models/m/manifest.json", told)
    source = {"source": {"path": "/data/talks"}, "files": {}}
    rows = [
        {
            "messages": [{"role": "user", "content": "?"}],
            "source": "s",
            "language": "en",
            "split": "train",
        }
    ]
    talks = records.write(
        root / "resources/instructions/d.parquet",
        rows,
        records.CONVERSATION,
        {**note("fetch_instructions", {"data": "d"}, {"talks": "1" * 64}), **source},
    )
    asked = [
        {
            "question_id": "q",
            "group": "g",
            "question": "?",
            "options": ["a", "b"],
            "gold": 0,
            "split": "test",
        }
    ]
    questions = records.write(
        root / "resources/benchmarks/b/en.parquet",
        asked,
        records.QUESTION,
        {**note("fetch_benchmark", {"benchmark": "b"}, {}), **source},
    )
    tuned = weights(root / TRAINING / "0123/weights", "tuned")
    told = note("finetune", {"model": "m", "data": "d"}, {"model": base["content"], "instructions": talks})
    told |= {"folder": "0123/weights", "ranks": 1, "zero_stage": 2, "steps": 3, "batch": 4, **tuned}
    files.write_json(root / TRAINING / "manifest.json", told)
    told = note("score", {"model": "m", "data": "d"}, {"model": tuned["content"], "questions": questions})
    told |= {"checkpoint": tuned["content"], "device": "cpu", "questions": 1}
    content = records.write(root / RECORD, [score_row("q", [-1.0, -2.0], 0)], records.SCORE, told)
    told = {**note("measure", {}, {RECORD: content}), "table": "cells", "settings": {}}
    study = root / "results/studies/s"
    records.write(study / "cells.parquet", [score_row("q", [-1.0], 0)], records.SCORE, told)
    page = study / "tables/table1.md"
    page.parent.mkdir()
    page.write_text("| 0.5 |\n")
    told = note("present", {}, {"cells.parquet": files.sha256(study / "cells.parquet")})
    files = {"tables/table1.md": {"bytes": 8, "sha256": files.sha256(page)}}
    files.write_json(study / "provenance/present.json", {**told, "folder": "..", "files": files})
    return root


def steps_of(file):
    catalogue = lineage.Catalogue(file)
    return lineage.trace(catalogue, catalogue.owner(file))


def test_a_table_leads_to_every_source_and_the_chain_holds(root):
    file = root / "results/studies/s/tables/table1.md"
    steps = steps_of(file)
    assert lineage.broken(steps) is None
    assert [step.product.path for step in steps] == [
        "results/studies/s/provenance/present.json",
        "results/studies/s/cells.parquet",
        RECORD,
        f"{TRAINING}/manifest.json",
        "resources/instructions/d.parquet",
        "resources/models/m/manifest.json",
        "resources/benchmarks/b/en.parquet",
    ]
    text = lineage.as_text(steps)
    assert "from hub a/m at " + "c" * 40 in text
    assert text.count(" checked") == 7
    told = lineage.as_json(lineage.Catalogue(file), steps)
    assert told["file"] == "results/studies/s/tables/table1.md"
    for step in told["steps"]:
        jsonschema.validate(step["note"], manifest_schema.schema())


@pytest.mark.parametrize(
    "file", [RECORD, f"{TRAINING}/manifest.json", f"{TRAINING}/0123/weights/model.safetensors"]
)
def test_records_checkpoints_and_weights_have_a_chain_too(root, file):
    steps = steps_of(root / file)
    assert lineage.broken(steps) is None
    assert {step.product.stage for step in steps} >= {"fetch_instructions", "fetch_model"}


def test_a_model_of_the_miniature_leads_to_its_pre_training(root):
    gate = root / "resources/miniature/models/m/gate.json"
    base = weights(gate.parent, "base")
    told = {**note("miniature_model", {"model": "m"}, {}), "folder": ".", "gate": {}, **base}
    files.write_json(gate, told)
    manifest = root / "resources/models/m/manifest.json"
    told = note("fetch_model", {"model": "m"}, {"model": base["content"]})
    told |= {"source": {"miniature": "m"}, "revision": None, "folder": "../../miniature/models/m", **base}
    files.write_json(manifest, told)
    steps = steps_of(root / RECORD)
    assert lineage.broken(steps) is None
    read = {step.product.path: [one.product.path for one in step.reads] for step in steps}
    assert read["resources/models/m/manifest.json"] == ["resources/miniature/models/m/gate.json"]
    assert "resources/models/m/manifest.json" in read[f"{TRAINING}/manifest.json"]
    gate.unlink()
    assert "which nothing here made" in str(lineage.broken(steps_of(manifest)))


def _other_rows(root):
    path = root / RECORD
    said = records.metadata(path)
    table = pq.read_table(path)
    other = records.write(root / "other.parquet", [score_row("q", [-1.0, -9.0], 0)], records.SCORE)
    assert other != said["content"]
    pq.write_table(pq.read_table(root / "other.parquet").replace_schema_metadata(table.schema.metadata), path)


def _edit_note(root):
    path = root / TRAINING / "manifest.json"
    said = json.loads(path.read_text())
    said["cell"]["data"] = "other"
    path.write_text(json.dumps(said))


def _drop_host(root):
    path = root / TRAINING / "manifest.json"
    said = json.loads(path.read_text())
    del said["host"], said["files"]
    path.write_text(json.dumps(said))


BREAKS = {
    "the table was edited": (
        lambda root: (root / "results/studies/s/tables/table1.md").write_text("| 0.9 |\n"),
        r"present\.json: tables/table1\.md is not the file that was written",
    ),
    "rows of a record were edited": (_other_rows, r"scores\.parquet: its content is not what was written"),
    "a record is gone": (lambda root: (root / RECORD).unlink(), r"cells\.parquet: it read results/scores/.* nothing here"),
    "a record is cut off": (lambda root: (root / RECORD).write_bytes(b"PAR1"), r"cells\.parquet: it read results/scores"),
    "weights were edited": (
        lambda root: (root / TRAINING / "0123/weights/model.safetensors").write_text("mine"),
        r"lr=0\.1/manifest\.json: model\.safetensors is not the file that was written",
    ),
    "weights are gone": (
        lambda root: (root / TRAINING / "0123/weights/model.safetensors").unlink(),
        r"lr=0\.1/manifest\.json: model\.safetensors is missing",
    ),
    "a note was edited": (_edit_note, r"manifest\.json: its fingerprint is not that of its cell, code and reads"),
    "a note lacks a key": (_drop_host, r"manifest\.json: its note breaks the schema at \w+: Field required"),
    "the questions are others": (
        lambda root: (root / "resources/benchmarks/b/en.parquet").unlink(),
        r"scores\.parquet: it read questions .* nothing here made",
    ),
    "the measured table was made again": (
        lambda root: (root / "results/studies/s/cells.parquet").write_bytes(
            (root / "resources/instructions/d.parquet").read_bytes()
        ),
        r"present\.json: it shows another cells\.parquet than the one here",
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", BREAKS)
def test_a_broken_link_is_named(root, how):
    act, said = BREAKS[how]
    act(root)
    sentence = lineage.broken(steps_of(root / "results/studies/s/provenance/present.json"))
    with pytest.raises(lineage.ChainError, match=said):
        raise lineage.ChainError(str(sentence))


def test_a_copied_results_folder_is_enough_with_the_notes_of_its_sources(root, tmp_path):
    steps = steps_of(root / RECORD)
    notes = {s.product.path: dict(s.product.note) for s in steps if s.product.path.startswith("resources")}
    files.write_json(root / "results/studies/s/provenance" / lineage.SOURCES, notes)
    copy = tmp_path / "elsewhere/copied"
    shutil.copytree(root / "results", copy)
    shutil.rmtree(root)
    steps = steps_of(copy / "studies/s/tables/table1.md")
    assert lineage.broken(steps) is None
    assert lineage.as_text(steps).count("note only") == len(notes) == 3


def test_files_that_no_note_speaks_of_are_refused(root, tmp_path):
    stray = root / "results/studies/s/tables/mine.md"
    stray.write_text("0.7")
    with pytest.raises(lineage.ChainError, match=r"mine\.md: no manifest here speaks of it"):
        steps_of(stray)
    with pytest.raises(lineage.ChainError, match=r"gone\.md: no such file"):
        steps_of(tmp_path / "gone.md")


def test_the_schema_refuses_what_the_models_refuse(root):
    said = json.loads((root / TRAINING / "manifest.json").read_text())
    schema = json.loads((config_reference.Path(__file__).parents[3] / config_reference.MANIFESTS).read_text())
    jsonschema.validate(said, schema)
    for broken in (
        {"fingerprint": "abc"},
        {"ranks": 0},
        {"cost": {**COST, "gpu_seconds": -1}},
        {"commit": "main"},
    ):
        assert manifest_schema.problems({**said, **broken})
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**said, **broken}, schema)


def test_a_meter_counts_laps_and_what_a_job_waited_once(monkeypatch, tmp_path):
    squeue = tmp_path / "squeue"
    squeue.write_text("#!/bin/sh\necho '2026-01-01T10:00:00|2026-01-01T10:01:30'\n")
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    provenance.queue_seconds.cache_clear()
    meter = provenance.Meter()
    first, second = meter.lap(), meter.lap()
    provenance.queue_seconds.cache_clear()
    assert (first["queue_seconds"], second["queue_seconds"]) == (90.0, 0.0)
    assert first["wall_seconds"] > second["wall_seconds"] >= 0
    assert first["cpu_seconds"] > 0
    assert (first["gpus"], first["gpu_seconds"]) == (0, 0.0)
    manifest_schema.Cost.model_validate(first)
