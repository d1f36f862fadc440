"""A stage refuses weights that differ from those in their manifest."""

import pytest

from polycal.artifacts import checkpoints, files, records
from polycal.artifacts.checkpoints import CheckpointError
from polycal.store import code_versions, run
from polycal.store.run import Job
from polycal.store.stages import STAGES


@pytest.mark.parametrize("name", ["score", "embed", "score_next_token", "finetune"])
def test_altered_weights_are_refused_before_anything_is_computed(tmp_path, monkeypatch, name):
    stage, called = STAGES[name], []
    real = run.load
    monkeypatch.setattr(
        run,
        "load",
        lambda path: (lambda *_, **__: called.append(name)) if path == stage.entry else real(path),
    )
    monkeypatch.setattr(code_versions, "check_loaded", lambda stage: None)
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "config.json").write_text("{}")
    (weights / "model.safetensors").write_bytes(b"w" * 9000)
    manifest = tmp_path / "manifest.json"
    files.write_json(manifest, {"stage": "fetch_model", "folder": "weights", **checkpoints.describe(weights)})
    rows = tmp_path / "rows.parquet"
    records.write(rows, [], records.QUESTION, {"stage": "fetch_benchmark"})
    given = {"model": manifest}
    for declared in stage.inputs:
        if declared.kind == "record" and not declared.optional:
            given[declared.name] = [rows] if declared.many else rows
    job = Job(stage, [{"stage": name}], given, [tmp_path / "out" / stage.output], tmp_path / "results/.cache")
    run.run(job)
    assert called == [name]
    (weights / "model.safetensors").write_bytes(b"w" * 4904 + bytes(4096))
    with pytest.raises(CheckpointError, match="altered since"):
        run.run(Job(stage, [{"stage": name, "again": 1}], given, job.out, job.cache))
    assert called == [name]
