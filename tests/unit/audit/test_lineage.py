"""The lineage of results in an invented results folder: complete lineages, and edits that break them."""

import json
import shutil

import jsonschema
import pyarrow.parquet as pq
import pytest
from helpers.score_records import score_row

from polycal.artifacts import checkpoints, files, records
from polycal.audit import lineage
from polycal.audit.artifact_index import SOURCES, ArtifactIndex, LineageError
from polycal.store import cache, manifest_checks
from polycal.study import config_reference

COST = {
    "wall_seconds": 1.5, "cpu_seconds": 1.0, "gpus": 0, "gpu_seconds": 0.0, "peak_memory_bytes": 1, "queue_seconds": None,
}  # fmt: skip
TRAINING = "results/checkpoints/model=m/base_seed=none/data=d/recipe=r/beta=0/seed=1/lr=0.1"
RECORD = "results/scores/model=m/base_seed=none/data=d/recipe=r/beta=0/seed=1/benchmark=b/protocol=p/language=en/scores.parquet"


def manifest_of(stage, cell, reads):
    code = "0123456789ab"
    cell = {"stage": stage, **cell}
    run = {
        "commit": "c" * 40, "dirty": False, "lock": None, "host": "h", "python": "3.12", "job": None,
        "started": "2026-01-01T10:00:00+00:00", "cost": COST,
    }  # fmt: skip
    return {
        "stage": stage,
        "cell": cell,
        "fingerprint": cache.fingerprint(cell, code, reads),
        "code": code,
        "code_version": code,
        "acceptances": [],
        "reads": reads,
        **run,
    }


def weights(folder, text):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_text(text)
    return checkpoints.describe(folder)


@pytest.fixture
def root(tmp_path):
    """A folder with the results of a study.

    It contains a base model, instructions, questions, a checkpoint, its score record, a table and the report.
    """
    root = tmp_path / "whole"
    base = weights(root / "resources/models/m/base_seed=none/abc", "base")
    manifest = manifest_of("fetch_model", {"model": "m"}, {})
    manifest |= {
        "source": {"hub": "a/m", "revision": "c" * 40},
        "revision": "c" * 40,
        "folder": "abc",
        **base,
    }
    files.write_json(root / "resources/models/m/base_seed=none/manifest.json", manifest)
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
        {**manifest_of("fetch_instructions", {"data": "d"}, {"talks": "1" * 64}), **source},
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
        {**manifest_of("fetch_benchmark", {"benchmark": "b"}, {}), **source},
    )
    tuned = weights(root / TRAINING / "0123/weights", "tuned")
    manifest = manifest_of(
        "finetune", {"model": "m", "data": "d"}, {"model": base["content"], "instructions": talks}
    )
    manifest |= {
        "folder": "0123/weights",
        "ranks": 1,
        "zero_stage": 2,
        "steps": 3,
        "global_batch_size": 4,
        **tuned,
    }
    files.write_json(root / TRAINING / "manifest.json", manifest)
    manifest = manifest_of(
        "score", {"model": "m", "data": "d"}, {"model": tuned["content"], "questions": questions}
    )
    manifest |= {"checkpoint": tuned["content"], "device": "cpu", "questions": 1}
    content = records.write(root / RECORD, [score_row("q", [-1.0, -2.0], 0)], records.SCORE, manifest)
    manifest = {**manifest_of("measure", {}, {RECORD: content}), "table": "cells", "settings": {}}
    study = root / "results/studies/s"
    records.write(study / "cells.parquet", [score_row("q", [-1.0], 0)], records.SCORE, manifest)
    page = study / "tables/table1.md"
    page.parent.mkdir()
    page.write_text("| 0.5 |\n")
    manifest = manifest_of("report", {}, {"cells.parquet": files.sha256(study / "cells.parquet")})
    shown = {"tables/table1.md": {"bytes": 8, "sha256": files.sha256(page)}}
    files.write_json(study / "provenance/report.json", {**manifest, "folder": "..", "files": shown})
    return root


def steps_of(file):
    index = ArtifactIndex(file)
    return lineage.trace(index, index.owner(file))


def test_a_table_leads_to_every_source_and_the_chain_holds(root):
    file = root / "results/studies/s/tables/table1.md"
    steps = steps_of(file)
    assert lineage.broken(steps) is None
    assert [step.artifact.path for step in steps] == [
        "results/studies/s/provenance/report.json",
        "results/studies/s/cells.parquet",
        RECORD,
        f"{TRAINING}/manifest.json",
        "resources/instructions/d.parquet",
        "resources/models/m/base_seed=none/manifest.json",
        "resources/benchmarks/b/en.parquet",
    ]
    text = lineage.as_text(steps)
    assert "from hub a/m at " + "c" * 40 in text
    assert text.count(" checked") == 7
    chain = lineage.as_json(ArtifactIndex(file), steps)
    assert chain["file"] == "results/studies/s/tables/table1.md"
    for step in chain["steps"]:
        jsonschema.validate(step["note"], manifest_checks.json_schema())


@pytest.mark.parametrize(
    "file", [RECORD, f"{TRAINING}/manifest.json", f"{TRAINING}/0123/weights/model.safetensors"]
)
def test_records_checkpoints_and_weights_have_a_chain_too(root, file):
    steps = steps_of(root / file)
    assert lineage.broken(steps) is None
    assert {step.artifact.stage for step in steps} >= {"fetch_instructions", "fetch_model"}


def test_a_model_of_the_miniature_leads_to_its_pre_training(root):
    gate = root / "resources/miniature/models/m/base_seed=0/gate.json"
    base = weights(gate.parent, "base")
    pretrained = {**manifest_of("miniature_model", {"model": "m"}, {}), "folder": ".", "gate": {}, **base}
    files.write_json(gate, pretrained)
    manifest = root / "resources/models/m/base_seed=none/manifest.json"
    fetched = manifest_of("fetch_model", {"model": "m"}, {"model": base["content"]})
    fetched |= {
        "source": {"miniature": "resources/miniature/models/m/base_seed=0"},
        "revision": None,
        "folder": "../../../miniature/models/m/base_seed=0",
        **base,
    }
    files.write_json(manifest, fetched)
    steps = steps_of(root / RECORD)
    assert lineage.broken(steps) is None
    read = {step.artifact.path: [one.artifact.path for one in step.reads] for step in steps}
    assert read["resources/models/m/base_seed=none/manifest.json"] == [
        "resources/miniature/models/m/base_seed=0/gate.json"
    ]
    assert "resources/models/m/base_seed=none/manifest.json" in read[f"{TRAINING}/manifest.json"]
    gate.unlink()
    assert "which no result here contains" in str(lineage.broken(steps_of(manifest)))


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
        r"report\.json: tables/table1\.md is not the file that was written",
    ),
    "rows of a record were edited": (_other_rows, r"scores\.parquet: its content is not what was written"),
    "a record is gone": (lambda root: (root / RECORD).unlink(), r"cells\.parquet: it read results/scores/.* no result here"),
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
    "a note lacks a key": (_drop_host, r"manifest\.json: its manifest breaks the schema at \w+: Field required"),
    "the questions are others": (
        lambda root: (root / "resources/benchmarks/b/en.parquet").unlink(),
        r"scores\.parquet: it read questions .* which no result here contains",
    ),
    "the measured table was made again": (
        lambda root: (root / "results/studies/s/cells.parquet").write_bytes(
            (root / "resources/instructions/d.parquet").read_bytes()
        ),
        r"report\.json: it shows another cells\.parquet than the one here",
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", BREAKS)
def test_a_broken_link_is_named(root, how):
    act, said = BREAKS[how]
    act(root)
    sentence = lineage.broken(steps_of(root / "results/studies/s/provenance/report.json"))
    with pytest.raises(LineageError, match=said):
        raise LineageError(str(sentence))


def test_a_copied_results_folder_is_enough_with_the_notes_of_its_sources(root, tmp_path):
    steps = steps_of(root / RECORD)
    notes = {
        s.artifact.path: dict(s.artifact.manifest) for s in steps if s.artifact.path.startswith("resources")
    }
    files.write_json(root / "results/studies/s/provenance" / SOURCES, notes)
    copy = tmp_path / "elsewhere/copied"
    shutil.copytree(root / "results", copy)
    shutil.rmtree(root)
    steps = steps_of(copy / "studies/s/tables/table1.md")
    assert lineage.broken(steps) is None
    assert lineage.as_text(steps).count("manifest only") == len(notes) == 3


def test_files_that_no_note_speaks_of_are_refused(root, tmp_path):
    stray = root / "results/studies/s/tables/mine.md"
    stray.write_text("0.7")
    with pytest.raises(LineageError, match=r"mine\.md: no manifest here mentions it"):
        steps_of(stray)
    with pytest.raises(LineageError, match=r"gone\.md: no such file"):
        steps_of(tmp_path / "gone.md")


def test_the_schema_refuses_what_the_models_refuse(root):
    said = json.loads((root / TRAINING / "manifest.json").read_text())
    schema = json.loads(
        (config_reference.Path(__file__).parents[3] / config_reference.MANIFEST_SCHEMA).read_text()
    )
    jsonschema.validate(said, schema)
    for broken in (
        {"fingerprint": "abc"},
        {"ranks": 0},
        {"cost": {**COST, "gpu_seconds": -1}},
        {"commit": "main"},
    ):
        assert manifest_checks.problems({**said, **broken})
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**said, **broken}, schema)
